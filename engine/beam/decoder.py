"""The decoder: feeds frames to the search, and makes words of its best hypothesis, with their times."""

import math
from copy import copy

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.alignment import align
from earshot_asr.engine.audio import LogProbs
from earshot_asr.engine.beam.nodes import Node, Writer, endings
from earshot_asr.engine.beam.scoring import WordScores
from earshot_asr.engine.beam.search import silent, start, step
from earshot_asr.engine.decoder import DecodeConfig, DecodedWord, Hypothesis
from earshot_asr.engine.lm import Lexicon
from earshot_asr.engine.vocabulary import Vocabulary

MOST_SYMBOLS = 32
"""So many symbols of a frame are considered."""
LEAST_LOG_PROB = -5.0
"""A symbol that is less probable is not written. Where all are, but the blank, a frame costs next to nothing."""
SETTLE_FRAMES = 40
"""A word of the best hypothesis that ended so long ago is settled."""
SETTLE_EVERY_FRAMES = 16
"""How often it is looked which words all hypotheses share."""


class BeamDecoder:
    """See Decoder. A word is settled once all hypotheses share it, or it is old: then those without it are dropped.

    boundary    the frame in which the last settled word has ended
    """

    def __init__(self, vocabulary: Vocabulary, config: DecodeConfig, lexicon: Lexicon | None) -> None:
        self.boundary = 0
        self._most = config.alternatives
        self._settle_frames = SETTLE_FRAMES if config.alternatives == 1 else math.inf  # else only the last words differ
        self._sureness = lexicon.weights.sureness if lexicon else 1.0
        self._writer = Writer(vocabulary, WordScores(config, lexicon))
        self._rows = start(self._writer)
        self._root = self._rows.nodes[0]
        self._frame = 0
        self._kept: list[LogProbs] = []  # from the root's first frame on
        self._done: list[DecodedWord] = []

    def feed(self, log_probs: LogProbs) -> None:
        """Appends frames (T, V)."""
        log_probs = _merged(log_probs, self._writer.vocabulary)
        done = 0
        while done < len(log_probs):
            part = log_probs[done : done + SETTLE_EVERY_FRAMES - self._frame % SETTLE_EVERY_FRAMES]
            self._search(part)
            done += len(part)
            if self._frame % SETTLE_EVERY_FRAMES == 0:
                self._settle()

    def peek(self, log_probs: LogProbs) -> "BeamDecoder":
        """A decoder that was also fed `log_probs`; this one stays as it is."""
        ahead = copy(self)
        ahead._done = self._done.copy()
        ahead._kept = self._kept.copy()
        ahead.feed(log_probs)
        return ahead

    def words(self) -> list[DecodedWord]:
        """All words so far, the open one too."""
        return self._done + self._words(self._ranked()[0][1])

    def settled(self) -> list[DecodedWord]:
        """The words that no later frame can change."""
        return self._done.copy()

    def alternatives(self) -> list[Hypothesis]:
        """See Decoder. Hypotheses with the same words count as one."""
        readings: dict[tuple[str, ...], Hypothesis] = {}
        ranked = self._ranked()
        every = np.logaddexp.reduce([log_prob for log_prob, _ in ranked])
        for log_prob, leaf in ranked:
            words = self._done + self._words(leaf)
            text = tuple(word.text for word in words)
            known = readings.get(text, Hypothesis(words, -math.inf))
            readings[text] = Hypothesis(known.words, float(np.logaddexp(known.log_prob, log_prob - every)))
        best, *others = readings.values()
        return [best, *sorted(others, key=lambda reading: -reading.log_prob)][: self._most]

    # ---- inside

    def _search(self, log_probs: LogProbs) -> None:
        blank = self._writer.vocabulary.blank
        self._kept.append(log_probs)
        self._frame += len(log_probs)
        for frame, symbols in zip(log_probs.astype(np.float64), _likely(log_probs, blank), strict=True):
            if len(symbols):
                self._rows = step(self._rows, symbols, frame, self._writer)
            else:
                self._rows = silent(self._rows, float(frame[blank]))

    def _ranked(self) -> list[tuple[float, Node]]:
        """All hypotheses, best first, and what they are worth if their open words end now."""
        scores = self._writer.scores
        acoustics = np.logaddexp(self._rows.blank, self._rows.symbol).tolist()
        ranked = []
        for log_prob, node in zip(acoustics, self._rows.nodes, strict=True):
            score = node.score
            if word := node.spelling.text:
                score = scores.close(score, self._writer.vocabulary.lowered(word))
            ranked.append((log_prob + scores.rank(score, ""), node))
        return sorted(ranked, key=lambda pair: -pair[0])

    def _settle(self) -> None:
        nodes, known = self._rows.nodes, self._root.words
        best = nodes[0]
        old = self._frame - self.boundary > self._settle_frames + SETTLE_EVERY_FRAMES
        words = self._shared()
        if words == known and not old:
            return
        timed = self._timed(best)
        if old:
            until = self._frame - self._settle_frames
            words = max(words, known + sum(end <= until for _, end in timed[: best.words - known]))
        if words == known:
            return
        anchor = best.ancestor(words)
        self._rows = self._rows.only(
            [row for row, node in enumerate(nodes) if node.words >= words and node.ancestor(words) is anchor]
        )
        self._done += [word for word, _ in timed[: words - known]]
        _, boundary = timed[words - known - 1]
        self._kept = [np.concatenate(self._kept)[boundary - self._frame :]]
        self._root, self.boundary = anchor, boundary

    def _shared(self) -> int:
        """How many words all hypotheses have in common."""
        best, *others = self._rows.nodes
        words = min(node.words for node in self._rows.nodes)
        while words > self._root.words:
            anchor = best.ancestor(words)
            if all(node.ancestor(words) is anchor for node in others):
                break
            words -= 1
        return words

    def _words(self, leaf: Node) -> list[DecodedWord]:
        return [word for word, _ in self._timed(leaf)]

    def _timed(self, leaf: Node) -> list[tuple[DecodedWord, int]]:
        """The words of a path from the root on, and in which frames the symbols begin that ended them."""
        if leaf is self._root and not leaf.spelling.text:
            return []
        path, vocabulary = leaf.path(self._root), self._writer.vocabulary
        symbols = np.array([node.symbol for node in path])
        columns, at = np.unique([*symbols, vocabulary.blank], return_inverse=True)
        log_probs = np.concatenate(
            [np.zeros((0, len(columns)), np.float32), *(part[:, columns] for part in self._kept)]
        )
        skip = int(symbols[0] == vocabulary.blank)  # the first root of all has no symbol
        starts, ends = align(log_probs, at[skip:-1], at[-1])
        starts, ends = (np.concatenate([np.zeros(skip, np.intp), some]) for some in (starts, ends))
        base = self._frame - len(log_probs)
        words = []
        for first, last in endings(path):
            own = [n for n in range(first, last) if vocabulary.pieces[symbols[n]].text]
            heard = np.concatenate([log_probs[starts[n] : ends[n], at[n]] for n in own])
            blank = np.concatenate([log_probs[starts[n] : ends[n], at[-1]] for n in own])
            confidence = self._calibrated(float(heard.mean())) if len(heard) else 0.0
            spelling = path[last - 1].spelling
            start, end = base + int(starts[own[0]]), base + int(ends[own[-1]])
            text, log_odds = vocabulary.lowered(spelling.text), float((heard - blank).sum())
            word = DecodedWord(text, start, end, confidence, spelling.before, log_odds)
            words.append((word, base + int(starts[last]) if last < len(path) else self._frame))
        return words

    def _calibrated(self, log_prob: float) -> float:
        """A word's confidence: 1 / (1 + odds of being wrong to the power of the model's sureness)."""
        right = math.exp(log_prob)
        odds = max(0.0, 1 - right) / max(right, 1e-30)
        return float(1 / (1 + odds**self._sureness))


def _likely(log_probs: LogProbs, blank: int) -> list[npt.NDArray[np.intp]]:
    """[frame]: the symbols that may be written in it; none where it is surely blank."""
    likely = log_probs > LEAST_LOG_PROB
    if log_probs.shape[1] > MOST_SYMBOLS:
        likely &= log_probs >= np.partition(log_probs, -MOST_SYMBOLS, axis=1)[:, -MOST_SYMBOLS, None]
    likely[:, blank] = False
    return [np.flatnonzero(row) for row in likely]


def _merged(log_probs: LogProbs, vocabulary: Vocabulary) -> LogProbs:
    """With the probabilities of ids that write the same symbol added up in the first of them."""
    again = np.flatnonzero(vocabulary.merged != np.arange(vocabulary.size))
    if not len(again):
        return log_probs
    log_probs = log_probs.copy()
    for id in again:
        first = vocabulary.merged[id]
        log_probs[:, first] = np.logaddexp(log_probs[:, first], log_probs[:, id])
        log_probs[:, id] = -np.inf
    return log_probs
