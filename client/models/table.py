"""Rows in a terminal, as wide as that is; as lines with tabs; and as JSON."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from earshot_asr.client.models.rows import Row
from earshot_asr.client.models.speed import Speed

WIDE_COLUMNS, WIDEST_COLUMNS = 112, 165
"""Terminals of that width show the recordings, too; and the hub id."""
Column = tuple[str, Callable[[Row], str]]
COLUMNS: list[Column] = [
    ("language", lambda row: row.language),
    ("name", lambda row: row.entry.name),
    ("size", lambda row: row.size),
    ("licence", lambda row: row.licence),
    ("error %", lambda row: row.error),
    ("here", lambda row: "yes" if row.here else "no"),
    ("streams", lambda row: row.fitting),
]
RECORDINGS: Column = ("measured on", lambda row: row.recordings)
HUB_ID: Column = ("on the hub", lambda row: row.entry.id)


def show(rows: Sequence[Row], console: Console) -> None:
    """Prints rows in a terminal. A language is named once; what is recommended stands out."""
    columns = list(COLUMNS)
    if console.width >= WIDE_COLUMNS:
        columns.insert(columns.index(COLUMNS[4]) + 1, RECORDINGS)
    if console.width >= WIDEST_COLUMNS:
        columns.append(HUB_ID)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", collapse_padding=True)
    for title, _ in columns:
        table.add_column(title, justify="right" if title in ("size", "streams") else "left", no_wrap=True)
    before = ""
    for row in rows:
        cells = [Text(cell(row)) for _, cell in columns]
        if row.language == before:
            cells[0] = Text()
        if row.entry.use == "recommended":
            cells[1].stylize("bold")
        before = row.language
        table.add_row(*cells)
    console.print(table)


def explain(speed: Speed, folder: Path, console: Console) -> None:
    """Prints what the columns mean."""
    rate = f"{speed.operations / 1e9:,.0f} billion multiplications a second on {speed.device}"
    legend = Table.grid(padding=(0, 2, 0, 0))
    legend.add_row(
        "streams",
        "how many fit on this machine: an estimate (~) from the operations of a model and the speed of the bundled "
        f"one, {rate}; below 1 it does not keep up; --measure measures again",
    )
    legend.add_row("here", f"in {folder}")
    legend.add_row("", "`earshot models show NAME` tells where each value was read")
    console.print()
    console.print(legend, style="dim")


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """The columns of each row with tabs between them, the hub id last."""
    for row in rows:
        yield "\t".join(cell(row) for _, cell in [*COLUMNS, HUB_ID])


def objects(rows: Sequence[Row]) -> Iterator[str]:
    """Each row as a JSON object, with null for what is not known."""
    for row in rows:
        entry = row.entry
        yield json.dumps(
            {
                "language": row.language,
                "languages": entry.languages,
                "name": entry.name,
                "id": entry.id or None,
                "use": entry.use,
                "bytes": entry.bytes and entry.bytes.value,
                "parameters": entry.parameters and entry.parameters.value,
                "licence": entry.licence and entry.licence.value,
                "errors": [{"measure": each.measure, "value": each.value, "on": each.on} for each in entry.errors],
                "here": row.here,
                "streams": row.streams and round(row.streams, 2),
            },
            ensure_ascii=False,
        )
