"""`earshot evaluate --sweep` from end to end: on a fake encoder, and killed in the middle with the bundled model."""

import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import soundfile
from rich.console import Console

from earshot_asr.client.cli import main
from earshot_asr.client.evaluate.evaluate import evaluate
from earshot_asr.client.evaluate.manifest import load
from earshot_asr.client.evaluate.options import Options
from earshot_asr.client.evaluate.recordings import no_progress
from earshot_asr.client.evaluate.sweep.grid import Setting
from earshot_asr.client.evaluate.sweep.memory import Memory
from earshot_asr.client.evaluate.sweep.points import Point
from earshot_asr.client.evaluate.sweep.results import opened
from earshot_asr.client.evaluate.sweep.run import mark, measured, sweep
from earshot_asr.engine.audio import LogProbs, Pcm
from earshot_asr.engine.errors import ConfigError
from tests.client.evaluate.recorded import manifest
from tests.helpers import INFO, FakeRunner

SETTINGS = [
    Setting("low", "utterance", "low"),
    Setting("low", "utterance", "high"),
    Setting("low", "hop", "medium"),
    Setting("low", "hop", "medium", "right_ms", 160),
]


@dataclass
class Mortal(FakeRunner):
    """Is interrupted when it has computed `most` batches."""

    most: int = 10**9
    batches: int = 0

    def run(self, windows: Sequence[Pcm]) -> list[LogProbs]:
        if self.batches == self.most:
            raise KeyboardInterrupt
        self.batches += 1
        return super().run(windows)


def points(recordings: Path, out: Path, runner: FakeRunner) -> list[Point]:
    """On a clock that stands still, so that all is the same each time."""
    results, memory = opened(out, {}, lambda _: None), Memory(lambda: 0.0, rest=0.0)
    return measured(
        load([recordings]), runner, SETTINGS, Options(), results, lambda stage, n, clip: no_progress, memory
    )


@pytest.mark.parametrize("share", [0.0, 0.4, 0.8, 0.99])
def test_interrupted_it_goes_on_to_the_same_result(tmp_path: Path, share: float) -> None:
    recordings, immortal = manifest(tmp_path, one="HELLO WORLD", two="SO LONG"), Mortal()
    whole = points(recordings, tmp_path / "whole.jsonl", immortal)
    out = tmp_path / "parts.jsonl"
    with pytest.raises(KeyboardInterrupt):
        points(recordings, out, Mortal(most=int(share * immortal.batches)))
    first = out.read_bytes()
    assert points(recordings, out, FakeRunner()) == whole
    assert out.read_bytes().startswith(first)
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert points(recordings, out, Mortal(most=0)) == whole  # nothing is left to play


def test_more_recordings_are_added(tmp_path: Path) -> None:
    recordings = manifest(tmp_path, one="HELLO WORLD", two="SO LONG")
    two = points(recordings, tmp_path / "two.jsonl", FakeRunner())
    lines = recordings.read_text().splitlines()
    recordings.write_text(lines[1])
    points(recordings, tmp_path / "out.jsonl", FakeRunner())
    recordings.write_text("\n".join(lines))
    assert points(recordings, tmp_path / "out.jsonl", FakeRunner()) == two


def test_a_recording_that_is_another_now_is_played_again(tmp_path: Path) -> None:
    (clip,) = load([manifest(tmp_path, one="HELLO WORLD")])
    before = mark(clip)
    assert {before} | {mark(replace(clip, gain=6.0)), mark(replace(clip, begin=0.5))} != {before}
    soundfile.write(tmp_path / "one.wav", soundfile.read(tmp_path / "one.wav")[0][:-1], 16_000)
    assert mark(clip) != before


def swept(
    recordings: Path, folder: Path, settings: Sequence[Setting] = SETTINGS, **options: Any
) -> tuple[str, list[str]]:
    """What it prints, and what it says on standard error."""
    stdout, stderr = io.StringIO(), io.StringIO()
    sweep(
        [recordings],
        Options(device="cpu"),
        settings,
        out=folder / "out.jsonl",
        command="earshot evaluate",
        stdout=Console(file=stdout),
        stderr=Console(file=stderr),
        **options,
    )
    return stdout.getvalue(), stderr.getvalue().splitlines()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeRunner], None]:
    """Has a runner take the place of the one that is loaded."""

    def use(runner: FakeRunner) -> None:
        monkeypatch.setattr("earshot_asr.client.evaluate.sweep.run.load_runner", lambda *_: runner)
        monkeypatch.setattr("earshot_asr.client.evaluate.evaluate.load_runner", lambda *_: runner)

    use(FakeRunner())
    return use


def test_a_preset_has_the_figures_that_it_has_alone(use: Callable[[FakeRunner], None], tmp_path: Path) -> None:
    recordings, stdout = manifest(tmp_path, one="HELLO WORLD", two="SO LONG"), io.StringIO()
    found = json.loads(swept(recordings, tmp_path, as_data=True)[0])
    options = Options(latency="low", commit="hop")
    console = Console(file=stdout), Console(file=io.StringIO())
    evaluate([recordings], options, command="", as_data=True, stdout=console[0], stderr=console[1])
    alone = json.loads(stdout.getvalue())["figures"]["fake"]
    (preset,) = (one for one in found["settings"] if one["commit"] == "hop" and not one["changed"])
    assert (preset["hop_ms"], preset["right_ms"], found["commit"]) == (240, 320, "utterance, hop")
    for name in ("WER", "CER", "file gap", "unstable words", "stable before final", "clips", "audio"):
        assert preset["figures"][name] == alone[name], name


def test_all_is_told_in_a_table_and_a_page(use: Callable[[FakeRunner], None], tmp_path: Path) -> None:
    recordings, page = manifest(tmp_path, one="HELLO WORLD"), tmp_path / "page.html"
    table, said = swept(recordings, tmp_path, report=page)
    assert not said
    rows = [line.split() for line in table.splitlines()]
    assert ["low", "hop", "medium"] in [row[:3] for row in rows]
    assert ["low,", "right", "160", "ms", "hop", "medium"] in [row[:6] for row in rows]
    assert "right 160 ms" in page.read_text(encoding="utf-8")
    again, said = swept(recordings, tmp_path)
    assert said == [f"earshot: {tmp_path / 'out.jsonl'}: goes on after {len(SETTINGS)} results"]
    assert [line for line in again.splitlines() if "ms" in line] == [
        line for line in table.splitlines() if "ms" in line
    ]


def test_another_model_or_manifest_begins_anew(use: Callable[[FakeRunner], None], tmp_path: Path) -> None:
    recordings = manifest(tmp_path, one="HELLO WORLD")
    one = [Setting("low", "hop", "low")]
    swept(recordings, tmp_path, one)
    use(FakeRunner(info=replace(INFO, fingerprint="other")))
    assert "its results are of another model; begins anew" in swept(recordings, tmp_path, one)[1][0]
    recordings.write_text(recordings.read_text().replace("HELLO", "HALLO"))
    assert "its results are of another manifest; begins anew" in swept(recordings, tmp_path, one)[1][0]
    (tmp_path / "out.jsonl").write_text("mine")
    with pytest.raises(ConfigError, match="line 1: not what a sweep writes"):
        swept(recordings, tmp_path, one)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--sweep", "--wall"], "--sweep can't be used with --wall or --against"),
        (["--sweep", "--against", "whisper"], "--sweep can't be used with --wall or --against"),
        (["--out", "a.jsonl"], "--out needs --sweep"),
    ],
)
def test_what_does_not_go_together(
    arguments: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["earshot", "evaluate", "a.jsonl", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert complaint in re.sub(r"[\s│]+", " ", capsys.readouterr().err)


def test_those_that_are_named_are_swept_alone(
    use: Callable[[FakeRunner], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = ["--latency", "balanced", "--commit", "hop", "--stability", "high", "--json"]
    recordings = str(manifest(tmp_path, one="HELLO"))
    out = ["--out", str(tmp_path / "out.jsonl")]
    monkeypatch.setattr("sys.argv", ["earshot", "evaluate", recordings, "--sweep", *named, *out])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert {(one["latency"], one["commit"], one["stability"]) for one in settings} == {("balanced", "hop", "high")}
    assert len(settings) == 9


@pytest.mark.slow
def test_killed_with_the_bundled_model(tmp_path: Path) -> None:
    """Results that were there when it was killed stay, to the letter; it goes on behind them."""
    demo = Path(str(files("earshot_asr.client") / "data" / "demo.flac"))
    recordings, out = tmp_path / "demo.jsonl", tmp_path / "out.jsonl"
    text = demo.with_suffix(".txt").read_text(encoding="utf-8")
    recordings.write_text(json.dumps({"audio": str(demo), "text": text}))
    command = [sys.executable, "-m", "earshot_asr", "evaluate", str(recordings), "--device", "cpu", "--json"]
    command += ["--sweep", "--latency", "accurate", "--commit", "hop", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not out.exists() or out.read_bytes().count(b"\n") < 4:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    first = out.read_bytes()
    first = first[: first.rfind(b"\n") + 1]
    there = len(first.splitlines()) - 1
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"goes on after {there} results" in done.stderr
    assert out.read_bytes().startswith(first)
    found = {one["stability"]: one["figures"] for one in json.loads(done.stdout)["settings"] if not one["changed"]}
    assert found.keys() == {"low", "medium", "high"}
    assert found["low"]["WER"] == found["high"]["WER"]
    assert found["low"]["unstable words"]["value"] >= found["high"]["unstable words"]["value"]
