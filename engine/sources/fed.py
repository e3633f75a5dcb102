"""A container fed as bytes, cut anywhere -> 16 kHz mono int16."""

import threading
from types import TracebackType
from typing import Self

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.engine.sources.ahead import Ahead
from earshot_asr.engine.sources.converter import Converter, joined
from earshot_asr.engine.sources.media import Media
from earshot_asr.engine.sources.timeline import LONGEST_GAP_SECONDS, Timeline

PIPE_BYTES = 64 * 1024
"""How far a ContainerSource's caller may be ahead of its decoder."""

MOST_UNTAKEN_SAMPLES = 60 * SAMPLE_RATE
"""How far its decoder may be ahead of its caller: gaps in a file's times are long, and cost no bytes."""


class ContainerSource:
    """An OGG, WebM, ... stream as it arrives. Close it, or use it in a `with`.

    PyAV pulls, so it runs in a thread of its own that reads from a pipe; `feed` fills the pipe and gives out what has
    been decoded by then. How the output is split between calls varies; all of it together is always the same.
    `feed` waits while the decoder is PIPE_BYTES behind, so keep it off an event loop.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards all of these
        self._bytes = bytearray()
        self._complete = False
        self._decoded: list[Pcm] = []
        self._ended = False
        self._error: Exception | None = None
        self._received = 0
        self._thread = threading.Thread(target=self._pump, name="container-source", daemon=True)
        self._thread.start()

    def feed(self, data: bytes) -> Pcm:
        """What has been decoded, (S,). Raises AudioError if it can't be. Bytes behind the last sample do nothing."""
        rest = memoryview(data)
        self._received += len(data)
        with self._changed:
            taken: list[Pcm] = []
            while len(rest) and not self._ended:
                room = PIPE_BYTES - len(self._bytes)
                self._bytes += rest[:room]
                rest = rest[room:]
                taken += self._decoded
                self._decoded = []
                self._changed.notify_all()
                if len(rest):
                    self._changed.wait()
            return joined([*taken, self._take()])

    def finish(self) -> Pcm:
        """Waits for the rest, (S,). Raises AudioError if it can't be decoded."""
        self._complete_input()
        self._thread.join()
        with self._changed:
            return self._take()

    def close(self) -> None:
        """Ends the thread; what wasn't taken is lost."""
        with self._changed:
            self._bytes.clear()
        self._complete_input()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _take(self) -> Pcm:
        if self._error is not None and self._received:
            raise self._error
        decoded, self._decoded = self._decoded, []
        self._changed.notify_all()
        return joined(decoded)

    def _complete_input(self) -> None:
        with self._changed:
            self._complete = True
            self._changed.notify_all()

    # ---- in the thread

    def _next(self, size: int) -> bytes:
        """Waits for at least one byte; none means the end."""
        with self._changed:
            while not self._bytes and not self._complete:
                self._changed.wait()
            data = bytes(self._bytes[:size])
            del self._bytes[:size]
            self._changed.notify_all()
            return data

    def _pump(self) -> None:
        try:
            media, converter = Media(Ahead(self._next), Timeline(LONGEST_GAP_SECONDS)), Converter()
            try:
                for samples, rate in media:
                    self._give(converter.feed(samples, rate))
                self._give(converter.finish())
            finally:
                media.close()
        except Exception as e:  # raised where it can be heard
            self._error = e
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _give(self, pcm: Pcm) -> None:
        """Waits while much is not taken, but not at the end: `finish` takes all at once."""
        with self._changed:
            while sum(map(len, self._decoded)) > MOST_UNTAKEN_SAMPLES and not self._complete:
                self._changed.wait()
            self._decoded.append(pcm)
