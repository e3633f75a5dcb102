"""The schedule of learning rates, and the clock that measures how much of it is done."""

import time
from collections import deque
from dataclasses import dataclass
from statistics import median

from earshot_asr.engine.errors import ConfigError

LONGEST_STEP_SECONDS = 30.0
"""The most that the clock counts for a step, unless recent ones were slow: the process was paused, or compiling."""
SLOWEST_FACTOR = 3.0
"""Factor on the median of recent steps, which the clock counts in any case."""
RECENT_STEPS = 5


@dataclass(frozen=True, slots=True)
class Schedule:
    """Learning rates that rise linearly, stay, and fall linearly to zero.

    warmup, hold   shares of the schedule in which they rise and stay, together less than 1
    """

    warmup: float
    hold: float

    def __post_init__(self) -> None:
        if not (self.warmup >= 0 and self.hold >= 0 and self.warmup + self.hold < 1):
            raise ConfigError(
                f"warm-up {self.warmup:g} and hold {self.hold:g} must be from 0 on and leave a part of 1 to the decay"
            )

    def factor(self, share: float) -> float:
        """Factor on the peak rates, 0 to 1, when `share` of the schedule is done; above 0 until it is done."""
        if share < self.warmup:
            return max(share / self.warmup, 0.01)
        return max(0.0, min(1.0, (1 - share) / (1 - self.warmup - self.hold)))


class Clock:
    """Counts the seconds of work over all starts. seconds: those of the starts before."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = self.before = seconds
        self._last = time.monotonic()
        self._recent: deque[float] = deque(maxlen=RECENT_STEPS)

    def skip(self) -> None:
        """Leaves out the time since the last tick."""
        self._last = time.monotonic()

    def tick(self) -> float:
        """Counts the time since the last tick, up to a limit for pauses; returns all seconds so far."""
        now = time.monotonic()
        most = LONGEST_STEP_SECONDS
        if self._recent:
            most = max(most, SLOWEST_FACTOR * median(self._recent))
        self._recent.append(min(now - self._last, most))
        self.seconds += self._recent[-1]
        self._last = now
        return self.seconds

    @property
    def since_start(self) -> float:
        """Seconds that this start has counted."""
        return self.seconds - self.before
