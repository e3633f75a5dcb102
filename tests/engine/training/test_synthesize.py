"""Synthesized speech: the plan follows from the seed; what is written is what was planned."""

import argparse
import json
import shutil
from pathlib import Path

import pytest
import soundfile

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.training.synthesize import HIGHER, STRETCH, VOICES, add_arguments, plan, read, run

needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="the program flite is not there")
SENTENCES = [f"sentence number {n}" for n in range(300)]


def options(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(given)


def test_a_plan_reads_every_sentence_once_and_follows_from_the_seed() -> None:
    once = [line for lines in plan(SENTENCES, list(VOICES), 1, batch=64) for line in lines]
    again = [line for lines in plan(SENTENCES, list(VOICES), 1, batch=64) for line in lines]
    other = [line for lines in plan(SENTENCES, list(VOICES), 2, batch=64) for line in lines]
    assert once == again
    assert [line.text for line in once] != [line.text for line in other]
    assert sorted(line.text for line in once) == sorted(SENTENCES)
    assert len({line.name for line in once}) == len(once)


def test_rates_and_pitches_are_spread_over_their_ranges() -> None:
    lines = [line for lines in plan(SENTENCES, ["slt"], 0, batch=64) for line in lines]
    pitch, unhurried = VOICES["slt"]
    rates = [line.stretch / unhurried for line in lines]
    heights = [line.pitch / pitch for line in lines]
    for values, (low, high) in ((rates, STRETCH), (heights, HIGHER)):
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high


def test_lines_are_chosen_by_their_number_of_words(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("one\none two\none two three\none two three four\n")
    assert read(tmp_path / "text", 2, 3) == ["one two", "one two three"]


@needs_flite
def test_what_is_written_is_what_was_planned(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("\n".join(f"this is line {word}" for word in ("one", "two", "three")))
    run(options(str(tmp_path / "text"), "--out", str(tmp_path / "out"), "--hours", "0.0001", "--voices", "slt,rms"))
    rows = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert {row["text"] for row in rows} == {"this is line one", "this is line two", "this is line three"}
    for row in rows:
        samples, rate = soundfile.read(tmp_path / "out" / row["audio"], dtype="int16")
        assert rate == 16_000
        assert len(samples) / rate == row["duration"]
        assert abs(samples).max() > 1000


def test_what_can_not_be_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").write_text("one two three four\n")
    text, out = str(tmp_path / "text"), str(tmp_path / "out")
    with pytest.raises(ConfigError, match="no voice bob; there are slt"):
        run(options(text, "--out", out, "--voices", "slt,bob"))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(ConfigError, match="no line of 7 to 9 words"):
        run(options(text, "--out", out, "--words", "7", "9"))
    with pytest.raises(ConfigError, match="can't read"):
        run(options(text + "s", "--out", out))
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="apt install flite"):
        run(options(text, "--out", out))
