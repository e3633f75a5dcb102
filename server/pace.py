"""Whether live audio comes as fast as it says: a wrong sample rate can't be heard, but it can be timed. No clock."""

from collections import deque

STEADY_SECONDS = 10
"""For so long the audio has to come at one pace."""
UNEVEN_SHARE = 0.1
"""Seconds that differ by more than this from their mean are not steady."""
NEAR_SHARE = 0.015
RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
"""Rates at which audio is recorded."""
SPEEDS = (1.0, 1.5, 2.0, 4.0, 5.0, 8.0, 10.0)
"""Paces at which a file is sent on purpose."""


class Pace:
    """Counts the samples that came in each second; `tick` returns the rate that they seem to have, once.

    declared_hz    the rate that the sender says
    """

    def __init__(self, declared_hz: int) -> None:
        self._declared = declared_hz
        self._came = 0
        self._seconds: deque[int] = deque(maxlen=STEADY_SECONDS)
        self._told = False

    def feed(self, samples: int) -> None:
        """So many came."""
        self._came += samples

    def pause(self) -> None:
        """The server does not read: what comes then says nothing."""
        self._came = 0
        self._seconds.clear()

    def tick(self) -> int | None:
        """A second has passed. The rate at which the audio seems to have been recorded, if it is another."""
        self._seconds.append(self._came)
        self._came = 0
        if self._told or len(self._seconds) < STEADY_SECONDS:
            return None
        mean = sum(self._seconds) / STEADY_SECONDS
        if not mean or max(abs(each - mean) for each in self._seconds) > UNEVEN_SHARE * mean:
            return None
        if any(abs(mean / self._declared - speed) < NEAR_SHARE * speed for speed in SPEEDS):
            return None
        found = next((rate for rate in RATES_HZ if abs(mean - rate) < NEAR_SHARE * rate), None)
        self._told = found is not None
        return found
