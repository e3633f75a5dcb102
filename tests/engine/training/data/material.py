"""Small corpora in memory, and in files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from earshot_asr.engine.manifest import UNIT_SAMPLES, AlignedWord, Alignment, Row
from earshot_asr.engine.text import normalize
from earshot_asr.engine.training.data.corpus import Corpus
from earshot_asr.engine.vocabulary import Vocabulary

SYMBOLS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'")
VOCABULARY = Vocabulary(symbols=SYMBOLS, blank=0, delimiter=4, special=frozenset({1, 2, 3}))


def ids(text: str) -> list[int]:
    """Of letters and |."""
    return [SYMBOLS.index(char) for char in text]


def aligned(*words: tuple[str, int, list[tuple[str, int]]], letters: bool = False, score: float = -20.0) -> Alignment:
    """From texts, starts and parts."""
    return Alignment(tuple(AlignedWord(text, start, score, tuple(parts)) for text, start, parts in words), letters)


def spelled(text: str, start: int = 10, length: int = 6, gap: int = 8) -> Alignment:
    """Each letter its own phone of the same name, words one after another."""
    words = []
    for word in text.split():
        words.append((word, start, [(letter, length) for letter in word]))
        start += length * len(word) + gap
    return aligned(*words)


def corpus(
    clips: Sequence[tuple[str, Alignment | None]], names: Sequence[str] = (), seed: int = 0, units: int | None = None
) -> Corpus:
    """Recordings of noise, each 0.3 s longer than its alignment, or `units` long; `names`: the corpus of each."""
    rng = np.random.default_rng(seed)
    samples, spans, here = [], [], 0
    for _, alignment in clips:
        last = alignment.words[-1] if alignment and alignment.words else None
        length = (units or (last.start + last.length + 30 if last else 100)) * UNIT_SAMPLES - 7
        samples.append(rng.integers(-8000, 8000, length + 7).astype(np.int16))
        spans.append((here, here + length))
        here += length + 7
    rows = [
        Row(where=f"line {n}", name=f"{n}.wav", path=Path(f"{n}.wav"), text=text, corpus=names[n] if names else "x")
        for n, (text, _) in enumerate(clips)
    ]
    texts = [normalize(text) for text, _ in clips]
    return Corpus(np.concatenate(samples), np.array(spans), rows, texts, [alignment for _, alignment in clips])


def write(folder: Path, rows: Sequence[dict[str, Any]], name: str = "m.jsonl", seconds: float = 0.5) -> Path:
    """A manifest, and a recording of a tone for each line that has none; its pitch tells which it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, row in enumerate(rows, 1):
        path = folder / row["audio"]
        if not path.exists():
            time = np.arange(round(row.get("duration", seconds) * 16_000)) / 16_000
            soundfile.write(path, (0.3 * np.sin(2 * np.pi * 100 * n * time)).astype(np.float32), 16_000)
    manifest = folder / name
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest
