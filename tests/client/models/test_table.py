"""The catalogue in a terminal, as lines and as JSON."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from earshot_asr.client.models import table
from earshot_asr.client.models.rows import Row, rows
from earshot_asr.client.models.speed import Speed
from earshot_asr.engine.catalogue import entries, most_spoken
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.hub import Cached
from earshot_asr.engine.languages import name

SPEED = Speed("cpu", 22e9, 0.01)
GERMAN = "jonatasgrosman/wav2vec2-large-xlsr-53-german"


def shown(found: list[Row], width: int) -> list[str]:
    out = io.StringIO()
    table.show(found, Console(file=out, width=width, force_terminal=True, color_system=None))
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, table.WIDE_COLUMNS, table.WIDEST_COLUMNS, 300])
def test_a_terminal_shows_all_of_it(width: int) -> None:
    found = rows(SPEED, ())
    lines = shown(found, width)
    assert len(lines) == len(found) + 1
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)


def test_wider_terminals_show_more() -> None:
    found = rows(SPEED, (), "German")
    narrow, wide, widest = (shown(found, width)[1] for width in (80, table.WIDE_COLUMNS, table.WIDEST_COLUMNS))
    assert narrow.split() == ["German", "xlsr-53-german", "1.26", "GB", "apache-2.0", "WER", "12.06", "no", "~0.2"]
    assert "Common Voice de, test" in wide and GERMAN not in wide
    assert "Common Voice de, test" in widest and GERMAN in widest


def test_each_language_is_named_once_the_most_spoken_first() -> None:
    found = rows(SPEED, ())
    named = [line[:17].strip() for line in shown(found, 80)[1:] if line[:17].strip()]
    assert named[:20] == [name(language) for language in most_spoken()]
    assert len(named) == len({*named})
    assert {row.entry.name for row in found} == {entry.name for entry in entries()}
    assert named[-3:] == ["phonemes", "any of 1,162", "any of 1,600"]


def test_rows_for_a_language_end_with_those_for_any() -> None:
    assert [row.entry.name for row in rows(SPEED, (), "fr")][:2] == ["xlsr-53-french", "voxpopuli-french"]
    assert [row.language for row in rows(SPEED, (), "fr")] == ["French", "French", "any of 1,162", "any of 1,600"]
    assert [row.entry.name for row in rows(SPEED, (), "zulu")] == ["mms-1b-all", "omniasr-300m"]
    with pytest.raises(ConfigError):
        rows(SPEED, (), "no such language")


def test_what_is_here_and_what_is_not_known() -> None:
    copy = Cached(GERMAN, "a" * 40, 1, Path("snapshots"), pinned=True, whole=True)
    german, small = rows(SPEED, [copy], "de")[:2]
    assert german.here and not small.here
    assert not rows(SPEED, [replace(copy, whole=False)], "de")[0].here
    assert (small.size, small.error, small.recordings) == ("-", "-", "-")
    (unknown,) = (row for row in rows(SPEED, ()) if row.entry.name == "parakeet-1.1b")
    assert unknown.fitting == "-"
    assert next(row for row in rows(SPEED, ()) if row.entry.name == "base-en").here


def test_lines_have_the_same_columns_each() -> None:
    lines = list(table.lines(rows(SPEED, ())))
    assert {line.count("\t") for line in lines} == {len(table.COLUMNS)}
    assert (
        lines[0]
        == "English\tlarge-960h\t1.26 GB\tapache-2.0\tWER 1.9\tno\t~0.2\tfacebook/wav2vec2-large-960h-lv60-self"
    )


def test_json_has_values_and_null() -> None:
    english, *_, last = (json.loads(line) for line in table.objects(rows(SPEED, ())))
    assert english["errors"][1] == {"measure": "WER", "value": 3.9, "on": "LibriSpeech test-other"}
    assert english["bytes"] == 1_260_000_000 and english["parameters"] is None
    assert last["licence"] == "apache-2.0" and last["errors"] == [] and last["bytes"] is None
