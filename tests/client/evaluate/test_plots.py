"""What is drawn stands where its axes say."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.client.evaluate.markup import Markup
from earshot_asr.client.evaluate.plots import (
    BOTTOM_PX,
    HEIGHT_PX,
    LEFT_PX,
    RIGHT_PX,
    WIDTH_PX,
    Scale,
    Series,
    captioned,
    curves,
    histogram,
    number,
    ticks,
)
from tests.client.evaluate.clips import svg, titles

finite = st.floats(-1e5, 1e5)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(3, 12))
def test_ticks_are_round_and_even(low: float, span: float, at_most: int) -> None:
    found = ticks(low, low + span, at_most)
    assert 1 <= len(found) <= at_most + 1
    assert all(low - 1e-6 * span <= tick <= low + span + 1e-6 * span for tick in found)
    steps = [b - a for a, b in pairwise(found)]
    assert all(step == pytest.approx(steps[0], rel=1e-3) for step in steps)
    assert all(f"{step:.1e}"[:3] in ("1.0", "2.0", "5.0") for step in steps)


def test_a_minute_in_ticks() -> None:
    assert ticks(0, 60, 6) == [0, 10, 20, 30, 40, 50, 60]
    assert ticks(-0.1, 0.52, 8) == [-0.1, 0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_numbers_are_short() -> None:
    assert [number(value) for value in (0.1 + 0.2, -2.0, 100.0)] == ["0.3", "−2", "100"]


@given(st.lists(st.lists(finite, max_size=20), min_size=1, max_size=3))
def test_the_shares_of_a_histogram_make_a_whole(values: list[list[float]]) -> None:
    plot = histogram([Series("s", "shown", each) for each in values], label="delay", unit="s", of="words")
    if not any(values):
        assert not plot
        return
    shares = [float(found) for title in titles(plot) for found in re.findall(r": ([\d.]+) % of words", title)]
    assert sum(shares) == pytest.approx(100, abs=0.06 * len(shares))
    for bar in svg(plot).iter("rect"):
        x, y, width, height = (float(bar.get(name, "nan")) for name in ("x", "y", "width", "height"))
        assert LEFT_PX <= x < x + width <= WIDTH_PX - RIGHT_PX
        assert 0 <= y <= y + height <= HEIGHT_PX - BOTTOM_PX + 0.1


def test_a_bar_says_what_it_is() -> None:
    series = [Series("early", "shown", [0.11, 0.12, 0.31]), Series("late", "final", [0.55])]
    plot = histogram(series, label="delay", unit="s", of="words", marks={"p50": 0.12})
    assert titles(plot)[:2] == ["0.1 to 0.12 s: 25.0 % of words, early", "0.12 to 0.14 s: 25.0 % of words, early"]
    assert titles(plot)[-1] == "0.54 s or more: 25.0 % of words, late"
    said = [text.text for text in svg(plot).iter("text")]
    assert {"delay (s)", "share of words (%)", "p50 0.12 s"} <= set(said)


def test_a_straggler_does_not_flatten_the_plot() -> None:
    values = [n / 1000 for n in range(1000)] + [3600.0]
    plot = histogram([Series("s", "shown", values)], label="delay", unit="s", of="words")
    assert len(titles(plot)) == 20
    assert titles(plot)[-1].startswith("0.95 s or more")


def test_a_mark_is_always_in_the_picture() -> None:
    plot = histogram([Series("s", "shown", [1.0])], label="delay", unit="s", of="words", marks={"p99": 9.0})
    (line,) = (line for line in svg(plot).iter("line") if line.get("class") == "mark")
    assert LEFT_PX < float(line.get("x1", "nan")) <= WIDTH_PX - RIGHT_PX


def test_curves_go_through_their_points() -> None:
    plot = curves([Series("a", "final", [0, 50, 100])], [0, 1, 2], x=("time", "s"), y=("share", "%"), high=100)
    (path,) = svg(plot).iter("path")
    middle = (LEFT_PX + WIDTH_PX - RIGHT_PX) / 2
    assert f"{middle:.1f} " in path.get("d", "")
    assert titles(plot) == ["0 s: a 0 %", "1 s: a 50 %", "2 s: a 100 %"]


def test_scale() -> None:
    up = Scale(0, 100, 200, 0)
    assert (up(0), up(25), up(100)) == (200, 150, 0)


def test_no_plot_no_caption() -> None:
    assert captioned("title", "lead", Markup("")) == ""
