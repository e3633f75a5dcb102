"""One stream, without I/O: samples go in, windows wanted and events come out.

    session.feed(pcm)
    while (window := session.next_window()) is not None:
        session.accept(window, encode(session.samples(window)))
    for event in session.events(): ...

No thread, no socket, no clock, no torch. What comes out is a function of the samples, of where `flush` stands among
them, and of the configuration; not of how the samples were cut into feeds, nor of when and in which order windows are
accepted.

A cut is a sample at which everything is forgotten but the audio before it. Between cuts a session is a function of
the samples since the cut and of `timing.context` samples before it, so one that is started at a cut is the same
session.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from earshot_asr.engine.audio import LogProbs, Pcm
from earshot_asr.engine.config import StreamConfig, Timing
from earshot_asr.engine.decoder import NewDecoder, decoder_factory
from earshot_asr.engine.endpoint import Endpointer, EnergyGate, VoiceDetector
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.events import Event, Flushed
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.ring import RingBuffer
from earshot_asr.engine.segment import Segment
from earshot_asr.engine.utterance import Utterance, decode_utterance
from earshot_asr.engine.windows import Window, WindowPlanner

Decoding = Callable[[LogProbs], Utterance]
"""A pure function of a window's log-probabilities (T, V)."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A cut at which no utterance ends: in silence, or by a flush. In frames."""

    end: int
    flushed: bool


def timing_of(info: ModelInfo, config: StreamConfig) -> Timing:
    """Windows and utterances of a stream of this model, in frames."""
    return Timing.of(config, info.grid, EnergyGate(info.grid.hop).lookback, info.emission_delay)


class Session:
    """One stream's ring, voice detector, endpointer, planner and segments.

    `new_decoder`: makes the decoders of its utterances; None: those that `config.decode` names.
    `cut`: the sample to start at, on the frame grid; `from_sample`: the first sample that will be fed,
    `timing.context` before the cut, or 0. Both are 0 for a new stream. Raises ConfigError for any other.
    """

    def __init__(
        self,
        info: ModelInfo,
        config: StreamConfig,
        new_decoder: NewDecoder | None = None,
        *,
        cut: int = 0,
        from_sample: int = 0,
    ) -> None:
        self.info = info
        self._new_decoder = new_decoder or decoder_factory(config.decode, info.vocabulary)
        self._hop = info.grid.hop
        self._detector: VoiceDetector = EnergyGate(self._hop, stream_start=from_sample == 0)
        self.timing = timing_of(info, config)
        if cut % self._hop or from_sample != max(0, cut - self.timing.context):
            raise ConfigError(
                f"a stream can't start at sample {cut} with the audio from {from_sample} on: a cut is a multiple of "
                f"{self._hop}, and the audio begins {self.timing.context} samples before it, or with the stream"
            )
        self.cut = cut
        self.finished = False
        self._ring = RingBuffer(self.timing.ring, from_sample)
        self._heard = from_sample // self._hop  # blocks that the detector has judged
        self._voiced: deque[tuple[int, bool]] = deque()  # those since the open cut, and its judgement
        self._flushes: deque[int] = deque()
        self._line: deque[Segment | _Mark] = deque()  # oldest first: the committed part of the stream grows at its head
        self._wanted: deque[Window] = deque()
        self._events: list[Event] = []
        self._restart(cut // self._hop)

    # ---- in

    def feed(self, pcm: Pcm) -> int:
        """Takes samples (S,) while there is room, and says how many; the rest when windows have been accepted."""
        assert not self.finished
        taken = 0
        while room := min(len(pcm) - taken, self._ring.room):
            self._ring.feed(pcm[taken : taken + room])
            taken += room
            self._listen()
            self._advance()  # may make room
        return taken

    def flush(self) -> None:
        """Ends the open utterance, if any, with the samples fed so far. Answered by a Flushed event."""
        assert not self.finished
        self._flushes.append(self._ring.end)
        self._advance()

    def finish(self) -> None:
        """The end of the stream: a flush, and nothing after it."""
        self.flush()
        self.finished = True

    def decoding(self, window: Window) -> Decoding | None:
        """What may be done with a window's log-probabilities where they were computed, off the event loop.

        None if they are to be accepted as they are: only a final window that replaces the hops is decoded alone.
        """
        if not (window.final and self.timing.provisional):
            return None
        return partial(decode_utterance, window, info=self.info, new_decoder=self._new_decoder)

    def accept(self, window: Window, log_probs: LogProbs, utterance: Utterance | None = None) -> None:
        """Takes a window's log-probabilities (T, V), in any order; a second time does no harm.

        utterance: what `decoding` made of them, if it was asked.
        """
        segment = self._segment_of(window)
        if segment is None:
            return
        segment.accept(window, log_probs, utterance)
        self._after_split()
        self._advance()
        self._publish()

    # ---- out

    def next_window(self) -> Window | None:
        """The next window to be encoded; None if none is due."""
        return self._wanted.popleft() if self._wanted else None

    def wants(self, window: Window) -> bool:
        """Whether a window's result would still be of use."""
        return self._segment_of(window) is not None

    def samples(self, window: Window) -> Pcm:
        """The samples that a wanted window is made of."""
        return self._ring.view(*self.info.grid.span(window.start, window.frames))

    def events(self) -> list[Event]:
        """What was said since the last call."""
        events, self._events = self._events, []
        return events

    @property
    def room(self) -> int:
        """How many samples may be fed now."""
        return self._ring.room

    @property
    def received(self) -> int:
        """Samples of the stream so far."""
        return self._ring.end

    @property
    def committed(self) -> int:
        """Samples whose text is final, or is promised (`commit: hop`)."""
        head = self._line[0] if self._line else self._segment
        if isinstance(head, Segment) and not self.timing.provisional:
            return max(self.cut, head.promised * self._hop)
        return self.cut

    @property
    def resting(self) -> bool:
        """Nobody is speaking, and all that was spoken is final."""
        return not self._line  # an open utterance is its last

    @property
    def done(self) -> bool:
        """Finished, and all has been said; events may still have to be fetched."""
        return self.finished and not self._flushes and not self._line

    # ---- the sample clock

    def _restart(self, frame: int) -> None:
        """At a cut: a new endpointer, which hears again what has come since. Nobody is speaking."""
        while self._voiced and self._voiced[0][0] < frame:
            self._voiced.popleft()
        self._endpointer = Endpointer(self.timing, frame)
        self._planner: WindowPlanner | None = None
        self._segment: Segment | None = None

    def _advance(self) -> None:
        """Goes on block by block as far as samples and flushes go; not while a window has to say where the cut is."""
        while not (self._segment and self._segment.split):
            limit = self._flushes[0] if self._flushes else self._ring.end
            if (self._endpointer.block + 1) * self._hop <= limit:
                self._block()
            elif self._flushes:
                self._flush(self._flushes.popleft())
            else:
                break

    def _listen(self) -> None:
        """The detector hears every block once, however often an endpointer hears it again."""
        end = self._ring.end // self._hop
        if end > self._heard:
            blocks = self._ring.view(self._heard * self._hop, end * self._hop).reshape(-1, self._hop)
            judged = zip(range(self._heard, end), self._detector.feed(blocks), strict=True)
            self._voiced.extend(each for each in judged if each[0] >= self._endpointer.cut)
            self._heard = end

    def _block(self) -> None:
        """One block further: an utterance may begin, end, or be too long; else hop windows may fall due."""
        endpointer = self._endpointer
        first, _ = self._voiced[0]
        endpointer.feed(self._voiced[endpointer.block - first][1])
        frames = self.info.grid.frames(endpointer.block * self._hop)
        if self._segment is None and endpointer.start is not None and endpointer.start < frames:
            self._open(endpointer.start)
        if self._segment is None:
            if (cut := endpointer.silent_cut) is not None:
                self._mark(cut, flushed=False)
        elif endpointer.end is not None:
            self._close(endpointer.end)
        elif frames >= self._segment.start + self.timing.longest:
            self._close(self._segment.start + self.timing.longest, split=True)
        elif self._planner:
            self._wanted.extend(self._planner.due(frames, endpointer.until))

    def _flush(self, sample: int) -> None:
        """Ends what is open with the last frame that is complete at `sample`."""
        end = max(self._endpointer.cut, self.info.grid.frames(sample))
        self._endpointer.finish()
        if self._segment is None and self._endpointer.start is not None and self._endpointer.start < end:
            self._open(self._endpointer.start)
        if self._segment:
            self._close(min(end, self._endpointer.until))
        self._mark(end, flushed=True)

    def _open(self, start: int) -> None:
        self._segment = Segment(self.info, self.timing, self._new_decoder, start)
        self._planner = WindowPlanner(self.timing, start)
        self._line.append(self._segment)

    def _close(self, end: int, *, split: bool = False) -> None:
        """Ends the open utterance before frame `end`, or a little later, where hops have committed more."""
        assert self._segment and self._planner
        end = max(end, self._planner.committed)
        if (window := self._planner.last(end, split=split)) is not None:
            self._wanted.append(window)
        self._segment.close(end, split=split)
        if split:
            self._after_split()
        else:
            self._restart(end)
        self._publish()

    def _after_split(self) -> None:
        """An utterance that was too long is cut once its last window has said where."""
        if self._segment and self._segment.split and self._segment.complete:
            assert self._segment.end is not None
            self._restart(self._segment.end)

    def _mark(self, end: int, *, flushed: bool) -> None:
        self._line.append(_Mark(end, flushed))
        self._restart(end)
        self._publish()

    # ---- what is committed

    def _segment_of(self, window: Window) -> Segment | None:
        """The utterance that a window is for, if it still wants it."""
        for item in self._line:
            if isinstance(item, Segment) and item.start == window.segment and not item.complete:
                return item
        return None

    def _publish(self) -> None:
        """Says what is at the head of the line, as far as it is known."""
        while self._line:
            head = self._line[0]
            if isinstance(head, Segment):
                self._events += head.partials()
                if not head.complete:
                    break
                if (final := head.final()) is not None:
                    self._events.append(final)
                else:
                    head.withdraw()
                    self._events += head.partials()
            self._line.popleft()
            assert head.end is not None
            self.cut = head.end * self._hop
            if isinstance(head, _Mark) and head.flushed:
                self._events.append(Flushed(self.cut))
        self._ring.release(self.cut - self.timing.context)
