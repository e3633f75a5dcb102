"""Audio and flushes of one client, on their way into its stream."""

from abc import ABC, abstractmethod
from collections import deque

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds
from earshot_asr.engine.errors import AudioError, ConfigError, ProtocolError
from earshot_asr.engine.recognizer import Stream
from earshot_asr.engine.sources import AudioSource, CutShort
from earshot_asr.engine.sources.doubts import Doubts
from earshot_asr.server.decoding import Decoder
from earshot_asr.server.lanes import Lanes
from earshot_asr.server.notices import Remark
from earshot_asr.server.pace import Pace
from earshot_asr.server.refusals import Refused

SLICE_BYTES = 64 * 1024
"""So much of a message is converted at a time: there are some of many megabytes."""
SLICES_AT_ONCE = 4
"""Others have their turn after so many."""
UNANSWERED_FLUSHES = 32
"""While this many flushes are unanswered, nothing more is taken from the client."""


Fault = AudioError | ConfigError | ProtocolError


class Intake(ABC):
    """Keeps the order of audio and flushes, and holds both back while the stream has no room.

    stream             where they go
    longest_seconds    a stream may have this much audio, resumptions counted; None: any amount
    """

    def __init__(self, stream: Stream | Lanes, longest_seconds: Seconds | None) -> None:
        self._stream = stream
        self._longest_seconds = longest_seconds
        self._expected_samples = stream.received  # once all that waits has been handed on
        self._waiting: deque[Pcm | None] = deque()  # None: a flush
        self._complete = False  # all audio there is has been appended
        self.ended = False
        """Whether the client's audio has ended."""
        self.finished = False
        """Whether the stream knows that, and has had all the audio."""
        self.fault: Fault | None = None
        """Why the audio ended, if not as it should: to be told when what came before it is final."""
        self.unanswered = 0
        """How many flushes, the end of the audio included, the stream has not answered yet."""
        self.remarks: list[Remark] = []
        """What the sender of the audio should know, and was not told yet."""

    @property
    def full(self) -> bool:
        """Whether nothing more may be fed before the engine has made progress."""
        return bool(self._waiting) or self.unanswered >= UNANSWERED_FLUSHES

    @property
    def hungry(self) -> bool:
        """Whether hand_on() should be called again soon, though nothing has happened."""
        return False

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Audio, cut anywhere, also within a sample. What is wrong with it is seen when it is handed on."""

    @abstractmethod
    def flush(self) -> None:
        """Makes final what was fed so far, to the last sample."""

    @abstractmethod
    def finish(self) -> None:
        """The audio ends here. If it ends within a sample, that becomes the fault."""

    @abstractmethod
    def give_up(self, fault: Fault) -> None:
        """The client's message is refused: the audio ends before it."""

    def tick(self, held: bool) -> None:  # noqa: B027  # most don't mind
        """A second has passed; `held`: the client was not read all the time."""

    def close(self) -> None:  # noqa: B027  # most have nothing to close
        """The stream is not wanted any more."""

    def hand_on(self) -> None:
        """Gives the stream what it has room for."""
        while self._waiting:
            pcm = self._waiting.popleft()
            if pcm is None:
                self._stream.flush()
                continue
            taken = self._stream.feed(pcm)
            if taken < pcm.shape[-1]:
                self._waiting.appendleft(pcm[..., taken:])
                if taken == 0:
                    return
        if self._complete and not self.finished:
            self.unanswered += 1
            self._stream.finish()
            self.finished = True

    def _append(self, pcm: Pcm) -> None:
        """Queues samples; those beyond the longest length are left out, and end the audio."""
        if (longest := self._longest_seconds) is not None:
            room = max(0, round(longest * SAMPLE_RATE) - self._expected_samples)
            if pcm.shape[-1] > room:
                self._end(Refused("stream_too_long", f"a stream may have at most {longest:g} s here; begin a new one"))
            pcm = pcm[..., :room]
        if pcm.size:
            self._expected_samples += pcm.shape[-1]
            self._waiting.append(pcm)

    def _end(self, fault: Fault | None = None) -> None:
        """No more audio comes; the first fault counts."""
        self.ended = self._complete = True
        self.fault = self.fault or fault


class RawIntake(Intake):
    """Of samples without a header, which `source` reads: slice by slice, as long as the stream has room for them."""

    def __init__(self, stream: Stream | Lanes, longest_seconds: Seconds | None, source: AudioSource) -> None:
        super().__init__(stream, longest_seconds)
        self._source = source
        self._unread: deque[memoryview | None] = deque()  # None: a flush
        self._doubts = Doubts(source.format)
        self._pace = Pace(source.format.sample_rate)

    @property
    def full(self) -> bool:
        """See Intake."""
        return super().full or bool(self._unread)

    @property
    def hungry(self) -> bool:
        """See Intake."""
        return bool(self._unread) and not self._waiting

    def feed(self, data: bytes) -> None:
        """See Intake."""
        self._pace.feed(len(data) // self._source.format.frame_bytes)
        self._unread.append(memoryview(data))

    def flush(self) -> None:
        """See Intake."""
        self.unanswered += 1
        self._unread.append(None)

    def finish(self) -> None:
        """See Intake."""
        self.ended = True

    def give_up(self, fault: Fault) -> None:
        """See Intake. That the audio ends within a sample, too, is not told."""
        if not self._complete:
            while self._unread:
                self._read()
            self._finish_source()
        self._end(fault)

    def tick(self, held: bool) -> None:
        """See Intake."""
        if held:
            self._pace.pause()
        elif (rate := self._pace.tick()) is not None:
            declared = self._source.format.sample_rate
            sentence = f"for 10 s, {rate} samples have come a second, but {declared} Hz was declared: this is heard "
            sentence += f"at {declared / rate:.3g} times its speed"
            self.remarks.append(Remark("format", sentence))

    def hand_on(self) -> None:
        """See Intake."""
        super().hand_on()
        for _ in range(SLICES_AT_ONCE):
            if self.hungry:
                self._read()
                super().hand_on()
        if self.ended and not self._unread and not self._complete:
            self._end(self._finish_source())
            super().hand_on()

    def _read(self) -> None:
        """Reads the next slice, or does the next flush."""
        data = self._unread.popleft()
        if data is None:
            self._append(self._source.flush())
            self._waiting.append(None)
            return
        if len(data) > SLICE_BYTES:
            self._unread.appendleft(data[SLICE_BYTES:])
        part = bytes(data[:SLICE_BYTES])
        if doubt := self._doubts.feed(part):
            self.remarks.append(Remark("format", doubt))
        try:
            self._append(self._source.feed(part))
        except CutShort as e:  # what is heard does not depend on how the audio was cut
            self._append(e.before)
            self._end(e)

    def _end(self, fault: Fault | None = None) -> None:
        """See Intake."""
        self._unread.clear()
        super()._end(fault)

    def _finish_source(self) -> CutShort | None:
        try:
            self._append(self._source.finish())
        except CutShort as e:
            self._append(e.before)
            return e
        return None


class CompressedIntake(Intake):
    """Of audio that is decoded elsewhere, and comes back through decoded(), flush_reached() and decoding_ended().

    decoder    set before the first call
    """

    decoder: Decoder

    def noted(self, sentence: str) -> None:
        """See decoding.Listener."""
        self.remarks.append(Remark("audio", sentence))

    @property
    def full(self) -> bool:
        """See Intake."""
        return super().full or self.decoder.behind

    def feed(self, data: bytes) -> None:
        """See Intake."""
        self.decoder.feed(data)

    def flush(self) -> None:
        """See Intake."""
        self.unanswered += 1
        self.decoder.flush()

    def finish(self) -> None:
        """See Intake."""
        self.ended = True
        self.decoder.finish()

    def give_up(self, fault: Fault) -> None:
        """See Intake."""
        self.fault = self.fault or fault
        self.finish()

    def close(self) -> None:
        """See Intake."""
        self.decoder.close()

    def hand_on(self) -> None:
        """See Intake. While something waits, nothing more is decoded."""
        super().hand_on()
        self.decoder.hold(bool(self._waiting))

    # ---- called by the decoder

    def decoded(self, pcm: Pcm) -> None:
        """See decoding.Listener."""
        if not self._complete:
            self._append(pcm)
            if self._complete:  # it has become too long
                self.decoder.close()

    def flush_reached(self) -> None:
        """See decoding.Listener."""
        if not self._complete:
            self._waiting.append(None)

    def decoding_ended(self, fault: AudioError | None) -> None:
        """See decoding.Listener."""
        if not self._complete:
            self._end(fault)
