"""The page of a sweep: the curves, a table of all settings, and what was run."""

from collections.abc import Iterator, Sequence

from earshot_asr.client.evaluate.figures import RunInfo
from earshot_asr.client.evaluate.markup import Markup, element, join
from earshot_asr.client.evaluate.pages import cell, document, meanings, run, section, shareable
from earshot_asr.client.evaluate.plots import captioned
from earshot_asr.client.evaluate.sweep.plot import numbered, scatter
from earshot_asr.client.evaluate.sweep.points import Point, columns, groups
from earshot_asr.client.evaluate.table import remarks

DELAYS = {
    "word latency p50": "from the end of a word until it is shown as in the final; half of the words come sooner",
    "word latency p90": "from the end of a word until it is shown as in the final; nine of ten words come sooner",
    "final delay p50": "from the end of speech to the final; half of the finals come sooner",
}
"""Figures of the x axes, with what they are."""
CHANGE, ERRORS = "unstable words", ("WER", "PER")
"""Figures of the y axes: one of a row, and the other, of which a model has one."""
LEAD = (
    "Each line is a preset: its dots are --stability low, medium and high, the large one is medium. Small dots have "
    "one value of the preset changed; point at one to see which. Lower and further left is better."
)


def page(points: Sequence[Point], about: RunInfo) -> str:
    """The HTML page. All text from manifests and models is escaped, and the page loads nothing."""
    about = shareable(about)
    title = f"{about.model}, the curve of delay against change and errors"
    notes = [element("p", note, class_="soft") for note in remarks(points[0].figures)]
    body = join(
        element("h1", title),
        element("p", f"{numbered(len(points), 'setting', 'settings')}, {about.device}, {about.date}", class_="soft"),
        section("Curves", LEAD, element("div", *_plots(points), class_="pair")),
        section("Settings", "The 95 % confidence interval is below each figure.", _table(points), *notes),
        section("What the figures mean", None, meanings(columns(points))),
        section("The run", None, run(about)),
    )
    return document(title, body)


def _plots(points: Sequence[Point]) -> Iterator[Markup]:
    for delay, meaning in DELAYS.items():
        for other in (CHANGE, *ERRORS):
            plot, outside = scatter(points, delay, other)
            beyond = f" {numbered(outside, 'setting lies', 'settings lie')} outside." if outside else ""
            yield captioned(f"{other} by {delay}", f"{delay}: {meaning}.{beyond}", plot)


def _table(points: Sequence[Point]) -> Markup:
    """A row for each setting, below its preset and policy."""
    names = columns(points)
    rows = []
    for group in groups(points):
        first = group[0].setting
        head = element("th", f"{first.latency}, commit {first.commit}", colspan=len(names) + 1)
        rows.append(element("tr", head, class_="group"))
        rows += [_row(point, names) for point in group]
    head = element("thead", element("tr", element("th"), *(element("th", name) for name in names)))
    return element("div", element("table", head, element("tbody", *rows), class_="wraps"), class_="card")


def _row(point: Point, names: Sequence[str]) -> Markup:
    setting = point.setting
    name = setting.name.removeprefix(f"{setting.latency}, ") if setting.changed else f"stability {setting.stability}"
    return element("tr", element("th", name), *(cell(point.figures.get(figure)) for figure in names))
