"""Greedy CTC decoding: the best symbol of each frame; repeats are merged and blanks removed.

Graves et al. 2006, section 3.2 ("best path decoding").
"""

import math
from copy import copy
from dataclasses import dataclass

from earshot_asr.engine.audio import LogProbs
from earshot_asr.engine.decoder import DecodeConfig, DecodedWord
from earshot_asr.engine.vocabulary import Vocabulary


@dataclass(slots=True)
class _OpenWord:
    text: str = ""
    start: int = 0
    end: int = 0
    log_prob: float = 0.0
    frames: int = 0

    def closed(self) -> DecodedWord:
        return DecodedWord(self.text, self.start, self.end, math.exp(self.log_prob / self.frames))


class GreedyDecoder:
    """See Decoder. A word is settled once a word delimiter has ended it.

    boundary    the frame of the last delimiter
    """

    def __init__(self, vocabulary: Vocabulary, config: DecodeConfig) -> None:
        self.vocabulary = vocabulary
        self.boundary = 0
        self._frame = 0
        self._last = vocabulary.blank
        self._done: list[DecodedWord] = []
        self._open = _OpenWord()

    def feed(self, log_probs: LogProbs) -> None:
        """Appends frames (T, V)."""
        vocabulary = self.vocabulary
        ids = log_probs.argmax(-1)
        best = log_probs.max(-1)
        for symbol, log_prob in zip(ids.tolist(), best.tolist(), strict=True):
            if symbol == vocabulary.delimiter:
                self._close()
            elif symbol != vocabulary.blank:
                self._spell(symbol, log_prob)
            self._last = symbol
            self._frame += 1

    def _spell(self, symbol: int, log_prob: float) -> None:
        if symbol != self._last:
            if self.vocabulary.delimiter is None:  # no word delimiter: every symbol is a word
                self._close()
            if not self._open.frames:
                self._open.start = self._frame
            if piece := self.vocabulary.piece(symbol):
                self._open.text += self.vocabulary.separator + piece if self._open.text else piece
        self._open.end = self._frame + 1
        self._open.log_prob += log_prob
        self._open.frames += 1

    def _close(self) -> None:
        if self._open.text:
            self._done.append(self._open.closed())
        self._open = _OpenWord()
        self.boundary = self._frame

    def peek(self, log_probs: LogProbs) -> "GreedyDecoder":
        """A decoder that was also fed `log_probs`; this one stays as it is."""
        ahead = copy(self)
        ahead._done = self._done.copy()
        ahead._open = copy(self._open)
        ahead.feed(log_probs)
        return ahead

    def words(self) -> list[DecodedWord]:
        """All words so far, the open one too."""
        return self._done + ([self._open.closed()] if self._open.text else [])

    def settled(self) -> list[DecodedWord]:
        """The words that no later frame can change: those that a delimiter has ended."""
        return self._done.copy()
