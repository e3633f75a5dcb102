"""Batches of whole utterances."""

from collections.abc import Mapping
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.training.data.corpus import Corpus
from earshot_asr.engine.training.data.drawing import (
    PAUSE_CHANCE,
    PAUSE_SECONDS,
    SILENCE_CHANCE,
    Drawing,
    play,
    send,
    shares,
)
from earshot_asr.engine.training.data.labels import Ints, Plan
from earshot_asr.engine.training.data.spelling import Alphabet
from earshot_asr.engine.training.task import TrainingBatch


class Utterances:
    """A Source of batches of whole utterances, without labels for single frames.

    A row is an utterance, or two with a pause between them, or has no speech.

    lengths     how many different lengths batches have; few, as the model is compiled for each
    left_out    how many recordings are not used: their texts have no symbol of the vocabulary, or more than frames

    Raises ConfigError if no recording is left, or if weights of corpora are negative or all 0.
    """

    def __init__(self, drawing: Drawing, *, lengths: int = 6) -> None:
        self.drawing = drawing
        corpus, grid = drawing.corpus, drawing.grid
        alphabet = Alphabet(drawing.vocabulary)
        targets = [np.array(alphabet.ids(text), np.int64) for text in corpus.texts]
        fits = [
            0 < needed(ids) <= grid.frames(int(length / drawing.speeds[1]))
            for ids, length in zip(targets, corpus.lengths.tolist(), strict=True)
        ]
        corpus = corpus.select(fits)
        self.left_out = fits.count(False)
        if not len(corpus):
            raise ConfigError("no recording has a text that could be written in its time with the model's vocabulary")
        self._targets = [ids for ids, fit in zip(targets, fits, strict=True) if fit]
        self._samples, self._spans = corpus.on(drawing.device), corpus.spans
        self._odds = odds(corpus, drawing.weights)
        self._rungs = ladder(corpus.lengths, grid, lengths)
        self._rung = np.searchsorted(self._rungs, corpus.lengths)
        heard = np.flatnonzero(self._odds)
        self._by_length = heard[np.argsort(corpus.lengths[heard], kind="stable")]
        self._ordered, self._cumulative = corpus.lengths[self._by_length], np.cumsum(self._odds[self._by_length])

    def draw(self, step: int) -> TrainingBatch:
        """See Source.draw."""
        which = self.drawing.shared(step).choice(self._rung, p=self._odds)
        rng, device = self.drawing.own(step), self.drawing.device
        samples = int(self._rungs[which])
        there = np.flatnonzero(self._rung == which)
        chosen = rng.choice(there, self.drawing.rows(samples), p=self._odds[there] / self._odds[there].sum())
        rows = self._rows(rng, chosen, samples)
        plan, lengths = self._plan(rng, rows, samples)
        sound = play(plan, self._samples, samples).to(device, non_blocking=True)
        if self.drawing.augment:
            silent = np.array([all(which < 0 for which, _ in row) for row in rows])
            sound = self.drawing.augment(sound, rng, lengths, empty=silent)
        targets = [[self._targets[which] for which, _ in row if which >= 0] for row in rows]
        ids = send(np.concatenate([np.zeros(0, np.int64), *chain(*targets)]), device)
        return TrainingBatch(sound, lengths, ids, torch.tensor([sum(map(len, row)) for row in targets]))

    def _rows(self, rng: np.random.Generator, chosen: Ints, samples: int) -> list[list[tuple[int, int]]]:
        """The parts of each row, recording (-1: silence) and length, no more than `samples` in all.

        Where a row becomes two utterances both are drawn again, as one of the row's length leaves no room for another.
        """
        alone = rng.random(len(chosen)) < SILENCE_CHANCE * self.drawing.chances
        paused = rng.random(len(chosen)) < PAUSE_CHANCE * self.drawing.chances
        rows = []
        for which, silent, pause in zip(chosen.tolist(), alone, paused & ~alone, strict=True):
            pair = self._pair(rng, samples) if pause else []
            rows.append(pair or [(-1 if silent else which, self._length(which))])
        return rows

    def _length(self, which: int) -> int:
        first, end = self._spans[which].tolist()
        return int(end - first)

    def _pair(self, rng: np.random.Generator, samples: int) -> list[tuple[int, int]]:
        """Two utterances and a pause that fit into so many samples; empty if the shortest ones do not."""
        pause = int(rng.uniform(*PAUSE_SECONDS) * SAMPLE_RATE)
        room = samples - pause
        if 2 * self._ordered[0] > room:
            return []
        first = self._short(rng, room - int(self._ordered[0]))
        second = self._short(rng, room - self._length(first))
        return [(first, self._length(first)), (-1, pause), (second, self._length(second))]

    def _short(self, rng: np.random.Generator, longest: int) -> int:
        """A random recording of at most `longest` samples; the shortest of all must not be longer."""
        last = int(np.searchsorted(self._ordered, longest, side="right")) - 1
        place = rng.random() * self._cumulative[last]
        return int(self._by_length[np.searchsorted(self._cumulative[:last], place, side="right")])

    def _plan(self, rng: np.random.Generator, rows: list[list[tuple[int, int]]], samples: int) -> tuple[Plan, Tensor]:
        """The rows, and the samples that each has after its speed is changed, (B,) int64."""
        pieces: list[tuple[int, int, int, int]] = []
        for row, parts in enumerate(rows):
            begin = 0
            for which, length in parts:
                pieces.append((-1 if which < 0 else int(self._spans[which, 0]), row, begin, length))
                begin += length
        source, at, begins, lengths = np.array(pieces, np.int64).T
        low, high = self.drawing.speeds
        totals = np.bincount(at, lengths, len(rows))
        slowest = np.maximum(low, totals / samples)  # else it would not fit
        factor = rng.uniform(slowest, np.maximum(slowest, high))
        plan = Plan(source, at, begins, lengths, factor, int(samples * high) + 3)
        return plan, torch.from_numpy(((totals - 1) / factor).astype(np.int64) + 1)


def needed(ids: Ints) -> int:
    """The frames that CTC needs for these ids: one for each, and one for a blank between two that are equal."""
    return len(ids) + int((ids[1:] == ids[:-1]).sum())


def odds(corpus: Corpus, weights: Mapping[str, float] | None) -> npt.NDArray[np.float64]:
    """Chance (N,) of each recording: the share of its corpus, times its part of the corpus' audio."""
    share = shares(corpus, weights)
    names, lengths = np.array(corpus.corpora), corpus.lengths.astype(np.float64)
    for name, weight in share.items():
        lengths[names == name] *= weight / lengths[names == name].sum()
    odds: npt.NDArray[np.float64] = lengths / lengths.sum()
    return odds


def ladder(lengths: Ints, grid: FrameGrid, rungs: int) -> Ints:
    """At most `rungs` lengths of batches, in samples that make whole frames: those that need the least padding."""
    ordered = np.sort(lengths)
    audio = np.concatenate(([0], np.cumsum(ordered)))
    ends = np.unique(
        np.linspace(0, len(ordered), min(len(ordered), 128) + 1).astype(int)[1:]
    )  # the number of clips up to each
    tops = ordered[ends - 1]
    starts = np.concatenate(([0], ends[:-1]))
    # padding[i, j]: of the clips from group i to group j, all as long as the longest
    padding = np.where(
        starts[:, None] < ends, (ends - starts[:, None]) * tops - (audio[ends] - audio[starts][:, None]), np.inf
    )
    best, chosen = padding[0], [[j] for j in range(len(ends))]
    for _ in range(rungs - 1):
        before = (
            np.concatenate(([np.inf], best[:-1]))[:, None] + padding
        )  # a rung from group i on, and the best ones below it
        which = before.argmin(axis=0)
        better = before.min(axis=0) < best
        chosen = [[*chosen[which[j] - 1], j] if better[j] else chosen[j] for j in range(len(ends))]
        best = np.where(better, before.min(axis=0), best)
    frames = {grid.frames(int(tops[j]) + grid.hop) for j in chosen[-1]}
    return np.array([grid.span(0, n)[1] for n in sorted(frames)])
