"""Text that nobody has read out, as it might be said: the phones of a dictionary, as long as phones are in recordings.

A few thousand sentences with sound teach no spelling, a million without may: the upper layers of a model learn from
them by way of `Voice` (text injection; Sainath et al. 2023, JOIST; Chen et al. 2022, MAESTRO).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.manifest import PER_SECOND, UNIT, AlignedWord, Alignment, text_lines
from earshot_asr.engine.text import normalize
from earshot_asr.engine.training.corpus import Corpus
from earshot_asr.engine.training.labels import Ints, Labels, Plan
from earshot_asr.engine.training.spelling import Said, spell

Pronunciation: TypeAlias = tuple[str, ...]
LONGEST = 30
"""Units of 10 ms: no phone is said for longer."""
TEMPO = 0.2
"""Standard deviation of the logarithm of how much slower a row is said than recordings are, phone by phone."""
PAUSE: tuple[Seconds, Seconds] = (0.1, 1.2)
"""Between sentences."""
AROUND = 200
"""Units, 2 s, that are said before a row and behind it, so that it begins and ends in mid-word."""
MOST = 2_000_000
"""Sentences that are kept of a file; more than that no training gets through."""


class Unspoken:
    """Sentences in which each word is in a dictionary.

    files     text, a sentence a line, UTF-8, also in xz
    lexicon   the dictionary: lines of WORD PHONE PHONE ..., other pronunciations as WORD(2), as CMUdict has them
    alpha     below 1, sentences with rare words come more often: their odds are the mean of n ^ (alpha - 1) over their
              words, n how often a word occurs, so that it is drawn about n ^ alpha times, as languages are in XLSR
              (Conneau et al. 2020); half of a text is a hundred words that are known anyway. 1: all the same odds
    rows      of text for each row of recordings

    known     the pronunciations of each word of the dictionary
    words     all words that occur; ids (W,) the words of all sentences, ends (N,) where in it each sentence ends
    left_out  how many sentences have other words

    Raises ConfigError if a file can't be read, or nothing is left.
    """

    def __init__(self, files: Sequence[Path], lexicon: Path, *, alpha: float = 0.5, rows: int = 1) -> None:
        self.alpha, self.rows = alpha, rows
        self.known = read_lexicon(lexicon)
        number: dict[str, int] = {}
        ids: list[int] = []
        ends: list[int] = []
        self.left_out = 0
        for path in files:
            for words in islice(self._sentences(path), MOST):
                ids += [number.setdefault(word, len(number)) for word in words]
                ends.append(len(ids))
        if not ends:
            raise ConfigError(f"{', '.join(map(str, files))}: no line has only words that {lexicon} knows")
        self.words = list(number)
        self.ids, self.ends = np.array(ids, np.int32), np.array(ends, np.int64)

    def _sentences(self, path: Path) -> Iterator[list[str]]:
        for _, line in text_lines(path):
            words = normalize(line).split()
            if words and all(word in self.known for word in words):
                yield words
            else:
                self.left_out += 1

    def prepare(self, corpus: Corpus, labels: Labels) -> "Imagined":
        """As it may be said in a corpus whose recordings are aligned in phones. Raises ConfigError otherwise."""
        return Imagined(self, corpus, labels)


class Imagined:
    """Rows of text, said as in a corpus: lengths of phones and pauses between words are taken from there.

    labels    of that corpus: its phones, and how its letters are numbered
    left_out  how many sentences have a word that can't be said in these phones, or not be written in these letters

    Raises ConfigError if the corpus is not aligned in phones, and if no sentence is left.
    """

    def __init__(self, text: Unspoken, corpus: Corpus, labels: Labels) -> None:
        self.alphabet, self.phones = labels.alphabet, labels.phones
        aligned = [a for a in corpus.alignments if a is not None and not a.letters]
        if not aligned:
            raise ConfigError("--text wants recordings aligned in phones: `earshot train align` without --model")
        self._lengths, self._gaps = durations(aligned)
        self._words, self._ids = text.words, text.ids
        self._said = [[p for p in text.known[word] if self._lengths.keys() >= set(p)] for word in text.words]
        good = [bool(said and self.alphabet.letters(word)) for word, said in zip(text.words, self._said, strict=True)]
        begins = np.concatenate(([0], text.ends[:-1]))
        bad = np.concatenate(([0], np.cumsum(~np.array(good)[text.ids])))
        kept = bad[text.ends] == bad[begins]
        self._begins, self._ends = begins[kept], text.ends[kept]
        self.left_out = len(kept) - int(kept.sum())
        if not len(self._ends):
            raise ConfigError(
                f"--text: no sentence can be said in the recordings' phones ({', '.join(self.phones[1:6])}, ...) and "
                "written in the model's letters; the lexicon must have the phones of the alignment"
            )
        counts = np.bincount(text.ids, minlength=len(text.words))
        rarity = np.concatenate(([0.0], np.cumsum((counts ** (text.alpha - 1.0))[text.ids])))
        self._odds = np.cumsum((rarity[self._ends] - rarity[self._begins]) / (self._ends - self._begins))
        occurring: Counter[Said] = Counter()
        for word, said, count in zip(text.words, self._said, counts.tolist(), strict=True):
            for pronunciation in said:
                occurring[self.alphabet.letters(word), pronunciation] += count
        self._spellings = spell(occurring)

    def draw(self, rng: np.random.Generator, count: int, samples: int) -> tuple[Plan, Labels]:
        """So many rows of so many samples, each from anywhere in a sentence on, as Plan and Labels of a file."""
        length = -(-samples // UNIT) + 2
        size = AROUND + length + AROUND
        alignments = [self._row(rng, size) for _ in range(count)]
        firsts = np.arange(count) * size * UNIT
        spans = [(int(first), int(first) + size * UNIT) for first in firsts]
        labels = Labels(alignments, spans, self.alphabet, self.phones, self._spellings)
        rows, width = np.arange(count), length * UNIT
        begin = rng.integers(AROUND, size=count) * UNIT
        return Plan(firsts + begin, rows, np.zeros_like(rows), np.full(count, width), np.ones(count), width), labels

    def _row(self, rng: np.random.Generator, units: int) -> Alignment:
        words: list[AlignedWord] = []
        here, tempo = int(rng.integers(20)), float(np.exp(rng.normal(0.0, TEMPO)))
        while True:
            for which in self._sentence(rng):
                ways = self._said[which]
                word = AlignedWord(
                    self._words[which], here, 0.0, self._parts(rng, ways[int(rng.integers(len(ways)))], tempo)
                )
                if here + word.length >= units:
                    return Alignment(tuple(words))
                words.append(word)
                here += word.length + int(self._gaps[rng.integers(len(self._gaps))])
            here += int(rng.uniform(*PAUSE) * PER_SECOND)

    def _sentence(self, rng: np.random.Generator) -> list[int]:
        which = int(np.searchsorted(self._odds[:-1], rng.random() * self._odds[-1], side="right"))
        found: list[int] = self._ids[self._begins[which] : self._ends[which]].tolist()
        return found

    def _parts(self, rng: np.random.Generator, phones: Pronunciation, tempo: float) -> tuple[tuple[str, int], ...]:
        """Each with a length, units of 10 ms."""
        chosen = rng.random(len(phones))
        known = (self._lengths[phone] for phone in phones)
        lengths = (tempo * each[int(chance * len(each))] for each, chance in zip(known, chosen, strict=True))
        return tuple((phone, max(1, min(LONGEST, round(n)))) for phone, n in zip(phones, lengths, strict=True))


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
    for _, line in text_lines(path):
        said, _, _ = line.partition(" #")
        if said.startswith((";;;", "#")) or not said.strip():
            continue
        word, *phones = said.split()
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
