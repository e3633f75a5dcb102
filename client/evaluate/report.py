"""The report: a self-contained HTML page with the plots, figures and glossary of an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from earshot_asr.client.evaluate.delays import delays
from earshot_asr.client.evaluate.figures import MEANINGS, POOLED, Figure, Figures, RunInfo, base, ordered
from earshot_asr.client.evaluate.markup import Markup, element, join
from earshot_asr.client.evaluate.pages import bare, cell, document, extent, meanings, run, section, shareable
from earshot_asr.client.evaluate.table import remarks, written
from earshot_asr.client.evaluate.take import Take
from earshot_asr.client.evaluate.timeline import screens
from earshot_asr.client.evaluate.words import lives
from earshot_asr.client.evaluate.worst import worst

HEADLINES = (
    "WER",
    "PER",
    "file gap",
    "words a minute",
    "word latency p50",
    "final delay p50",
    "staleness p95",
    "unstable words",
    "RTFx",
)
"""Figures that are shown large at the top."""
GROUPS = {"WER": "Errors", "word latency": "Delay", "stable before final": "Stability", "RTFx": "Computing and data"}
"""Headings of the table, each before the figure that it is named with here, in the order of MEANINGS."""


def page(takes: Sequence[Take], figures: Figures, about: RunInfo) -> str:
    """The HTML page. All text from manifests and models is escaped, and the page loads nothing.

    It may be given to others: of absolute paths it has the last parts only.
    """
    takes = [replace(take, clip=replace(take.clip, name=bare(take.clip.name))) for take in takes]
    about = shareable(about)
    words = [lives(take) for take in takes]
    overall = figures.get(POOLED) or next(iter(figures.values()), {})
    notes = [element("p", note, class_="soft") for note in (remarks(overall) if overall else ())]
    title = f"{about.model}, {about.latency}, commit {about.commit}"
    body = join(
        element("h1", title),
        element("p", f"Streaming figures, {about.clock} clock, {about.device}, {about.date}", class_="soft"),
        _tiles(overall),
        section("Delays", None, delays(takes, [life for each in words for life in each], overall)),
        section(
            "Words on the screen",
            "Each row is a position on the screen. The dashed box shows when its word was spoken.",
            screens(takes, words),
        ),
        section(
            "Figures",
            "The 95 % confidence interval is below each figure; it is for other recordings of the same kind. A single "
            "recording has none.",
            _table(figures),
            *notes,
        ),
        section("Worst clips", None, worst(takes)),
        section("What the figures mean", None, meanings(ordered(figures))),
        section("The run", None, run(about)),
    )
    return document(title, body)


def _tiles(figures: Mapping[str, Figure]) -> Markup:
    """The most important figures, in large type."""
    if not figures:
        return element("p", "There is nothing to show: no clip was played.")
    shown = [(name, figures[name]) for name in HEADLINES if name in figures]
    tiles = (
        element(
            "div",
            element("small", name),
            element("b", written(figure).replace("-", "−"), " ", element("i", figure.unit)),
            element("small", extent(figure)),
        )
        for name, figure in shown
    )
    return element("div", *tiles, class_="tiles")


def _table(figures: Figures) -> Markup:
    """A table with a row per figure and a column per corpus."""
    rows = []
    group = None
    for name in ordered(figures):
        if group != (group := _group(name)):
            rows.append(element("tr", element("th", group, colspan=len(figures) + 1), class_="group"))
        cells = (cell(each.get(name)) for each in figures.values())
        rows.append(element("tr", element("th", name, title=MEANINGS.get(base(name))), *cells))
    if not rows:
        return Markup("")
    head = element("thead", element("tr", element("th"), *(element("th", corpus) for corpus in figures)))
    return element("div", element("table", head, element("tbody", *rows)), class_="card")


def _group(name: str) -> str:
    """The heading under which a figure stands."""
    group = "Other"
    for known in MEANINGS:
        group = GROUPS.get(known, group)
        if known == base(name):
            return group
    return "Other"
