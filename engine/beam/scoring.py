"""What a language model and hotwords say of the words of a hypothesis, in natural logarithms, letter by letter."""

from typing import NamedTuple

from earshot_asr.engine.beam.hotwords import Heard, Hotwords
from earshot_asr.engine.decoder import DecodeConfig
from earshot_asr.engine.lm import Lexicon, State


class Score(NamedTuple):
    """Of the words that have ended.

    total    what they are worth, without hotwords
    state    the language model's
    heard    what the hotwords have heard of the word that is open, and before
    """

    total: float
    state: State
    heard: Heard


class WordScores:
    """Scores words by a language model, if there is one, and by hotwords, if there are any."""

    def __init__(self, config: DecodeConfig, lexicon: Lexicon | None) -> None:
        self._lexicon = lexicon
        self.fold = lexicon.fold if lexicon else str.lower
        self._hotwords = Hotwords(config.hotwords, self.fold) if config.hotwords else None

    def start(self) -> Score:
        """Before the first word."""
        return Score(0.0, self._lexicon.lm.start() if self._lexicon else None, Heard())

    def close(self, score: Score, word: str) -> Score:
        """A word has ended."""
        total, state, heard = score
        if self._lexicon is not None:
            word = self.fold(word)
            state, worth = self._lexicon.score(state, word, self._offset(word))
            total += worth
        return Score(total, state, self._hotwords.close(heard) if self._hotwords else heard)

    def spell(self, score: Score, word: str) -> Score:
        """The open word has grown to `word`."""
        if self._hotwords is None:
            return score
        return score._replace(heard=self._hotwords.spell(score.heard, self.fold(word)))

    def rank(self, score: Score, word: str) -> float:
        """What a hypothesis is worth whose open word has these letters; none: no word is open."""
        rank = score.total + (self._hotwords.reward(score.heard) if self._hotwords else 0.0)
        if word and self._lexicon is not None:
            word = self.fold(word)
            rank += self._lexicon.begun(word, self._offset(word))
        return rank

    def _offset(self, word: str) -> float | None:
        expected = self._lexicon and self._hotwords and self._hotwords.begins(word)
        return self._lexicon.expected if self._lexicon and expected else None
