"""The loop around the device: who is told what, also when it breaks."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from unittest.mock import patch

import numpy as np
import pytest

from earshot_asr.engine.audio import LogProbs, Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.cost import Cost
from earshot_asr.engine.events import Final
from earshot_asr.engine.pool import RunnerPool
from earshot_asr.engine.recognizer import Batch, Stream
from earshot_asr.engine.scheduler import Job
from earshot_asr.engine.windows import Window
from earshot_asr.server.capacity import Capacity, Full
from earshot_asr.server.engine_loop import EngineLoop
from earshot_asr.server.metrics import Metrics
from tests.helpers import FakeRunner, silence, speak
from tests.server.loopback import until

CONFIG = StreamConfig(partials=False)


class Owner:
    """The owner of a stream; counts."""

    def __init__(self) -> None:
        self.results = 0
        self.failures = 0

    def advanced(self) -> None:
        self.results += 1

    def failed(self, error: BaseException) -> None:
        self.failures += 1
        self.error = error


@asynccontextmanager
async def working(runner: FakeRunner, capacity: Capacity | None = None, runners: int = 1) -> AsyncIterator[EngineLoop]:
    pool = RunnerPool([lambda: runner] * runners)
    pool.begin([loading.result() for loading in pool.load()])
    engine = EngineLoop(pool, capacity or Capacity(Cost(1e-6, 1e-6)), Metrics())
    loop = asyncio.create_task(engine.run())
    try:
        yield engine
        assert not loop.done()
    finally:
        loop.cancel()
        await asyncio.wait([loop])
        pool.close()


def tell(engine: EngineLoop, stream: Stream, pcm: Pcm) -> None:
    assert stream.feed(np.concatenate([silence(0.2), pcm, silence(0.2)])) > 0
    stream.finish()
    engine.wake()


def text(stream: Stream) -> list[str]:
    return [event.text for event in stream.events() if isinstance(event, Final)]


async def test_an_idle_loop_wakes() -> None:
    async with working(FakeRunner()) as engine:
        await asyncio.sleep(0)
        owners = [Owner(), Owner()]
        streams = [engine.open(CONFIG, owner) for owner in owners]
        for stream, word in zip(streams, ("ONE", "TWO"), strict=True):
            tell(engine, stream, speak(word))
        await until(lambda: all(stream.done for stream in streams))
        assert [text(stream) for stream in streams] == [["ONE"], ["TWO"]]
        assert [(owner.results, owner.failures) for owner in owners] == [(1, 0), (1, 0)]


async def test_a_batch_that_fails_ends_its_own_streams() -> None:
    loud = FakeRunner(fail_on=lambda pcm: bool(np.abs(pcm.astype(np.int32)).max() > 30_000))
    async with working(loud) as engine:
        owners = [Owner(), Owner()]
        bad, good = (engine.open(CONFIG, owner) for owner in owners)
        tell(engine, bad, speak("A") * np.int16(16))
        await until(lambda: owners[0].failures == 1)
        tell(engine, good, speak("GOOD"))
        await until(lambda: good.done)
        assert text(good) == ["GOOD"]
        assert (owners[1].results, owners[1].failures) == (1, 0)
    assert str(owners[0].error) == "the device is on fire"


async def test_a_window_that_fails_takes_no_other_of_its_batch_along(caplog: pytest.LogCaptureFixture) -> None:
    loud = FakeRunner(fail_on=lambda pcm: bool(np.abs(pcm.astype(np.int32)).max() > 30_000))
    async with working(loud) as engine:
        owners = [Owner() for _ in range(3)]
        streams = [engine.open(CONFIG, owner) for owner in owners]
        for stream, loudness in zip(streams, (1, 16, 1), strict=True):
            tell(engine, stream, speak("A") * np.int16(loudness))
        await until(lambda: owners[1].failures == 1 and streams[0].done and streams[2].done)
        assert [text(stream) for stream in streams] == [["A"], [], ["A"]]
        assert [owner.failures for owner in owners] == [0, 1, 0]
    assert "a batch of 3 windows failed" in caplog.text


async def test_with_two_runners_two_batches_are_computed_at_a_time() -> None:
    class Meeting(FakeRunner):
        """Computes only while the other runner does as well."""

        barrier = threading.Barrier(2)

        def run(self, windows: Sequence[Pcm]) -> list[LogProbs]:
            self.barrier.wait(timeout=60)
            return super().run(windows)

    runner = Meeting(batch_frames=1)  # each window is a batch
    async with working(runner, runners=2) as engine:
        streams = [engine.open(CONFIG, Owner()) for _ in range(2)]
        for stream, word in zip(streams, ("ONE", "TWO"), strict=True):
            tell(engine, stream, speak(word))
        await until(lambda: all(stream.done for stream in streams))
        assert [text(stream) for stream in streams] == [["ONE"], ["TWO"]]


async def test_a_closed_stream_is_not_told_of() -> None:
    runner = FakeRunner()
    async with working(runner) as engine:
        owner = Owner()
        stream = engine.open(CONFIG, owner)
        tell(engine, stream, speak("GONE"))
        engine.close(stream)
        other = engine.open(CONFIG, Owner())
        tell(engine, other, speak("HERE"))
        await until(lambda: other.done)
        assert (owner.results, owner.failures) == (0, 0)
        assert runner.windows == 1


async def test_what_does_not_fit_is_forgotten() -> None:
    async with working(FakeRunner(), Capacity(Cost(0.0, 0.0), streams=1)) as engine:
        first = engine.open(CONFIG, Owner())
        for _ in range(3):
            with pytest.raises(Full):
                engine.open(CONFIG, Owner())
        assert engine.streams == len(engine.recognizer._streams) == 1
        engine.close(first)
        engine.close(engine.open(CONFIG, Owner()))
        assert not engine.recognizer._streams


async def test_full_batches_are_measured_and_small_ones_not() -> None:
    capacity = Capacity(Cost(1.0, 1e-6))
    async with working(FakeRunner(), capacity) as engine:
        stream = engine.open(CONFIG, Owner())
        tell(engine, stream, speak("SHORT"))
        await until(lambda: stream.done)
        assert capacity.cost.frame == 1.0
        engine.close(stream)
        stream = engine.open(CONFIG, Owner())
        tell(engine, stream, speak("A VERY LONG ONE " * 4, blocks=4))
        await until(lambda: stream.done)
        assert capacity.cost.frame < 1.0


async def test_the_cost_of_two_runners_is_half_of_that_of_a_batch() -> None:
    """As many batches are computed at a time."""
    costs = []
    for runners in (1, 2):
        capacity = Capacity(Cost(0.0, 1e-6))
        async with working(FakeRunner(), capacity, runners) as engine:
            with patch.object(capacity, "record", wraps=capacity.record) as recorded:
                batch = Batch([Job(1, Window(0, 400, 0, 400, True, False, 0), 0.0)], [], [])
                engine._measure(batch, 1.0)
            costs.append(recorded.call_args.args)
    assert costs == [(400, 1.0), (400, 0.5)]
