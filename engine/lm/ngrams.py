"""What n-gram models have in common, however they find an n-gram. No torch."""

from abc import ABC, abstractmethod
from collections.abc import Container, Mapping, Sequence
from copy import copy
from functools import cached_property
from math import copysign
from typing import Any, Self

from earshot_asr.engine.errors import CheckpointError
from earshot_asr.engine.lm.model import State, Weights

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"

Context = tuple[tuple[int, ...], tuple[float, ...]]
"""Ids of the words before, the newest first; and what it costs if an n-gram does not go on from the last of them, from
the last two, and so on: their backoffs. Only as many as some n-gram begins with."""
NOTHING: Context = ((), ())


class NgramModel(ABC):
    """A language model over ids of words. Its scores equal KenLM's. See LanguageModel."""

    def __init__(self, words: Sequence[str], order: int, fingerprint: str) -> None:
        """words: by id, <unk> among them. Raises CheckpointError if one is there twice."""
        self.order, self.fingerprint = order, fingerprint
        self.weights: Weights | None = None
        self._ids = {word: id for id, word in enumerate(words)}
        if len(self._ids) < len(words):
            raise CheckpointError("a word that is twice in its vocabulary")
        self._unknown = self._ids.pop(UNKNOWN)
        self._begin, self._end = self._ids.pop(BEGIN, None), self._ids.pop(END, None)
        self._known: Container[str] = self._ids

    def with_files(self, fingerprint: str, weights: Weights, known: Container[str] | None) -> Self:
        """The same with what lies beside it in its folder. known: the words to know; None: all that it has."""
        model = copy(self)
        model.fingerprint, model.weights = fingerprint, weights
        if not weights.boundary:
            model._begin = model._end = None
        if known is not None:
            model._known = frozenset(word for word in self._ids if word in known)
        return model

    def start(self) -> State:
        """After <s>; after nothing, if the model has no <s>, or its files say so."""
        return NOTHING if self._begin is None else self._step(NOTHING, self._begin)[0]

    def score(self, state: State, word: str) -> tuple[State, float]:
        """log10 P(word | state), and the state after it."""
        return self._step(state, self._ids.get(word, self._unknown))

    def finish(self, state: State) -> float:
        """log10 P(</s> | state); 0 if the model has no </s>, or its files say so."""
        return 0.0 if self._end is None else self._step(state, self._end)[1]

    def knows(self, word: str) -> bool:
        """Whether a word is in the vocabulary."""
        return word in self._known

    def unigrams(self) -> Mapping[str, float]:
        """log10 P of each word."""
        return self._unigrams

    @cached_property
    def _unigrams(self) -> dict[str, float]:
        return {word: self._step(NOTHING, id)[1] for word, id in self._ids.items() if self.knows(word)}

    @abstractmethod
    def _step(self, state: Any, id: int) -> tuple[Context, float]:
        """log10 of a word's probability, and the state after it."""


def extended(backoffs: tuple[float, ...]) -> tuple[float, ...]:
    """Without those at the end that are -0.0: no longer n-gram begins with these words, so they make no difference."""
    kept = len(backoffs)
    while kept and not backoffs[kept - 1] and copysign(1, backoffs[kept - 1]) < 0:
        kept -= 1
    return backoffs[:kept]
