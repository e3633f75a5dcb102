"""Recordings of a terminal: what is drawn at a time is what was on the screen at that time."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from bisect import bisect_right
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.audio import Seconds
from tests.benchmarks.animation import LINE_PX, Shot, Span, animated, spans
from tests.benchmarks.recording import ROOT, recorded
from tests.terminal_screen import Row, Run, TerminalScreen

LIVE = """
import time
from rich.console import Console
from rich.live import Live
from rich.text import Text
console = Console()
with Live(console=console, auto_refresh=False, transient=True) as live:
    for text in ("ONE", "ONE TOO", "ONE TWO"):
        live.update(Text("SHE SAID ").append(text, style="dim").append("\\n0:01"), refresh=True)
        time.sleep(0.1)
    console.print("SHE SAID ONE TWO")
"""


def shown(picture: str, at: Seconds, end: Seconds) -> list[tuple[int, str]]:
    """The texts that an animated SVG shows at a time, each with its line."""
    found = []
    for text in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text"):
        visible = text.get("visibility", "visible")
        for animation in text.iter("{http://www.w3.org/2000/svg}animate"):
            times = [float(share) for share in animation.get("keyTimes", "").split(";")]
            assert times[0] == 0 and all(a < b for a, b in pairwise(times)) and times[-1] < 1
            assert float(animation.get("dur", "").removesuffix("s")) == pytest.approx(end, abs=0.01)
            visible = animation.get("values", "").split(";")[bisect_right(times, at / end) - 1]
        if visible == "visible":
            found.append((int(text.get("y", "")) // LINE_PX, "".join(text.itertext())))
    return found


rows = st.lists(
    st.lists(st.builds(Run, st.sampled_from(["A", "B & <C>"]), st.sampled_from(["", "dim"])), max_size=2).map(tuple),
    max_size=3,
)


@given(st.lists(rows, min_size=1, max_size=8))
def test_at_each_time_the_picture_is_the_screen(screens: list[list[Row]]) -> None:
    shots = [Shot(float(n), screen) for n, screen in enumerate(screens)]
    end = len(shots) + 1.0
    picture = animated(shots, end, columns=20, lines=3, title="<a>")
    for at, screen in shots:
        wanted = [(line, "".join(run.text for run in row)) for line, row in enumerate(screen) if row]
        assert sorted((line - 1, text) for line, text in shown(picture, at + 0.5, end)) == wanted
    still = [text for text in ET.fromstring(picture).iter() if text.tag.endswith("text") and not text.get("visibility")]
    assert len(still) == sum(bool(row) for row in screens[-1])  # where nothing moves, the last screen is shown


def test_a_line_that_stays_is_drawn_once() -> None:
    one, two = (Run("ONE"),), (Run("TWO", "dim"),)
    assert spans([Shot(0, [one]), Shot(1, [one, two]), Shot(2, [two])], 3) == [
        Span(0, one, 0, 2),
        Span(1, two, 1, 2),
        Span(0, two, 2, 3),
    ]


def test_it_loads_nothing() -> None:
    picture = animated([Shot(0, [(Run("A"),)])], 1, columns=9, lines=1, title="")
    assert not any(word in picture.replace("http://www.w3.org/2000/svg", "") for word in ("http", "url(", "<script"))


def test_a_program_is_recorded_in_a_terminal(tmp_path: Path) -> None:
    shots = recorded([sys.executable, "-c", LIVE], tmp_path, "$ live")
    rows = [shot.rows for shot in shots]
    assert rows[0] == ((Run("$ live", "bold"),), ())
    for text in ("ONE", "ONE TOO", "ONE TWO"):
        assert ((Run("$ live", "bold"),), (Run("SHE SAID "), Run(text, "dim")), (Run("0:01"),)) in rows
    assert rows[-1][:2] == ((Run("$ live", "bold"),), (Run("SHE SAID ONE TWO"),))
    assert all(a.at < b.at for a, b in pairwise(shots[1:]))


def test_what_a_program_that_fails_says_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^\$ fail\nno server$"):
        recorded([sys.executable, "-c", "import sys; sys.exit('no server')"], tmp_path, "$ fail")


@given(st.data())
def test_a_screen_does_not_depend_on_how_the_output_is_cut(data: st.DataObject) -> None:
    parts = ["AB", "C" * 7, "\n", "\r\n", "\r", "\x1b[2K", "\x1b[1A", "\x1b[2m", "\x1b[0m", "\x1b[?25l", "\x1b[1;31m"]
    output = "".join(data.draw(st.lists(st.sampled_from(parts), max_size=20)))
    cut = data.draw(st.integers(0, len(output)))
    whole = TerminalScreen(6, 4).feed(output)
    assert TerminalScreen(6, 4).feed(output[:cut]).feed(output[cut:]).rows == whole.rows
    assert len(whole.rows) <= 4 and all(sum(len(run.text) for run in row) <= 6 for row in whole.rows)


def test_a_screen_wraps_scrolls_and_overwrites() -> None:
    screen = TerminalScreen(4, 2).feed("ABCDE\nFG\rX\x1b[2mY\x1b[0m")
    assert screen.rows == ((Run("E"),), (Run("X"), Run("Y", "dim")))
    assert screen.feed("\x1b[1A\x1b[2K\rZ").texts == ["Z", "XY"]
    for unknown in ("\x1b[5G", "\x1b[1J", "\x08", "\x1bM "):
        with pytest.raises(ValueError, match="unknown"):
            TerminalScreen().feed(unknown)


@pytest.mark.slow
def test_captions_of_a_real_server(tmp_path: Path) -> None:
    out = tmp_path / "captions.svg"
    command = [sys.executable, "-m", "tests.benchmarks.recording", "client/data/demo.flac", "--out", str(out)]
    done = subprocess.run([*command, "--seconds", "5", "--stability", "high"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    picture = out.read_text()
    assert len(picture) < 20_000 and "$ earshot stream --stability high demo.flac" in picture
    assert picture.count('class="dim"') > 10
