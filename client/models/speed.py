"""How fast this machine computes models: measured once with the bundled one, and kept in a file of the user's."""

import json
import os
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid, Seconds
from earshot_asr.engine.catalogue import OPERATIONS
from earshot_asr.engine.config import StreamConfig, Timing
from earshot_asr.engine.cost import USABLE_SHARE, frames_a_second, measure
from earshot_asr.engine.errors import OutputError
from earshot_asr.engine.fingerprint import store
from earshot_asr.engine.loading import cuda_is_possible, load_runner
from earshot_asr.engine.whole import write_text

GRID = FrameGrid(320, 400)
"""Frames of wav2vec 2.0, which the estimate assumes."""


@dataclass(frozen=True, slots=True)
class Speed:
    """A measured speed.

    operations    multiplications with addition that the device does in a second, in full batches
    process       seconds of this process for one second of a stream's audio, the device left out
    """

    device: str
    operations: float
    process: Seconds

    def streams(self, operations: float | None) -> float | None:
        """Streams that fit of a model that takes so many operations for a second of audio, if there are no others."""
        if operations is None:
            return None
        encoded = frames_a_second(Timing.of(StreamConfig(), GRID, 0, 0)) * GRID.hop / SAMPLE_RATE
        return USABLE_SHARE / max(encoded * operations / self.operations, self.process)


def kept() -> Speed | None:
    """The speed that was measured; None if it was not yet, or on what is another machine, device or torch now."""
    with suppress(OSError, ValueError, TypeError, LookupError, AttributeError):
        content = json.loads(_file().read_text(encoding="utf-8"))
        if content.pop("on") == _machine():
            return Speed(**content)
    return None


def measured() -> Speed:
    """Measures the speed, which takes some seconds, and keeps it. Raises what loading the bundled model raises."""
    runner = load_runner()
    cost = measure(runner, StreamConfig())
    frame = runner.info.grid.hop / SAMPLE_RATE
    speed = Speed(runner.device, OPERATIONS["bundled"] * frame / cost.frame, cost.process)
    with suppress(OSError, OutputError):  # where nothing can be kept, it is measured each time
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_text(_file(), json.dumps({"on": _machine(), **asdict(speed)}))
    return speed


def _file() -> Path:
    return store().with_name("speed.json")


def _machine() -> list[object]:
    """What the speed depends on, as far as that is known without torch."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return [platform.node(), platform.machine(), cores, threads, cuda_is_possible(), version("torch")]
