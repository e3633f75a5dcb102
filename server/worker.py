"""The loop around the recognizer, with the device in a thread of its own.

Everything but the runner is called on the event loop, so nothing here needs a lock.
"""

import asyncio
import logging
from concurrent.futures import Executor
from typing import Protocol

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
        loop = asyncio.get_running_loop()
        try:
            outputs = await loop.run_in_executor(self._device, self.runner.run, batch.samples)
            streams = self.recognizer.accept(batch, outputs)
        except Exception:
            numbers = {job.stream for job in batch.jobs}
            log.exception("a batch of %d windows failed, and with it %d streams", len(batch.jobs), len(numbers))
            for number in numbers:
                if listener := self._listeners.get(number):
                    listener.failed()
        else:
            for stream in streams:
                if listener := self._listeners.get(stream.number):
                    listener.advanced()
