"""One line of samples, on which what a container holds is laid at the time that the container gives."""

import math
from collections.abc import Iterator

import numpy as np

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.sources.converter import Samples

ROUNDING_SECONDS = 0.04
"""What begins less than this too early or too late has a time that was rounded: it follows on what came before."""
RESTART_SECONDS = 10.0
"""Times that jump back by more belong to a new recording, which follows on what came before."""
REPEATED_AGAIN_SECONDS = 1.0
"""Times that jump back again after less than this belong to a slow clock, not to a repetition."""
SILENCE_SECONDS = 1
"""Silence is given out in pieces of this length: a gap may be long."""
MOST_SILENCE = 10
"""Silence in all gaps, as a multiple of what is heard: a hostile file could make hours of a few bytes."""
LONGEST_GAP_SECONDS = 3600.0


class Timeline:
    """What is missing becomes silence, what overlaps is laid once, and times that begin anew go on where they are.

    longest_gap    seconds of silence that one gap may become; all together ten times what is heard, and this once
    """

    def __init__(self, longest_gap: Seconds) -> None:
        self.end: Seconds = 0.0
        """Where the next samples follow on."""
        self.shortened: Seconds = 0.0
        """Seconds by which gaps were cut to the longest gap."""
        self._longest_gap = longest_gap
        self._shift: Seconds = 0.0
        self._silent: Seconds = 0.0
        self._first: Seconds | None = None  # the time at which this part begins, and at which its newest samples end
        self._until = -math.inf
        self._repeating = False  # what has been laid already comes once more
        self._since: Seconds = math.inf  # seconds of samples since times jumped back
        self._restarted()

    def begin(self) -> None:
        """A new part of the recording: its time 0 is where the last part ended."""
        self._shift = self.end
        self._restarted()

    def lay(self, samples: Samples, rate: int, at: Seconds | None) -> Iterator[Samples]:
        """Gives out what belongs next on the line: samples (C, S) at `rate`, before them silence.

        at    seconds since the part began at which the container plays the first of them; None: it doesn't say
        """
        late = 0.0 if at is None else self._lateness(at, samples.shape[1] / rate)
        if late >= ROUNDING_SECONDS:
            yield from self._silence(late, rate, len(samples))
        elif late <= -ROUNDING_SECONDS:
            samples = samples[:, round(-late * rate) :]
        yield self._laid(samples, rate)

    def _lateness(self, at: Seconds, length: Seconds) -> Seconds:
        """How much after the end what is played at this time belongs; negative: that much has been laid already."""
        late = at + self._shift - self.end
        first = at if self._first is None else self._first
        jumped = at <= self._until - ROUNDING_SECONDS
        anew = late <= -RESTART_SECONDS or (jumped and at < first + ROUNDING_SECONDS)
        slow = jumped and self._since < REPEATED_AGAIN_SECONDS  # what jumps back all the time is no repetition
        self._first, self._until, self._since = first, at + length, length + (0.0 if jumped else self._since)
        self._repeating = late <= -ROUNDING_SECONDS and not anew and not slow and (jumped or self._repeating)
        if late <= -ROUNDING_SECONDS and not self._repeating:
            self._shift -= late
            return 0.0
        return late

    def _restarted(self) -> None:
        self._base, self._count, self._rate = self.end, 0, 0
        self._first, self._until = None, -math.inf
        self._repeating, self._since = False, math.inf

    def _silence(self, length: Seconds, rate: int, channels: int) -> Iterator[Samples]:
        heard = self.end - self._silent
        most = max(0.0, min(self._longest_gap, self._longest_gap + MOST_SILENCE * heard - self._silent))
        if (excess := length - most) > 0:
            self.shortened += excess
            self._shift -= excess
            length = most
        self._silent += length
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
