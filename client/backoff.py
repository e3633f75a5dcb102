"""Exponential backoff with full jitter and a time limit. No I/O.

Full jitter (M. Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015) keeps clients that lost their
server at the same moment from reconnecting at the same moment.
"""

import random
import time
from collections.abc import Callable

from earshot_asr.engine.audio import Seconds

STEADY_SECONDS = 60.0
"""A connection that lasted this long counts as working, even if no text was committed over it."""


class Backoff:
    """Says how long to wait before the next attempt to reconnect, and when to give up.

    limit     maximum time without a connection, in seconds
    first     maximum wait before the first attempt, in seconds; it doubles with each attempt
    longest   upper limit of that maximum, in seconds

    Attempts and time add up over successive losses, unless text was committed in between or the connection lasted
    STEADY_SECONDS. So the client gives up on a server that fails again and again on the same audio.
    """

    def __init__(
        self,
        limit: Seconds,
        first: Seconds = 0.1,
        longest: Seconds = 5.0,
        clock: Callable[[], Seconds] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.limit = limit
        self.attempts = 0
        self._first, self._longest = first, longest
        self._clock, self._uniform = clock, uniform
        self._spent: Seconds = 0.0  # without a connection, before the current loss
        self._lost: Seconds | None = None
        self._found: Seconds = clock()

    def lost(self) -> None:
        """The connection was lost."""
        self._lost = self._clock()
        if self._lost - self._found >= STEADY_SECONDS:
            self.achieved()

    def wait(self) -> Seconds:
        """Counts an attempt and returns the seconds to wait before it, at most `left`."""
        ceiling = min(self._longest, self._first * 2.0 ** min(self.attempts, 60))
        self.attempts += 1
        return max(0.0, min(self.left, self._uniform(0.0, ceiling)))

    def found(self) -> None:
        """The client is connected again."""
        self._found = self._clock()
        if self._lost is not None:
            self._spent, self._lost = self._spent + self._found - self._lost, None

    def achieved(self) -> None:
        """The connection works: resets attempts and time for the next loss."""
        self.attempts, self._spent = 0, 0.0

    @property
    def left(self) -> Seconds:
        """Seconds left for attempts; none if 0 or less."""
        return self.limit - self._spent - (0.0 if self._lost is None else self._clock() - self._lost)
