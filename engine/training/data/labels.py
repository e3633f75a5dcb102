"""The pieces that a batch is made of, and its labels: which letters and phones are said in them, and when."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from earshot_asr.engine.audio import FrameGrid
from earshot_asr.engine.manifest import UNIT_SAMPLES, Alignment
from earshot_asr.engine.training.data.corpus import Corpus
from earshot_asr.engine.training.data.spelling import LATE_FRAMES, Alphabet, Said, Spelling, spell, times
from earshot_asr.engine.training.task import UNKNOWN

SILENCE = "SIL"
Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]


class Labels:
    """When letters and phones are said in the corpus' samples.

    letter_at    (L,) the sample at which each letter is said, rising
    letter       (L,) the id of each letter
    phone        (S / UNIT_SAMPLES,) the number of the phone in each unit of 10 ms, 0 for silence; UNKNOWN where the
                 alignment is of letters
    phones       names of the phones; empty if all alignments are of letters
    """

    def __init__(
        self,
        alignments: Sequence[Alignment],
        spans: Sequence[tuple[int, int]],
        alphabet: Alphabet,
        phones: tuple[str, ...],
        spellings: Mapping[Said, Spelling],
    ) -> None:
        self.alphabet, self.phones = alphabet, phones
        number = {phone: n for n, phone in enumerate(phones)}
        self.phone = np.zeros(max(end for _, end in spans) // UNIT_SAMPLES + 2, np.int16)
        at: list[float] = []
        ids: list[int] = []
        for alignment, (first, end) in zip(alignments, spans, strict=True):
            if alignment.letters:
                self.phone[first // UNIT_SAMPLES : -(-end // UNIT_SAMPLES)] = UNKNOWN
            for word in alignment.words:
                lengths = [length for _, length in word.parts]
                starts = accumulate(lengths, initial=first // UNIT_SAMPLES + word.start)
                for (part, length), here in zip(word.parts, starts, strict=False):
                    self.phone[here : here + length] = UNKNOWN if alignment.letters else number[part]
                letters = alphabet.letters(word.text)
                if not letters or not word.parts:
                    continue
                spelling = tuple(range(len(letters)))
                if not (alignment.letters and len(letters) == len(word.parts)):
                    spelling = spellings[letters, tuple(part for part, _ in word.parts)]
                said = times(spelling, lengths)
                if alphabet.delimiter is not None:
                    letters, said = (*letters, alphabet.delimiter), [*said, word.length + 1]
                at += [min(first + (word.start + time) * UNIT_SAMPLES, end - 1) for time in said]
                ids += letters
        # Words may overlap by a unit. Letters must be in order; a hundredth of a second does not matter.
        self.letter_at = np.maximum.accumulate(np.array([0, *at]).astype(np.int64))[1:]
        self.letter = np.array(ids, np.int64)

    @classmethod
    def of(cls, corpus: Corpus, alphabet: Alphabet) -> "Labels":
        """The labels of a corpus in which each recording has an alignment."""
        alignments = [alignment for alignment in corpus.alignments if alignment is not None]
        said = Counter(
            (alphabet.letters(w.text), tuple(part for part, _ in w.parts)) for a in alignments for w in a.words
        )
        inventory = _inventory(alignments)
        phones = (SILENCE, *inventory) if inventory else ()
        spans = [(int(first), int(end)) for first, end in corpus.spans]
        return cls(alignments, spans, alphabet, phones, spell(said))


def _inventory(alignments: Sequence[Alignment]) -> list[str]:
    with_phones = (alignment for alignment in alignments if not alignment.letters)
    return sorted({part for a in with_phones for word in a.words for part, _ in word.parts} - {SILENCE})


@dataclass(frozen=True, slots=True)
class Plan:
    """What a batch is made of, before its speed is changed: B rows of W samples, each a sequence of pieces, P in all.

    source     (P,) first sample of each piece in the corpus' samples; -1: silence
    row        (P,) the row it is in, rising
    begin      (P,) its first sample in the row
    length     (P,) its samples
    factor     (B,) the speed of each row, as a factor
    width      W
    """

    source: Ints
    row: Ints
    begin: Ints
    length: Ints
    factor: Floats
    width: int

    def gather(self, samples: Tensor) -> Tensor:
        """The rows, int16 (B, W), of the corpus' samples (S,), on the same device."""
        rows = torch.zeros(len(self.factor), self.width, dtype=torch.int16, device=samples.device)
        pieces = zip(*(a.tolist() for a in (self.source, self.row, self.begin, self.length)), strict=True)
        for source, row, begin, length in pieces:
            if source >= 0:
                rows[row, begin : begin + length] = samples[source : source + length]
        return rows

    def letters(self, labels: Labels) -> tuple[Ints, Floats, Ints]:
        """All letters in the pieces, in order: row, sample in the row, and id, (N,) each."""
        said = self.source >= 0
        source, length = self.source[said], self.length[said]
        first = np.searchsorted(labels.letter_at, source)
        count = np.searchsorted(labels.letter_at, source + length) - first
        which = np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())
        moved = np.repeat(self.begin[said] - source, count)
        row = np.repeat(self.row[said], count)
        return row, (labels.letter_at[which] + moved).astype(np.float64), labels.letter[which]

    def phones(self, labels: Labels, at: Floats) -> Ints:
        """The phone at each position `at` (B, T), in samples of the rows; UNKNOWN beyond their ends."""
        piece = np.searchsorted(
            self.row * self.width + self.begin,
            (np.arange(len(at)) * self.width)[:, None] + at.clip(0, self.width - 1),
            side="right",
        )
        piece -= 1
        where = ((self.source[piece] + at - self.begin[piece]) // UNIT_SAMPLES).astype(np.int64)
        phone: Ints = labels.phone[where.clip(0, len(labels.phone) - 1)].astype(np.int64)
        phone[self.source[piece] < 0] = 0
        phone[(at < 0) | (at >= self.width)] = UNKNOWN
        return phone


@dataclass(frozen=True, slots=True)
class Targets:
    """What is said in B crops of T frames: TrainingBatch's targets, target_lengths, symbols and phones."""

    ids: Ints
    lengths: Ints
    symbols: Ints
    phones: Ints


def label(plan: Plan, labels: Labels, grid: FrameGrid, frames: int, delay: int, blank: int) -> Targets:
    """The labels of crops of so many frames, made of the pieces of a plan.

    A letter belongs to a crop if the model can write it there: its time is between the centres of the first frame and
    of the one `delay` before the last. A crop does not begin with a word delimiter. A letter is the symbol of two
    frames, the nearest one plus `delay` and the next, unless the next is another letter's own. Of two letters of one
    frame the first has that frame, and the second the next.
    """
    half, samples = grid.field // 2, grid.span(0, frames)[1]
    row, at, id = plan.letters(labels)
    factor = plan.factor[row]
    inside = (at >= factor * half) & (at < factor * (samples - half - delay * grid.hop))
    row, at, id = row[inside], at[inside], id[inside]
    begins = np.ones(len(row), bool)
    begins[1:] = row[1:] != row[:-1]
    delimiter = labels.alphabet.delimiter
    kept = np.full(len(id), True) if delimiter is None else ~begins | (id != delimiter)
    row, at, id = row[kept], at[kept], id[kept]
    frame = (
        np.rint((at / plan.factor[row] - half) / grid.hop + LATE_FRAMES + delay).astype(np.int64).clip(0, frames - 1)
    )
    symbols = np.full((len(plan.factor), frames), blank)
    symbols[row, np.minimum(frame + 1, frames - 1)] = id  # where several letters write to a frame, the last one counts
    _, first = np.unique(
        row * frames + frame, return_index=True
    )  # where several letters have one frame, the first one counts
    symbols[row[first], frame[first]] = id[first]
    centres = ((np.arange(frames) - delay) * grid.hop + half) * plan.factor[:, None]
    return Targets(id, np.bincount(row, minlength=len(plan.factor)), symbols, plan.phones(labels, centres))
