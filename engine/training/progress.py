"""Shows the progress of a run: on a terminal one line that is updated, elsewhere a line a minute."""

import sys
import time
from collections.abc import Mapping
from typing import TextIO

TERMINAL_SECONDS, FILE_SECONDS = 0.5, 60.0
"""Seconds between two lines, on a terminal and elsewhere."""


class Progress:
    """Writes to `stream`, by default stderr. quiet: writes nothing, for all processes but the first."""

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
        """Shows that `share` of the work took `seconds`, with the time that the rest will take.

        force   show it now, however short ago the last line was
        unit    what `step` counts
        """
        now = time.monotonic()
        if self._quiet or (now < self._next and not force):
            return
        self._next = now + (TERMINAL_SECONDS if self._terminal else FILE_SECONDS)
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
        """Writes a line that stays."""
        if self._quiet:
            return
        self._stream.write(("\r\x1b[2K" if self._open else "") + line + "\n")
        self._stream.flush()
        self._open = False

    def close(self) -> None:
        """Ends the line that is updated, which stays."""
        if self._open:
            self._stream.write("\n")
            self._open = False


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns - 1


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


def duration(seconds: float) -> str:
    """A duration as text: 1 h 05 min, 12 min, 40 s."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
