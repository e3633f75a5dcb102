"""A terminal's screen: enough of one for what rich's Live does, and an error for what it does not know."""

import re
from itertools import groupby
from typing import NamedTuple, Self, TypeAlias

TOKEN = re.compile(r"\x1b\[(?P<numbers>[\d;?]*)(?P<command>[A-Za-z])|(?P<control>[\x00-\x1f])|(?P<text>[^\x00-\x1f]+)")
UNFINISHED = re.compile(r"\x1b(\[[\d;?]*)?\Z")
STYLES = {1: "bold", 2: "dim"}
SILENT = ("?25h", "?25l", "?2004h", "?2004l")
"""Modes without effect on what is shown: the cursor, and how keys are pasted."""


class Run(NamedTuple):
    """Characters of one style: "bold", "dim" or none. Colours are left out."""

    text: str
    style: str = ""


Row: TypeAlias = tuple[Run, ...]
"""A line, without the blanks at its end."""


class TerminalScreen:
    """Takes what a program writes to a terminal; `rows` has what is on it then."""

    def __init__(self, columns: int = 10_000, lines: int = 10_000) -> None:
        self._columns, self._most = columns, lines
        self._cells: list[list[Run]] = [[]]  # each of one character
        self._row = self._column = 0
        self._style = ""
        self._waiting = ""

    @property
    def rows(self) -> tuple[Row, ...]:
        """The lines from the first one on."""
        return tuple(_row(cells) for cells in self._cells)

    @property
    def texts(self) -> list[str]:
        """The lines that are not empty, without styles."""
        return [text for row in self.rows if (text := "".join(run.text for run in row))]

    def feed(self, output: str) -> Self:
        """Takes output; it may end amid a control sequence. Raises ValueError for one that is unknown."""
        output = self._waiting + output
        cut = UNFINISHED.search(output)
        self._waiting = cut[0] if cut else ""
        at, end = 0, len(output) - len(self._waiting)
        while at < end:
            token = TOKEN.match(output, at)
            if token is None:
                raise ValueError(f"unknown output {output[at : at + 20]!r}")
            at = token.end()
            if token["text"]:
                self._write(token["text"])
            elif token["control"]:
                self._control(token["control"])
            else:
                self._command(token["command"], token["numbers"])
        return self

    def _write(self, text: str) -> None:
        for char in text:
            if self._column == self._columns:
                self._control("\n")
            cells = self._cells[self._row]
            cells += [Run(" ")] * (self._column + 1 - len(cells))
            cells[self._column] = Run(char, self._style)
            self._column += 1

    def _control(self, char: str) -> None:
        match char:
            case "\n":
                self._row, self._column = self._row + 1, 0
                if self._row == len(self._cells):
                    self._cells.append([])
                if len(self._cells) > self._most:
                    del self._cells[0]
                    self._row -= 1
            case "\r":
                self._column = 0
            case "\x07":
                pass
            case _:
                raise ValueError(f"unknown control character {char!r}")

    def _command(self, command: str, numbers: str) -> None:
        match command:
            case "A":
                self._row = max(0, self._row - int(numbers or 1))
            case "K" if numbers == "2":
                self._cells[self._row] = []
            case "m":
                self._restyle([int(number or 0) for number in numbers.split(";")])
            case "h" | "l" if numbers + command in SILENT:
                pass
            case _:
                raise ValueError(f"unknown control sequence ESC [ {numbers}{command}")

    def _restyle(self, numbers: list[int]) -> None:
        for number in numbers:
            if number in (0, 22):
                self._style = ""
            self._style = STYLES.get(number, self._style)


def _row(cells: list[Run]) -> Row:
    runs = [Run("".join(cell.text for cell in some), style) for style, some in groupby(cells, lambda cell: cell.style)]
    while runs and not runs[-1].text.rstrip():
        runs.pop()
    return (*runs[:-1], runs[-1]._replace(text=runs[-1].text.rstrip())) if runs else ()
