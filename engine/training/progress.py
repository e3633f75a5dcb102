"""Where a run is: one line that is written again and again on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Mapping
from typing import TextIO

EVERY_TERMINAL, EVERY_FILE = 0.5, 60.0
"""Seconds between two lines."""


class Progress:
    """Says it to `stream`, stderr if None is given. `quiet`: says nothing, as all processes but the first."""

    def __init__(self, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._quiet, self._terminal = quiet, self._stream.isatty()
        self._next, self._open = 0.0, False

    def show(
        self,
        step: int,
        share: float,
        seconds: float,
        figures: Mapping[str, float | str],
        force: bool = False,
        unit: str = "step",
    ) -> None:
        """`share` of the schedule is done, in `seconds`; what is left at that pace is said, too."""
        now = time.monotonic()
        if self._quiet or (now < self._next and not force):
            return
        self._next = now + (EVERY_TERMINAL if self._terminal else EVERY_FILE)
        share = min(share, 1.0)
        left = duration(seconds * (1 - share) / share) if share > 0 else "?"
        parts = [f"{unit} {step:,}", f"{share:4.0%}", *(f"{name} {_short(value)}" for name, value in figures.items())]
        line = "  ".join([*parts, f"{left} left"])
        if self._terminal:
            self._stream.write(f"\r\x1b[2K{line[: _columns()]}")
            self._open = True
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def say(self, line: str) -> None:
        """A line that stays."""
        if self._quiet:
            return
        self._stream.write(("\r\x1b[2K" if self._open else "") + line + "\n")
        self._stream.flush()
        self._open = False

    def close(self) -> None:
        """The last line stays."""
        if self._open:
            self._stream.write("\n")
            self._open = False


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns - 1


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Like 1 h 05 min, 12 min, 40 s."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
