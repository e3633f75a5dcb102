"""Text that nobody has read out, as it might be said: the phones of a dictionary, as long as phones are in recordings.

A few thousand sentences with sound teach no spelling, a million without may: the upper layers of a model learn from
them by way of `Voice` (text injection; Sainath et al. 2023, JOIST; Chen et al. 2022, MAESTRO).
"""

import lzma
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import numpy as np

from engine.audio import SAMPLE_RATE, Seconds
from engine.errors import ConfigError
from engine.manifest import UNIT, Alignment, Word
from engine.text import normalize
from engine.training.corpus import Corpus
from engine.training.labels import Ints, Labels, Plan
from engine.training.spelling import Said, spell

Pronunciation: TypeAlias = tuple[str, ...]
PER_SECOND = SAMPLE_RATE // UNIT
LONGEST = 30
"""Units of 10 ms: no phone is said for longer."""
TEMPO = 0.2
"""Standard deviation of the logarithm of how much slower a row is said than recordings are, phone by phone."""
PAUSE: tuple[Seconds, Seconds] = (0.1, 1.2)
"""Between sentences."""
SKIPPED: Seconds = 4.0
"""A row begins within so much of the beginning of a sentence."""
MOST = 2_000_000
"""Lines that are read; more than that no training gets through."""


class Unspoken:
    """Sentences in which each word is in a dictionary.

    files     text, a sentence a line, UTF-8, also in xz
    lexicon   the dictionary: lines of WORD PHONE PHONE ..., other pronunciations as WORD(2), as CMUdict has them

    Raises ConfigError if a file can't be read, or nothing is left.
    """

    def __init__(self, files: Sequence[Path], lexicon: Path) -> None:
        self.known = read_lexicon(lexicon)
        number: dict[str, int] = {}
        ids: list[int] = []
        ends: list[int] = []
        self.left_out = 0
        for line in lines(files):
            words = normalize(line).split()
            if not words or not all(word in self.known for word in words):
                self.left_out += 1
                continue
            ids += [number.setdefault(word, len(number)) for word in words]
            ends.append(len(ids))
            if len(ends) == MOST:
                break
        if not ends:
            raise ConfigError(f"{', '.join(map(str, files))}: no line has only words that {lexicon} knows")
        self.words = list(number)
        self.ids, self.ends = np.array(ids, np.int32), np.array(ends, np.int64)

    def prepare(self, corpus: Corpus, labels: Labels) -> "Imagined":
        """As it may be said in a corpus whose recordings are aligned in phones. Raises ConfigError otherwise."""
        return Imagined(self, corpus, labels)


class Imagined:
    """Rows of text, said as in a corpus: lengths of phones and pauses between words are taken from there."""

    def __init__(self, text: Unspoken, corpus: Corpus, labels: Labels) -> None:
        self._text = text
        self.alphabet, self.phones = labels.alphabet, labels.phones
        aligned = [a for a in corpus.alignments if a is not None and not a.letters]
        if not aligned:
            raise ConfigError("--text wants recordings aligned in phones: `earshot train align` without --model")
        self._lengths, self._gaps = durations(aligned)
        there = set(self._lengths)
        said = {word: [p for p in text.known[word] if there.issuperset(p)] for word in text.words}
        self._said = [said[word] for word in text.words]
        counts = np.bincount(text.ids, minlength=len(text.words))
        occurring: Counter[Said] = Counter()
        for word, count in zip(text.words, counts.tolist(), strict=True):
            for pronunciation in said[word]:
                occurring[self.alphabet.letters(word), pronunciation] += count
        self._spellings = spell(occurring)

    def draw(self, rng: np.random.Generator, count: int, samples: int) -> tuple[Plan, Labels]:
        """So many rows of so many samples, each from anywhere in a sentence on, as Plan and Labels of a file."""
        length = -(-samples // UNIT) + 2
        alignments, spans, sources = [], [], []
        for row in range(count):
            skipped = int(rng.integers(int(SKIPPED * PER_SECOND)))
            first = row * (length + int(SKIPPED * PER_SECOND) + 1) * UNIT
            alignments.append(self._row(rng, skipped + length))
            spans.append((first, first + (skipped + length) * UNIT))
            sources.append(first + skipped * UNIT)
        labels = Labels(alignments, spans, self.alphabet, self.phones, self._spellings)
        rows = np.arange(count)
        width = length * UNIT
        plan = Plan(np.array(sources), rows, np.zeros_like(rows), np.full(count, width), np.ones(count), width)
        return plan, labels

    def _row(self, rng: np.random.Generator, units: int) -> Alignment:
        words: list[Word] = []
        here, tempo = int(rng.integers(20)), float(np.exp(rng.normal(0.0, TEMPO)))
        while here < units:
            for which in self._sentence(rng):
                ways = self._said[which]
                if not ways:
                    continue
                phones = ways[int(rng.integers(len(ways)))]
                parts = tuple((phone, self._length(rng, phone, tempo)) for phone in phones)
                word = Word(self._text.words[which], here, 0.0, parts)
                if here + word.length >= units:
                    return Alignment(tuple(words))
                words.append(word)
                here += word.length + int(self._gaps[rng.integers(len(self._gaps))])
            here += int(rng.uniform(*PAUSE) * PER_SECOND)
        return Alignment(tuple(words))

    def _sentence(self, rng: np.random.Generator) -> list[int]:
        ends = self._text.ends
        which = int(rng.integers(len(ends)))
        found: list[int] = self._text.ids[ends[which - 1] if which else 0 : ends[which]].tolist()
        return found

    def _length(self, rng: np.random.Generator, phone: str, tempo: float) -> int:
        lengths = self._lengths[phone]
        return max(1, min(LONGEST, round(tempo * lengths[int(rng.integers(len(lengths)))])))


def durations(alignments: Iterable[Alignment]) -> tuple[dict[str, list[int]], Ints]:
    """How long each phone was said each time, and the pauses between two words, in units of 10 ms."""
    lengths: defaultdict[str, list[int]] = defaultdict(list)
    gaps: list[int] = [0]
    for alignment in alignments:
        end = None
        for word in alignment.words:
            for phone, length in word.parts:
                lengths[phone].append(min(length, LONGEST))
            if end is not None:
                gaps.append(max(0, word.start - end))
            end = word.start + word.length
    return dict(lengths), np.array(gaps).clip(max=PER_SECOND)


def read_lexicon(path: Path) -> dict[str, list[Pronunciation]]:
    """Words, normalized, with all their pronunciations; stress marks are left away. Raises ConfigError."""
    known: defaultdict[str, list[Pronunciation]] = defaultdict(list)
    for line in lines([path]):
        if line.startswith((";;;", "#")):
            continue
        word, *phones = line.split()
        word = normalize(word.partition("(")[0])
        pronunciation = tuple(phone.rstrip("012") for phone in phones)
        if pronunciation and word and " " not in word and pronunciation not in known[word]:
            known[word].append(pronunciation)
    if not known:
        raise ConfigError(f"{path} has no line like 'hello HH AH L OW'")
    return dict(known)


def dictionary() -> Path:
    """PocketSphinx's: 135,000 English words. Raises ConfigError if it is not installed."""
    found = find_spec("pocketsphinx")
    if found is None or found.origin is None:
        raise ConfigError("--text wants a --lexicon; without one, PocketSphinx's: pip install pocketsphinx")
    return Path(found.origin).parent / "model" / "en-us" / "cmudict-en-us.dict"


def lines(files: Sequence[Path]) -> Iterator[str]:
    """Those that are not empty. Raises ConfigError if a file can't be read."""
    for path in files:
        try:
            with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as f:
                yield from (line for line in f if line.strip())
        except OSError as e:
            raise ConfigError(f"can't read {path}: {e.strerror or e}") from None
        except (UnicodeError, lzma.LZMAError, EOFError) as e:
            raise ConfigError(f"can't read {path}: it must be UTF-8, or that within xz: {e}") from None
