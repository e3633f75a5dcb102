"""The curves stand where their axes say, and the page is whole."""

import re
from dataclasses import replace
from itertools import combinations

import pytest

from earshot_asr.client.evaluate.figures import Figure
from earshot_asr.client.evaluate.options import Options
from earshot_asr.client.evaluate.sweep.grid import Setting, grid
from earshot_asr.client.evaluate.sweep.page import page
from earshot_asr.client.evaluate.sweep.plot import CHARACTER_PX, LINE_PX, scatter
from earshot_asr.client.evaluate.sweep.points import Point
from tests.client.evaluate.clips import svg, titles
from tests.client.evaluate.test_report import ABOUT, EVIL, Outline

X, Y = "word latency p50", "unstable words"
TIMED = {"clips": Figure(2), "clips aligned": Figure(2)}


def point(setting: Setting, x: float, y: float) -> Point:
    figures = {X: Figure(x, x - 0.1, x + 0.1, "s"), Y: Figure(y, unit="%")}
    return Point(setting, setting.config(Options()), figures | TIMED)


def calm(x: float, y: float, *, hop: bool = False, latency: str = "low") -> list[Point]:
    """A preset with three stabilities: each waits 0.1 s longer, and changes a third as much."""
    settings = grid([latency], ["hop" if hop else "utterance"])[:3]  # type: ignore[list-item]
    return [point(setting, x + 0.1 * n, y / 3**n) for n, setting in enumerate(settings)]


def test_dots_stand_where_their_figures_are() -> None:
    plot, outside = scatter([*calm(0.3, 90), *calm(0.5, 30, hop=True)], X, Y)
    picture = svg(plot)
    discs = [(float(one.get("cx", "nan")), float(one.get("cy", "nan"))) for one in picture.iter("circle")]
    squares = [
        (float(one.get("x", "nan")) + float(one.get("width", "nan")) / 2, float(one.get("y", "nan")))
        for one in picture.iter("rect")
    ]
    assert (len(discs), len(squares), outside) == (3, 3, 0)
    assert discs[1][0] - discs[0][0] == pytest.approx(discs[2][0] - discs[1][0], abs=0.02)
    assert squares[0][0] == pytest.approx(discs[2][0], abs=0.02)  # both at 0.5 s
    assert (discs[1][1] - discs[0][1]) / (discs[2][1] - discs[1][1]) == pytest.approx(3, rel=0.01)
    assert titles(plot)[0] == f"low, commit utterance, stability low: {X} 0.30 s, {Y} 90.0 %"
    lines = [one.get("class") for one in picture.iter("path")]
    assert lines == ["curve utterance", "curve hop"]


def test_one_far_away_is_counted_and_squeezes_nothing() -> None:
    far = point(Setting("low", "hop", "medium", "hop_ms", 120), 30.0, 5)
    near = point(Setting("low", "hop", "medium", "hop_ms", 360), 0.45, 5)
    alone, _ = scatter([*calm(0.3, 90), near], X, Y)
    plot, outside = scatter([*calm(0.3, 90), near, far], X, Y)
    assert outside == 1
    assert plot == alone


def test_presets_have_their_names_and_these_cover_no_other() -> None:
    """Even where all are at nearly the same place."""
    crowd = [
        one
        for n, latency in enumerate(("low", "balanced", "accurate"))
        for hop in (False, True)
        for one in calm(0.50 + 0.001 * n, 30 + n, hop=hop, latency=latency)
    ]
    plot, _ = scatter(crowd, X, Y)
    names = [one for one in svg(plot).iter("text") if (one.get("class") or "").startswith("name")]
    assert sorted(str(one.text) for one in names) == sorted(["low", "balanced", "accurate"] * 2)
    boxes = []
    for one in names:
        width, x = CHARACTER_PX * len(one.text or ""), float(one.get("x", "nan"))
        left = {"start": x, "middle": x - width / 2, "end": x - width}[one.get("text-anchor", "")]
        boxes.append((left, left + width, float(one.get("y", "nan"))))
    for (left, right, y), (other_left, other_right, other_y) in combinations(boxes, 2):
        assert right <= other_left + 0.1 or other_right <= left + 0.1 or abs(y - other_y) >= LINE_PX - 0.1


def test_there_is_nothing_to_draw_without_word_timings() -> None:
    assert scatter([point(Setting("low", "hop", "low"), 1, 1)], "final delay p50", Y) == ("", 0)
    figures = {"WER": Figure(5, unit="%")} | TIMED | {"clips aligned": Figure(0)}
    bare = [replace(one, figures=figures) for one in calm(1, 1)]
    outline = Outline(page(bare, ABOUT))
    assert "svg" not in outline.tags
    assert "2 clips have no alignment" in outline.text and "stability medium" in outline.text


def test_one_setting_alone_is_drawn() -> None:
    plot, _ = scatter([point(Setting("low", "hop", "medium"), 0.0, 0.0)], X, Y)
    assert [one.text for one in svg(plot).iter("text") if one.get("class") == "name hop"] == ["low"]


def test_the_page_is_whole_and_fetches_nothing() -> None:
    points = [*calm(0.3, 90), *calm(0.5, 30, hop=True), point(Setting("low", "hop", "medium", "hop_ms", 120), 30.0, 5)]
    about = replace(ABOUT, model=EVIL, machine=EVIL, command="earshot evaluate /home/ada/dev.jsonl --sweep")
    html = page(points, about)
    outline = Outline(html)
    assert outline.text.count(EVIL) >= 2 and "script" not in outline.tags
    assert not re.search(r"https?:|//|@import|url\(", html.replace("http://evil/", ""))
    assert not {"src", "href", "srcset", "xlink:href"} & outline.attributes
    for part in (
        "Curves",
        "Settings",
        "What the figures mean",
        "The run",
        "low, commit hop",
        "hop 120 ms",
        "1 setting lies",
    ):
        assert part in outline.text
    assert "ada" not in outline.text
    assert "<td>0.40 s<small>0.30 to 0.50</small></td>" in html
