"""The send buffer of a stream: keeps audio until its text is final, to send it again after a lost connection. No I/O.

    replay.audio(data); replay.flush(); replay.stop()             # unless replay.full
    while (message := replay.take()) is not None: ...             # to be sent, in order
    replay.acked(cut)                                             # audio before it may be dropped
    start.resume = replay.rewind(fingerprint)                     # take() starts again at the oldest audio kept

A cut is a sample before which all text is final; a server can resume there. Positions are in bytes of 16-bit samples
from the start of the stream, because a block of audio may end within a sample.
"""

from collections import deque

from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.server import wire

SAMPLE_BYTES = 2
MAX_FLUSH_COUNT = 1024
"""Maximum number of flushes that wait to be sent."""


class Replay:
    """The audio, flushes and stop of a stream, and the position up to which they were taken to be sent.

    context   samples before a cut that a server needs to resume there; None: the stream can't be resumed, and audio is
              dropped once it is taken. The server says it: until nothing is taken it may be set
    keep      maximum amount of audio in the buffer, in seconds of 16 kHz PCM; then it is `full`
    """

    def __init__(self, context: int | None, keep: Seconds) -> None:
        self.cut = 0
        """The newest cut, in samples."""
        self.stopped = False
        self.context = context
        self._limit_bytes = round(keep * SAMPLE_RATE) * SAMPLE_BYTES
        self._audio = bytearray()  # begins at position _start
        self._start = self._taken = 0
        self._flushes: deque[int] = deque()  # positions of flushes that were not taken yet
        self._sent_flushes: deque[int] = deque()  # positions of those that were, after the cut
        self._stop_due = False

    # ---- in

    def audio(self, data: bytes | memoryview) -> None:
        """Appends audio."""
        assert not self.stopped
        self._audio += data

    def flush(self) -> None:
        """Appends a flush."""
        assert not self.stopped
        self._flushes.append(self._end)

    def stop(self) -> None:
        """Ends the audio. Nothing may follow."""
        assert not self.stopped
        self.stopped = self._stop_due = True

    def acked(self, cut: int) -> None:
        """All text before sample `cut` has arrived: drops the audio that is no longer needed."""
        self.cut = max(self.cut, min(cut, self._taken // SAMPLE_BYTES))
        if self.context is not None:
            self._forget(max(0, self.cut - self.context) * SAMPLE_BYTES)
        while self._sent_flushes and self._sent_flushes[0] <= self.cut * SAMPLE_BYTES:
            self._sent_flushes.popleft()

    # ---- out

    def take(self) -> bytes | wire.ClientMessage | None:
        """Returns the next message to be sent; None if there is none."""
        until = self._flushes[0] if self._flushes else self._end
        if self._taken < until:
            first = self._taken
            self._taken = min(until, first + wire.MESSAGE_BYTES)
            data = bytes(self._audio[first - self._start : self._taken - self._start])
            if self.context is None:
                self._forget(self._taken)
            return data
        if self._flushes:
            at = self._flushes.popleft()
            repeated = bool(self._sent_flushes) and self._sent_flushes[-1] >= at  # a second flush has no effect
            if self.context is not None and not repeated:
                self._sent_flushes.append(at)
            return wire.Flush()
        if self._stop_due:
            self._stop_due = False
            return wire.Stop()
        return None

    def rewind(self, fingerprint: str) -> wire.Resume:
        """Makes `take` start again at the oldest audio kept. Returns the `resume` of the next connection's `start`."""
        assert self.resumable
        self._taken = self._start
        self._flushes = self._sent_flushes + self._flushes
        self._sent_flushes = deque()
        self._stop_due = self.stopped
        return wire.Resume(cut=self.cut, from_sample=self._start // SAMPLE_BYTES, fingerprint=fingerprint)

    # ---- state

    @property
    def resumable(self) -> bool:
        """Whether the stream can go on over another connection."""
        return self.context is not None

    @property
    def full(self) -> bool:
        """Whether the caller should wait before it adds more."""
        return len(self._audio) >= self._limit_bytes or len(self._flushes) >= MAX_FLUSH_COUNT

    @property
    def waiting(self) -> Seconds:
        """Seconds of audio that were not taken yet."""
        return (self._end - self._taken) / SAMPLE_BYTES / SAMPLE_RATE

    @property
    def kept(self) -> Seconds:
        """Seconds of audio that have no final text yet."""
        return (self._end - max(self._start, self.cut * SAMPLE_BYTES)) / SAMPLE_BYTES / SAMPLE_RATE

    @property
    def taken(self) -> Seconds:
        """Seconds of audio that were taken and would be sent again after a rewind."""
        return (self._taken - self._start) / SAMPLE_BYTES / SAMPLE_RATE

    @property
    def _end(self) -> int:
        return self._start + len(self._audio)

    def _forget(self, before: int) -> None:
        if before > self._start:
            del self._audio[: before - self._start]
            self._start = before
