"""Batches of crops: stretches of recordings that begin and end anywhere, and what is said in them.

A crop looks like a window of a stream: it may begin and end in mid-word, and is labelled with the letters that are said
in it. It is put together from pieces of aligned recordings, now and then with a pause between two of them.
"""

from collections.abc import Mapping

import numpy as np
import torch

from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.training.corpus import Corpus
from earshot_asr.engine.training.drawing import ALONE, PAUSE, PAUSES, Drawing, play, send, shares
from earshot_asr.engine.training.labels import Labels, Plan, label
from earshot_asr.engine.training.spelling import Alphabet
from earshot_asr.engine.training.task import Batch, Text
from earshot_asr.engine.training.unspoken import Unspoken

LENGTHS: Mapping[Seconds, float] = {3.2: 0.3, 8.0: 0.4, 20.0: 0.3}
"""Of crops: about a hop's window, an utterance, and the longest one; what was never that long is misheard (LOG.md)."""


class Crops:
    """Batches of crops of aligned recordings; a Source.

    delay       frames by which symbols come after their sound
    lengths     how long crops are, one of these for a whole batch, and how often each
    text        what is given out as Batch.text, so many of its rows as its `rows` says for each of the recordings
    left_out    sentences of it that can't be said in the recordings' phones, or not be written
    phones      their names, of which Batch.phones are numbers; none, and no Batch.phones, if a model aligned everything

    Raises ConfigError if no recording is aligned, and for weights that are negative, or all 0.
    """

    def __init__(
        self,
        drawing: Drawing,
        *,
        delay: int = 0,
        lengths: Mapping[Seconds, float] = LENGTHS,
        text: Unspoken | None = None,
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
        self._imagined = None if text is None else text.prepare(aligned, self.labels)
        self._text_rows = text.rows if text else 0
        self.left_out = self._imagined.left_out if self._imagined else 0
        self._samples = aligned.on(drawing.device)
        self._stock = _Stock(aligned, drawing.weights)

    def draw(self, step: int) -> Batch:
        """See Source.draw."""
        frames = int(self.drawing.shared(step).choice(self.frames, p=self.odds))
        rng = self.drawing.own(step)
        samples, device = self.drawing.grid.span(0, frames)[1], self.drawing.device
        plan = self.plan(rng, self.drawing.rows(frames * self.drawing.grid.hop), samples)
        said = self._said(plan, self.labels, frames)
        sound = play(plan, self._samples, samples).to(device, non_blocking=True)
        if self.drawing.augment:
            silent = np.ones(len(sound), bool)
            silent[plan.row[plan.source >= 0]] = False
            sound = self.drawing.augment(sound, rng, empty=silent)
        phones = said.phones if self.phones else None
        text = self._text(step, self._text_rows * len(sound), frames, samples)
        return Batch(sound, None, said.targets, said.target_lengths, said.symbols, phones, text)

    def _said(self, plan: Plan, labels: Labels, frames: int) -> Text:
        """What is said in the rows of a plan, once they are played."""
        found = label(plan, labels, self.drawing.grid, frames, self.delay, self.drawing.vocabulary.blank)
        phones, ids, symbols = (send(a, self.drawing.device) for a in (found.phones, found.ids, found.symbols))
        return Text(phones, ids, torch.from_numpy(found.lengths), symbols)

    def _text(self, step: int, count: int, frames: int, samples: int) -> Text | None:
        if self._imagined is None:
            return None
        return self._said(*self._imagined.draw(self.drawing.own(step, 1), count, samples), frames)

    def plan(self, rng: np.random.Generator, count: int, samples: int) -> Plan:
        """Random pieces for so many rows of so many samples, once they are played."""
        low, high = self.drawing.speeds
        width = int(samples * high) + 3
        pieces: list[tuple[int, int, int, int]] = []
        for row, alone in enumerate(rng.random(count) < ALONE * self.drawing.chances):
            begin, pauses = 0, PAUSES * self.drawing.chances
            for first, some in [(-1, width)] if alone else self._stock.pieces(rng, width, pauses):
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
