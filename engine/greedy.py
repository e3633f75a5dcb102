"""Greedy CTC decoding: the best symbol of each frame; repeats are merged and blanks removed.

Graves et al. 2006, section 3.2 ("best path decoding").
"""

import math
from copy import copy
from dataclasses import dataclass

from earshot_asr.engine.audio import LogProbs
from earshot_asr.engine.decoder import DecodeConfig, DecodedWord, Hypothesis
from earshot_asr.engine.lm import Lexicon
from earshot_asr.engine.spelling import Spelling
from earshot_asr.engine.vocabulary import Piece, Vocabulary


@dataclass(slots=True)
class _OpenWord:
    start: int = 0
    end: int = 0
    log_prob: float = 0.0
    frames: int = 0
    log_odds: float = 0.0


class GreedyDecoder:
    """See Decoder. A word is settled once a space has ended it, or the next word has begun.

    boundary    the frame of the last space, or in which the last word has begun
    """

    def __init__(self, vocabulary: Vocabulary, config: DecodeConfig, lexicon: Lexicon | None) -> None:
        self.vocabulary = vocabulary
        self.boundary = 0
        self._frame = 0
        self._last = vocabulary.blank
        self._spelling = Spelling()
        self._done: list[DecodedWord] = []
        self._open = _OpenWord()

    def feed(self, log_probs: LogProbs) -> None:
        """Appends frames (T, V)."""
        blank, pieces = self.vocabulary.blank, self.vocabulary.pieces
        ids = self.vocabulary.merged[log_probs.argmax(-1)]
        best = log_probs.max(-1)
        odds = best - log_probs[:, blank]
        for symbol, log_prob, log_odds in zip(ids.tolist(), best.tolist(), odds.tolist(), strict=True):
            if symbol != blank:
                piece = pieces[symbol]
                if symbol != self._last:
                    self._write(piece)
                elif piece.before and not piece.text:
                    self._close()
                if piece.text:
                    self._open.end = self._frame + 1
                    self._open.log_prob += log_prob
                    self._open.log_odds += log_odds
                    self._open.frames += 1
            self._last = symbol
            self._frame += 1

    def _write(self, piece: Piece) -> None:
        """A symbol begins in this frame."""
        spelling, ended = self._spelling.then(piece, self.vocabulary)
        if ended:
            self._close()
        if spelling.text and not self._spelling.text:
            self._open = _OpenWord(start=self._frame)
        self._spelling = spelling

    def _close(self) -> None:
        if self._spelling.text:
            self._done.append(self._closed())
        self._spelling = self._spelling._replace(text="", before="")
        self.boundary = self._frame

    def _closed(self) -> DecodedWord:
        (text, before, _), word = self._spelling, self._open
        confidence = math.exp(word.log_prob / word.frames)
        return DecodedWord(self.vocabulary.lowered(text), word.start, word.end, confidence, before, word.log_odds)

    def peek(self, log_probs: LogProbs) -> "GreedyDecoder":
        """A decoder that was also fed `log_probs`; this one stays as it is."""
        ahead = copy(self)
        ahead._done = self._done.copy()
        ahead._open = copy(self._open)
        ahead.feed(log_probs)
        return ahead

    def words(self) -> list[DecodedWord]:
        """All words so far, the open one too."""
        return self._done + ([self._closed()] if self._spelling.text else [])

    def settled(self) -> list[DecodedWord]:
        """The words that no later frame can change: all but the open one."""
        return self._done.copy()

    def alternatives(self) -> list[Hypothesis]:
        """See Decoder: only one."""
        return [Hypothesis(self.words(), 0.0)]
