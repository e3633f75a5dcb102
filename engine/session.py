"""One stream, without I/O: samples go in, windows wanted and events come out.

    session.feed(pcm)
    while (window := session.next_window()) is not None:
        session.accept(window, encode(session.samples(window)))
    for event in session.events(): ...

No thread, no socket, no clock, no torch. The events are a function of the samples, of the positions of flushes among
them, and of the configuration. They do not depend on how the samples were cut into feeds, nor on when windows are
accepted. In whichever order they are, finals are the same; a partial may be missing that a later result makes needless.

A cut is a sample after which the session depends on nothing before it but the last `timing.context` samples of audio.
So a session that is started at a cut goes on exactly as the first one would.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from earshot_asr.engine.audio import LogProbs, Pcm
from earshot_asr.engine.config import StreamConfig, Timing
from earshot_asr.engine.decoder import NewDecoder
from earshot_asr.engine.endpoint import Endpointer, EnergyGate, VoiceDetector
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.events import Event, Flushed
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.odds import new_decoders
from earshot_asr.engine.ring import RingBuffer
from earshot_asr.engine.segment import Segment
from earshot_asr.engine.times import BLOCK_SAMPLES, Powers, powers
from earshot_asr.engine.utterance import Utterance, decode_utterance
from earshot_asr.engine.windows import Window, WindowPlanner

Decoding = Callable[[LogProbs], Utterance]
"""A pure function of a window's log-probabilities (T, V)."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A cut, before frame `end`, that no utterance ends: it is in silence, or made by a flush."""

    end: int
    flushed: bool


def timing_of(info: ModelInfo, config: StreamConfig) -> Timing:
    """Windows and utterances of a stream of this model, in frames."""
    return Timing.of(config, info.grid, EnergyGate(info.grid.hop).lookback, info.emission_delay)


class Session:
    """One stream's ring, voice detector, endpointer, planner and segments.

    new_decoder    makes the decoders of its utterances; None: those that `config.decode` names
    cut            the sample to start at, on the frame grid; 0 for a new stream
    from_sample    the first sample that will be fed: `timing.context` before the cut, at least 0

    Raises ConfigError if a stream can't start there.
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
        self._new_decoder = new_decoder or new_decoders(info, config.decode)
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
        self._heard = from_sample // self._hop  # blocks that the detector has decided on
        self._voiced: deque[tuple[int, bool]] = deque()  # (block, whether it is voiced), since the last cut
        self._flushes: deque[int] = deque()
        self._line: deque[Segment | _Mark] = deque()  # what is not committed yet, oldest first
        self._wanted: deque[Window] = deque()
        self._events: list[Event] = []
        self._restart(cut // self._hop)

    # ---- in

    def feed(self, pcm: Pcm) -> int:
        """Takes samples (S,) while there is room; returns how many. Feed the rest after windows have been accepted."""
        assert not self.finished
        taken = 0
        while room := min(len(pcm) - taken, self._ring.room):
            self._ring.feed(pcm[taken : taken + room])
            taken += room
            self._listen()
            self._advance()  # which may make room
        return taken

    def flush(self) -> None:
        """Ends the current utterance, if there is one, with the samples fed so far. Answered by a Flushed event."""
        assert not self.finished
        self._flushes.append(self._ring.end)
        self._advance()

    def finish(self) -> None:
        """Ends the stream: a flush with nothing after it."""
        self.flush()
        self.finished = True

    def decoding(self, window: Window) -> Decoding | None:
        """The function that decodes a window over a whole utterance where it was computed, off the event loop.

        None if the window is not decoded alone: its log-probabilities are accepted as they are.
        """
        if not (self.timing.provisional and (window.final or window.pause)):
            return None
        return partial(decode_utterance, window, info=self.info, new_decoder=self._new_decoder)

    def accept(self, window: Window, log_probs: LogProbs, utterance: Utterance | None = None) -> None:
        """Takes a window's log-probabilities (T, V). Windows may come in any order, and more than once.

        utterance: the result of the window's decoding(), if that was called.
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
        """The next window to encode; None if none is due."""
        return self._wanted.popleft() if self._wanted else None

    def wants(self, window: Window) -> bool:
        """Whether a window's result is still of use."""
        return self._segment_of(window) is not None

    def samples(self, window: Window) -> Pcm:
        """The samples (S,) of a window that is wanted."""
        return self._ring.view(*self.info.grid.span(window.start, window.frames))

    def events(self) -> list[Event]:
        """The events since the last call."""
        events, self._events = self._events, []
        return events

    @property
    def room(self) -> int:
        """How many samples feed() would take now."""
        return self._ring.room

    @property
    def received(self) -> int:
        """How many samples have arrived."""
        return self._ring.end

    @property
    def committed(self) -> int:
        """How many samples have text that is final or, with `commit: hop`, will not change."""
        head = self._line[0] if self._line else self._segment
        if isinstance(head, Segment) and not self.timing.provisional:
            return max(self.cut, head.promised * self._hop)
        return self.cut

    @property
    def resting(self) -> bool:
        """Whether nobody is speaking and all that was said is final."""
        return not self._line  # the current utterance is its last item

    @property
    def done(self) -> bool:
        """Whether the stream has ended and its last event is there to be fetched."""
        return self.finished and not self._flushes and not self._line

    # ---- the sample clock

    def _restart(self, frame: int) -> None:
        """Starts anew at a cut: a new endpointer, which is given the blocks since the cut again, and no utterance."""
        while self._voiced and self._voiced[0][0] < frame:
            self._voiced.popleft()
        self._endpointer = Endpointer(self.timing, frame)
        self._planner: WindowPlanner | None = None
        self._segment: Segment | None = None

    def _advance(self) -> None:
        """Processes blocks and flushes in order, but not while a window is awaited that decides where to split."""
        while not (self._segment and self._segment.split):
            limit = self._flushes[0] if self._flushes else self._ring.end
            if (self._endpointer.block + 1) * self._hop <= limit:
                self._block()
            elif self._flushes:
                self._flush(self._flushes.popleft())
            else:
                break

    def _listen(self) -> None:
        """Gives each new block to the detector, once; endpointers may be given a block again after a cut."""
        end = self._ring.end // self._hop
        if end > self._heard:
            blocks = self._ring.view(self._heard * self._hop, end * self._hop).reshape(-1, self._hop)
            judged = zip(range(self._heard, end), self._detector.feed(blocks), strict=True)
            self._voiced.extend(each for each in judged if each[0] >= self._endpointer.cut)
            self._heard = end

    def _block(self) -> None:
        """Processes one block: an utterance may begin, end, or become too long; else hop windows may be due."""
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
        """Ends the current utterance with the last frame that is complete at `sample`."""
        end = max(self._endpointer.cut, self.info.grid.frames(sample))
        self._endpointer.finish()
        if self._segment is None and self._endpointer.start is not None and self._endpointer.start < end:
            self._open(self._endpointer.start)
        if self._segment:
            self._close(min(end, self._endpointer.until), flushed=True)
        self._mark(end, flushed=True)

    def _open(self, start: int) -> None:
        self._segment = Segment(self.info, self.timing, self._new_decoder, start, self._loudness)
        self._planner = WindowPlanner(self.timing, start)
        self._line.append(self._segment)

    def _close(self, end: int, *, split: bool = False, flushed: bool = False) -> None:
        """Ends the current utterance before frame `end`, or a little later if hop windows have committed more."""
        assert self._segment and self._planner
        end = max(end, self._planner.committed)
        if (window := self._planner.last(end, split=split)) is not None:
            self._wanted.append(window)
        self._segment.close(end, split=split, flushed=flushed)
        if split:
            self._after_split()
        else:
            self._restart(end)
        self._publish()

    def _after_split(self) -> None:
        """Cuts an utterance that was too long once its last window has decided where."""
        if self._segment and self._segment.split and self._segment.complete:
            assert self._segment.end is not None
            self._restart(self._segment.end)

    def _mark(self, end: int, *, flushed: bool) -> None:
        self._line.append(_Mark(end, flushed))
        self._restart(end)
        self._publish()

    def _loudness(self, first: int, end: int) -> Powers:
        """See engine.times. Of audio that is not committed yet."""
        return powers(self._ring.view(first * BLOCK_SAMPLES, end * BLOCK_SAMPLES))

    # ---- what is committed

    def _segment_of(self, window: Window) -> Segment | None:
        """The utterance that a window belongs to; None if that needs it no more."""
        for item in self._line:
            if isinstance(item, Segment) and item.start == window.segment and not item.complete:
                return item
        return None

    def _publish(self) -> None:
        """Emits the events at the head of the line, as far as they are known."""
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
