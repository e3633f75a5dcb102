"""Prints figures as a table, and converts them to JSON."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from earshot_asr.client.evaluate.figures import POOLED, Figure, Figures, RunInfo, ordered

DECIMAL_COUNTS = {"%": 1, "points": 2, "s": 2, "x": 1, "": 2}
"""Number of digits after the decimal point, by unit. Whole numbers without a unit have none."""
FIRST_OF_GROUP = ("word latency p50", "stable before final", "RTFx")


def show(figures: Figures, about: RunInfo, console: Console) -> None:
    """Prints a table with a column per corpus, and the interval of the last column, which is `pooled` if there is one.

    Lines of a file or pipe are not wrapped.
    """
    show_table(_table(figures), about, remarks(list(figures.values())[-1]), console)


def show_table(grid: Table, about: RunInfo, notes: Sequence[str], console: Console) -> None:
    """Prints a table, and below it what was run, and notes."""
    if not console.is_terminal:
        console.width = max(console.width, Measurement.get(console, console.options.update(width=1000), grid).maximum)
    console.print(grid, highlight=False)
    for line in (
        f"{about.model} ({about.fingerprint[:12]}) on {about.device}: {about.machine}",
        f"latency {about.latency}, commit {about.commit}, stability {about.stability}",
        f"{about.clock} clock, {about.date}",
        about.command,
        *notes,
    ):
        console.print(f"  {line}", style="dim", markup=False, highlight=False, soft_wrap=True)


def _table(figures: Figures) -> Table:
    last = list(figures)[-1]
    grid = Table(box=SIMPLE_HEAD, padding=(0, 1), show_edge=False, header_style="bold")
    grid.add_column("", no_wrap=True)
    for corpus in figures:
        grid.add_column(Text(corpus.replace("-", "-\n")), justify="right", style="bold" if corpus == POOLED else "")
    grid.add_column("95 %", style="dim", no_wrap=True)
    for name in ordered(figures):
        row = [figures[corpus].get(name) for corpus in figures]
        unit = next(figure.unit for figure in row if figure)
        shown = [written(figure) if figure else "-" for figure in row]
        if name in FIRST_OF_GROUP:
            grid.add_row()
        grid.add_row(f"{name}{f', {unit}' if unit else ''}", *shown, interval(figures[last].get(name)))
    return grid


def remarks(figures: Mapping[str, Figure]) -> list[str]:
    """Notes on figures that are missing."""
    missing = round(figures["clips"].value - figures["clips aligned"].value)
    clips = "1 clip has" if missing == 1 else f"{missing} clips have"
    return [f"{clips} no alignment: delays of words and speech need word timings (--alignments)"] if missing else []


def written(figure: Figure) -> str:
    """A figure's value as text, without its unit."""
    value = figure.value
    digits = 0 if not figure.unit and value == int(value) else DECIMAL_COUNTS[figure.unit]
    return f"{value:+.{digits}f}" if figure.unit == "points" else f"{value:.{digits}f}"


def interval(figure: Figure | None) -> str:
    """A figure's interval as text; empty if it has none."""
    if figure is None or figure.low is None or figure.high is None:
        return ""
    digits = DECIMAL_COUNTS[figure.unit]
    return f"{figure.low:.{digits}f} to {figure.high:.{digits}f}"


def as_json(figures: Figures, about: RunInfo) -> dict[str, Any]:
    """An object for JSON: the fields of RunInfo, and `figures`: {corpus: {name: {value, low, high, unit}}}."""
    return asdict(about) | {"figures": {corpus: rounded(each) for corpus, each in figures.items()}}


def rounded(figures: Mapping[str, Figure]) -> dict[str, dict[str, Any]]:
    """Figures by name as objects for JSON, their numbers rounded."""
    return {
        name: {key: round(of, 5) if isinstance(of, float) else of for key, of in asdict(figure).items()}
        for name, figure in figures.items()
    }


def machine() -> str:
    """The processor, number of cores, and GPUs of this machine, as far as the system tells."""
    cpus = _fields(Path("/proc/cpuinfo")).get("model name") or platform.processor() or platform.machine()
    gpus = [
        _fields(path).get("Model", "GPU") for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ", ".join([f"{cpus}, {cores} cores", *gpus])


def _fields(path: Path) -> dict[str, str]:
    """Reads lines of `name : value`; the first line of each name counts. Empty if the file can't be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = [line.split(":", 1) for line in reversed(lines) if ":" in line]
    return {name.strip(): value.strip() for name, value in pairs}
