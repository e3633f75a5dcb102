"""A word n-gram model as a trie in arrays: below a word, the words that may stand before it, and so on. No torch."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.errors import CheckpointError
from earshot_asr.engine.lm.ngrams import Context, NgramModel, extended

Arrays = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Level:
    """The n-grams of one length, by their last word, then the word before it, and so on. Nodes of the trie.

    words    [node]: the first word of its n-gram; among the children of a node in ascending order
    prob     [node]: log10 of the last word's probability after the others
    backoff  [node]: log10, what a word costs that never came after this n-gram; -0.0: no longer n-gram begins with it.
             None for the longest n-grams
    begin    [node]: its first child in the next level; one entry more than nodes. None for the longest n-grams
    """

    words: Arrays
    prob: Arrays
    backoff: Arrays | None = None
    begin: Arrays | None = None

    def check(self, vocabulary: int, children: int, parents: "Level | None") -> None:
        """Raises CheckpointError if a number points outside, or children are not in order."""
        if not np.isfinite(self.prob).all() or not (self.backoff is None or np.isfinite(self.backoff).all()):
            raise CheckpointError("a probability that is not a number")
        if (self.prob > 0).any():
            raise CheckpointError("a probability above 1")
        if len(self.words) and int(self.words.max()) >= vocabulary:
            raise CheckpointError("an n-gram with a word that is not in the vocabulary")
        if self.begin is not None:
            steps = self.begin[1:] >= self.begin[:-1]
            if not steps.all() or int(self.begin[0]) != 0 or int(self.begin[-1]) != children:
                raise CheckpointError("an n-gram that points outside the n-grams of the next length")
        if parents is not None and parents.begin is not None:
            falls = np.flatnonzero(self.words[1:] <= self.words[:-1]) + 1
            if not np.isin(falls, parents.begin).all():
                raise CheckpointError("n-grams that are not in order")


class TrieModel(NgramModel):
    """A language model over levels of a trie."""

    def __init__(self, words: Sequence[str], levels: Sequence[Level], fingerprint: str) -> None:
        """words: by id; levels: of unigrams, whose nodes are ids, to the longest.

        Raises CheckpointError if they do not belong together.
        """
        super().__init__(words, len(levels), fingerprint)
        assert len(words) == len(levels[0].words), (len(words), len(levels[0].words))
        for n, level in enumerate(levels):
            children = len(levels[n + 1].words) if n + 1 < len(levels) else 0
            level.check(len(words), children, levels[n - 1] if n else None)
        first, *longer = levels
        self._probs, self._backoffs, self._firsts = _quick(first.prob), _quick(first.backoff), _quick(first.begin)
        self._longer = [(_quick(x.words), _quick(x.prob), _quick(x.backoff), _quick(x.begin)) for x in longer]

    def _step(self, state: Any, id: int) -> tuple[Context, float]:
        """Goes from the word down the trie, along the words before it, as far as there are n-grams."""
        context, costs = state
        prob, low, high = self._probs[id], self._firsts[id], self._firsts[id + 1]
        backoffs: tuple[float, ...] = (self._backoffs[id],)
        longer, found = self._longer, 0
        for before in context:
            words, probs, costly, begin = longer[found]
            node = bisect_left(words, before, low, high)
            if node == high or words[node] != before:
                break
            prob = probs[node]
            found += 1
            if begin is None:
                break
            backoffs += (costly[node],)
            low, high = begin[node], begin[node + 1]
        for cost in costs[found:]:
            prob += cost
        if not backoffs[-1]:
            backoffs = extended(backoffs)
        return ((id, *context[: len(backoffs) - 1]) if backoffs else (), backoffs), prob


def _quick(values: Any) -> Any:
    """The same numbers, whose single elements are Python's own, without numpy's cost of each access."""
    return None if values is None else np.ascontiguousarray(values).data
