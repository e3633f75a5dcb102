"""The schedule of learning rates, and the clock that measures how much of it is done."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from earshot_asr.engine.errors import ConfigError

LOOK_SECONDS, LONGEST_LOOK_SECONDS = 1.0, 30.0
"""How often somebody looks at the clock, and the most that counts between two looks."""


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
    """Counts the seconds of a run over all starts, all that it does included, but for time in which it was paused.

    A process that is stopped, or whose machine sleeps, does not look at its clock: of a time between two looks no more
    than LONGEST_LOOK_SECONDS counts. So somebody has to look often, whatever else is done: see `watched`.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        """seconds: those of the starts before."""
        self.seconds = self.before = seconds
        self._last = time.monotonic()
        self._lock = threading.Lock()

    def tick(self) -> float:
        """Looks at the clock; returns all seconds so far."""
        with self._lock:
            now = time.monotonic()
            self.seconds += min(now - self._last, LONGEST_LOOK_SECONDS)
            self._last = now
            return self.seconds

    def advance(self, seconds: float) -> None:
        """Sets the clock to `seconds`, if it is behind: another process of the run has counted them."""
        with self._lock:
            self.seconds = max(self.seconds, seconds)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A context in which a thread looks at the clock every second."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(LOOK_SECONDS):
                self.tick()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
