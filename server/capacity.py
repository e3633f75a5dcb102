"""How many streams fit: the work that each may need, against the measured speed of the device and of this process.

A stream whose partials may thin out counts with its hops doubled twice. The server is full when one more stream does
not fit.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from earshot_asr.engine.audio import SAMPLE_RATE, LogProbs, Pcm, Seconds
from earshot_asr.engine.config import StreamConfig, Timing
from earshot_asr.engine.errors import EarshotError
from earshot_asr.engine.model import Runner
from earshot_asr.engine.recognizer import Recognizer
from earshot_asr.engine.scheduler import MERGED_HOPS

USABLE_SHARE = 0.9
"""Share of each second of device and process that streams may use."""
UTTERANCE_SECONDS = 5
"""Assumed length of an utterance. The shorter they are, the more the context of their final windows costs."""
SMOOTHING_SHARE = 0.05
"""Weight of the newest batch in the running measurement."""
TRIALS = 3
TRIAL_SECONDS = 4
"""Audio of one trial of the process; and no new trial is begun once they took this long together."""


class Full(EarshotError):
    """There is no room for one more stream."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Measured costs.

    frame     seconds of the device for one frame of a window, in a full batch
    hearing   seconds of this process for one second of a stream's audio, the device left out
    """

    frame: Seconds
    hearing: Seconds


UNKNOWN = Speed(0.0, 0.0)


class Capacity:
    """Adds up the work that the open streams may need.

    streams    how many may be open; None: as many as fit
    """

    def __init__(self, speed: Speed, streams: int | None = None) -> None:
        self._speed = speed
        self._most = streams
        self._open: dict[int, float] = {}  # frames a second of each stream, by its number

    @property
    def speed(self) -> Speed:
        """The newest measurement."""
        return self._speed

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

    def add(self, stream: int, timing: Timing) -> None:
        """Admits a stream. Raises Full."""
        if not self.fits(timing):
            raise Full(f"the server is full, with {len(self._open)} streams; try again later, or another server")
        self._open[stream] = frames_a_second(timing)

    def remove(self, stream: int) -> None:
        """A stream has ended."""
        self._open.pop(stream, None)

    def _share(self, streams: list[float]) -> float:
        if self._most is not None:
            return len(streams) / self._most
        return max(self._speed.frame * sum(streams), self._speed.hearing * len(streams)) / USABLE_SHARE

    def measured(self, frames: int, seconds: Seconds) -> None:
        """A full batch took this long: the device may have become slower, or be shared with other programs."""
        frame = self._speed.frame + SMOOTHING_SHARE * (seconds / frames - self._speed.frame)
        self._speed = Speed(frame, self._speed.hearing)


def frames_a_second(timing: Timing) -> float:
    """Frames that a stream needs encoded each second while somebody speaks, with hops merged where they may be."""
    t = timing
    rate = SAMPLE_RATE / t.grid.hop
    hop = t.hop * (MERGED_HOPS if t.provisional else 1)
    hops = (t.left + hop + t.right) / hop if t.hops else 0.0
    final = 1 + t.margin / (UTTERANCE_SECONDS * rate) if t.provisional else 0.0
    return rate * (hops + final)


def measure(runner: Runner, config: StreamConfig, clock: Callable[[], Seconds] = time.perf_counter) -> Speed:
    """Times full batches of noise, and a stream of noise without the device; takes the best of a few trials each."""
    recognizer = Recognizer(runner)
    timing = Timing.of(config, runner.info.grid)
    window = timing.left + timing.hop + timing.right
    first, last = timing.grid.span(0, window)
    batch = [_noise(last - first)] * max(1, recognizer.scheduler.batch_frames // window)

    while True:
        try:
            runner.run(batch)
            break
        except (
            Exception
        ):  # the batch may be too big for the device; the engine loop would then run its windows one by one
            if len(batch) == 1:
                raise
            batch = batch[: len(batch) // 2]

    def timed(work: Callable[[], object]) -> Seconds:
        took: list[Seconds] = []
        while len(took) < TRIALS and sum(took) < TRIAL_SECONDS:
            began = clock()
            work()
            took.append(clock() - began)
        return min(took)

    frame = timed(lambda: runner.run(batch)) / (len(batch) * window)
    speech = _noise(TRIAL_SECONDS * SAMPLE_RATE)
    hearing = timed(lambda: _hear(_NoDevice(runner), config, speech)) / TRIAL_SECONDS
    return Speed(frame, hearing)


def _noise(samples: int) -> Pcm:
    """Bursts of noise, which voice detection takes for speech."""
    loud = 1000 * (np.arange(samples) % SAMPLE_RATE < SAMPLE_RATE // 2) + 10
    return np.random.default_rng(0).normal(0, loud).astype(np.int16)


def _hear(runner: Runner, config: StreamConfig, pcm: Pcm) -> None:
    recognizer = Recognizer(runner)
    stream = recognizer.open(config)
    for at in range(0, len(pcm), SAMPLE_RATE // 10):
        stream.feed(pcm[at : at + SAMPLE_RATE // 10])
        while recognizer.step():
            pass
        stream.events()
    stream.finish()


class _NoDevice:
    """A runner that computes nothing."""

    def __init__(self, runner: Runner) -> None:
        self.info, self.device = runner.info, runner.device

    def run(self, windows: Sequence[Pcm]) -> list[LogProbs]:
        size = self.info.vocabulary.size
        return [np.full((self.info.grid.frames(len(pcm)), size), -np.log(size), np.float32) for pcm in windows]
