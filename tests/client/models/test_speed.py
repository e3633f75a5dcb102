"""How many streams fit, by the speed that was measured once."""

import json
from pathlib import Path

import pytest

from earshot_asr.client.models import speed
from earshot_asr.client.models.speed import Speed
from earshot_asr.engine.audio import SAMPLE_RATE
from earshot_asr.engine.catalogue import OPERATIONS
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.cost import USABLE_SHARE, Cost, frames_a_second
from earshot_asr.engine.session import timing_of
from tests.helpers import FakeRunner


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return tmp_path / "earshot" / "speed.json"


def test_the_bundled_model_fits_as_often_as_a_server_says() -> None:
    info = FakeRunner().info
    cost = Cost(frame=0.0007, process=0.001)
    room = USABLE_SHARE / (cost.frame * frames_a_second(timing_of(info, StreamConfig())))
    operations = OPERATIONS["bundled"] * info.grid.hop / SAMPLE_RATE / cost.frame
    assert Speed("cpu", operations, cost.process).streams(OPERATIONS["bundled"]) == pytest.approx(room)


def test_more_operations_fewer_streams_and_never_more_than_the_process_can_serve() -> None:
    fast = Speed("cuda", 1e15, 0.01)
    assert fast.streams(OPERATIONS["large"]) == fast.streams(OPERATIONS["base"]) == pytest.approx(USABLE_SHARE / 0.01)
    slow = Speed("cpu", 22e9, 0.0)
    base, large = slow.streams(OPERATIONS["base"]), slow.streams(OPERATIONS["large"])
    assert base and large and base / large == pytest.approx(OPERATIONS["large"] / OPERATIONS["base"])
    assert slow.streams(None) is None


def test_it_is_measured_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "load_runner", FakeRunner)
    monkeypatch.setattr(speed, "measure", lambda runner, config: Cost(0.001, 0.002))
    assert speed.kept() is None
    measured = speed.measured()
    assert measured.operations == pytest.approx(OPERATIONS["bundled"] * 20)
    assert (measured.device, measured.process) == ("cpu", 0.002)
    assert speed.kept() == measured


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"on": 1}', '{"on": 1, "device": "cpu"}'])
def test_it_is_measured_again_if_what_was_kept_is_of_no_use(file: Path, damage: str) -> None:
    file.parent.mkdir()
    file.write_text(damage, encoding="utf-8")
    assert speed.kept() is None


def test_it_is_measured_again_on_another_machine(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.parent.mkdir()
    known = {"device": "cpu", "operations": 1e9, "process": 0.1}
    file.write_text(json.dumps({"on": speed._machine(), **known}), encoding="utf-8")
    assert speed.kept() == Speed(**known)  # type: ignore[arg-type]
    monkeypatch.setenv("OMP_NUM_THREADS", "77")
    assert speed.kept() is None


def test_where_nothing_can_be_kept_it_is_measured_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(speed, "load_runner", FakeRunner)
    monkeypatch.setattr(speed, "measure", lambda runner, config: Cost(0.001, 0.002))
    assert speed.measured().process == 0.002
    assert speed.kept() is None
