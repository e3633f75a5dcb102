"""Manifests of recordings, and alignments: files of JSON lines, compressed by xz or not. No torch.

    {"audio", "text", "corpus", "speaker", "lang", "phonemes", "fold", "split", "kind"}    most may be missing
    {"audio", "words": [[WORD, start, score, [[PHONE, length], ...]], ...]}    when it is said, in units of 10 ms

Paths are relative to the manifest; an alignment calls a recording as its manifest does. The phones of a word follow one
another from its start. Where the line has `"units": "letters"`, letters stand for phones: our own alignments. The score
is a word's, per frame; PocketSphinx's is about -20 where all is well, and below -60 where another text was said.
"""

import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from earshot_asr.engine.audio import Seconds, exact_div
from earshot_asr.engine.errors import ConfigError

ALIGNMENTS = ("alignments.jsonl.xz", "alignments.jsonl")
"""Names of an alignment that lies beside its manifests."""
UNIT_SAMPLES = 160
"""The unit of alignments: 10 ms."""
UNITS_PER_SECOND = exact_div(16_000, UNIT_SAMPLES)
OPTIONAL = {
    "text": str,
    "phonemes": str,
    "corpus": str,
    "speaker": str,
    "lang": str,
    "split": str,
    "kind": str,
    "fold": int,
}
FORM = '{"audio", "words": [[WORD, start, score, [[PHONE, length], ...]], ...]}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A recording of a manifest.

    where      file and line
    name       the recording as the manifest has it
    phonemes   of the text, with spaces between them
    """

    where: str
    name: str
    path: Path
    text: str | None = None
    phonemes: str | None = None
    corpus: str
    speaker: str | None = None
    lang: str | None = None
    split: str | None = None
    kind: str | None = None
    fold: int | None = None


class AlignedWord(NamedTuple):
    """When a word is said: start and lengths in units of 10 ms. `parts`: its phones or letters, with their lengths."""

    text: str
    start: int
    score: float
    parts: tuple[tuple[str, int], ...]

    @property
    def length(self) -> int:
        """Its length in units of 10 ms."""
        return sum(length for _, length in self.parts)

    @property
    def span(self) -> tuple[Seconds, Seconds]:
        """Its start and end in seconds."""
        return self.start / UNITS_PER_SECOND, (self.start + self.length) / UNITS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Alignment:
    """The words of a recording, in order. `letters`: their parts are letters, not phones."""

    words: tuple[AlignedWord, ...]
    letters: bool = False

    @property
    def score(self) -> float:
        """The mean of its words' scores."""
        return sum(word.score for word in self.words) / max(1, len(self.words))


def read(manifest: Path, required: tuple[str, ...] = ("text",)) -> Iterator[Row]:
    """The recordings of a manifest, in order; `required`: what every line must have.

    Raises ConfigError that names file and line, also where a recording is not there.
    """
    for where, row in lines(manifest):
        for field, kind in ({"audio": str} | OPTIONAL).items():
            needed = field == "audio" or field in required
            value = row.get(field)
            if (value is not None or needed) and (not isinstance(value, kind) or isinstance(value, bool)):
                what = "missing" if field not in row else f"{value!r}"
                raise ConfigError(f"{where}: {field} is {what}; it must be {'a text' if kind is str else 'a number'}")
        path = manifest.parent / row["audio"]
        if not path.is_file():
            raise ConfigError(f"{where}: there is no file {path}")
        known = {field: row.get(field) for field in OPTIONAL} | {"corpus": row.get("corpus") or manifest.stem}
        yield Row(where=where, name=row["audio"], path=path, **known)


def alignment_beside(manifest: Path) -> Path | None:
    """The alignment that lies beside a manifest, if there is one."""
    return next((path for name in ALIGNMENTS if (path := manifest.parent / name).exists()), None)


def read_alignments(path: Path) -> dict[str, Alignment]:
    """By recording. Raises ConfigError that names file and line."""
    aligned = {}
    for where, row in lines(path):
        try:
            words = tuple(
                AlignedWord(
                    str(text), int(start), float(score), tuple((str(part), int(length)) for part, length in parts)
                )
                for text, start, score, parts in row["words"]
            )
            if any(word.start < 0 or any(length < 0 for _, length in word.parts) for word in words):
                raise ValueError
            aligned[str(row["audio"])] = Alignment(words, row.get("units") == "letters")
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
            raise ConfigError(f"{where}: not an alignment; one looks like {FORM}") from None
    return aligned


def lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file of JSON lines, each with its place. Raises ConfigError."""
    for number, line in text_lines(path):
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as e:
            raise ConfigError(f"{where}: not JSON: {e}") from None
        if not isinstance(row, dict):
            raise ConfigError(f'{where}: not a JSON object; one looks like {{"audio": ..., "text": ...}}')
        yield where, row


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of the lines that are not empty; of a file in xz, too. Raises ConfigError if it can't be read."""
    try:
        with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as file:
            yield from ((number, text) for number, line in enumerate(file, 1) if (text := line.strip()))
    except OSError as e:
        raise ConfigError(f"can't read {path}: {e.strerror or e}") from None
    except (UnicodeError, lzma.LZMAError, EOFError) as e:
        raise ConfigError(f"can't read {path}: it must be UTF-8, or that within xz: {e}") from None
