"""What was on a terminal over time, as an animated SVG: one file without resources or scripts, for light and dark."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from earshot_asr.engine.audio import Seconds
from tests.terminal_screen import Row

CHARACTER_PX, LINE_PX, MARGIN_PX = 8.4, 20, 14
STYLE = (
    "svg{--p:#fbfbfa;--l:#d5dade;--i:#1d2329;--s:#8a949e;--b:#3a87cf}"
    "@media(prefers-color-scheme:dark){svg{--p:#14181c;--l:#3a434b;--i:#e4e8ec;--s:#77828d;--b:#4f9ee3}}"
    "text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
    "fill:var(--i);white-space:pre}"
    ".dim{fill:var(--s)}.bold{font-weight:700}"
)


class Shot(NamedTuple):
    """What is on the screen from a time on, until the next shot."""

    at: Seconds
    rows: Sequence[Row]


class Span(NamedTuple):
    """A line that stays at a place of the screen for a while."""

    line: int
    row: Row
    begin: Seconds
    end: Seconds


def spans(shots: Sequence[Shot], end: Seconds) -> list[Span]:
    """Each line of the shots once for as long as it stays as it is, where it is; empty lines are left out."""
    found: list[Span] = []
    shown: dict[int, tuple[Row, Seconds]] = {}
    for at, rows in [*shots, Shot(end, ())]:
        now = {line: row for line, row in enumerate(rows) if row}
        for line, (row, begin) in list(shown.items()):
            if now.get(line) != row:
                found.append(Span(line, row, begin, at))
                del shown[line]
        shown |= {line: (row, at) for line, row in now.items() if line not in shown}
    return sorted(found, key=lambda span: (span.begin, span.line))


def animated(shots: Sequence[Shot], end: Seconds, *, columns: int, lines: int, title: str) -> str:
    """The SVG: it takes `end` seconds, then begins again. Where SVG is not animated, it shows the last shot."""
    width, height = round(columns * CHARACTER_PX + 2 * MARGIN_PX), lines * LINE_PX + 2 * MARGIN_PX
    bar = width - 2 * MARGIN_PX
    drawn = (
        f"<style>{STYLE}</style>",
        f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8" fill="var(--p)" stroke="var(--l)"/>',
        f'<rect x="{MARGIN_PX}" y="{height - 6}" height="2" width="{bar}" fill="var(--b)">'
        f'<animate attributeName="width" from="0" to="{bar}" dur="{end:.2f}s" repeatCount="indefinite"/></rect>',
        *(_text(span, end) for span in spans(shots, end)),
    )
    box = f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}"'
    return "\n".join((f'<svg xmlns="http://www.w3.org/2000/svg" {box}>', *drawn, "</svg>\n"))


def _text(span: Span, end: Seconds) -> str:
    y = MARGIN_PX + span.line * LINE_PX + 14
    hidden = "" if span.end == end else ' visibility="hidden"'
    return f'<text x="{MARGIN_PX}" y="{y}"{hidden}>{"".join(_runs(span.row))}{_visible(span, end)}</text>'


def _runs(row: Row) -> Iterator[str]:
    for text, style in row:
        yield f'<tspan class="{style}">{escape(text, quote=False)}</tspan>' if style else escape(text, quote=False)


def _visible(span: Span, end: Seconds) -> str:
    """Shows it for its time, of `end` seconds that are repeated."""
    if span.begin == 0 and span.end == end:
        return ""
    moments = [(0.0, "hidden"), (span.begin / end, "visible"), (span.end / end, "hidden")]
    moments = [one for one in moments[span.begin == 0 :] if one[0] < 1]
    times, values = ";".join(f"{share:.4g}" for share, _ in moments), ";".join(value for _, value in moments)
    return (
        f'<animate attributeName="visibility" calcMode="discrete" dur="{end:.2f}s" repeatCount="indefinite" '
        f'keyTimes="{times}" values="{values}"/>'
    )
