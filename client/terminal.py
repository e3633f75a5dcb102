"""Captions in a terminal: finals scroll up as plain text, and only the open utterance below them is redrawn."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from math import log10
from types import TracebackType
from typing import Self

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from earshot_asr.client.cased import Cased
from earshot_asr.client.keys import unheard
from earshot_asr.client.live import SampleClock, Screen
from earshot_asr.client.stream import Connected, Message, Reconnecting, Resumed, Waiting
from earshot_asr.client.written import FinalsOnly, JsonLines, lost
from earshot_asr.engine.audio import Pcm, Seconds, to_float
from earshot_asr.engine.captions import writer
from earshot_asr.engine.text import printable
from earshot_asr.server.wire import Ack, FinalMessage, PartialMessage, Warning

QUIET_DB = -60.0
"""The lowest level that the meter shows, in dB relative to full scale."""
METER_CELLS = 12
"""Width of the level meter in characters, from QUIET_DB to full scale."""
REDRAW_INTERVAL_SECONDS = 0.05
"""Minimum interval between two redraws."""


class Captions:
    """The part of the screen that is redrawn: the open utterance, and a status line. Renders itself with rich.

    live    the audio arrives in real time, so that the delay is shown
    meter   show the level of the audio
    """

    def __init__(self, *, live: bool = True, meter: bool = False) -> None:
        self._live, self._meter = live, meter
        self._clock = SampleClock()
        self._open: PartialMessage | None = None
        self._delay: Seconds | None = None
        self._level = QUIET_DB
        self._dropped: Seconds = 0.0
        self._lost: Waiting | Reconnecting | None = None

    def hear(self, pcm: Pcm, dropped: Seconds, now: Seconds) -> None:
        """See Screen."""
        self._clock.hear(len(pcm), now)
        self._level = level_db(pcm)
        self._dropped = dropped

    def show(self, message: Message, now: Seconds) -> str | None:
        """Takes a message that arrived at `now`. Returns text that is final and leaves the redrawn part."""
        match message:
            case PartialMessage():
                self._open = message if message.text else None
                self._delay = self._clock.age(message.end, now)
            case FinalMessage():
                self._close(before=message.segment + 1)
                return printable(message.text)
            case Ack():  # an utterance without words gets no final
                self._close(before=message.cut)
            case Waiting() | Reconnecting():
                self._lost = message
            case Connected() | Resumed():
                self._lost = None
        return None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The open utterance, or as many of its last lines as the screen has room for, and the footer."""
        if self._open is not None:
            lines = utterance(self._open).wrap(console, options.max_width)
            yield Text("\n").join(lines[-max(1, console.height - 2) :])
        yield self.footer("#-" if options.ascii_only else "█░")

    def footer(self, cells: str) -> Text:
        """The status line: elapsed time, delay, level, lost audio. `cells`: a full and an empty cell of the meter."""
        parts = [elapsed(self._clock.heard)]
        if self._live and self._delay is not None:
            parts.append(f"delay {max(0.0, self._delay):.1f} s")
        if self._meter:
            full = round(METER_CELLS * (1 - min(max(self._level / QUIET_DB, 0), 1)))
            parts.append(cells[0] * full + cells[1] * (METER_CELLS - full))
        footer = Text("  ".join(parts), style="dim", no_wrap=True, overflow="crop")
        if self._lost:
            footer.append(f"  {lost(self._lost)}", style="not dim yellow")
        if self._dropped:
            footer.append(f"  {self._dropped:.1f} s of audio lost", style="not dim red")
        return footer

    def _close(self, before: int) -> None:
        if self._open is not None and self._open.segment < before:
            self._open = None


class Terminal:
    """Draws Captions on a terminal while its context is entered. A Screen."""

    def __init__(self, console: Console, *, live: bool = True, meter: bool = False) -> None:
        self._console = console
        self._captions = Captions(live=live, meter=meter)
        self._region = Live(self._captions, console=console, auto_refresh=False, transient=True)
        self._drawn: Seconds = float("-inf")

    def __enter__(self) -> Self:
        self._region.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._region.stop()

    def hear(self, pcm: Pcm, dropped: Seconds, now: Seconds) -> None:
        """See Screen."""
        self._captions.hear(pcm, dropped, now)
        self._draw(now)

    def show(self, message: Message, now: Seconds) -> None:
        """See Screen."""
        final = self._captions.show(message, now)
        if isinstance(message, Warning):
            self._console.print(Text(f"note: {printable(message.message)}", style="yellow"))
        elif final is None:
            self._draw(now, at_once=isinstance(message, Waiting | Connected | Reconnecting | Resumed))
        else:
            self._console.print(Text(final))

    def _draw(self, now: Seconds, *, at_once: bool = False) -> None:
        if at_once or now - self._drawn >= REDRAW_INTERVAL_SECONDS:
            self._drawn = now
            self._region.refresh()


@contextmanager
def screen(
    console: Console,
    *,
    format: str = "text",
    partials: bool = False,
    live: bool = True,
    meter: bool = False,
    cased: bool = False,
    names: Sequence[str] = (),
) -> Iterator[Screen]:
    """Yields live captions if the format is text and the console a terminal, else what writes in the format.

    partials       partials are written too, if the format is json
    live, meter    see Captions
    cased, names   whether text gets the case that people write, and words as they are spelled

    Raises ConfigError for an unknown format.
    """

    def with_case(shown: Screen) -> Screen:
        return Cased(shown, names) if cased else shown

    if format == "text" and console.is_terminal:
        with unheard(console.file), Terminal(console, live=live, meter=meter) as terminal:
            yield with_case(terminal)
    elif format == "json":
        yield with_case(JsonLines(console.file, sys.stderr, partials=partials))
    else:
        with closing(FinalsOnly(writer(format), console.file, sys.stderr)) as written:
            yield with_case(written)


def utterance(partial: PartialMessage) -> Text:
    """The text of a partial: its stable part plain, the rest dim."""
    text = Text(printable(partial.text[: partial.stable]))
    return text.append(printable(partial.text[partial.stable :]), style="dim")


def level_db(pcm: Pcm) -> float:
    """RMS level in dB relative to full scale, at least QUIET_DB."""
    power = float(np.mean(to_float(pcm) ** 2)) if len(pcm) else 0.0
    return max(QUIET_DB, 10 * log10(power)) if power else QUIET_DB


def elapsed(at: Seconds) -> str:
    """Formats seconds as m:ss or h:mm:ss."""
    minutes, s = divmod(int(at), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"
