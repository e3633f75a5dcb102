"""What a language model of words is to its callers. No torch."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Protocol

State = Hashable
"""What a score depends on of the words before. Where these are equal, so are states: scores may be kept by them."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How much a language model counts in a beam search, as pyctcdecode has it.

    A word adds alpha * ln P + beta to a hypothesis; where the model does not know it, P is that of <unk>, and
    unk_offset, a log10 as the model's scores are, is added to its log10 P.

    sureness    times the logit of a word's confidence: chosen so that of words of confidence 0.8, 80 % are right. Not
                pyctcdecode's
    boundary    whether the beginning and the end of a sentence are scored; start() and finish() obey it already
    """

    alpha: float = 0.5
    beta: float = 1.5
    unk_offset: float = -10.0
    boundary: bool = True
    sureness: float = 1.0


class LanguageModel(Protocol):
    """A word n-gram model. Scores are log10.

    order          words of its longest n-grams
    fingerprint    16 hex digits, which change with any byte of its files
    weights        that its files bring along; None: they bring none
    """

    @property
    def order(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def weights(self) -> Weights | None: ...

    def start(self) -> State:
        """The state at the beginning of a sentence, after <s>."""
        ...

    def score(self, state: State, word: str) -> tuple[State, float]:
        """log10 P(word | state), and the state after it. A word that it does not know has the score of <unk>."""
        ...

    def finish(self, state: State) -> float:
        """log10 P(</s> | state)."""
        ...

    def knows(self, word: str) -> bool:
        """Whether a word is in its vocabulary: exactly as it is written there, upper and lower case included."""
        ...

    def unigrams(self) -> Mapping[str, float]:
        """log10 P of each word of its vocabulary without any before it; not of <s>, </s> and <unk>."""
        ...
