"""Parts of the pages of `earshot evaluate`: the frame, sections, the glossary, and what was run."""

import shlex
from collections.abc import Iterable
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import PurePosixPath, PureWindowsPath
from string import Template

from earshot_asr.client.evaluate.figures import MEANINGS, Figure, RunInfo, base
from earshot_asr.client.evaluate.markup import Markup, element, join
from earshot_asr.client.evaluate.table import interval, written


def document(title: str, body: Markup) -> str:
    """A whole page. It loads nothing."""
    template = files("earshot_asr.client.evaluate").joinpath("page.html").read_text(encoding="utf-8")
    return Template(template).substitute(title=join(f"Earshot: {title}"), body=body)


def bare(path: str) -> str:
    """The last part of an absolute path, of any system; anything else as it is."""
    absolute = PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()
    return (absolute and PureWindowsPath(path).name) or path


def shareable(about: RunInfo) -> RunInfo:
    """What was run, without the folders in which its files are."""
    try:
        args = shlex.split(about.command)
    except ValueError:
        return about
    options = (arg.partition("=") if arg.startswith("-") else ("", "", arg) for arg in args)
    return replace(about, command=shlex.join(f"{option}{equals}{bare(value)}" for option, equals, value in options))


def section(title: str, lead: str | None, *parts: Markup) -> Markup:
    """A section with a heading; empty if all parts are empty."""
    if not any(parts):
        return Markup("")
    return element("section", element("h2", title), element("p", lead, class_="soft") if lead else None, *parts)


def value(figure: Figure) -> str:
    """A figure with its unit."""
    return f"{written(figure)} {figure.unit}".replace("-", "−").rstrip()


def extent(figure: Figure) -> str:
    """A figure's interval; empty if it has none."""
    return interval(figure).replace("-", "−")


def cell(figure: Figure | None) -> Markup:
    """A figure in a table, with its interval below."""
    return element("td", value(figure), element("small", extent(figure))) if figure else element("td", "–")


def meanings(names: Iterable[str]) -> Markup:
    """The glossary: the meaning of each figure; text between backticks is shown as code."""
    entries = []
    for name in dict.fromkeys(map(base, names)):
        parts = MEANINGS.get(name, "").split("`")
        prose = (element("code", part) if n % 2 else part for n, part in enumerate(parts))
        entries.append(join(element("dt", name), element("dd", *prose)))
    return element("div", element("dl", *entries), class_="card") if entries else Markup("")


def run(about: RunInfo) -> Markup:
    """A list of what was run, and how."""
    told = asdict(about)
    command = element("code", told.pop("command"))
    entries = (join(element("dt", name), element("dd", text)) for name, text in [*told.items(), ("command", command)])
    return element("div", element("dl", *entries), class_="card")
