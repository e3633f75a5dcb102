"""How many streams fit: the work that each may need, against the measured speed of the device and of this process.

A stream whose partials may thin out counts with its hops doubled twice. The server is full when one more stream does
not fit.
"""

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.config import Timing
from earshot_asr.engine.cost import USABLE_SHARE, Cost, frames_a_second
from earshot_asr.engine.errors import EarshotError

SMOOTHING_SHARE = 0.05
"""Weight of the newest batch in the running measurement."""


class Full(EarshotError):
    """There is no room for one more stream."""


UNKNOWN = Cost(0.0, 0.0)


class Capacity:
    """Adds up the work that the open streams may need.

    streams    how many may be open; None: as many as fit
    """

    def __init__(self, cost: Cost, streams: int | None = None) -> None:
        self._cost = cost
        self._most = streams
        self._open: dict[int, float] = {}  # frames a second of each stream, by its number

    @property
    def cost(self) -> Cost:
        """The newest measurement."""
        return self._cost

    @property
    def used(self) -> float:
        """Share of the capacity that the open streams may need; above 1 if the device has become slower."""
        return self._share(list(self._open.values()))

    def load(self, timing: Timing) -> float:
        """Share of the capacity that one stream with these settings may need; above 1 its text comes ever later."""
        return self._share([frames_a_second(timing)])

    def room(self, timing: Timing) -> int:
        """How many streams with these settings fit, if there are no others; at least one."""
        return max(1, int(1 / max(self.load(timing), 1e-6)))

    def fits(self, timing: Timing) -> bool:
        """Whether one more stream may be admitted. The first always is, however slow the device is."""
        return not self._open or self._share([*self._open.values(), frames_a_second(timing)]) <= 1

    def require(self, timing: Timing) -> None:
        """Raises Full if one more stream may not be admitted."""
        if not self.fits(timing):
            count = "one stream" if len(self._open) == 1 else f"{len(self._open)} streams"
            raise Full(f"the server is full, with {count}; try again later, or another server")

    def add(self, stream: int, timing: Timing) -> None:
        """Admits a stream. Raises Full."""
        self.require(timing)
        self._open[stream] = frames_a_second(timing)

    def remove(self, stream: int) -> None:
        """A stream has ended."""
        self._open.pop(stream, None)

    def _share(self, streams: list[float]) -> float:
        if self._most is not None:
            return len(streams) / self._most
        return max(self._cost.frame * sum(streams), self._cost.process * len(streams)) / USABLE_SHARE

    def record(self, frames: int, seconds: Seconds) -> None:
        """A full batch took this long: the device may have become slower, or be shared with other programs."""
        frame = self._cost.frame + SMOOTHING_SHARE * (seconds / frames - self._cost.frame)
        self._cost = Cost(frame, self._cost.process)
