"""When to try again: ever later, at random, and not for ever. Sans-I/O.

Full jitter (M. Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015): of a thousand clients that a
server has lost at once, no two come back together.
"""

import random
import time
from collections.abc import Callable

from earshot_asr.engine.audio import Seconds

STEADY_SECONDS = 60.0
"""A connection that lasted for so long was a good one, also where nothing was said."""


class Backoff:
    """Waits between attempts, for as long as there is time left.

    limit     how long there may be no connection, in seconds
    first     longest wait before the first attempt; it doubles with each
    longest   up to here

    Attempts and time count on from one loss to the next, unless something was achieved in between, or the connection
    was a steady one: a server that fails on the same audio every time is not asked for ever.
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
        self._spent: Seconds = 0.0  # without a connection, before this loss
        self._lost: Seconds | None = None
        self._found: Seconds = clock()

    def lost(self) -> None:
        """The connection is gone."""
        self._lost = self._clock()
        if self._lost - self._found >= STEADY_SECONDS:
            self.achieved()

    def wait(self) -> Seconds:
        """How long to wait before the next attempt; never longer than there is time left."""
        ceiling = min(self._longest, self._first * 2.0 ** min(self.attempts, 60))
        self.attempts += 1
        return max(0.0, min(self.left, self._uniform(0.0, ceiling)))

    def found(self) -> None:
        """There is a connection again."""
        self._found = self._clock()
        if self._lost is not None:
            self._spent, self._lost = self._spent + self._found - self._lost, None

    def achieved(self) -> None:
        """It was of use: the next loss begins anew."""
        self.attempts, self._spent = 0, 0.0

    @property
    def left(self) -> Seconds:
        """Time in which to try; 0 and less: none."""
        return self.limit - self._spent - (0.0 if self._lost is None else self._clock() - self._lost)
