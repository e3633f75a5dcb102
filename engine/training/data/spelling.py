"""Texts as ids, and which phone of a word each of its letters belongs to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.vocabulary import Vocabulary

T = TypeVar("T")
Said: TypeAlias = tuple[tuple[int, ...], tuple[str, ...]]
"""A word: the ids of its letters, and its phones."""
Spelling: TypeAlias = tuple[int, ...]
"""The number of the phone that each letter of a word belongs to; never falling."""

SKIP = -2.0
"""Log-probability that a phone has no letter."""
SHARE = -0.7
"""Log-probability that a letter belongs to the phone of the letter before it."""
FARTHEST_PHONES = 3
"""The most phones from that of a letter to that of the next letter."""
ROUNDS = 6
PRIOR = 0.05
"""Count that each pair of phone and letter begins with."""
WORDS_AT_ONCE = 4096
LATE_FRAMES = 0.3
"""A letter is written in the frame whose centre is nearest to its time plus this."""
LONGEST_UNITS = 25
"""Units of 10 ms from the start of a phone that its letters lie within; the phone may be longer, or end in a pause."""


class Alphabet:
    """The symbols of a vocabulary that stand for sounds, without blank, delimiter and special ones."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        silent = {vocabulary.blank, vocabulary.delimiter, *vocabulary.special}
        self._ids: dict[str, int] = {}
        for id, symbol in enumerate(vocabulary.symbols):
            if id not in silent and symbol != vocabulary.unknown:
                self._ids.setdefault(symbol, id)
        self.delimiter = vocabulary.delimiter
        self.separator = vocabulary.separator

    def letters(self, word: str) -> tuple[int, ...]:
        """The ids of a word's letters, in the case that the vocabulary has; letters that it lacks are left out."""
        symbols = word.split(self.separator) if self.separator else word
        ids = (self._ids.get(s, self._ids.get(s.lower(), self._ids.get(s.upper()))) for s in symbols)
        return tuple(id for id in ids if id is not None)

    def ids(self, text: str) -> list[int]:
        """The ids of a normalized text; the word delimiter, if there is one, follows each word, even the last."""
        if self.separator:
            return list(self.letters(text))
        ids: list[int] = []
        for word in text.split():
            if letters := self.letters(word):
                ids += letters if self.delimiter is None else (*letters, self.delimiter)
        return ids


def times(spelling: Spelling, lengths: Sequence[int]) -> list[float]:
    """The time of each letter from the start of its word, in units of 10 ms; lengths: units that each phone takes.

    The letters of a phone share it evenly: I, G and H of NIGHT, which belong to AY, are at 1/6, 3/6 and 5/6 of it.
    """
    starts = [0, *np.cumsum(lengths).tolist()]
    found = []
    for n, phone in enumerate(spelling):
        first = spelling.index(phone)
        part = (n - first + 0.5) / spelling.count(phone)
        found.append(starts[phone] + part * min(lengths[phone], LONGEST_UNITS))
    return found


def spell(words: Mapping[Said, int]) -> dict[Said, Spelling]:
    """The spelling of each word; words: how often each occurs.

    Found by hard expectation maximization over P(letter | phone), beginning with letters spread evenly over the phones.
    Silent letters share the phone of a neighbour, and a phone may have no letter: N I G H T / N AY T = 0 1 1 1 2.
    """
    words = {said: count for said, count in words.items() if said[0] and said[1]}
    letters = _numbered(letter for said, _ in words for letter in said)
    phones = _numbered(phone for _, said in words for phone in said)
    batches = [_Batch(some, letters, phones) for some in _chunks(sorted(words, key=lambda w: (len(w[0]), len(w[1]))))]
    weights = {said: count**0.5 for said, count in words.items()}
    scores = None
    for _ in range(ROUNDS):
        counts = np.full((len(phones), len(letters)), PRIOR)
        for batch in batches:
            batch.place(scores)
            batch.count(counts, weights)
        scores = np.log(counts / counts.sum(axis=1, keepdims=True))
    return {said: spelling for batch in batches for said, spelling in zip(batch.words, batch.spellings(), strict=True)}


def _numbered(values: Iterable[T]) -> dict[T, int]:
    return {value: n for n, value in enumerate(dict.fromkeys(values))}


def _chunks(words: list[Said]) -> Iterator[list[Said]]:
    rest = iter(words)
    while some := list(islice(rest, WORDS_AT_ONCE)):
        yield some


class _Batch:
    """N words of up to L letters and P phones, whose spellings are found together."""

    def __init__(self, words: list[Said], letters: Mapping[int, int], phones: Mapping[str, int]) -> None:
        self.words = words
        self.L = np.array([len(letters) for letters, _ in words])
        self.P = np.array([len(phones) for _, phones in words])
        self.letters = np.zeros((len(words), self.L.max()), np.int64)
        self.phones = np.zeros((len(words), self.P.max()), np.int64)
        for n, (spelled, said) in enumerate(words):
            self.letters[n, : len(spelled)] = [letters[c] for c in spelled]
            self.phones[n, : len(said)] = [phones[p] for p in said]
        self.map = np.zeros_like(self.letters)

    def place(self, scores: npt.NDArray[np.float64] | None) -> None:
        """Finds the best spellings by log P(letter | phone) (phones, letters); None: spreads letters evenly."""
        if scores is None:
            evenly = (np.arange(self.letters.shape[1]) + 0.5) / self.L[:, None] * self.P[:, None]
            self.map = np.minimum(evenly.astype(np.int64), self.P[:, None] - 1)
            return
        local = scores[self.phones[:, None, :], self.letters[:, :, None]]  # (N, L, P)
        order = np.arange(local.shape[2])
        outside = order >= self.P[:, None]
        best = np.where(outside, -np.inf, local[:, 0] + SKIP * order)
        ending = np.where(outside, -np.inf, SKIP * (self.P[:, None] - 1 - order))
        final, back = best + ending, []
        for row in range(1, local.shape[1]):
            came = np.full((FARTHEST_PHONES + 1, *best.shape), -np.inf)
            came[0] = best + SHARE
            for step in range(1, min(FARTHEST_PHONES + 1, best.shape[1])):
                came[step, :, step:] = best[:, :-step] + SKIP * (step - 1)
            back.append(came.argmax(axis=0))
            best = np.where(outside, -np.inf, came.max(axis=0) + local[:, row])
            final = np.where((row < self.L)[:, None], best + ending, final)
        here = final.argmax(axis=1)
        for row in range(local.shape[1] - 1, -1, -1):
            self.map[:, row] = here
            if row:
                step = back[row - 1][np.arange(len(here)), here]
                here = np.where(row < self.L, here - step, here)

    def count(self, counts: npt.NDArray[np.float64], weights: Mapping[Said, float]) -> None:
        """Adds to counts (phones, letters) how often each phone has each letter, by the words' weights."""
        inside = np.arange(self.letters.shape[1]) < self.L[:, None]
        saying = np.take_along_axis(self.phones, self.map, axis=1)
        weight = np.broadcast_to(np.array([weights[word] for word in self.words])[:, None], inside.shape)
        np.add.at(counts, (saying[inside], self.letters[inside]), weight[inside])

    def spellings(self) -> Iterator[Spelling]:
        """The spelling of each word."""
        for places, length in zip(self.map.tolist(), self.L.tolist(), strict=True):
            yield tuple(places[:length])
