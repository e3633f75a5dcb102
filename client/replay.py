"""What was said to a server and is not committed yet, kept to be said again where the line is lost. Sans-I/O.

    replay.audio(data); replay.flush(); replay.stop()             # as fast as it comes, unless replay.full
    while (message := replay.take()) is not None: ...             # to be sent, in order
    replay.acked(cut)                                             # what is before it need not be kept
    start.resume = replay.rewind(fingerprint)                     # take() begins again at what is kept

Positions are bytes of 16-bit samples from the start of the stream: audio may be cut within a sample.
"""

from collections import deque

from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.server import wire

SAMPLE_BYTES = 2
MAX_FLUSH_COUNT = 1024
"""So many may wait."""


class Replay:
    """All that is said, in order, with a place up to which it was taken.

    context   samples before a cut that a server needs to go on there; None: nothing is kept once it was taken
    keep      how much audio may wait and be kept, in seconds of 16 kHz PCM; more is `full`
    """

    def __init__(self, context: int | None, keep: Seconds) -> None:
        self.cut = 0
        """The sample at which it would be resumed: all text before it has come."""
        self.stopped = False
        self._context = context
        self._limit = round(keep * SAMPLE_RATE) * SAMPLE_BYTES
        self._audio = bytearray()  # from _start on
        self._start = self._taken = 0
        self._flushes: deque[int] = deque()  # where they stand, those not taken yet
        self._said: deque[int] = deque()  # those that were
        self._stop_due = False

    # ---- in

    def audio(self, data: bytes | memoryview) -> None:
        """More audio."""
        assert not self.stopped
        self._audio += data

    def flush(self) -> None:
        """A flush, here."""
        assert not self.stopped
        self._flushes.append(self._end)

    def stop(self) -> None:
        """The end of the audio."""
        assert not self.stopped
        self.stopped = self._stop_due = True

    def acked(self, cut: int) -> None:
        """All text before sample `cut` has come."""
        self.cut = max(self.cut, min(cut, self._taken // SAMPLE_BYTES))
        if self._context is not None:
            self._forget(max(0, self.cut - self._context) * SAMPLE_BYTES)
        while self._said and self._said[0] <= self.cut * SAMPLE_BYTES:
            self._said.popleft()

    # ---- out

    def take(self) -> bytes | wire.ClientMessage | None:
        """The next message to be sent; None if there is none."""
        until = self._flushes[0] if self._flushes else self._end
        if self._taken < until:
            first = self._taken
            self._taken = min(until, first + wire.MESSAGE_BYTES)
            data = bytes(self._audio[first - self._start : self._taken - self._start])
            if self._context is None:
                self._forget(self._taken)
            return data
        if self._flushes:
            at = self._flushes.popleft()
            if self._context is not None and (not self._said or self._said[-1] < at):  # twice does what once does
                self._said.append(at)
            return wire.Flush()
        if self._stop_due:
            self._stop_due = False
            return wire.Stop()
        return None

    def rewind(self, fingerprint: str) -> wire.Resume:
        """Everything that is kept is to be taken again, by a server that is told this."""
        assert self.resumable
        self._taken = self._start
        self._flushes = self._said + self._flushes
        self._said = deque()
        self._stop_due = self.stopped
        return wire.Resume(cut=self.cut, from_sample=self._start // SAMPLE_BYTES, fingerprint=fingerprint)

    # ---- state

    @property
    def resumable(self) -> bool:
        """Whether there is anything to be said again."""
        return self._context is not None

    @property
    def full(self) -> bool:
        """No more, please."""
        return len(self._audio) >= self._limit or len(self._flushes) >= MAX_FLUSH_COUNT

    @property
    def waiting(self) -> Seconds:
        """Audio that was not taken yet."""
        return (self._end - self._taken) / SAMPLE_BYTES / SAMPLE_RATE

    @property
    def kept(self) -> Seconds:
        """Audio that is not committed."""
        return (self._end - max(self._start, self.cut * SAMPLE_BYTES)) / SAMPLE_BYTES / SAMPLE_RATE

    @property
    def taken(self) -> Seconds:
        """Audio that is kept and was taken: so much there is to be said again."""
        return (self._taken - self._start) / SAMPLE_BYTES / SAMPLE_RATE

    @property
    def _end(self) -> int:
        return self._start + len(self._audio)

    def _forget(self, before: int) -> None:
        if before > self._start:
            del self._audio[: before - self._start]
            self._start = before
