"""How many streams fit: the work that each may need, against the measured speed of the device and of this process.

A stream whose partials may thin out counts with its hops doubled twice. The server is full when one more stream does
not fit.
"""

from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.engine.config import Timing
from earshot_asr.engine.cost import Cost
from earshot_asr.engine.errors import EarshotError
from earshot_asr.engine.scheduler import MOST_MERGED_HOPS

USABLE_SHARE = 0.9
"""Share of each second of device and process that streams may use."""
UTTERANCE_SECONDS = 5
"""Assumed length of an utterance. The shorter they are, the more the context of their final windows costs."""
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

    def room(self, timing: Timing) -> int:
        """How many streams with these settings fit, if there are no others; at least one."""
        return max(1, int(1 / max(self._share([frames_a_second(timing)]), 1e-6)))

    def fits(self, timing: Timing) -> bool:
        """Whether one more stream may be admitted. The first always is, however slow the device is."""
        return not self._open or self._share([*self._open.values(), frames_a_second(timing)]) <= 1

    def require(self, timing: Timing) -> None:
        """Raises Full if one more stream may not be admitted."""
        if not self.fits(timing):
            raise Full(f"the server is full, with {len(self._open)} streams; try again later, or another server")

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


def frames_a_second(timing: Timing) -> float:
    """Frames that a stream needs encoded each second while somebody speaks, with hops merged where they may be."""
    t = timing
    rate = SAMPLE_RATE / t.grid.hop
    hop = t.hop * (MOST_MERGED_HOPS if t.provisional else 1)
    hops = (t.left + hop + t.right) / hop if t.hops else 0.0
    final = 1 + t.margin / (UTTERANCE_SECONDS * rate) if t.provisional else 0.0
    return rate * (hops + final)
