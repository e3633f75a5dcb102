"""One line of samples, on which what a container holds is laid at the time that the container gives."""

from collections.abc import Iterator

import numpy as np

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.sources.converter import Samples

ROUNDING_SECONDS = 0.04
"""What begins less than this too early or too late has a time that was rounded: it follows on what came before."""
RESTART_SECONDS = 10.0
"""Times that jump back by more belong to a new recording, which follows on what came before."""
SILENCE_SECONDS = 1
"""Silence is given out in pieces of this length: a gap may be long."""
LONGEST_GAP_SECONDS = 3600.0


class Timeline:
    """What is missing becomes silence, what overlaps is laid once, and times that begin anew go on where they are.

    longest_gap    seconds of silence that one gap may become
    """

    def __init__(self, longest_gap: Seconds) -> None:
        self.end: Seconds = 0.0
        """Where the next samples follow on."""
        self.shortened: Seconds = 0.0
        """Seconds by which gaps were cut to the longest gap."""
        self._longest_gap = longest_gap
        self._shift: Seconds = 0.0
        self._restarted()

    def begin(self) -> None:
        """A new part of the recording: its time 0 is where the last part ended."""
        self._shift = self.end
        self._restarted()

    def lay(self, samples: Samples, rate: int, at: Seconds | None) -> Iterator[Samples]:
        """Gives out what belongs next on the line: samples (C, S) at `rate`, before them silence.

        at    seconds since the part began at which the container plays the first of them; None: it doesn't say
        """
        late = 0.0 if at is None else at + self._shift - self.end
        if late <= -RESTART_SECONDS or (late <= -ROUNDING_SECONDS and at is not None and at < ROUNDING_SECONDS):
            self._shift -= late
            late = 0.0
        if late >= ROUNDING_SECONDS:
            yield from self._silence(late, rate, len(samples))
        elif late <= -ROUNDING_SECONDS:
            samples = samples[:, round(-late * rate) :]
        yield self._laid(samples, rate)

    def _restarted(self) -> None:
        self._base, self._count, self._rate = self.end, 0, 0

    def _silence(self, length: Seconds, rate: int, channels: int) -> Iterator[Samples]:
        if (excess := length - self._longest_gap) > 0:
            self.shortened += excess
            self._shift -= excess
            length = self._longest_gap
        left = round(length * rate)
        while left > 0:
            yield self._laid(np.zeros((channels, min(left, SILENCE_SECONDS * rate)), np.float32), rate)
            left -= SILENCE_SECONDS * rate

    def _laid(self, samples: Samples, rate: int) -> Samples:
        """Counted in samples, so that no rounding adds up."""
        if rate != self._rate:
            self._base, self._count, self._rate = self.end, 0, rate
        self._count += samples.shape[1]
        self.end = self._base + self._count / rate
        return samples
