"""The loop that has the recognizer's batches computed, as many at a time as the pool has runners.

All calls but those of the runners are made on the event loop, so nothing here needs a lock.
"""

import asyncio
import logging
from typing import Protocol

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.pool import RunnerPool
from earshot_asr.engine.recognizer import Batch, Recognizer, Result, StartPoint, Stream, settling
from earshot_asr.engine.session import timing_of
from earshot_asr.server.capacity import Capacity, Full
from earshot_asr.server.metrics import Metrics

log = logging.getLogger(__name__)


class StreamOwner(Protocol):
    """Who is told what becomes of a stream."""

    def advanced(self) -> None:
        """The stream got a result."""
        ...

    def failed(self, error: BaseException) -> None:
        """A window of the stream could not be computed: the stream can't go on."""
        ...


class EngineLoop:
    """Computes the windows of all streams, batch after batch.

    pool        its runners, loaded
    capacity    decides how many streams are admitted
    """

    def __init__(self, pool: RunnerPool, capacity: Capacity, metrics: Metrics) -> None:
        self.recognizer = Recognizer(pool.runners[0])
        self.capacity = capacity
        self.metrics = metrics
        self._pool = pool
        self._wake = asyncio.Event()
        self._superseded_counted = 0  # superseded windows that the metrics have already
        self._owners: dict[int, StreamOwner] = {}  # by the stream's number
        self._coming: dict[
            str, asyncio.Future[ModelInfo]
        ] = {}  # languages that are loaded now, by what they are called

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._owners)

    def open(self, config: StreamConfig, owner: StreamOwner, at: StartPoint | None = None) -> Stream:
        """Opens a stream, new or resumed `at` a point.

        Raises Full if it does not fit, and ConfigError as Session does.
        """
        stream = self.recognizer.open(config, at)
        try:
            self.capacity.add(stream.number, stream.timing)
        except Full:
            stream.close()
            raise
        self._owners[stream.number] = owner
        return stream

    def close(self, stream: Stream) -> None:
        """Forgets a stream."""
        self._owners.pop(stream.number, None)
        self.capacity.remove(stream.number)
        stream.close()

    def fits(self, config: StreamConfig) -> bool:
        """Whether one more stream with these settings would be admitted."""
        return self.capacity.fits(timing_of(self.recognizer.runner.info, config))

    def require_room(self, config: StreamConfig) -> None:
        """Raises Full if one more stream with these settings would not be admitted."""
        self.capacity.require(timing_of(self.recognizer.runner.info, config))

    def speaking(self, language: str) -> asyncio.Future[ModelInfo]:
        """Makes the runners ready to speak a language, once for all who wait for it; not to be cancelled.

        It raises what Runner.speaking raises. Streams go on meanwhile.
        """
        if (coming := self._coming.get(language)) is None:
            coming = self._coming[language] = asyncio.wrap_future(self._pool.speaking(language))
            coming.add_done_callback(lambda _: self._coming.pop(language))
        return coming

    def update_metrics(self) -> None:
        """Brings the metrics that describe a state, not an event, up to date."""
        m, scheduler = self.metrics, self.recognizer.scheduler
        m.streams.set(self.streams)
        m.capacity.set(self.capacity.used)
        m.queue.set(len(scheduler))
        m.superseded.inc(scheduler.superseded - self._superseded_counted)
        self._superseded_counted = scheduler.superseded

    def wake(self) -> None:
        """To be called when a stream has been given something."""
        self._wake.set()

    async def run(self) -> None:
        """The loop. Ends only by being cancelled."""
        computing: set[asyncio.Task[None]] = set()
        try:
            while True:
                self._wake.clear()
                while len(computing) < self._pool.size and (batch := self.recognizer.take()) is not None:
                    task = asyncio.create_task(self._compute(batch))
                    task.add_done_callback(lambda _: self.wake())
                    computing.add(task)
                await self._wake.wait()
                for task in [task for task in computing if task.done()]:
                    computing.remove(task)
                    task.result()  # raises what went wrong in the loop's own code
        finally:
            for task in computing:
                task.cancel()
            for coming in [*self._coming.values()]:
                coming.cancel()

    async def _compute(self, batch: Batch) -> None:
        """Runs a batch. If it fails, its windows run one by one, so that only the streams at fault end."""
        try:
            computed = await asyncio.wrap_future(self._pool.submit(batch))
        except Exception as e:
            if len(batch.jobs) == 1:
                self._fail(batch, e)
                return
            log.warning("a batch of %d windows failed; they run one by one", len(batch.jobs), exc_info=True)
            for single in batch.split():
                await self._compute(single)
            return
        self._measure(batch, computed.seconds)
        for single, result in zip(batch.split(), computed.results, strict=True):
            self._accept(single, result)

    def _measure(self, batch: Batch, seconds: Seconds) -> None:
        frames = sum(job.window.frames for job in batch.jobs)
        if 2 * frames >= self.recognizer.scheduler.batch_frames:  # a frame of a small batch costs more than it need
            self.capacity.record(frames, seconds / self._pool.size)  # as many are computed at a time
        self.metrics.batch.observe(len(batch.jobs))
        self.metrics.encoder.observe(seconds)
        for job in batch.jobs:
            self.metrics.windows.labels(job.window.kind).inc()

    def _accept(self, single: Batch, result: Result) -> None:
        try:
            streams = self.recognizer.accept(single, [result])
        except Exception as e:
            self._fail(single, e)
        else:
            (job,) = single.jobs
            for stream in streams:
                if job.window.final or job.window.pause:
                    lag = self.recognizer.clock() - job.due - settling(job.window, stream.timing)
                    self.metrics.final_lag.observe(max(0.0, lag))
                if owner := self._owners.get(stream.number):
                    owner.advanced()

    def _fail(self, single: Batch, error: Exception) -> None:
        (job,) = single.jobs
        if owner := self._owners.get(job.stream):
            owner.failed(error)
