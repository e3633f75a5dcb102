"""Plays a clip to the engine on a virtual clock: computing takes real time, waiting takes none.

Simulates a server: an event loop that feeds the stream and takes results, and a device that computes at the same time.
Audio arrives in blocks, when they are due on the virtual clock. Each step of work is measured and added to the time of
the loop or the device that did it; then the clock jumps to the next event.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from math import inf
from typing import NamedTuple, TypeVar

from earshot_asr.client.evaluate.recordings import Progressed, no_progress, timed_blocks
from earshot_asr.client.evaluate.take import TimedEvent
from earshot_asr.engine.audio import LogProbs, Pcm, Seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.events import Final, Flushed
from earshot_asr.engine.model import ModelInfo, Runner
from earshot_asr.engine.recognizer import Batch, Recognizer, Result
from earshot_asr.engine.session import Session
from earshot_asr.engine.windows import Window

REST_SECONDS: Seconds = 0.02
"""Real sleep before each window. A processor that was idle, as in a server with one stream, is some percent slower."""

T = TypeVar("T")
Span = tuple[int, int]
"""A window's first frame, and one past its last."""
Stopwatch = Callable[[], Seconds]


class _Computing(NamedTuple):
    """The batch on the device, its results, and the virtual time at which it is done."""

    until: Seconds
    batch: Batch
    results: list[Result]


class Playback:
    """Plays one stream, alone on its device, from the first sample to the last message.

    block        length of the blocks in which audio arrives, in samples
    stopwatch    returns real time in seconds, to measure the work
    rest         seconds to sleep before each batch is computed
    progress     called with the share that was played

    After run(), `heard` has the messages, `work` the seconds of computing of loop and device, and `outputs` the model's
    output for each window.
    """

    def __init__(
        self,
        runner: Runner,
        config: StreamConfig,
        pcm: Pcm,
        block: int,
        stopwatch: Stopwatch = time.perf_counter,
        progress: Progressed = no_progress,
        rest: Seconds = REST_SECONDS,
    ) -> None:
        self.heard: list[TimedEvent] = []
        self.work: Seconds = 0.0
        self.outputs: dict[Span, LogProbs] = {}
        self._now: Seconds = 0.0
        self._stopwatch = stopwatch
        self._progress = progress
        self._rest = rest
        self._coming = deque(timed_blocks(pcm, block))
        self._seconds = self._coming[-1][0] if self._coming else 0.0
        self._unread: deque[Pcm] = deque()  # has arrived, but the stream's buffer was full
        self._computing: _Computing | None = None
        self._recognizer = Recognizer(runner, lambda: self._now)
        self._stream = self._recognizer.open(config)
        self._finished = False

    def run(self) -> None:
        """Plays the stream to its end."""
        with ThreadPoolExecutor(1) as self._device:
            self._play()

    def _play(self) -> None:
        self._read()
        while not self._stream.done:
            arrives = self._coming[0][0] if self._coming else inf
            until = self._computing.until if self._computing else inf
            if self._coming and arrives < until:
                self._at(arrives)
                self._unread.append(self._coming.popleft()[1])
                self._progress(arrives / self._seconds)
            else:
                assert self._computing, (self._stream.received, self._stream.committed)
                self._at(until)
                self._accept(self._computing)
            self._read()
            self._compute()

    def _at(self, event: Seconds) -> None:
        """Moves the clock to the time at which the loop handles an event: later than `event` if the loop was busy."""
        self._now = max(self._now, event)

    def _charged(self, work: Callable[[], T]) -> T:
        result, seconds = self._timed(work)
        self._now += seconds
        return result

    def _timed(self, work: Callable[[], T]) -> tuple[T, Seconds]:
        began = self._stopwatch()
        result = work()
        seconds = self._stopwatch() - began
        self.work += seconds
        return result, seconds

    def _accept(self, computed: _Computing) -> None:
        self._computing = None
        windows = (_span(job.window) for job in computed.batch.jobs)
        self.outputs.update(zip(windows, (result.log_probs for result in computed.results), strict=True))
        self._charged(partial(self._recognizer.accept, computed.batch, computed.results))
        self._collect()

    def _read(self) -> None:
        """Feeds the audio that has arrived, as far as the stream has room."""
        while self._unread:
            pcm = self._unread[0]
            taken = self._charged(partial(self._stream.feed, pcm))
            self._collect()
            if taken < len(pcm):
                self._unread[0] = pcm[taken:]
                return
            self._unread.popleft()
        if not self._coming and not self._finished:
            self._finished = True
            self._charged(self._stream.finish)
            self._collect()

    def _compute(self) -> None:
        """Starts the next batch, if the device is idle and there is one."""
        if self._computing is None and (batch := self._charged(self._recognizer.take)) is not None:
            time.sleep(self._rest)
            run = self._device.submit  # the time includes handing the batch to the device's thread
            results, seconds = self._timed(lambda: run(batch.run, self._recognizer.runner).result())
            self._computing = _Computing(self._now + seconds, batch, results)

    def _collect(self) -> None:
        """Records the stream's new events at the current time."""
        events = (event for event in self._stream.events() if not isinstance(event, Flushed))
        self.heard += (TimedEvent(self._now, event) for event in events)


def _span(window: Window) -> Span:
    return window.start, window.end


def due(
    info: ModelInfo, config: StreamConfig, pcm: Pcm, block: int, outputs: dict[Span, LogProbs]
) -> dict[int, Seconds]:
    """For each segment, the time at which the sample arrived that made its final due, if computing took no time.

    outputs    the model's output for each window that finals depend on; other windows may be missing
    """
    session = Session(info, replace(config, partials=False))  # no final depends on them
    fell_due: dict[int, Seconds] = {}

    def finals() -> Iterator[Final]:
        while (window := session.next_window()) is not None:
            if (log_probs := outputs.get(_span(window))) is not None and session.wants(window):
                session.accept(window, log_probs)
        return (event for event in session.events() if isinstance(event, Final))

    at: Seconds = 0.0
    for at, arrived in timed_blocks(pcm, block):
        waiting = arrived
        while len(waiting := waiting[session.feed(waiting) :]):
            fell_due.update((final.segment, at) for final in finals())
        fell_due.update((final.segment, at) for final in finals())
    session.finish()
    return fell_due | {final.segment: at for final in finals()}
