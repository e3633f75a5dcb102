"""How far a run is, by the clock or by steps, and what that does to learning rates."""

import time
from dataclasses import dataclass

from engine.errors import ConfigError

LONGEST = 30.0
"""Seconds that a step may take at most: what is beyond that is a machine that was paused, or a compiler at work."""


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

    def tick(self) -> float:
        """Counts what has passed since the last tick, at most LONGEST; returns all seconds so far."""
        now = time.monotonic()
        self.seconds += min(now - self._last, LONGEST)
        self._last = now
        return self.seconds

    @property
    def since_start(self) -> float:
        """Seconds of this start."""
        return self.seconds - self.before
