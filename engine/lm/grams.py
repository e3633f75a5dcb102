"""Makes the levels of a trie of n-grams in any order. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.errors import CheckpointError
from earshot_asr.engine.lm.trie import Level

Ids = npt.NDArray[np.uint32]
Nodes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Grams:
    """N-grams of one length.

    rows       [n-gram, word]: ids
    prob       log10 of the last word's probability after the others; NaN: what shorter ones say
    backoff    log10
    """

    rows: Ids
    prob: Floats
    backoff: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def with_more(self, rows: Ids, prob: float) -> Self:
        """With further ones, of backoff 0, behind them."""
        return type(self)(
            np.concatenate([self.rows, rows]),
            np.concatenate([self.prob, np.full(len(rows), prob, np.float32)]),
            np.concatenate([self.backoff, np.zeros(len(rows), np.float32)]),
        )

    def distinct(self) -> Self:
        """By last word, then the word before it, and so on; each once, of equal ones the first.

        Raises CheckpointError if another of them has a probability, too.
        """
        order = np.lexsort(self.rows.T)
        rows, prob = self.rows[order], self.prob[order]
        again = np.zeros(len(rows), bool)
        again[1:] = (rows[1:] == rows[:-1]).all(axis=1)
        if not np.isnan(prob[again]).all():
            raise CheckpointError(f"a {rows.shape[1]}-gram that is there twice")
        return type(self)(rows[~again], prob[~again], self.backoff[order][~again])


def levels_of(grams: Sequence[Grams]) -> list[Level]:
    """The levels of a trie: n-grams by length, from unigrams on, of which each id is one.

    An n-gram without which a longer one could not be reached is added, with the probability that shorter ones give it.
    Raises CheckpointError if an n-gram is there twice.
    """
    whole = list(grams)
    for n in range(len(whole) - 1, 0, -1):
        here = whole[n] = whole[n].distinct()
        if n > 1:
            parts = np.concatenate([here.rows[:, 1:], here.rows[:, :-1]])
            whole[n - 1] = whole[n - 1].with_more(parts, np.nan)
    whole[0] = whole[0].distinct()
    tree = _Tree(whole[0])
    for each in whole[1:]:
        tree.grow(each)
    return tree.levels()


class _Tree:
    """Levels that grow one after the other, each from the one before."""

    def __init__(self, unigrams: Grams) -> None:
        self._vocabulary = len(unigrams)
        self._grams, self._begins = [unigrams], list[Nodes]()
        self._keys = list[Nodes]()

    def grow(self, grams: Grams) -> None:
        """Adds the next level, of distinct n-grams."""
        last = self._grams[-1]
        parents, contexts = self._find(grams.rows[:, 1:]), self._find(grams.rows[:, :-1])
        self._begins.append(np.searchsorted(parents, np.arange(len(last) + 1)))
        self._keys.append(parents * self._vocabulary + grams.rows[:, 0])
        unknown = np.isnan(grams.prob)
        grams.prob[unknown] = last.backoff[contexts[unknown]] + last.prob[parents[unknown]]
        mark(last.backoff, contexts)
        self._grams.append(grams)

    def _find(self, rows: Ids) -> Nodes:
        """The nodes of n-grams that are there."""
        nodes = rows[:, -1].astype(np.int64)
        for keys, words in zip(self._keys, rows.T[-2::-1], strict=False):
            nodes = np.searchsorted(keys, nodes * self._vocabulary + words)
        return nodes

    def levels(self) -> list[Level]:
        """All of them."""
        *shorter, longest = self._grams
        if not shorter:  # a model of single words: none of them is a context
            backoff, begin = np.full(len(longest), -0.0, np.float32), np.zeros(len(longest) + 1, np.uint32)
            return [Level(longest.rows[:, 0], longest.prob, backoff, begin)]
        levels = [
            Level(each.rows[:, 0], each.prob, each.backoff, begin.astype(np.uint32))
            for each, begin in zip(shorter, self._begins, strict=True)
        ]
        return [*levels, Level(longest.rows[:, 0], longest.prob)]


def mark(backoff: Any, contexts: Nodes) -> None:
    """Backoffs of 0 become -0.0 where no longer n-gram begins so, see Level."""
    begins = np.zeros(len(backoff), bool)
    begins[contexts] = True
    backoff[backoff == 0] = 0.0
    backoff[(backoff == 0) & ~begins] = -0.0
