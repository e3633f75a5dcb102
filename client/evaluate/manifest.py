"""Manifests -> clips: JSON lines `{"audio", "text", ...}`, and when each word was said, where that is known.

An alignment is JSON lines, too, `{"audio", "words": [[WORD, start, score, [[PHONE, length], ...]], ...]}` in units of
10 ms, named `alignments.jsonl.xz` and beside the manifest.
"""

import json
import lzma
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.evaluate.playback import recording
from client.evaluate.take import Clip, Spoken
from engine.audio import SAMPLE_RATE, Seconds
from engine.errors import ConfigError
from engine.text import normalize

ALIGNMENTS = "alignments.jsonl.xz"
UNIT: Seconds = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which lines of the manifests.

    folds, corpora    only these; empty: all. A line without a fold is in each
    limit             at most so many of a corpus, the first ones; None: all
    """

    folds: Collection[int] = ()
    corpora: Collection[str] = ()
    limit: int | None = None


def load(
    manifests: Sequence[Path], choice: Choice = Choice(), *, alignments: Path | None = None, join: bool = False
) -> list[Clip]:
    """The clips of manifests, in order; with `join` one for each corpus of a manifest.

    alignments    the file; None: the one beside each manifest, if there is one

    Raises ConfigError, which names file and line; with `join` also AudioError, as lengths have to be known.
    """
    clips: list[Clip] = []
    taken: Counter[str] = Counter()
    known: set[str] = set()
    folds: set[int] = set()
    for manifest in manifests:
        beside = manifest.parent / ALIGNMENTS
        spoken = _alignments(alignments or beside) if alignments or beside.exists() else {}
        chosen = []
        for clip, fold in _lines(manifest, spoken):
            known.add(clip.corpus)
            folds |= set() if fold is None else {fold}
            full = choice.limit is not None and taken[clip.corpus] >= choice.limit
            if _in(clip.corpus, choice.corpora) and (fold is None or _in(fold, choice.folds)) and not full:
                taken[clip.corpus] += 1
                chosen.append(clip)
        clips += _joined(manifest.name, chosen) if join else chosen
    if unknown := sorted(set(choice.corpora) - known):
        raise ConfigError(f"no corpus {', '.join(unknown)} there; there are {', '.join(sorted(known)) or 'none'}")
    if missing := sorted(set(choice.folds) - folds):
        there = ", ".join(map(str, sorted(folds))) or "none"
        raise ConfigError(f"no fold {', '.join(map(str, missing))} there; there are {there}")
    if not clips:
        raise ConfigError(f"nothing to evaluate: no line of {', '.join(map(str, manifests))} was chosen")
    return clips


def _in(value: object, chosen: Collection[object]) -> bool:
    return not chosen or value in chosen


def _lines(manifest: Path, spoken: dict[str, tuple[Spoken, ...]]) -> Iterator[tuple[Clip, int | None]]:
    """Clips, and the fold that each is in."""
    for where, row in _rows(manifest):
        for field, kind in (("audio", str), ("text", str), ("corpus", str), ("fold", int)):
            required = field in ("audio", "text")
            if not isinstance(row.get(field), kind) and (required or row.get(field) is not None):
                what = "missing" if field not in row else f"{row[field]!r}"
                raise ConfigError(f"{where}: {field} is {what}; it must be {'a text' if kind is str else 'a number'}")
        path = manifest.parent / row["audio"]
        if not path.is_file():
            raise ConfigError(f"{where}: there is no file {path}")
        corpus = row.get("corpus") or manifest.stem
        yield Clip(row["audio"], corpus, row["text"], (path,), spoken.get(row["audio"])), row.get("fold")


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file of JSON lines, xz or not, each with its place."""
    try:
        with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    where = f"{path}, line {number}"
                    try:
                        row = json.loads(line)
                    except ValueError as e:
                        raise ConfigError(f"{where}: not JSON: {e}") from None
                    if not isinstance(row, dict):
                        raise ConfigError(f'{where}: not a JSON object; one looks like {{"audio": ..., "text": ...}}')
                    yield where, row
    except OSError as e:
        raise ConfigError(f"can't read {path}: {e.strerror or e}") from None
    except (UnicodeError, lzma.LZMAError, EOFError) as e:
        raise ConfigError(f"can't read {path}: it must be UTF-8, or that within xz: {e}") from None


def _alignments(path: Path) -> dict[str, tuple[Spoken, ...]]:
    """The words of each recording that could be aligned."""
    aligned = {}
    for where, row in _rows(path):
        try:
            aligned[str(row["audio"])] = tuple(
                Spoken(text, start * UNIT, (start + sum(length for _, length in phones)) * UNIT)
                for word, start, _, phones in row["words"]
                for text in normalize(word).split()
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            form = '{"audio", "words": [[WORD, start, score, [[PHONE, length], ...]], ...]}'
            raise ConfigError(f"{where}: not an alignment; one looks like {form}") from None
    return aligned


def _joined(name: str, clips: list[Clip]) -> Iterator[Clip]:
    """The clips of each corpus as one."""
    corpora: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        corpora[clip.corpus].append(clip)
    for corpus, parts in corpora.items():
        audio = tuple(path for part in parts for path in part.audio)
        words = tuple(_shifted(parts)) if any(part.words for part in parts) else None
        yield Clip(name, corpus, " ".join(part.reference for part in parts), audio, words)


def _shifted(parts: list[Clip]) -> Iterator[Spoken]:
    """The words of clips that follow one another."""
    samples = 0
    for part in parts:
        began = samples / SAMPLE_RATE
        for text, start, end in part.words or ():
            yield Spoken(text, began + start, began + end)
        samples += len(recording(part))
