"""The loop around the recognizer, with the device in a thread of its own.

Everything but the runner is called on the event loop, so nothing here needs a lock.
"""

import asyncio
import logging
import time
from concurrent.futures import Executor
from typing import Protocol

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.model import Runner
from earshot_asr.engine.recognizer import Batch, Place, Recognizer, Result, Stream
from earshot_asr.engine.session import timing_of
from earshot_asr.server.capacity import Capacity, Full
from earshot_asr.server.metrics import Metrics

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Whoever owns a stream."""

    def advanced(self) -> None:
        """The stream has got a result."""
        ...

    def failed(self, error: BaseException) -> None:
        """A window of the stream could not be computed: the stream can't go on."""
        ...


class Worker:
    """Runs the windows of all streams, batch after batch.

    device      an executor of one thread, the one that owns the device
    capacity    says how many streams there may be
    """

    def __init__(self, runner: Runner, device: Executor, capacity: Capacity, metrics: Metrics) -> None:
        self.runner = runner
        self.recognizer = Recognizer(runner)
        self.capacity = capacity
        self.metrics = metrics
        self._device = device
        self._wake = asyncio.Event()
        self._superseded = 0  # as far as the metrics know
        self._listeners: dict[int, Listener] = {}  # by the stream's number

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._listeners)

    def open(self, config: StreamConfig, listener: Listener, place: Place | None = None) -> Stream:
        """A stream, new or resumed, whose owner hears when it has got on. Raises Full; ConfigError as Session does."""
        stream = self.recognizer.open(config, place)
        try:
            self.capacity.add(stream.number, stream.timing)
        except Full:
            stream.close()
            raise
        self._listeners[stream.number] = listener
        return stream

    def close(self, stream: Stream) -> None:
        """Forgets a stream."""
        self._listeners.pop(stream.number, None)
        self.capacity.remove(stream.number)
        stream.close()

    def fits(self, config: StreamConfig) -> bool:
        """Whether there is room for one more stream of that kind."""
        return self.capacity.fits(timing_of(self.runner.info, config))

    def measured(self) -> None:
        """Sets the metrics that are states, and not events."""
        m, scheduler = self.metrics, self.recognizer.scheduler
        m.streams.set(self.streams)
        m.capacity.set(self.capacity.used)
        m.queue.set(len(scheduler))
        m.superseded.inc(scheduler.superseded - self._superseded)
        self._superseded = scheduler.superseded

    def wake(self) -> None:
        """To be called when a stream has been given something."""
        self._wake.set()

    async def run(self) -> None:
        """The loop. Ends only by being cancelled."""
        while True:
            self._wake.clear()
            if (batch := self.recognizer.take()) is None:
                await self._wake.wait()
            else:
                await self._compute(batch)

    async def _compute(self, batch: Batch) -> None:
        """Runs a batch. If it fails its windows run one by one, so that only the streams that broke it suffer."""
        loop = asyncio.get_running_loop()
        try:
            outputs, took = await loop.run_in_executor(self._device, self._run, batch)
        except Exception as e:
            if len(batch.jobs) == 1:
                self._fail(batch, e)
                return
            log.warning("a batch of %d windows failed; they run one by one", len(batch.jobs), exc_info=True)
            for single in batch.split():
                await self._compute(single)
            return
        self._measure(batch, took)
        for single, output in zip(batch.split(), outputs, strict=True):
            self._accept(single, output)

    def _run(self, batch: Batch) -> tuple[list[Result], Seconds]:
        began = time.perf_counter()
        return batch.run(self.runner), time.perf_counter() - began

    def _measure(self, batch: Batch, took: Seconds) -> None:
        frames = sum(job.window.frames for job in batch.jobs)
        if 2 * frames >= self.recognizer.scheduler.batch_frames:  # a small batch is dearer than it has to be
            self.capacity.measured(frames, took)
        self.metrics.batch.observe(len(batch.jobs))
        self.metrics.encoder.observe(took)
        for job in batch.jobs:
            self.metrics.windows.labels("final" if job.window.final else "hop").inc()

    def _accept(self, single: Batch, output: Result) -> None:
        try:
            streams = self.recognizer.accept(single, [output])
        except Exception as e:
            self._fail(single, e)
        else:
            (job,) = single.jobs
            if job.window.final:
                self.metrics.final_lag.observe(self.recognizer.clock() - job.due)
            for stream in streams:
                if listener := self._listeners.get(stream.number):
                    listener.advanced()

    def _fail(self, single: Batch, error: Exception) -> None:
        (job,) = single.jobs
        if listener := self._listeners.get(job.stream):
            listener.failed(error)
