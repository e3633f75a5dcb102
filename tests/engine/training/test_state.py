"""Settings, state and log on disk: compared, replaced as a whole, never lost."""

import json
from pathlib import Path

import pytest
import torch

from earshot_asr.engine.errors import ConfigError, OutputError, TrainingError
from earshot_asr.engine.training import state
from tests.helpers import small_files

WHOLE = {"model": {}, "average": {}, "optimizer": {}, "step": 3, "seconds": 1.0}


def test_the_same_settings_go_on_and_others_are_named(tmp_path: Path) -> None:
    settings = {"seed": 1, "weight": [("a", 2.0)], "dev": [Path("x")], "from": None}
    state.begin(tmp_path / "out", settings)
    state.keep(tmp_path / "out", WHOLE)
    state.begin(tmp_path / "out", settings)
    with pytest.raises(ConfigError, match=r'seed was 1, is 2, from was not set, is "é"; give the same ones'):
        state.begin(tmp_path / "out", settings | {"seed": 2, "from": "é"})
    assert json.loads((tmp_path / "out" / "run.json").read_text())["seed"] == 1


def test_before_there_is_a_state_settings_may_be_mended(tmp_path: Path) -> None:
    state.begin(tmp_path, {"unknown": "error"})
    state.begin(tmp_path, {"unknown": "drop"})
    assert json.loads((tmp_path / "run.json").read_text()) == {"unknown": "drop"}


def test_what_can_not_be_written_or_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="can't write to"):
        state.begin(tmp_path / "file", {})
    with pytest.raises(TrainingError, match="can't write"):
        state.keep(tmp_path / "nowhere", WHOLE)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ConfigError, match="not readable"):
        state.begin(tmp_path, {})


def test_half_a_state_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert state.read(tmp_path) is None
    state.keep(tmp_path, WHOLE)

    def torn(content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", torn)
        with pytest.raises(TrainingError, match="No space left"):
            state.keep(tmp_path, WHOLE | {"step": 4})
    assert state.read(tmp_path) == WHOLE


def test_a_full_disk_leaves_the_state_from_before_and_no_stump(tmp_path: Path) -> None:
    state.keep(tmp_path, WHOLE)
    with small_files(), pytest.raises(TrainingError, match=r"^can't write .*state\.pt: "):
        state.keep(tmp_path, WHOLE | {"model": {"weight": torch.zeros(10_000)}})
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert state.read(tmp_path) == WHOLE
    with small_files(10), pytest.raises(OutputError, match=r"^can't write .*log\.jsonl: File too large"):
        state.Log(tmp_path).write({"step": 1, "loss": 0.5})


def test_every_line_of_the_log_stays(tmp_path: Path) -> None:
    state.Log(tmp_path).write({"step": 1, "loss": 0.123456789, "dev": {"wer": 33.333333}})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')  # killed
    state.Log(tmp_path).write({"step": 2})
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"step": 1, "loss": 0.12346, "dev": {"wer": 33.333}}
    assert lines[1] == '{"step": 2, "lo'
    assert json.loads(lines[2]) == {"step": 2}


def test_an_option_that_came_after_a_run_was_begun_does_not_stop_it(tmp_path: Path) -> None:
    state.begin(tmp_path, {"seed": 0})
    (tmp_path / state.STATE).touch()
    state.begin(tmp_path, {"seed": 0, "newer": 1.0})
    with pytest.raises(ConfigError, match="seed was 0, is 1"):
        state.begin(tmp_path, {"seed": 1, "newer": 1.0})
