"""Keys that are pressed while captions run: the terminal does not echo them, or they would stand in the captions.

The echo comes back when the captions end, however they do: also where a signal ends or stops the process. What was
typed unseen is dropped then; the shell would run it.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import IO

SHOW_CURSOR = b"\x1b[?25h\n"
"""Ends a redrawn region that is left behind: rich hides the cursor in it, which stands at the end of its last line."""

if sys.platform != "win32":  # whose console echoes only what is read
    import termios

    ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

    class Echo:
        """The echo of the terminal that a file is open on. Raises termios.error if it is none."""

        def __init__(self, file: int) -> None:
            self._file = file
            self._before = termios.tcgetattr(file)[3] & (termios.ECHO | termios.ECHONL)

        def off(self) -> None:
            """Turns it off."""
            self._set(0)

        def restore(self) -> None:
            """Makes it what it was at first, and drops what was typed meanwhile."""
            self._set(self._before)

        def _set(self, echo: int) -> None:
            if not self._is_ours():
                return
            with suppress(termios.error):  # the terminal is gone
                if echo:
                    termios.tcflush(self._file, termios.TCIFLUSH)
                modes = termios.tcgetattr(self._file)
                modes[3] = modes[3] & ~(termios.ECHO | termios.ECHONL) | echo
                termios.tcsetattr(self._file, termios.TCSANOW, modes)

        def _is_ours(self) -> bool:
            """In the background, changing the modes of the terminal would stop the process."""
            try:
                return os.tcgetpgrp(self._file) == os.getpgrp()
            except OSError:  # no process group owns it
                return True

    @contextmanager
    def unheard(terminal: IO[str]) -> Iterator[None]:
        """A context in which keys that are pressed are not echoed. Does nothing where there is no terminal."""
        try:
            file = terminal.fileno()
            echo = Echo(file)
        except (OSError, termios.error):
            yield
            return

        def leave() -> None:
            echo.restore()
            with suppress(OSError):
                os.write(file, SHOW_CURSOR)

        def end(number: int, frame: FrameType | None) -> None:
            leave()
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

        def suspend(number: int, frame: FrameType | None) -> None:
            end(number, frame)  # the process stands still in here, until it is continued
            signal.signal(number, suspend)
            echo.off()

        with ExitStack() as leaving:
            leaving.callback(echo.restore)
            if threading.current_thread() is threading.main_thread():  # only this one may handle signals
                for number, handler in (*((number, end) for number in ENDING), (signal.SIGTSTP, suspend)):
                    if signal.getsignal(number) is signal.SIG_DFL:
                        leaving.callback(signal.signal, number, signal.SIG_DFL)
                        signal.signal(number, handler)
            echo.off()
            yield

else:

    @contextmanager
    def unheard(terminal: IO[str]) -> Iterator[None]:
        """Does nothing: a console of Windows echoes only what is read."""
        yield
