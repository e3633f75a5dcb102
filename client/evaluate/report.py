"""The report: a self-contained HTML page with the plots, figures and glossary of an evaluation."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import PurePosixPath, PureWindowsPath
from string import Template

from earshot_asr.client.evaluate.delays import delays
from earshot_asr.client.evaluate.figures import MEANINGS, POOLED, Figure, Figures, RunInfo, base, ordered
from earshot_asr.client.evaluate.markup import Markup, element, join
from earshot_asr.client.evaluate.table import interval, remarks, written
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
    takes = [replace(take, clip=replace(take.clip, name=_bare(take.clip.name))) for take in takes]
    about = replace(about, command=_shared(about.command))
    words = [lives(take) for take in takes]
    overall = figures.get(POOLED) or next(iter(figures.values()), {})
    notes = [element("p", note, class_="soft") for note in (remarks(overall) if overall else ())]
    title = f"{about.model}, {about.latency}, commit {about.commit}"
    body = join(
        element("h1", title),
        element("p", f"Streaming figures, {about.clock} clock, {about.device}, {about.date}", class_="soft"),
        _tiles(overall),
        _section("Delays", None, delays(takes, [life for each in words for life in each], overall)),
        _section(
            "Words on the screen",
            "Each row is a position on the screen. The dashed box shows when its word was spoken.",
            screens(takes, words),
        ),
        _section(
            "Figures",
            "The 95 % confidence interval is below each figure; it is for other recordings of the same kind. A single "
            "recording has none.",
            _table(figures),
            *notes,
        ),
        _section("Worst clips", None, worst(takes)),
        _section("What the figures mean", None, _meanings(figures)),
        _section("The run", None, _run(about)),
    )
    template = files("earshot_asr.client.evaluate").joinpath("page.html").read_text(encoding="utf-8")
    return Template(template).substitute(title=join(f"Earshot: {title}"), body=body)


def _bare(path: str) -> str:
    """The last part of an absolute path, of any system; anything else as it is."""
    absolute = PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()
    return (absolute and PureWindowsPath(path).name) or path


def _shared(command: str) -> str:
    """A command line without the folders in which its files are."""
    try:
        args = shlex.split(command)
    except ValueError:
        return command
    options = (arg.partition("=") if arg.startswith("-") else ("", "", arg) for arg in args)
    return shlex.join(f"{option}{equals}{_bare(value)}" for option, equals, value in options)


def _section(title: str, lead: str | None, *parts: Markup) -> Markup:
    """A section with a heading; empty if all parts are empty."""
    if not any(parts):
        return Markup("")
    return element("section", element("h2", title), element("p", lead, class_="soft") if lead else None, *parts)


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
            element("small", _range(figure)),
        )
        for name, figure in shown
    )
    return element("div", *tiles, class_="tiles")


def _value(figure: Figure) -> str:
    return f"{written(figure)} {figure.unit}".replace("-", "−").rstrip()


def _range(figure: Figure) -> str:
    return interval(figure).replace("-", "−")


def _table(figures: Figures) -> Markup:
    """A table with a row per figure and a column per corpus."""
    rows = []
    group = None
    for name in ordered(figures):
        if group != (group := _group(name)):
            rows.append(element("tr", element("th", group, colspan=len(figures) + 1), class_="group"))
        cells = (_cell(each.get(name)) for each in figures.values())
        rows.append(element("tr", element("th", name, title=MEANINGS.get(base(name))), *cells))
    if not rows:
        return Markup("")
    head = element("thead", element("tr", element("th"), *(element("th", corpus) for corpus in figures)))
    return element("div", element("table", head, element("tbody", *rows)), class_="card")


def _cell(figure: Figure | None) -> Markup:
    return element("td", _value(figure), element("small", _range(figure))) if figure else element("td", "–")


def _group(name: str) -> str:
    """The heading under which a figure stands."""
    group = "Other"
    for known in MEANINGS:
        group = GROUPS.get(known, group)
        if known == base(name):
            return group
    return "Other"


def _meanings(figures: Figures) -> Markup:
    """The glossary: the meaning of each figure; text between backticks is shown as code."""
    entries = []
    for name in dict.fromkeys(map(base, ordered(figures))):
        parts = MEANINGS.get(name, "").split("`")
        prose = (element("code", part) if n % 2 else part for n, part in enumerate(parts))
        entries.append(join(element("dt", name), element("dd", *prose)))
    return element("div", element("dl", *entries), class_="card") if entries else Markup("")


def _run(about: RunInfo) -> Markup:
    """A list of what was run, and how."""
    told = asdict(about)
    command = element("code", told.pop("command"))
    entries = (join(element("dt", name), element("dd", value)) for name, value in [*told.items(), ("command", command)])
    return element("div", element("dl", *entries), class_="card")
