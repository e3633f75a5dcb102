"""Standard output and error as they really are: closed, full, read by nobody, of an encoding that lacks letters."""

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import TextIOWrapper
from typing import TextIO

from earshot_asr.engine.errors import OutputError
from earshot_asr.engine.text import ESCAPES

REASON_TEXTS = {errno.EPIPE: "whatever read it has ended", errno.EBADF: "it is closed"}


class Output(TextIOWrapper):
    """Standard output or error, to which any character can be written.

    fatal   what can't be written raises OutputError; otherwise it is lost
    """

    def __init__(self, stream: TextIO, *, fatal: bool) -> None:
        by_line, through = bool(stream.line_buffering), getattr(stream, "write_through", False)
        super().__init__(stream.buffer, stream.encoding, ESCAPES, None, by_line, through)
        self._stream = stream  # when it is collected, it closes the bytes below both
        self._fatal = fatal

    def write(self, text: str) -> int:
        """See TextIOWrapper."""
        try:
            return super().write(text)
        except OSError as e:
            self._fail(e)
            return len(text)

    def flush(self) -> None:
        """See TextIOWrapper."""
        try:
            super().flush()
        except OSError as e:
            self._fail(e)

    def _fail(self, error: OSError) -> None:
        with suppress(OSError):  # else Python tries to write the rest at exit, fails again, and prints a traceback
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
        if self._fatal:
            raise _refusal(error) from None


class Notices(logging.StreamHandler[TextIO]):
    """Writes the log to whatever standard error is at the time, as `earshot: ...`."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("earshot: %(message)s"))

    @property
    def stream(self) -> TextIO:
        """See StreamHandler."""
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None: ...


def show_notices() -> None:
    """Shows warnings on standard error; where that is no terminal, which has bars, also how far a download is."""
    ours = logging.getLogger("earshot_asr")
    if not any(isinstance(handler, Notices) for handler in ours.handlers):
        ours.addHandler(Notices())
    if not sys.stderr.isatty():
        logging.getLogger("earshot_asr.engine.hub").setLevel(logging.INFO)


@contextmanager
def guarded() -> Iterator[None]:
    """Within this context sys.stdout and sys.stderr are Outputs, and no number of theirs is free for another file."""
    _open_closed()
    with ExitStack() as leaving:
        for name in ("stdout", "stderr"):
            before: TextIO = getattr(sys, name)
            if not hasattr(before, "buffer"):  # a test's StringIO
                continue
            output = Output(before, fatal=name == "stdout")
            leaving.callback(output.detach)
            leaving.callback(setattr, sys, name, before)
            setattr(sys, name, output)
        yield


def check() -> None:
    """Raises OutputError if standard output is closed: better before than after the work that is done for it."""
    try:
        os.write(sys.stdout.fileno(), b"")
    except ValueError:  # it is no file
        pass
    except OSError as e:
        raise _refusal(e) from None


def _refusal(error: OSError) -> OutputError:
    reason = REASON_TEXTS.get(error.errno or 0) or error.strerror or str(error)
    return OutputError(f"can't write to standard output: {reason}")


def _open_closed() -> None:
    """Opens what was closed when the process began, or else the next file that is opened would take its number.

    Of standard input nothing comes then, standard output refuses what is written, and standard error loses it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
