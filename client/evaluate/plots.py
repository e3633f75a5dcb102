"""Plots as SVG: axes with units, ticks at round numbers, tooltips. Colours are CSS classes of page.html."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

import numpy as np
import numpy.typing as npt

from earshot_asr.client.evaluate.markup import Markup, element, join

WIDTH_PX, HEIGHT_PX = 520, 270
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 50, 14, 12, 44
LINE_PX = 20
"""Distance between two lines of text."""
MAX_BIN_COUNT = 40
OUTLIER_SHARE = 0.005
"""Share of the values at each end that goes into the outermost bin, so that outliers don't squeeze the plot."""


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one kind. `style`: a CSS class of the page."""

    name: str
    style: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values in [low, high] to coordinates in [begin, end], in pixels."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        """The coordinate of a value."""
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)


def round_step(span: float, at_most: int) -> float:
    """The smallest step of 1, 2 or 5 times a power of ten of which at most `at_most` are needed to cover `span`."""
    least = span / at_most
    power = 10.0 ** floor(log10(least))
    return next(step for factor in (1, 2, 5, 10) if (step := factor * power) >= least * (1 - 1e-9))


def ticks(low: float, high: float, at_most: int = 8) -> list[float]:
    """At most about `at_most` round numbers in [low, high], for low < high."""
    step = round_step(high - low, at_most)
    return [round(k * step, 12) for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A number as text, without trailing zeros, with a typographic minus sign."""
    return f"{value:.10g}".replace("-", "−")


def histogram(
    series: Sequence[Series], *, label: str, unit: str, of: str, marks: Mapping[str, float] | None = None
) -> Markup:
    """A histogram of values, with series stacked; empty if there are no values.

    label, unit    of the values
    of             name of what is counted, such as "words"
    marks          values to mark with a line, such as quantiles, by name
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
        of_which = f"{of}, {one.name}" if len(series) > 1 else of
        for i, (low, high) in enumerate(pairwise(edges)):
            if share[i]:
                between = _between(low, high, i == 0, i == len(edges) - 2, unit)
                title = element("title", f"{between}: {share[i]:.1f} % of {of_which}")
                bars.append(_bar(title, one.style, x(low), x(high), y(top[i]), y(0) - y(share[i])))
    return chart(
        x,
        y,
        join(*bars, _marks(marks, x, unit)),
        x_label=f"{label} ({unit})",
        y_label=f"share of {of} (%)",
        legend=series if len(series) > 1 else (),
    )


def _bar(title: Markup, style: str, left: float, right: float, top: float, height: float) -> Markup:
    """A bar of a histogram, with a gap of a pixel to the next one."""
    return element("rect", title, class_=style, x=left + 0.5, y=top, width=right - left - 1, height=height)


def _edges(values: npt.NDArray[np.float64], marks: Sequence[float]) -> list[float]:
    """The edges of bins: round numbers that cover 0, the marks, and all values but outliers."""
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
    """Dashed vertical lines, each with its label on a separate line of text."""
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
    """Curves through values >= 0 at the positions `at`, of which there are at least two, evenly spaced.

    x, y    label and unit of each axis
    high    upper end of the y axis
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
    """A drawing with axes, and a legend above."""
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
    """Labels of the x axis, and a vertical grid line at each."""
    return [
        join(
            element("line", class_="grid", x1=x(tick), x2=x(tick), y1=bottom, y2=top),
            element("text", number(tick), x=x(tick), y=bottom + 16, text_anchor="middle"),
        )
        for tick in ticks(x.low, x.high, at_most)
    ]


def key(entries: Sequence[tuple[str, str]]) -> Markup:
    """A legend of (CSS class, text) pairs; empty if there are none."""
    if not entries:
        return Markup("")
    return element("div", *(element("span", element("i", class_=style), name) for style, name in entries), class_="key")


def svg(width: float, height: float, drawn: Markup, alt: str, style: str = "plot") -> Markup:
    """An SVG picture that is scaled to the width of the page.

    style   CSS classes: `plot`, and `wide` or `narrow` for a picture that large or small screens do not show
    """
    picture = element("svg", drawn, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=alt)
    return element("div", picture, class_=style)


def captioned(title: str, lead: str, plot: Markup) -> Markup:
    """A plot with a title and a sentence above; empty if the plot is."""
    return element("figure", element("figcaption", element("b", title), lead), plot) if plot else plot
