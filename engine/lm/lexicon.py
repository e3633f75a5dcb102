"""A language model as a beam search asks it: in natural logarithms, with a memory, and for words half spelled."""

import math
from collections.abc import Callable, Iterable
from itertools import islice

from earshot_asr.engine.lm.model import LanguageModel, State, Weights

LN_10 = math.log(10)
RARE_LOG10 = -5.5
"""Of a word that is expected, but that the model does not know: it is taken for one of its rarest."""
MOST_REMEMBERED = 200_000
"""So many scores of a word after others are kept; then they are forgotten."""
CASED_SHARE = 0.99
"""A vocabulary has a case if so much of it is in that case."""


class Lexicon:
    """The words of a language model. Made once for each model: streams share it. Threads may use it at once.

    weights    those of its files, or `default`
    expected   log10, added to <unk>'s score for a word that is expected
    fold       what turns a word into the case of the model's words: lower or upper if they all are, else as it is
    """

    def __init__(self, lm: LanguageModel, default: Weights | None = None) -> None:
        self.lm = lm
        self.weights = lm.weights or default or Weights()
        self.scale = self.weights.alpha * LN_10
        unigrams = lm.unigrams()
        self.fold = folding(unigrams)
        self._begun: dict[str, float] = {}  # how words begin, and what the likeliest of them is worth
        for word, log10 in sorted(unigrams.items(), key=lambda item: -item[1]):
            for end in range(1, len(word) + 1):
                self._begun.setdefault(word[:end], log10)
        _, self._unknown = lm.score(lm.start(), "<unk>")
        self.expected = max(0.0, RARE_LOG10 - self._unknown)
        self._scores: dict[tuple[State, str], tuple[State, float]] = {}

    @property
    def fingerprint(self) -> str:
        """Equal for models and weights that give equal scores."""
        return f"{self.lm.fingerprint} {self.weights}"

    def score(self, state: State, word: str, offset: float | None = None) -> tuple[State, float]:
        """What a word is worth that has ended, and the state after it.

        offset    log10, added for a word that the model does not know; None: that of the weights
        """
        key = state, word
        known = self._scores.get(key)
        if known is None:
            if len(self._scores) >= MOST_REMEMBERED:
                self._scores.clear()
            after, log10 = self.lm.score(state, word)
            known = self._scores[key] = after, self.scale * log10 + self.weights.beta
        after, worth = known
        if not self.lm.knows(word):
            worth += self.scale * (self.weights.unk_offset if offset is None else offset)
        return after, worth

    def begun(self, word: str, offset: float | None = None) -> float:
        """What a word is worth that begins so: the likeliest one that the model knows, or an unknown one."""
        log10 = self._begun.get(word)
        if log10 is None:
            log10 = self._unknown + (self.weights.unk_offset if offset is None else offset)
        return self.scale * log10 + self.weights.beta

    def end(self, state: State) -> float:
        """What it is worth that a sentence ends."""
        return self.scale * self.lm.finish(state) if self.weights.boundary else 0.0


def folding(words: Iterable[str]) -> Callable[[str], str]:
    """What turns a word into the case of these ones."""
    some = list(islice(words, 5000))
    for fold in (str.lower, str.upper):
        if sum(fold(word) == word for word in some) >= CASED_SHARE * len(some):
            return fold
    return str
