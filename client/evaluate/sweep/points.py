"""The points of a sweep: settings with their figures, as a table and for JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from earshot_asr.client.evaluate.figures import Figure, RunInfo
from earshot_asr.client.evaluate.sweep.grid import VARIED, Setting
from earshot_asr.client.evaluate.table import remarks, rounded, show_table, written
from earshot_asr.engine.config import StreamConfig

COLUMNS = (
    "word latency p50",
    "word latency p90",
    "final delay p50",
    "final delay p95",
    "unstable words",
    "unstable in stable",
    "stable before final",
    "WER",
    "PER",
    "words a minute",
    "file gap",
    "RTFx",
)
"""Figures of the table, those that there are."""


@dataclass(frozen=True, slots=True)
class Point:
    """A setting, its configuration, and its figures over all recordings."""

    setting: Setting
    config: StreamConfig
    figures: Mapping[str, Figure]


def columns(points: Sequence[Point]) -> list[str]:
    """The names of the figures in the table."""
    return [name for name in COLUMNS if any(name in point.figures for point in points)]


def groups(points: Sequence[Point]) -> list[list[Point]]:
    """The points of each preset and policy: its stabilities, and then what is changed of it."""
    found: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        found.setdefault((point.setting.latency, point.setting.commit), []).append(point)
    return list(found.values())


def show(points: Sequence[Point], about: RunInfo, console: Console) -> None:
    """Prints a row for each setting, the presets in bold, and what was run."""
    names = columns(points)
    grid = Table(box=SIMPLE_HEAD, padding=(0, 1), show_edge=False, header_style="bold")
    for head in ("latency", "commit", "stability"):
        grid.add_column(head, no_wrap=True)
    for name in names:
        unit = next(point.figures[name].unit for point in points if name in point.figures)
        grid.add_column(f"{name}{f', {unit}' if unit else ''}".replace(" ", "\n"), justify="right")
    for group in groups(points):
        for point in group:
            one = point.setting
            figures = (point.figures.get(name) for name in names)
            cells = (written(figure) if figure else "-" for figure in figures)
            grid.add_row(one.name, one.commit, one.stability, *cells, style="" if one.changed else "bold")
        grid.add_section()
    show_table(grid, about, remarks(points[0].figures), console)


def as_json(points: Sequence[Point], about: RunInfo) -> dict[str, Any]:
    """An object for JSON: the fields of RunInfo, and `settings`, each with its lengths in milliseconds and figures."""
    return asdict(about) | {
        "settings": [
            {
                "latency": point.setting.latency,
                "commit": point.setting.commit,
                "stability": point.setting.stability,
                "changed": point.setting.changed or None,
                **{name: getattr(point.config, name) for name in VARIED},
                "figures": rounded(point.figures),
            }
            for point in points
        ]
    }
