"""Where utterances begin and end, decided from the audio alone.

A block is a frame hop of audio: block b is the samples [hop b, hop (b + 1)).
"""

from collections import deque
from typing import Protocol

import numpy as np

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.engine.config import Timing


class VoiceDetector(Protocol):
    """Decides for each block whether somebody is speaking.

    The decision depends only on the newest `lookback` blocks and on whether the stream began within them. So the
    detector need not be restarted at a cut.
    """

    lookback: int

    def feed(self, blocks: Pcm) -> list[bool]:
        """Takes the next blocks, samples (N, hop); returns for each whether it is voiced."""
        ...


SUMMED_SAMPLES = 8
ONES = np.ones(SUMMED_SAMPLES)
SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0])


class EnergyGate:
    """A block is voiced if its energy is well above the noise floor, the least smoothed energy of the last 2 seconds.

    Energies are those of the band of voices, about 0.4 to 1.3 kHz, which hiss, hum, rumble and offset do not reach: of
    the second difference of sums of 8 samples (Rabiner and Sambur 1975 for the idea; Martin 2001, "minimum statistics",
    for the floor). In the first two seconds of a stream, the floor weighs the less, the less of it has been heard: a
    speaker who begins at once is not mistaken for noise, and noise passes for speech little longer than a second. All
    numbers are integers: the decisions are the same on any machine.
    """

    FLOOR_WINDOW_SAMPLES = 2 * SAMPLE_RATE
    SMOOTHED_SAMPLES = 2 * SAMPLE_RATE // 25
    VOICED_RATIO = 4
    """Energy over the noise floor from which a block is voiced: 6 dB."""
    QUIET_POWER = 2
    """Mean square, in steps of 16-bit samples, of white noise that counts as silence in any room."""

    def __init__(self, hop: int, *, stream_start: bool = True) -> None:
        self.window = self.FLOOR_WINDOW_SAMPLES // hop
        smoothed = max(1, self.SMOOTHED_SAMPLES // hop)
        self.lookback = self.window + smoothed
        self._missing = -hop % SUMMED_SAMPLES
        self._sums = (hop + self._missing) // SUMMED_SAMPLES  # of a block
        gain = 6 * SUMMED_SAMPLES  # of a second difference of sums, for the power of white noise
        self._quiet = self.VOICED_RATIO * self.QUIET_POWER * gain * (self._sums - 2)
        self._block = 0
        self._stream_start = stream_start
        self._recent: deque[int] = deque(maxlen=smoothed)  # energies
        self._least: deque[tuple[int, int]] = deque()  # (block, energy), energies increasing: the sliding minimum

    def feed(self, blocks: Pcm) -> list[bool]:
        """Takes the next blocks, samples (N, hop); returns for each whether it is voiced."""
        return list(map(self._judge, self.energies(blocks)))

    def energies(self, blocks: Pcm) -> list[int]:
        """Of each block (N, hop). In as few steps as possible: messages are short, and each step takes a microsecond.

        All numbers are integers below 2^53, which double precision adds and multiplies exactly, in any order.
        """
        if not len(blocks):
            return []
        if self._missing:
            blocks = np.pad(blocks, ((0, 0), (0, self._missing)))
        sums = blocks.astype(np.float64).reshape(-1, SUMMED_SAMPLES).dot(ONES)
        bends = np.correlate(sums, SECOND_DIFFERENCE)  # two of every block reach into the next one
        energies = []
        for first in range(0, len(sums), self._sums):
            own = bends[first : first + self._sums - 2]
            energies.append(int(own.dot(own)))
        return energies

    def _judge(self, energy: int) -> bool:
        recent, least, block = self._recent, self._least, self._block
        recent.append(energy)
        smooth = sum(recent) // len(recent)
        while least and least[-1][1] >= smooth:
            least.pop()
        least.append((block, smooth))
        if least[0][0] <= block - self.window:
            least.popleft()
        self._block = block = block + 1
        _, floor = least[0]
        if self._stream_start and block < self.window:
            floor = floor * block**2 // self.window**2
        return energy > self._quiet and energy > self.VOICED_RATIO * floor


class Endpointer:
    """Finds the start and the end of the first utterance after a cut. Positions are frames.

    start    first frame of the utterance; None in silence
    end      one past its last frame; None while it lasts
    until    where the utterance would end if all later blocks were silent
    """

    def __init__(self, timing: Timing, cut: int) -> None:
        self.timing = timing
        self.cut = cut
        self.block = cut
        self.start: int | None = None
        self.end: int | None = None
        self._run = 0
        self._voiced = cut  # one past the last voiced block

    @property
    def until(self) -> int:
        """One past the last frame that is worth encoding, as far as is known now."""
        return self._voiced + self.timing.tail

    @property
    def complete(self) -> int:
        """How many frames are complete with the newest block."""
        return self.timing.grid.frames(self.block * self.timing.grid.hop)

    @property
    def silent_cut(self) -> int | None:
        """In lasting silence, the frame at which to cut: a pre-roll before the newest block, at the latest after
        the last complete frame."""
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
        """There are no more blocks: speech that has just begun is an utterance, however short."""
        if self.start is None and self._run:
            self._open()

    def _open(self) -> None:
        self.start = max(self.cut, self.block - self._run - self.timing.preroll)
