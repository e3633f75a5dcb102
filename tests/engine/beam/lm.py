"""A small language model for tests: word bigrams."""

from collections.abc import Mapping

from earshot_asr.engine.lm import Lexicon, State, Weights

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


WORDS = {"a": -0.7, "ab": -0.5, "ba": -1.5, "b": -2.0}
PAIRS = {("<s>", "ba"): -0.2, ("ab", "a"): -0.1, ("a", "b"): -2.5}
LEXICON = Lexicon(Bigrams(WORDS, PAIRS), Weights(alpha=0.8, beta=0.3, unk_offset=-1.0))
