"""Figures as people and machines read them."""

import io
import json

from rich.console import Console

from earshot_asr.client.evaluate.figures import Figure, Figures, RunInfo
from earshot_asr.client.evaluate.table import as_json, interval, machine, remarks, show, written

ABOUT = RunInfo(
    "tiny", "0123456789abcdef", "cpu", "low", "hop", "high", "virtual", "abacus, 2 cores", "2026-11-22", "earshot ..."
)
COUNTS = {"clips": Figure(3), "clips aligned": Figure(1)}
FIGURES: Figures = {
    "a-long-name": {"WER": Figure(12.345, 10.0, 15.06, "%"), **COUNTS},
    "pooled": {"WER": Figure(50.0, 40.0, 60.0, "%"), "file gap": Figure(0.5, -0.25, 1.0, "points"), **COUNTS},
}


def shown(width: int) -> list[str]:
    stdout = io.StringIO()
    show(FIGURES, ABOUT, Console(file=stdout, width=width))
    return stdout.getvalue().splitlines()


def test_a_row_is_a_figure_with_the_interval_of_all() -> None:
    rows = [line.split() for line in shown(100)]
    assert ["WER,", "%", "12.3", "50.0", "40.0", "to", "60.0"] in rows
    assert ["file", "gap,", "points", "-", "+0.50", "-0.25", "to", "1.00"] in rows
    assert ["clips", "3", "3"] in rows


def test_below_is_what_was_judged_and_what_is_missing() -> None:
    text = "\n".join(shown(100))
    for part in (
        "tiny",
        "abacus, 2 cores",
        "latency low, commit hop, stability high",
        "virtual clock, 2026-11-22",
        "earshot ...",
    ):
        assert part in text
    assert "2 clips have no alignment" in text


def test_a_file_is_as_wide_as_it_has_to_be() -> None:
    assert shown(10) == shown(60)
    assert not any("…" in line for line in shown(10))


def test_numbers() -> None:
    assert written(Figure(0.1234, unit="s")) == "0.12"
    assert written(Figure(7.0)) == "7"
    assert written(Figure(1.375)) == "1.38"
    assert written(Figure(-1.5, unit="points")) == "-1.50"
    assert interval(Figure(1.0)) == interval(None) == ""
    assert remarks({"clips": Figure(2), "clips aligned": Figure(2)}) == []


def test_json_has_all_of_it() -> None:
    found = json.loads(json.dumps(as_json(FIGURES, ABOUT)))
    assert found["model"] == "tiny"
    assert found["clock"] == "virtual"
    assert found["figures"]["pooled"]["WER"] == {"value": 50.0, "low": 40.0, "high": 60.0, "unit": "%"}
    assert found["figures"]["a-long-name"]["clips"] == {"value": 3, "low": None, "high": None, "unit": ""}


def test_the_machine_says_how_many_cores() -> None:
    assert "cores" in machine()
