"""Serves any number of streams: their windows go through the scheduler to the runner, and the results back.

In one thread: call stream.feed(pcm), then recognizer.step() while it returns True, then stream.events(). A server calls
take() and accept() itself, and computes the batches in other threads.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from earshot_asr.engine.audio import SAMPLE_RATE, LogProbs, Pcm, Seconds
from earshot_asr.engine.config import RING_MS, StreamConfig, Timing
from earshot_asr.engine.events import Event
from earshot_asr.engine.model import Runner
from earshot_asr.engine.scheduler import FINAL_DEADLINE_SECONDS, Job, Scheduler
from earshot_asr.engine.session import Decoding, Session
from earshot_asr.engine.utterance import Utterance
from earshot_asr.engine.windows import Window

MESSAGE_SECONDS = 0.1
"""A live client sends audio at most this long after it was spoken. A message with more audio was sent ahead."""
OWED_SECONDS = RING_MS / 1000
"""A resumed stream may send so much again at once and still count as live, not as sent ahead."""
PAUSE_SECONDS = 1.0
"""A stream that has been fed nothing for so long has paused."""
LIVE_SPEED = 1.25
"""Times real time at which a stream still counts as live: clocks differ, networks stutter."""


class StartPoint(NamedTuple):
    """Where a stream is resumed, in samples: its cut, and the first sample that will be fed."""

    cut: int
    from_sample: int


class Result(NamedTuple):
    """Of a window: log-probabilities (T, V); and if it covers a whole utterance, what was decoded from them."""

    log_probs: LogProbs
    utterance: Utterance | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows of one language to compute together, their samples, and what decodes those over whole utterances."""

    jobs: list[Job]
    samples: list[Pcm]
    decodings: list[Decoding | None]

    def run(self, runner: Runner) -> list[Result]:
        """Computes and decodes the windows. May be called in any thread: it touches no stream."""
        return self.decode(self.encode(runner))

    def encode(self, runner: Runner) -> list[LogProbs]:
        """Computes the windows, in their language."""
        return runner.speaking(self.jobs[0].language).run(self.samples)

    def decode(self, outputs: Sequence[LogProbs]) -> list[Result]:
        """Decodes what was computed of the windows. May be called in any thread, too."""
        pairs = zip(outputs, self.decodings, strict=True)
        return [Result(log_probs, decode(log_probs) if decode else None) for log_probs, decode in pairs]

    def split(self) -> "list[Batch]":
        """A batch for each window."""
        parts = zip(self.jobs, self.samples, self.decodings, strict=True)
        return [Batch([job], [pcm], [decode]) for job, pcm, decode in parts]


class Stream:
    """One stream of a recognizer. Made by Recognizer.open()."""

    def __init__(self, recognizer: "Recognizer", number: int, session: Session, owed: Seconds) -> None:
        self._recognizer = recognizer
        self._session = session
        self._owed = owed
        self._lead: Seconds = 0.0  # by which its audio is ahead of real time
        self._fed: Seconds = recognizer.clock()
        self._seen: Seconds | None = None  # when the newest sample arrived of the last hop window that was computed
        self.number = number

    def feed(self, pcm: Pcm) -> int:
        """Takes samples (S,) at 16 kHz, returns how many. The rest can be fed after the next accept()."""
        taken = self._session.feed(pcm)
        owed = min(self._owed, taken / SAMPLE_RATE)
        self._owed -= owed
        now = self._recognizer.clock()
        self._lead, self._fed = self._lead_at(now) + taken / SAMPLE_RATE - owed, now
        self._queue()
        return taken

    def flush(self) -> None:
        """Makes all that was said so far final. Answered by a Flushed event."""
        self._session.flush()
        self._queue()
        self._hurry()

    def finish(self) -> None:
        """Ends the stream, and makes the rest of it final."""
        self._session.finish()
        self._queue()
        self._hurry()

    def events(self) -> list[Event]:
        """The events since the last call."""
        return self._session.events()

    def close(self) -> None:
        """Removes the stream from the recognizer."""
        self._recognizer.forget(self)

    @property
    def timing(self) -> Timing:
        """The lengths of this stream's windows and utterances, in frames."""
        return self._session.timing

    @property
    def room(self) -> int:
        """How many samples feed() would take now."""
        return self._session.room

    @property
    def received(self) -> int:
        """How many samples have arrived."""
        return self._session.received

    @property
    def committed(self) -> int:
        """How many samples have text that will not change."""
        return self._session.committed

    @property
    def cut(self) -> int:
        """The newest sample at which the stream could be resumed."""
        return self._session.cut

    @property
    def backlog(self) -> int:
        """How many samples have arrived since the oldest window was due that has not been computed yet."""
        if (job := self._recognizer.scheduler.oldest(self.number)) is None:
            return 0
        _, end = self.timing.grid.span(job.window.start, job.window.frames)
        return self.received - end

    @property
    def staleness(self) -> Seconds | None:
        """Age of the newest sample that the current utterance's text was computed from.

        None if there is no such text, or if the stream has paused.
        """
        now = self._recognizer.clock()
        if self._seen is None or self.resting or now - self._fed > PAUSE_SECONDS:
            return None
        return now - self._seen

    @property
    def resting(self) -> bool:
        """Whether nobody is speaking and all that was said is final."""
        return self._session.resting

    @property
    def done(self) -> bool:
        """Whether the stream has ended and its last event is there to be fetched."""
        return self._session.done

    def _lead_at(self, now: Seconds) -> Seconds:
        return max(0.0, self._lead - LIVE_SPEED * (now - self._fed))

    def _queue(self) -> None:
        """Gives the windows that are due to the scheduler, each with a deadline."""
        now, timing = self._recognizer.clock(), self._session.timing
        if self.resting:
            self._seen = None
        while (window := self._session.next_window()) is not None:
            _, end = timing.grid.span(window.start, window.frames)
            ahead = self._lead_at(now) - (self._session.received - end) / SAMPLE_RATE - MESSAGE_SECONDS
            due = now + max(0.0, ahead)
            patience = _patience(window, timing)
            language = self._session.info.language
            self._recognizer.scheduler.add(Job(self.number, window, due + patience, due=now, language=language))

    def _hurry(self) -> None:
        """A flush wants its final now, also if that is a pause window, which had time until the pause has lasted."""
        now = self._recognizer.clock()
        due = now + max(0.0, self._lead_at(now) - MESSAGE_SECONDS)
        self._recognizer.scheduler.hurry(self.number, due + FINAL_DEADLINE_SECONDS)


def settling(window: Window, timing: Timing) -> Seconds:
    """How long after it is due a window's text may become final: at once, or once a pause has lasted."""
    return (timing.silence - timing.tail) * timing.grid.hop / SAMPLE_RATE if window.pause else 0.0


def _patience(window: Window, timing: Timing) -> Seconds:
    """How long after it is due a window should be done."""
    if window.final or window.pause:
        return settling(window, timing) + FINAL_DEADLINE_SECONDS
    return timing.hop * timing.grid.hop / SAMPLE_RATE


class Recognizer:
    """Opens streams, gives out batches of their windows, and takes the results."""

    def __init__(self, runner: Runner, clock: Callable[[], Seconds] = time.monotonic) -> None:
        self.runner = runner
        self.clock = clock
        self.scheduler = Scheduler(runner.batch_frames, runner.ladder)
        self._streams: dict[int, Stream] = {}
        self._numbers = itertools.count(1)

    def open(self, config: StreamConfig, at: StartPoint | None = None) -> Stream:
        """Opens a stream, new or resumed `at` a point. Raises ConfigError if a stream can't start there.

        For `config.language` see Runner.speaking, which is called here and may take long for the first time.
        """
        cut, from_sample = at or StartPoint(0, 0)
        session = Session(self.runner.speaking(config.language).info, config, cut=cut, from_sample=from_sample)
        stream = Stream(self, next(self._numbers), session, owed=OWED_SECONDS if at else 0.0)
        self._streams[stream.number] = stream
        return stream

    def forget(self, stream: Stream) -> None:
        """Removes a stream and its queued windows."""
        self._streams.pop(stream.number, None)
        self.scheduler.drop(stream.number)

    def take(self) -> Batch | None:
        """The next batch, earliest deadline first; None if no window is due."""
        while jobs := self.scheduler.take(self.clock()):
            batch = Batch([], [], [])
            for job in jobs:
                session = self._streams[job.stream]._session
                if session.wants(job.window):
                    batch.jobs.append(job)
                    batch.samples.append(session.samples(job.window))
                    batch.decodings.append(session.decoding(job.window))
            if batch.jobs:
                return batch
        return None

    def accept(self, batch: Batch, results: list[Result]) -> list[Stream]:
        """Gives results to their streams, and returns those. Results of closed streams are dropped."""
        touched: dict[int, Stream] = {}
        for job, result in zip(batch.jobs, results, strict=True):
            if (stream := self._streams.get(job.stream)) is not None:
                stream._session.accept(job.window, result.log_probs, result.utterance)
                if stream._seen is None or job.due >= stream._seen:  # results may come out of order
                    stream._seen = job.due
                stream._queue()
                touched[job.stream] = stream
        return list(touched.values())

    def step(self) -> bool:
        """Computes one batch in this thread; returns False if there was none."""
        if (batch := self.take()) is None:
            return False
        self.accept(batch, batch.run(self.runner))
        return True
