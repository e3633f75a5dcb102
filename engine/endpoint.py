"""Where utterances begin and end, decided from the audio alone.

A block is a frame hop of audio: block b is the samples [hop b, hop (b + 1)).
"""

from collections import deque
from typing import Protocol

import numpy as np

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.engine.config import Timing


class VoiceDetector(Protocol):
    """Says block by block whether somebody speaks.

    Its answer is a function of the newest `lookback` blocks and of whether the stream began within them; hence it
    needs no starting anew at a cut.
    """

    lookback: int

    def feed(self, blocks: Pcm) -> list[bool]:
        """Takes the next blocks, samples (N, hop), and judges each."""
        ...


class EnergyGate:
    """Voiced is what rises above the noise floor: the least smoothed energy of the last four seconds.

    Energies are those of the difference signal, which leaves rumble and offset out (Rabiner and Sambur 1975 for the
    idea; Martin 2001, "minimum statistics", for the floor). While a stream is younger than four seconds its floor is
    taken for low: what is said at once must not be taken for noise. Whole numbers throughout: the same on any machine.
    """

    WINDOW = 4 * SAMPLE_RATE
    SMOOTH = 3
    RATIO = 5
    """7 dB."""
    QUIET = 64
    """Mean square of the difference signal that passes for silence in any room: 8 of 32,768, squared."""

    def __init__(self, hop: int, *, stream_start: bool = True) -> None:
        self.window = self.WINDOW // hop
        self.lookback = self.window + self.SMOOTH
        self._quiet = self.QUIET * hop * self.SMOOTH
        self._block = 0
        self._stream_start = stream_start
        self._energies: deque[int] = deque(maxlen=self.SMOOTH)
        self._least: deque[tuple[int, int]] = deque()  # increasing energies, the classical sliding minimum

    def feed(self, blocks: Pcm) -> list[bool]:
        """Takes the next blocks, samples (N, hop), and judges each."""
        difference = np.diff(blocks.astype(np.int64))
        return [self._judge(energy) for energy in np.square(difference).sum(axis=1).tolist()]

    def _judge(self, energy: int) -> bool:
        self._energies.append(energy)
        smooth = sum(self._energies) * self.SMOOTH // len(self._energies)  # of SMOOTH blocks
        while self._least and self._least[-1][1] >= smooth:
            self._least.pop()
        self._least.append((self._block, smooth))
        if self._least[0][0] <= self._block - self.window:
            self._least.popleft()
        young = self._stream_start and self._block < self.lookback
        floor = self._quiet if young else max(self._least[0][1], self._quiet)
        self._block += 1
        return energy * self.SMOOTH > self.RATIO * floor


class Endpointer:
    """From one cut on: where the first utterance starts, and where it ends. All positions are frames or blocks.

    start    first frame of the utterance; None in silence
    end      the frame past its last; None while it lasts
    until    where the utterance would end if nobody said anything more
    """

    def __init__(self, timing: Timing, cut: int) -> None:
        self.timing = timing
        self.cut = cut
        self.block = cut
        self.start: int | None = None
        self.end: int | None = None
        self._run = 0
        self._voiced = cut  # the block past the last voiced one

    @property
    def until(self) -> int:
        """The frame past the last one that is worth encoding, as things stand."""
        return self._voiced + self.timing.tail

    @property
    def complete(self) -> int:
        """Frames that are complete with the newest block."""
        return self.timing.grid.frames(self.block * self.timing.grid.hop)

    @property
    def silent_cut(self) -> int | None:
        """In lasting silence: the frame at which to cut, a pre-roll behind the newest block, but no later than the last
        complete frame."""
        cut = min(self.block - self.timing.preroll, self.complete)
        return cut if self.start is None and not self._run and cut - self.cut >= self.timing.silent_cut else None

    def feed(self, voiced: bool) -> None:
        """Takes the next block."""
        self.block += 1
        self._run = self._run + 1 if voiced else 0
        if voiced:
            self._voiced = self.block
        if self.start is None:
            if self._run >= self.timing.attack:
                self._open()
        elif self.block - self._voiced >= self.timing.silence:
            self.end = min(self.until, self.complete)

    def finish(self) -> None:
        """No more blocks: what has just begun to be said is an utterance, however short."""
        if self.start is None and self._run:
            self._open()

    def _open(self) -> None:
        self.start = max(self.cut, self.block - self._run - self.timing.preroll)
