"""The loop that joins what decides, the scheduler, and what computes, the runner, for any number of streams.

In one thread: stream.feed(pcm), recognizer.step() while it is true, stream.events(). A server calls take() and
accept() itself, and has the runner in a thread of its own.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from earshot_asr.engine.audio import SAMPLE_RATE, LogProbs, Pcm, Seconds
from earshot_asr.engine.config import RING_MS, StreamConfig, Timing
from earshot_asr.engine.events import Event
from earshot_asr.engine.model import Runner
from earshot_asr.engine.scheduler import FINAL_SECONDS, Job, Scheduler
from earshot_asr.engine.session import Decoding, Session
from earshot_asr.engine.utterance import Utterance

MESSAGE_SECONDS = 0.1
"""What a live stream sends was spoken this long before it came, at most; what brings more was sent ahead."""
OWED_SECONDS = RING_MS / 1000
"""So much of what a resumed stream sends at once is owed: it counts as live, not as sent ahead."""
PAUSE_SECONDS = 1.0
"""A stream that is fed nothing for so long has paused."""
FORGIVING = 1.25
"""A stream may be as many times as fast as real time and still count as live: clocks differ, networks stutter."""


Place: TypeAlias = tuple[int, int]
"""Where a stream is resumed: its cut, and the first sample that comes."""


class Result(NamedTuple):
    """What was computed of a window: log-probabilities (T, V), and of a final one the utterance that they spell."""

    log_probs: LogProbs
    utterance: Utterance | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows to compute together, their samples, and what decodes those that are decoded alone."""

    jobs: list[Job]
    samples: list[Pcm]
    decodings: list[Decoding | None]

    def run(self, runner: Runner) -> list[Result]:
        """Computes and decodes, in any thread: nothing of a stream is touched."""
        outputs = zip(runner.run(self.samples), self.decodings, strict=True)
        return [Result(log_probs, decode(log_probs) if decode else None) for log_probs, decode in outputs]

    def split(self) -> "list[Batch]":
        """A batch for each window."""
        parts = zip(self.jobs, self.samples, self.decodings, strict=True)
        return [Batch([job], [pcm], [decode]) for job, pcm, decode in parts]


class Stream:
    """A session that is served by a recognizer. Made by Recognizer.open()."""

    def __init__(self, recognizer: "Recognizer", number: int, session: Session, owed: Seconds) -> None:
        self._recognizer = recognizer
        self._session = session
        self._owed = owed
        self._lead: Seconds = 0.0  # of the audio over real time
        self._fed: Seconds = recognizer.clock()
        self._seen: Seconds | None = None  # when the newest sample came that the last hop window has seen
        self.number = number

    def feed(self, pcm: Pcm) -> int:
        """Takes samples (S,), 16 kHz, and says how many; where the ring is full, the rest is for after accept()."""
        taken = self._session.feed(pcm)
        owed = min(self._owed, taken / SAMPLE_RATE)
        self._owed -= owed
        now = self._recognizer.clock()
        self._lead, self._fed = self._lead_at(now) + taken / SAMPLE_RATE - owed, now
        self._queue()
        return taken

    def flush(self) -> None:
        """Finalizes what was said so far. Answered by a Flushed event."""
        self._session.flush()
        self._queue()

    def finish(self) -> None:
        """The end of the audio: finalizes the rest."""
        self._session.finish()
        self._queue()

    def events(self) -> list[Event]:
        """What was said since the last call."""
        return self._session.events()

    def close(self) -> None:
        """Forgets the stream."""
        self._recognizer.forget(self)

    @property
    def timing(self) -> Timing:
        """Windows and utterances of this stream, in frames."""
        return self._session.timing

    @property
    def room(self) -> int:
        """How many samples may be fed now."""
        return self._session.room

    @property
    def received(self) -> int:
        """Samples of the stream so far."""
        return self._session.received

    @property
    def committed(self) -> int:
        """Samples whose text is final, or is promised."""
        return self._session.committed

    @property
    def cut(self) -> int:
        """The newest sample at which the stream could start anew."""
        return self._session.cut

    @property
    def backlog(self) -> int:
        """Samples that came since the oldest window fell due that still waits to be encoded."""
        if (job := self._recognizer.scheduler.oldest(self.number)) is None:
            return 0
        _, end = self.timing.grid.span(job.window.start, job.window.frames)
        return self.received - end

    @property
    def staleness(self) -> Seconds | None:
        """Age of the newest sample that text of the open utterance was made from.

        None where there is no such text, or no audio comes that could make it stale.
        """
        now = self._recognizer.clock()
        if self._seen is None or self.resting or now - self._fed > PAUSE_SECONDS:
            return None
        return now - self._seen

    @property
    def resting(self) -> bool:
        """Nobody is speaking, and all that was spoken is final."""
        return self._session.resting

    @property
    def done(self) -> bool:
        """Finished, and all has been said; events may still have to be fetched."""
        return self._session.done

    def _lead_at(self, now: Seconds) -> Seconds:
        return max(0.0, self._lead - FORGIVING * (now - self._fed))

    def _queue(self) -> None:
        """Hands the windows that fell due to the scheduler, each with a deadline."""
        now, timing = self._recognizer.clock(), self._session.timing
        while (window := self._session.next_window()) is not None:
            _, end = timing.grid.span(window.start, window.frames)
            ahead = self._lead_at(now) - (self._session.received - end) / SAMPLE_RATE - MESSAGE_SECONDS
            due = now + max(0.0, ahead)
            patience = FINAL_SECONDS if window.final else timing.hop * timing.grid.hop / SAMPLE_RATE
            self._recognizer.scheduler.add(Job(self.number, window, due + patience, due=now))


class Recognizer:
    """Streams in, batches out, results in."""

    def __init__(self, runner: Runner, clock: Callable[[], Seconds] = time.monotonic) -> None:
        self.runner = runner
        self.clock = clock
        self.scheduler = Scheduler(runner.batch_frames, runner.ladder)
        self._streams: dict[int, Stream] = {}
        self._numbers = itertools.count(1)

    def open(self, config: StreamConfig, place: Place | None = None) -> Stream:
        """A new stream, or one that goes on at a place. Raises ConfigError for what is none, see Session."""
        cut, from_sample = place or (0, 0)
        session = Session(self.runner.info, config, cut=cut, from_sample=from_sample)
        stream = Stream(self, next(self._numbers), session, owed=OWED_SECONDS if place else 0.0)
        self._streams[stream.number] = stream
        return stream

    def forget(self, stream: Stream) -> None:
        """Drops a stream and its queued windows."""
        self._streams.pop(stream.number, None)
        self.scheduler.drop(stream.number)

    def take(self) -> Batch | None:
        """The next batch, earliest deadline first; None if there is nothing to do."""
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
        """Hands results to their streams, and says which those are. Closed streams are passed over."""
        touched: dict[int, Stream] = {}
        for job, result in zip(batch.jobs, results, strict=True):
            if (stream := self._streams.get(job.stream)) is not None:
                stream._session.accept(job.window, result.log_probs, result.utterance)
                stream._seen = None if job.window.final else job.due
                stream._queue()
                touched[job.stream] = stream
        return list(touched.values())

    def step(self) -> bool:
        """Runs one batch in this thread; False if there was none."""
        if (batch := self.take()) is None:
            return False
        self.accept(batch, batch.run(self.runner))
        return True
