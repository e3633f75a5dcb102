"""A small language model for tests: word bigrams."""

from collections.abc import Mapping

from earshot_asr.engine.lm import State, Weights

UNKNOWN = -4.0


class Bigrams:
    """log10 P(word | the word before) of pairs that are given, else that of the word alone.

    words    log10 P of each word; those that are missing have UNKNOWN
    pairs    (word, next word) -> log10 P; "<s>" stands for the beginning
    """

    order = 2
    fingerprint = "b19ra35"
    weights: Weights | None = None

    def __init__(self, words: Mapping[str, float], pairs: Mapping[tuple[str, str], float] = {}) -> None:
        self.words, self.pairs = words, pairs

    def start(self) -> State:
        return "<s>"

    def score(self, state: State, word: str) -> tuple[State, float]:
        return word, self.pairs.get((str(state), word), self.words.get(word, UNKNOWN))

    def finish(self, state: State) -> float:
        return -1.0

    def knows(self, word: str) -> bool:
        return word in self.words

    def unigrams(self) -> Mapping[str, float]:
        return self.words
