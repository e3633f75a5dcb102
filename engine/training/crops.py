"""Batches of audio and of what is said in it: stretches that begin and end anywhere, and whole utterances.

A crop looks like a window of a stream: it may begin and end in mid-word, and is labelled with the letters that are said
in it. It is put together from pieces of aligned recordings, now and then with a pause between two of them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.audio import SAMPLE_RATE, FrameGrid, Seconds
from engine.errors import ConfigError
from engine.training.augment import Augmentation
from engine.training.corpus import Corpus
from engine.training.labels import Ints, Labels, Plan, label
from engine.training.spelling import Alphabet
from engine.training.task import Batch, Source, Text
from engine.training.unspoken import Unspoken
from engine.vocabulary import Vocabulary

SPEED = (0.88, 1.14)
"""Recordings are played so many times as fast, pitch and all."""
PAUSE: tuple[Seconds, Seconds] = (0.2, 2.0)
PAUSES = 0.25
"""The chance of a pause where a crop goes over from one recording to the next, and of two utterances in a row."""
LENGTHS: Mapping[Seconds, float] = {3.2: 0.3, 8.0: 0.4, 20.0: 0.3}
"""Of crops: about a hop's window, an utterance, and the longest one; what was never that long is misheard (LOG.md)."""
ALONE = 0.03
"""The share of crops, and of rows of utterances, in which nothing is said."""


def shares(corpus: Corpus, weights: Mapping[str, float] | None) -> dict[str, float]:
    """How often each corpus is drawn from: its weight, or else the square root of its hours; they add up to 1.

    Raises ConfigError if one is negative, and if all are 0. Weights of corpora that are not there say nothing here.
    """
    samples: Counter[str] = Counter()
    for name, length in zip(corpus.corpora, corpus.lengths.tolist(), strict=True):
        samples[name] += length
    weights = weights or {}
    found = {name: weights.get(name, (n / SAMPLE_RATE / 3600) ** 0.5) for name, n in samples.items()}
    total = sum(found.values())
    if min(found.values()) < 0 or total == 0:
        raise ConfigError("weights of corpora must not be negative, and not all 0")
    return {name: weight / total for name, weight in found.items()}


def check(weights: Mapping[str, float] | None, corpus: Corpus) -> None:
    """Raises ConfigError for a weight of a corpus that is not there: of the whole, before any of it is left out."""
    there = set(corpus.corpora)
    if unknown := sorted(set(weights or {}) - there):
        raise ConfigError(f"weights: there is no corpus {', '.join(unknown)}; there are {', '.join(sorted(there))}")


def play(plan: Plan, samples: Tensor, length: int) -> Tensor:
    """A planned batch of the samples (S,) int16 of a file: float32 (B, length) in [-1, 1), where the file is.

    Speed is by linear interpolation: above some kHz it is a low-pass, which other chances make a worse one of.
    """
    rows = plan.gather(samples)
    at = torch.arange(length, device=rows.device) * send(plan.factor.astype(np.float32)[:, None], rows.device)
    whole = at.floor()
    index = whole.long()
    before, after = rows.gather(1, index).float(), rows.gather(1, index.add_(1)).float()
    return before.add_(after.sub_(before).mul_(at.sub_(whole))).mul_(1 / 32768)


def send(array: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """To the device, without waiting for it."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


class Crops:
    """Batches of crops of aligned recordings; a Source.

    seconds     of audio in a batch, about
    lengths     how long crops are, one of these for a whole batch, and how often each
    delay       frames by which symbols come after their sound
    weights     of corpora, see `shares`
    augment     what is done to the sound; its factor is one on the chances of pauses and of crops without speech, too.
                None: nothing, at the original speed
    text        what is given out as Batch.text beside the recordings
    left_out    sentences of it that can't be said in the recordings' phones, or not be written
    phones      their names, of which Batch.phones are numbers; none, and no Batch.phones, if a model aligned everything

    Raises ConfigError if no recording is aligned, and for weights that make no sense.
    """

    def __init__(
        self,
        corpus: Corpus,
        vocabulary: Vocabulary,
        grid: FrameGrid,
        device: torch.device,
        *,
        seed: int = 0,
        rank: int = 0,
        delay: int = 0,
        seconds: Seconds = 64.0,
        lengths: Mapping[Seconds, float] = LENGTHS,
        weights: Mapping[str, float] | None = None,
        augment: Augmentation | None = None,
        text: Unspoken | None = None,
    ) -> None:
        check(weights, corpus)
        aligned = corpus.select([alignment is not None for alignment in corpus.alignments])
        if not len(aligned):
            raise ConfigError("crops need alignments, and no recording has one; `earshot train align` makes them")
        total = sum(lengths.values())
        self.grid, self.device, self.delay, self.seconds = grid, device, delay, seconds
        self.seed, self.rank = seed, rank
        self.frames = tuple(max(1, round(length * SAMPLE_RATE / grid.hop)) for length in lengths)
        self.odds = tuple(chance / total for chance in lengths.values())
        self.blank = vocabulary.blank
        self.labels = Labels.of(aligned, Alphabet(vocabulary))
        self.phones = self.labels.phones
        self.augment = augment
        self._imagined = None if text is None else text.prepare(aligned, self.labels)
        self.left_out = self._imagined.left_out if self._imagined else 0
        self._speeds = SPEED if augment else (1.0, 1.0)
        self._chances = augment.factor if augment else 0.0
        self._samples = aligned.on(device)
        self._stock = _Stock(aligned, weights)

    def draw(self, step: int) -> Batch:
        """See Source.draw."""
        frames = int(np.random.default_rng((self.seed, step)).choice(self.frames, p=self.odds))  # on all ranks the same
        rng = np.random.default_rng((self.seed, self.rank, step))
        samples = self.grid.span(0, frames)[1]
        count = max(1, round(self.seconds * SAMPLE_RATE / (frames * self.grid.hop)))
        plan = self.plan(rng, count, samples)
        targets = label(plan, self.labels, self.grid, frames, self.delay, self.blank)
        sound = play(plan, self._samples, samples).to(self.device, non_blocking=True)
        if self.augment:
            silent = np.ones(count, bool)
            silent[plan.row[plan.source >= 0]] = False
            sound = self.augment(sound, rng, empty=silent)
        return Batch(
            sound,
            None,
            send(targets.ids, self.device),
            torch.from_numpy(targets.lengths),
            send(targets.symbols, self.device),
            send(targets.phones, self.device) if self.phones else None,
            self._text(step, count, frames),
        )

    def _text(self, step: int, count: int, frames: int) -> Text | None:
        if self._imagined is None:
            return None
        rng = np.random.default_rng((self.seed, self.rank, step, 1))
        plan, labels = self._imagined.draw(rng, count, self.grid.span(0, frames)[1])
        targets = label(plan, labels, self.grid, frames, self.delay, self.blank)
        ids, symbols, phones = (send(a, self.device) for a in (targets.ids, targets.symbols, targets.phones))
        return Text(phones, ids, torch.from_numpy(targets.lengths), symbols)

    def plan(self, rng: np.random.Generator, count: int, samples: int) -> Plan:
        """Random pieces for so many rows of so many samples, once they are played."""
        low, high = self._speeds
        width = int(samples * high) + 3
        pieces: list[tuple[int, int, int, int]] = []
        for row, alone in enumerate(rng.random(count) < ALONE * self._chances):
            begin = 0
            for first, some in [(-1, width)] if alone else self._stock.pieces(rng, width, PAUSES * self._chances):
                pieces.append((first, row, begin, some))
                begin += some
        source, rows, begins, lengths = np.array(pieces, np.int64).T
        return Plan(source, rows, begins, lengths, rng.uniform(low, high, count), width)


class _Stock:
    """Recordings to take pieces from: a corpus by its share, in it a place anywhere."""

    def __init__(self, corpus: Corpus, weights: Mapping[str, float] | None) -> None:
        share = shares(corpus, weights)
        names = np.array(corpus.corpora)
        self.odds = np.cumsum(list(share.values()))
        self.spans = [corpus.spans[names == name] for name in share]
        self.ends = [np.cumsum(spans[:, 1] - spans[:, 0]) for spans in self.spans]

    def corpus(self, rng: np.random.Generator) -> int:
        """Which one, by its share."""
        return int(np.searchsorted(self.odds[:-1], rng.random(), side="right"))

    def pieces(self, rng: np.random.Generator, width: int, pauses: float) -> list[tuple[int, int]]:
        """First samples, or -1 for silence, and lengths of pieces, `width` samples in all.

        From a random place to the end of that recording, and on with others of the same corpus, from their beginnings;
        after a pause, of any corpus.
        """
        which = self.corpus(rng)
        ends = self.ends[which]
        place = int(rng.integers(ends[-1]))
        clip = int(np.searchsorted(ends, place, side="right"))
        end = int(self.spans[which][clip, 1])
        start, found = end - (int(ends[clip]) - place), []
        while True:
            take = min(width, end - start)
            found.append((start, take))
            width -= take
            if width and rng.random() < pauses:
                pause = min(width, int(rng.uniform(*PAUSE) * SAMPLE_RATE))
                found.append((-1, pause))
                width -= pause
                which = self.corpus(rng)
            if not width:
                return found
            start, end = self.spans[which][int(rng.integers(len(self.spans[which])))].tolist()


class Utterances:
    """Batches of whole utterances; a Source. Alignments are not asked for, and not given.

    A row is an utterance; or two, with a pause between them; or nothing is said in it.

    seconds     of audio in a batch, padding included, about
    lengths     how many lengths batches have: few, as each has to be compiled
    weights     of corpora, see `shares`
    augment     what is done to the sound; its factor is one on the chances of pauses and of rows without speech, too.
                None: nothing, at the original speed
    left_out    how many recordings could not be written: nothing of them is in the vocabulary, or there are more
                letters than frames

    Raises ConfigError if nothing is left, and for weights that make no sense.
    """

    def __init__(
        self,
        corpus: Corpus,
        vocabulary: Vocabulary,
        grid: FrameGrid,
        device: torch.device,
        *,
        seed: int = 0,
        rank: int = 0,
        seconds: Seconds = 64.0,
        lengths: int = 6,
        weights: Mapping[str, float] | None = None,
        augment: Augmentation | None = None,
    ) -> None:
        check(weights, corpus)
        self.grid, self.device, self.seconds, self.augment = grid, device, seconds, augment
        self.seed, self.rank = seed, rank
        self._speeds = SPEED if augment else (1.0, 1.0)
        self._chances = augment.factor if augment else 0.0
        alphabet = Alphabet(vocabulary)
        targets = [np.array(alphabet.ids(text), np.int64) for text in corpus.texts]
        fits = [
            0 < needed(ids) <= grid.frames(int(length / self._speeds[1]))
            for ids, length in zip(targets, corpus.lengths.tolist(), strict=True)
        ]
        corpus = corpus.select(fits)
        self.left_out = fits.count(False)
        if not len(corpus):
            raise ConfigError("no recording has a text that could be written in its time with the model's vocabulary")
        self._targets = [ids for ids, fit in zip(targets, fits, strict=True) if fit]
        self._samples, self._spans = corpus.on(device), corpus.spans
        self._odds = odds(corpus, weights)
        self._rungs = ladder(corpus.lengths, grid, lengths)
        self._rung = np.searchsorted(self._rungs, corpus.lengths)
        heard = np.flatnonzero(self._odds)
        self._by_length = heard[np.argsort(corpus.lengths[heard], kind="stable")]
        self._ordered, self._cumulative = corpus.lengths[self._by_length], np.cumsum(self._odds[self._by_length])

    def draw(self, step: int) -> Batch:
        """See Source.draw."""
        which = np.random.default_rng((self.seed, step)).choice(self._rung, p=self._odds)  # on all ranks the same
        rng = np.random.default_rng((self.seed, self.rank, step))
        samples = int(self._rungs[which])
        count = max(1, round(self.seconds * SAMPLE_RATE / samples))
        there = np.flatnonzero(self._rung == which)
        chosen = rng.choice(there, count, p=self._odds[there] / self._odds[there].sum())
        rows = self._rows(rng, chosen, samples)
        plan, lengths = self._plan(rng, rows, samples)
        sound = play(plan, self._samples, samples).to(self.device, non_blocking=True)
        if self.augment:
            silent = np.array([all(which < 0 for which, _ in row) for row in rows])
            sound = self.augment(sound, rng, lengths, empty=silent)
        targets = [[self._targets[which] for which, _ in row if which >= 0] for row in rows]
        ids = send(np.concatenate([np.zeros(0, np.int64), *chain(*targets)]), self.device)
        return Batch(sound, lengths, ids, torch.tensor([sum(map(len, row)) for row in targets]))

    def _rows(self, rng: np.random.Generator, chosen: Ints, samples: int) -> list[list[tuple[int, int]]]:
        """What each row is made of: recordings, -1 for silence, and lengths, no more than `samples` in all.

        Where a row becomes two utterances, these are drawn anew: one of the row's length leaves no room for another.
        """
        alone = rng.random(len(chosen)) < ALONE * self._chances
        paused = rng.random(len(chosen)) < PAUSES * self._chances
        rows = []
        for which, silent, pause in zip(chosen.tolist(), alone, paused & ~alone, strict=True):
            pair = self._pair(rng, samples) if pause else []
            rows.append(pair or [(-1 if silent else which, self._length(which))])
        return rows

    def _length(self, which: int) -> int:
        first, end = self._spans[which].tolist()
        return int(end - first)

    def _pair(self, rng: np.random.Generator, samples: int) -> list[tuple[int, int]]:
        """Two utterances and a pause that fit into so many samples; none, if the shortest are too long."""
        pause = int(rng.uniform(*PAUSE) * SAMPLE_RATE)
        room = samples - pause
        if 2 * self._ordered[0] > room:
            return []
        first = self._short(rng, room - int(self._ordered[0]))
        second = self._short(rng, room - self._length(first))
        return [(first, self._length(first)), (-1, pause), (second, self._length(second))]

    def _short(self, rng: np.random.Generator, longest: int) -> int:
        """A recording that is no longer; the shortest of all must not be."""
        last = int(np.searchsorted(self._ordered, longest, side="right")) - 1
        place = rng.random() * self._cumulative[last]
        return int(self._by_length[np.searchsorted(self._cumulative[:last], place, side="right")])

    def _plan(self, rng: np.random.Generator, rows: list[list[tuple[int, int]]], samples: int) -> tuple[Plan, Tensor]:
        """The rows, and how long each is once it is played, (B,) int64."""
        pieces: list[tuple[int, int, int, int]] = []
        for row, parts in enumerate(rows):
            begin = 0
            for which, length in parts:
                pieces.append((-1 if which < 0 else int(self._spans[which, 0]), row, begin, length))
                begin += length
        source, at, begins, lengths = np.array(pieces, np.int64).T
        low, high = self._speeds
        totals = np.bincount(at, lengths, len(rows))
        slowest = np.maximum(low, totals / samples)  # else it would not fit
        factor = rng.uniform(slowest, np.maximum(slowest, high))
        plan = Plan(source, at, begins, lengths, factor, int(samples * high) + 3)
        return plan, torch.from_numpy(((totals - 1) / factor).astype(np.int64) + 1)


def needed(ids: Ints) -> int:
    """Frames that CTC needs to write them: one each, and a blank between equals."""
    return len(ids) + int((ids[1:] == ids[:-1]).sum())


def odds(corpus: Corpus, weights: Mapping[str, float] | None) -> npt.NDArray[np.float64]:
    """(N,) of each recording: its corpus' share, by its part of that."""
    share = shares(corpus, weights)
    names, lengths = np.array(corpus.corpora), corpus.lengths.astype(np.float64)
    for name, weight in share.items():
        lengths[names == name] *= weight / lengths[names == name].sum()
    odds: npt.NDArray[np.float64] = lengths / lengths.sum()
    return odds


def ladder(lengths: Ints, grid: FrameGrid, rungs: int) -> Ints:
    """So many lengths of batches, at most, in samples that make whole frames: those with the least padding in all."""
    ordered = np.sort(lengths)
    audio = np.concatenate(([0], np.cumsum(ordered)))
    ends = np.unique(np.linspace(0, len(ordered), min(len(ordered), 128) + 1).astype(int)[1:])  # after which clip
    tops = ordered[ends - 1]
    starts = np.concatenate(([0], ends[:-1]))
    # padding[i, j]: of the clips from group i to group j, all as long as the longest
    padding = np.where(
        starts[:, None] < ends, (ends - starts[:, None]) * tops - (audio[ends] - audio[starts][:, None]), np.inf
    )
    best, chosen = padding[0], [[j] for j in range(len(ends))]
    for _ in range(rungs - 1):
        before = np.concatenate(([np.inf], best[:-1]))[:, None] + padding  # a rung from group i on, below it the best
        which = before.argmin(axis=0)
        better = before.min(axis=0) < best
        chosen = [[*chosen[which[j] - 1], j] if better[j] else chosen[j] for j in range(len(ends))]
        best = np.where(better, before.min(axis=0), best)
    frames = {grid.frames(int(tops[j]) + grid.hop) for j in chosen[-1]}
    return np.array([grid.span(0, n)[1] for n in sorted(frames)])


class Mixed:
    """Batches of several sources, each drawn with its share; a Source."""

    def __init__(self, sources: Sequence[tuple[Source, float]], *, seed: int = 0) -> None:
        total = sum(share for _, share in sources)
        assert total > 0, sources
        self.sources = [source for source, _ in sources]
        self.odds = [share / total for _, share in sources]
        self.seed = seed

    def draw(self, step: int) -> Batch:
        """See Source.draw."""
        which = np.random.default_rng((self.seed, step, 1)).choice(len(self.sources), p=self.odds)
        return self.sources[which].draw(step)
