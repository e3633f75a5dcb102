"""How far a run is, by the clock or by steps, and what that does to learning rates."""

import time
from collections import deque
from dataclasses import dataclass
from statistics import median

from earshot_asr.engine.errors import ConfigError

LONGEST = 30.0
"""Seconds that a step may take at most, unless all are slow: beyond that, a machine was paused or compiling."""
SLOWER = 3.0
"""So many times the median of recent steps one may take in any case."""
RECENT = 5


@dataclass(frozen=True, slots=True)
class Schedule:
    """Three stages, as fairseq's tri_stage, whose last one is exponential: rates rise, hold, and fall linearly to zero.

    warmup, hold: shares of the whole, together less than 1.
    """

    warmup: float
    hold: float

    def __post_init__(self) -> None:
        if not (self.warmup >= 0 and self.hold >= 0 and self.warmup + self.hold < 1):
            raise ConfigError(
                f"warm-up {self.warmup:g} and hold {self.hold:g} must be from 0 on and leave a part of 1 to the decay"
            )

    def factor(self, share: float) -> float:
        """On learning rates, 0 to 1, when `share` of the schedule is done; never 0 while there is something to do."""
        if share < self.warmup:
            return max(share / self.warmup, 0.01)
        return max(0.0, min(1.0, (1 - share) / (1 - self.warmup - self.hold)))


class Clock:
    """Seconds of work over all starts. `seconds`: of the starts before."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = self.before = seconds
        self._last = time.monotonic()
        self._recent: deque[float] = deque(maxlen=RECENT)

    def skip(self) -> None:
        """What has passed since the last tick does not count."""
        self._last = time.monotonic()

    def tick(self) -> float:
        """Counts what has passed, at most LONGEST or SLOWER recent steps; returns all seconds so far."""
        now = time.monotonic()
        most = max(LONGEST, SLOWER * median(self._recent)) if self._recent else LONGEST
        self._recent.append(min(now - self._last, most))
        self.seconds += self._recent[-1]
        self._last = now
        return self.seconds

    @property
    def since_start(self) -> float:
        """Seconds of this start."""
        return self.seconds - self.before
