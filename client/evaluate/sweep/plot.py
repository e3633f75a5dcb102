"""The curve: delay on one axis, change or errors on the other, a dot for each setting."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from earshot_asr.client.evaluate.figures import Figure
from earshot_asr.client.evaluate.markup import Markup, element, join
from earshot_asr.client.evaluate.pages import value
from earshot_asr.client.evaluate.plots import (
    BOTTOM_PX,
    HEIGHT_PX,
    LEFT_PX,
    RIGHT_PX,
    TOP_PX,
    WIDTH_PX,
    Scale,
    Series,
    chart,
    number,
)
from earshot_asr.client.evaluate.sweep.points import Point

MOST_TIMES = 1.6
"""An axis ends at so many times the most that a preset has; what lies beyond would squeeze all else together."""
MARGIN_SHARE = 0.08
"""Room on either side of the dots, as a share of what they span."""
PRESET_PX, CHANGED_PX, NAMED_PX = 3.2, 2.2, 5.0
"""Radius of the dots: of presets, of those with a value changed, and of the preset that is named."""
CHARACTER_PX, LINE_PX = 10.5, 17
"""Approximate size of a character of a name, on a small screen."""


class Dot(NamedTuple):
    """A point, and where its axes have it."""

    point: Point
    x: Figure
    y: Figure


def scatter(points: Sequence[Point], x: str, y: str) -> tuple[Markup, int]:
    """A plot of two figures; and how many points lie outside of it. Empty if no point has both figures.

    The stabilities of a preset are joined by a line; the preset with the middle one has its name beside it.
    """
    dots = [Dot(one, one.figures[x], one.figures[y]) for one in points if x in one.figures and y in one.figures]
    if not dots:
        return Markup(""), 0
    across, up = (
        _scale(dots, [one.value for one in figures], *ends)
        for figures, ends in (
            ([dot.x for dot in dots], (LEFT_PX, WIDTH_PX - RIGHT_PX)),
            ([dot.y for dot in dots], (HEIGHT_PX - BOTTOM_PX, TOP_PX)),
        )
    )
    inside = [dot for dot in dots if _within(across, dot.x.value) and _within(up, dot.y.value)]
    drawn = join(
        *_lines(inside, across, up),
        *(_mark(dot, across, up, x, y) for dot in sorted(inside, key=lambda dot: not dot.point.setting.changed)),
        *_names(inside, across, up),
    )
    policies = dict.fromkeys(dot.point.setting.commit for dot in dots)
    labels = {"x_label": f"{x} ({dots[0].x.unit})", "y_label": f"{y} ({dots[0].y.unit})"}
    legend = [Series(f"commit {policy}", policy, ()) for policy in policies]
    return chart(across, up, drawn, legend=legend, **labels), len(dots) - len(inside)


def _scale(dots: Sequence[Dot], values: Sequence[float], begin: float, end: float) -> Scale:
    """An axis that has all presets, and what is not much further away."""
    of_presets = [one for dot, one in zip(dots, values, strict=True) if not dot.point.setting.changed] or values
    inside = [one for one in values if one <= MOST_TIMES * max(of_presets)]
    low, high = min(inside), max(inside)
    margin = MARGIN_SHARE * (high - low) or 0.1 * abs(high) or 1.0
    return Scale(low - margin if low > margin else min(0.0, low), high + margin, begin, end)


def _within(scale: Scale, one: float) -> bool:
    return scale.low <= one <= scale.high


def _lines(dots: Sequence[Dot], across: Scale, up: Scale) -> Iterator[Markup]:
    """A line through the stabilities of each preset and policy."""
    joined: dict[tuple[str, str], list[Dot]] = {}
    for dot in dots:
        if not dot.point.setting.changed:
            joined.setdefault((dot.point.setting.latency, dot.point.setting.commit), []).append(dot)
    for (_, commit), some in joined.items():
        path = "L".join(f"{across(dot.x.value):.1f} {up(dot.y.value):.1f}" for dot in some)
        yield element("path", class_=f"curve {commit}", d=f"M{path}")


def _mark(dot: Dot, across: Scale, up: Scale, x: str, y: str) -> Markup:
    """A disc, or a square for `commit: hop`, with what it is as a tooltip."""
    setting = dot.point.setting
    title = element(
        "title",
        f"{setting.name}, commit {setting.commit}, stability {setting.stability}: "
        f"{x} {value(dot.x)}, {y} {value(dot.y)}",
    )
    style = f"dot {setting.commit}{' changed' if setting.changed else ''}"
    r = CHANGED_PX if setting.changed else NAMED_PX if _is_named(dot) else PRESET_PX
    at = across(dot.x.value), up(dot.y.value)
    if setting.commit == "hop":
        return element("rect", title, class_=style, x=at[0] - r, y=at[1] - r, width=2 * r, height=2 * r)
    return element("circle", title, class_=style, cx=at[0], cy=at[1], r=r)


def _is_named(dot: Dot) -> bool:
    return not dot.point.setting.changed and dot.point.setting.stability == "medium"


class _Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "_Box") -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def _names(dots: Sequence[Dot], across: Scale, up: Scale) -> Iterator[Markup]:
    """The names of presets, each where it covers least: no other name, and few dots."""
    named: list[_Box] = []
    marks = [_around(across(dot.x.value), up(dot.y.value), 2 * PRESET_PX, 2 * PRESET_PX) for dot in dots]
    for dot in filter(_is_named, dots):
        x, y, width = across(dot.x.value), up(dot.y.value), CHARACTER_PX * len(dot.point.setting.latency)
        places = {
            (side, over): _around(x + side * (width / 2 + NAMED_PX + 3), y + over * LINE_PX, width, LINE_PX)
            for over in (0, -1, 1, -2, 2)
            for side in (1, -1, 0)
            if over or side
        }
        (side, _), box = min(places.items(), key=lambda place: _covers(place[1], named, marks))
        named.append(box)
        style, text = f"name {dot.point.setting.commit}", dot.point.setting.latency
        at, anchor = {1: (box.left, "start"), -1: (box.right, "end"), 0: (x, "middle")}[side]
        yield element("text", text, class_=style, x=at, y=box.bottom - 4, text_anchor=anchor)


def _around(x: float, y: float, width: float, height: float) -> _Box:
    return _Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _covers(box: _Box, names: Sequence[_Box], marks: Sequence[_Box]) -> int:
    """How bad a place for a name is."""
    out = box.left < LEFT_PX or box.right > WIDTH_PX or box.top < 0 or box.bottom > HEIGHT_PX - BOTTOM_PX
    return 1000 * out + 100 * sum(box.meets(other) for other in names) + sum(box.meets(other) for other in marks)


def numbered(count: int, one: str, more: str) -> str:
    """A count with its noun."""
    return f"{number(count)} {one if count == 1 else more}"
