"""What C libraries write to standard error, kept out of the way of captions."""

import os
import sys
import threading
from collections import deque
from types import TracebackType

from earshot_asr.client.output import Output
from earshot_asr.engine.errors import DeviceError
from earshot_asr.engine.text import printable

STDERR = 2
KEPT_LINE_COUNT = 20
LINE_CHARACTERS = 200
"""A longer line counts as several."""
LAST_LINE_SECONDS = 1.0
"""Longest wait, at the end, for lines that were written just before."""


class Aside:
    """A context in which what C libraries write to standard error is not shown; sys.stderr goes on as before.

    PortAudio and ALSA write to it from threads of their own whenever something is odd. The last line is made part of a
    DeviceError that is raised in the context.
    """

    def __enter__(self) -> None:
        self._before, self._shown = sys.stderr, os.dup(STDERR)
        self._before.flush()
        if _is_stderr(self._before):
            file = open(self._shown, "w", encoding=self._before.encoding, buffering=1, closefd=False)
            sys.stderr = Output(file, fatal=False)
        self._lines: deque[str] = deque(maxlen=KEPT_LINE_COUNT)
        reader, writer = os.pipe()
        self._thread = threading.Thread(target=self._keep, args=(reader,), name="standard-error", daemon=True)
        self._thread.start()
        os.dup2(writer, STDERR)
        os.close(writer)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.stderr.flush()
        sys.stderr = self._before
        os.dup2(self._shown, STDERR)  # nobody writes to the pipe any more, and the thread ends
        os.close(self._shown)
        self._thread.join(LAST_LINE_SECONDS)
        if isinstance(error, DeviceError) and self._lines:
            raise DeviceError(f"{error} ({self._lines[-1]})") from None

    def _keep(self, reader: int) -> None:
        with open(reader, encoding="utf-8", errors="replace") as lines:
            for line in iter(lambda: lines.readline(LINE_CHARACTERS), ""):
                if line := printable(line).strip():
                    self._lines.append(line)


def _is_stderr(stream: object) -> bool:
    """Whether it writes to the process's standard error."""
    try:
        return stream.fileno() == STDERR  # type: ignore[attr-defined,no-any-return]
    except (AttributeError, ValueError):
        return False
