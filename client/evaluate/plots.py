"""Plots as SVG: axes with units, round ticks, tooltips. Colours are classes of page.html, for light and dark."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

import numpy as np
import numpy.typing as npt

from earshot_asr.client.evaluate.markup import Markup, element, join

WIDTH_PX, HEIGHT_PX = 520, 270
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 50, 14, 12, 44
LINE_PX = 16
"""Between two lines of text."""
MAX_BIN_COUNT = 40
OUTLIER_SHARE = 0.005
"""This share of the values, at each end, is put into the outermost bins: one straggler must not flatten a plot."""


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one kind; `style` is a class of the page."""

    name: str
    style: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Scale:
    """Values [low, high] -> coordinates [begin, end]."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value is drawn."""
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)


def round_step(span: float, at_most: int) -> float:
    """The smallest of 1, 2, 5, 10, 20 ..., and of a tenth, a hundredth ... of them, of which `at_most` cover a span."""
    least = span / at_most
    power = 10.0 ** floor(log10(least))
    return next(step for factor in (1, 2, 5, 10) if (step := factor * power) >= least * (1 - 1e-9))


def ticks(low: float, high: float, at_most: int = 8) -> list[float]:
    """The round numbers in [low, high], low < high."""
    step = round_step(high - low, at_most)
    return [round(k * step, 12) for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """As short as it can be said, with a real minus."""
    return f"{value:.10g}".replace("-", "−")


def histogram(
    series: Sequence[Series], *, label: str, unit: str, of: str, marks: Mapping[str, float] | None = None
) -> Markup:
    """How values are distributed, series stacked; nothing where there are none.

    label, unit    of the values
    of             what is counted: "words"
    marks          values to be pointed out, such as quantiles, by name
    """
    marks = marks or {}
    everything = np.concatenate([np.asarray(one.values, float) for one in series]) if series else np.zeros(0)
    if not len(everything):
        return Markup("")
    edges = _edges(everything, list(marks.values()))
    inner = [-np.inf, *edges[1:-1], np.inf]
    shares = np.array([np.histogram(one.values, inner)[0] for one in series]) * (100 / len(everything))
    tops = shares.cumsum(axis=0)
    x = Scale(edges[0], edges[-1], LEFT_PX, WIDTH_PX - RIGHT_PX)
    y = Scale(0, float(tops.max()) * 1.05, HEIGHT_PX - BOTTOM_PX, TOP_PX + LINE_PX * len(marks))
    bars = []
    for one, share, top in zip(series, shares, tops, strict=True):
        for i, (low, high) in enumerate(pairwise(edges)):
            if share[i]:
                between = _between(low, high, i == 0, i == len(edges) - 2, unit)
                of_which = f", {one.name}" if len(series) > 1 else ""
                title = element("title", f"{between}: {share[i]:.1f} % of {of}{of_which}")
                height = y(0) - y(share[i])
                bars.append(
                    element(
                        "rect",
                        title,
                        class_=one.style,
                        x=x(low) + 0.5,
                        y=y(top[i]),
                        width=x(high) - x(low) - 1,
                        height=height,
                    )
                )
    return chart(
        x,
        y,
        join(*bars, _marks(marks, x, unit)),
        x_label=f"{label} ({unit})",
        y_label=f"share of {of} (%)",
        legend=series if len(series) > 1 else (),
    )


def _edges(values: npt.NDArray[np.float64], marks: Sequence[float]) -> list[float]:
    """Of bins that are round numbers wide, from 0 or below to beyond the marks."""
    low, high = (
        min(0.0, np.quantile(values, OUTLIER_SHARE), *marks),
        max(0.0, np.quantile(values, 1 - OUTLIER_SHARE), *marks),
    )
    step = round_step(max(float(high - low), 1e-2), MAX_BIN_COUNT)
    first, last = floor(low / step), ceil(high / step)
    return [round(k * step, 12) for k in range(first, max(last, first + 1) + 1)]


def _between(low: float, high: float, first: bool, last: bool, unit: str) -> str:
    if first or last:
        return f"{number(high)} {unit} or less" if first else f"{number(low)} {unit} or more"
    return f"{number(low)} to {number(high)} {unit}"


def _marks(marks: Mapping[str, float], x: Scale, unit: str) -> Markup:
    """Dashed lines, each with its name on a line of its own above."""
    drawn = []
    for row, (name, value) in enumerate(marks.items()):
        at, top, right = x(value), TOP_PX + LINE_PX * row, value > (x.low + x.high) / 2
        drawn.append(element("line", class_="mark", x1=at, x2=at, y1=top, y2=HEIGHT_PX - BOTTOM_PX))
        text, beside = f"{name} {value:.2f} {unit}".replace("-", "−"), at - 4 if right else at + 4
        anchor = "end" if right else "start"
        drawn.append(element("text", text, class_="strong", x=beside, y=top + LINE_PX - 4, text_anchor=anchor))
    return join(*drawn)


def curves(
    series: Sequence[Series], at: Sequence[float], *, x: tuple[str, str], y: tuple[str, str], high: float
) -> Markup:
    """Lines through values >= 0, one for each of the places `at`, which are evenly spaced and at least two.

    x, y    names and units
    high    of the scale
    """
    across = Scale(at[0], at[-1], LEFT_PX, WIDTH_PX - RIGHT_PX)
    up = Scale(0, high, HEIGHT_PX - BOTTOM_PX, TOP_PX)
    lines = [
        element(
            "path",
            class_=f"curve {one.style}",
            d="M" + "L".join(f"{across(a):.1f} {up(v):.1f}" for a, v in zip(at, one.values, strict=True)),
        )
        for one in series
    ]
    width = (across.end - across.begin) / (len(at) - 1)
    tips = []
    for i, a in enumerate(at):
        said = "; ".join(f"{one.name} {one.values[i]:.3g} {y[1]}" for one in series)
        title = element("title", f"{number(round(a, 3))} {x[1]}: {said}")
        tips.append(
            element(
                "rect", title, class_="tip", x=across(a) - width / 2, y=up.end, width=width, height=up.begin - up.end
            )
        )
    labels = {"x_label": f"{x[0]} ({x[1]})", "y_label": f"{y[0]} ({y[1]})"}
    return chart(across, up, join(*lines, *tips), legend=series if len(series) > 1 else (), **labels)


def chart(x: Scale, y: Scale, drawn: Markup, *, x_label: str, y_label: str, legend: Iterable[Series] = ()) -> Markup:
    """What is drawn, with axes, and the legend above."""
    middle = (y.begin + y.end) / 2
    axes = [
        *x_axis(x, y.begin, y.end),
        *(
            join(
                element("line", class_="axis" if tick == 0 else "grid", x1=x.begin, x2=x.end, y1=y(tick), y2=y(tick)),
                element("text", number(tick), x=x.begin - 6, y=y(tick) + 4, text_anchor="end"),
            )
            for tick in ticks(y.low, y.high, 5)
        ),
        element("text", x_label, x=(x.begin + x.end) / 2, y=HEIGHT_PX - 8, text_anchor="middle"),
        element("text", y_label, transform=f"translate(12 {middle:.0f}) rotate(-90)", text_anchor="middle"),
    ]
    keys = [(one.style, one.name) for one in legend]
    return join(key(keys), svg(WIDTH_PX, HEIGHT_PX, join(*axes, drawn), f"{y_label} by {x_label}"))


def x_axis(x: Scale, bottom: float, top: float, at_most: int = 8) -> list[Markup]:
    """Ticks, and a line up from each."""
    return [
        join(
            element("line", class_="grid", x1=x(tick), x2=x(tick), y1=bottom, y2=top),
            element("text", number(tick), x=x(tick), y=bottom + 16, text_anchor="middle"),
        )
        for tick in ticks(x.low, x.high, at_most)
    ]


def key(entries: Sequence[tuple[str, str]]) -> Markup:
    """A legend: styles and what they stand for."""
    if not entries:
        return Markup("")
    return element("div", *(element("span", element("i", class_=style), name) for style, name in entries), class_="key")


def svg(width: float, height: float, drawn: Markup, alt: str) -> Markup:
    """A picture, as wide as there is room; where there is little, it can be scrolled."""
    picture = element("svg", drawn, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=alt)
    return element("div", picture, class_="plot" if width == WIDTH_PX else "plot wide")


def captioned(title: str, lead: str, plot: Markup) -> Markup:
    """A plot with a title and a sentence above; nothing where there is no plot."""
    return element("figure", element("figcaption", element("b", title), lead), plot) if plot else plot
