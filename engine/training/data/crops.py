"""Batches of crops: stretches of recordings that begin and end anywhere, with the letters that are said in them.

A crop looks like a window of a stream, which may begin and end in mid-word. It is made of pieces of aligned recordings,
sometimes with a pause between two of them.
"""

from collections.abc import Mapping

import numpy as np
import torch

from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
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
from earshot_asr.engine.training.data.labels import Labels, Plan, label
from earshot_asr.engine.training.data.spelling import Alphabet
from earshot_asr.engine.training.task import TrainingBatch

LENGTHS_SECONDS: Mapping[Seconds, float] = {3.2: 0.3, 8.0: 0.4, 20.0: 0.3}
"""Lengths of crops, and the chance of each: about the window of a hop, of an utterance, and of the longest utterance.
A model that was not trained on windows as long as that makes many errors in them (LOG.md)."""


class Crops:
    """A Source of batches of crops from aligned recordings.

    delay       frames by which symbols are written after their sound
    lengths     seconds of a crop -> chance of that length; all crops of a batch have one length
    phones      names of the phones that TrainingBatch.phones numbers; empty, and no such labels, if all alignments are
                by a model and have none

    Raises ConfigError if no recording is aligned, or if weights of corpora are negative or all 0.
    """

    def __init__(
        self,
        drawing: Drawing,
        *,
        delay: int = 0,
        lengths: Mapping[Seconds, float] = LENGTHS_SECONDS,
    ) -> None:
        corpus = drawing.corpus
        aligned = corpus.select([alignment is not None for alignment in corpus.alignments])
        if not len(aligned):
            raise ConfigError("crops need alignments, and no recording has one; `earshot train align` makes them")
        total = sum(lengths.values())
        self.drawing, self.delay = drawing, delay
        self.frames = tuple(max(1, round(length * SAMPLE_RATE / drawing.grid.hop)) for length in lengths)
        self.odds = tuple(chance / total for chance in lengths.values())
        self.labels = Labels.of(aligned, Alphabet(drawing.vocabulary))
        self.phones = self.labels.phones
        self._samples = aligned.on(drawing.device)
        self._stock = _Stock(aligned, drawing.weights)

    def draw(self, step: int) -> TrainingBatch:
        """See Source.draw."""
        frames = int(self.drawing.shared(step).choice(self.frames, p=self.odds))
        rng = self.drawing.own(step)
        samples, device = self.drawing.grid.span(0, frames)[1], self.drawing.device
        plan = self.plan(rng, self.drawing.rows(frames * self.drawing.grid.hop), samples)
        grid, blank = self.drawing.grid, self.drawing.vocabulary.blank
        said = label(plan, self.labels, grid, frames, self.delay, blank)
        sound = play(plan, self._samples, samples).to(device, non_blocking=True)
        if self.drawing.augment:
            silent = np.ones(len(sound), bool)
            silent[plan.row[plan.source >= 0]] = False
            sound = self.drawing.augment(sound, rng, empty=silent)
        phones, ids, symbols = (send(labels, device) for labels in (said.phones, said.ids, said.symbols))
        lengths = torch.from_numpy(said.lengths)
        return TrainingBatch(sound, None, ids, lengths, symbols, phones if self.phones else None)

    def plan(self, rng: np.random.Generator, count: int, samples: int) -> Plan:
        """Random pieces for `count` rows, each of `samples` samples after its speed is changed."""
        low, high = self.drawing.speeds
        width = int(samples * high) + 3
        pieces: list[tuple[int, int, int, int]] = []
        for row, alone in enumerate(rng.random(count) < SILENCE_CHANCE * self.drawing.chances):
            begin, pauses = 0, PAUSE_CHANCE * self.drawing.chances
            for first, some in [(-1, width)] if alone else self._stock.pieces(rng, width, pauses):
                pieces.append((first, row, begin, some))
                begin += some
        source, rows, begins, lengths = np.array(pieces, np.int64).T
        return Plan(source, rows, begins, lengths, rng.uniform(low, high, count), width)


class _Stock:
    """The recordings that pieces are taken from: a corpus is drawn by its share, then a place anywhere in it."""

    def __init__(self, corpus: Corpus, weights: Mapping[str, float] | None) -> None:
        share = shares(corpus, weights)
        names = np.array(corpus.corpora)
        self.odds = np.cumsum(list(share.values()))
        self.spans = [corpus.spans[names == name] for name in share]
        self.ends = [np.cumsum(spans[:, 1] - spans[:, 0]) for spans in self.spans]

    def corpus(self, rng: np.random.Generator) -> int:
        """The number of a corpus, drawn by its share."""
        return int(np.searchsorted(self.odds[:-1], rng.random(), side="right"))

    def pieces(self, rng: np.random.Generator, width: int, pauses: float) -> list[tuple[int, int]]:
        """First sample (-1: silence) and length of each piece, `width` samples in all.

        The first piece is from a random place in a recording to its end. Further ones are other recordings of the same
        corpus, from their beginnings, or, after a pause, of any corpus. `pauses`: the chance of a pause.
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
                pause = min(width, int(rng.uniform(*PAUSE_SECONDS) * SAMPLE_RATE))
                found.append((-1, pause))
                width -= pause
                which = self.corpus(rng)
            if not width:
                return found
            start, end = self.spans[which][int(rng.integers(len(self.spans[which])))].tolist()
