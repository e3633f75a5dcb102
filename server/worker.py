"""The loop around the recognizer, with the device in a thread of its own.

Everything but the runner is called on the event loop, so nothing here needs a lock.
"""

import asyncio
import logging
from concurrent.futures import Executor
from typing import Protocol

from engine.audio import LogProbs
from engine.config import StreamConfig
from engine.model import Runner
from engine.recognizer import Batch, Recognizer, Stream

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Whoever owns a stream."""

    def advanced(self) -> None:
        """The stream has got a result."""
        ...

    def failed(self) -> None:
        """A window of the stream could not be computed: the stream can't go on."""
        ...


class Worker:
    """Runs the windows of all streams, batch after batch.

    device    an executor of one thread, the one that owns the device
    """

    def __init__(self, runner: Runner, device: Executor) -> None:
        self.runner = runner
        self.recognizer = Recognizer(runner)
        self._device = device
        self._wake = asyncio.Event()
        self._listeners: dict[int, Listener] = {}  # by the stream's number

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._listeners)

    def open(self, config: StreamConfig, listener: Listener) -> Stream:
        """A new stream, whose owner is told when it has got on."""
        stream = self.recognizer.open(config)
        self._listeners[stream.number] = listener
        return stream

    def close(self, stream: Stream) -> None:
        """Forgets a stream."""
        self._listeners.pop(stream.number, None)
        stream.close()

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
            outputs = await loop.run_in_executor(self._device, self.runner.run, batch.samples)
        except Exception:
            if len(batch.jobs) == 1:
                self._fail(batch)
                return
            log.warning("a batch of %d windows failed; they run one by one", len(batch.jobs), exc_info=True)
            for single in batch.split():
                await self._compute(single)
            return
        for single, output in zip(batch.split(), outputs, strict=True):
            self._accept(single, output)

    def _accept(self, single: Batch, output: LogProbs) -> None:
        try:
            streams = self.recognizer.accept(single, [output])
        except Exception:
            self._fail(single)
        else:
            for stream in streams:
                if listener := self._listeners.get(stream.number):
                    listener.advanced()

    def _fail(self, single: Batch) -> None:
        (job,) = single.jobs
        log.exception("a window of stream %d failed", job.stream)
        if listener := self._listeners.get(job.stream):
            listener.failed()
