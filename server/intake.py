"""Audio and flushes of one client, on their way into its stream."""

from collections import deque

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds
from earshot_asr.engine.errors import AudioError, ConfigError, ProtocolError
from earshot_asr.engine.recognizer import Stream
from earshot_asr.engine.sources import AudioSource, CutShort, RawFormat
from earshot_asr.server.refusals import Refused

UNANSWERED_FLUSHES = 32
"""While this many flushes are unanswered, nothing more is taken from the client."""


class Intake:
    """Decodes audio, keeps its order with the flushes, and holds both back while the stream has no room.

    stream             where they go
    audio              format of the bytes that are fed
    longest_seconds    a stream may have this much audio, resumptions counted; None: any amount
    """

    def __init__(self, stream: Stream, audio: RawFormat, longest_seconds: Seconds | None) -> None:
        self._stream = stream
        self._source = AudioSource(audio.encoding, audio.sample_rate, audio.channels)
        self._longest_seconds = longest_seconds
        self._expected_samples = stream.received  # once all that waits has been handed on
        self._waiting: deque[Pcm | None] = deque()  # None: a flush
        self.ended = False
        """Whether the client's audio has ended."""
        self.finished = False
        """Whether the stream knows that, and has had all the audio."""
        self.fault: AudioError | ConfigError | ProtocolError | None = None
        """Why the audio ended, if not as it should: to be told when what came before it is final."""
        self.unanswered = 0
        """How many flushes, the end of the audio included, the stream has not answered yet."""

    @property
    def full(self) -> bool:
        """Whether nothing more may be fed before the engine has made progress."""
        return bool(self._waiting) or self.unanswered >= UNANSWERED_FLUSHES

    def feed(self, data: bytes) -> None:
        """Audio, cut anywhere, also within a sample. Raises AudioError if it can't be decoded, from some sample on."""
        try:
            self._append(self._source.feed(data))
        except CutShort as e:  # what is heard does not depend on how the audio was cut
            self._append(e.before)
            raise

    def flush(self) -> None:
        """Makes final what was fed so far, to the last sample."""
        self._append(self._source.flush())
        self.unanswered += 1
        self._waiting.append(None)

    def finish(self) -> None:
        """The audio ends here. If it ends within a sample, that becomes the fault."""
        self.ended = True
        try:
            self._append(self._source.finish())
        except CutShort as e:
            self._append(e.before)
            self.fault = e

    def give_up(self, fault: AudioError | ConfigError | ProtocolError) -> None:
        """The client's message is refused: the audio ends before it."""
        if not self.ended:
            try:
                self._append(self._source.finish())
            except CutShort as e:  # that it ends within a sample, too, is not told
                self._append(e.before)
        self.ended = True
        self.fault = self.fault or fault

    def hand_on(self) -> None:
        """Gives the stream what it has room for."""
        while self._waiting:
            pcm = self._waiting.popleft()
            if pcm is None:
                self._stream.flush()
                continue
            taken = self._stream.feed(pcm)
            if taken < len(pcm):
                self._waiting.appendleft(pcm[taken:])
                if taken == 0:
                    return
        if self.ended and not self.finished:
            self.unanswered += 1
            self._stream.finish()
            self.finished = True

    def _append(self, pcm: Pcm) -> None:
        """Queues samples; those beyond the longest length are left out, and end the audio."""
        if (longest := self._longest_seconds) is not None:
            room = max(0, round(longest * SAMPLE_RATE) - self._expected_samples)
            if len(pcm) > room:
                self.ended = True
                self.fault = Refused(
                    "stream_too_long", f"a stream may have at most {longest:g} s here; begin a new one"
                )
            pcm = pcm[:room]
        if len(pcm):
            self._expected_samples += len(pcm)
            self._waiting.append(pcm)
