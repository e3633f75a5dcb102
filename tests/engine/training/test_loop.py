"""The loop: a run that is killed and started again comes out the same, schedules, averages, several processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from earshot_asr.engine.errors import ConfigError, TrainingError
from earshot_asr.engine.training import schedule, state
from earshot_asr.engine.training.ctc.command import CtcTask
from earshot_asr.engine.training.distributed import World
from earshot_asr.engine.training.loop import MOST_BAD_STEPS, LoopOptions, Run, train
from earshot_asr.engine.training.schedule import Clock
from earshot_asr.engine.training.task import TrainingBatch
from tests.engine.training import tones

ROOT = Path(__file__).parents[3]
OPTIONS = LoopOptions(steps=12, muon=3e-3, half=False, log_every=4)
QUICK = """
import sys
from pathlib import Path
from tests.engine.training.test_loop import OPTIONS, World, replace, tones, train
options = replace(OPTIONS, steps=int(sys.argv[2]), keep_every=1e-9)
world = World("cpu")
try:
    train(tones.task(rank=world.rank), options, Path(sys.argv[1]), world)
finally:
    world.close()
"""


def weights(out: Path) -> dict[str, Tensor]:
    kept = state.read(out)
    assert kept is not None
    flat = {f"{part}.{name}": tensor for part in ("model", "average") for name, tensor in kept[part].items()}
    moments = {f"{name}.{key}": t for name, each in kept["optimizer"].items() for key, t in each.items()}
    return flat | moments


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def rates(lines: list[dict[str, Any]]) -> dict[int, float]:
    """What each step's learning rates were."""
    return {line["step"]: line["rate"] for line in lines if "rate" in line}


def run(out: Path, options: LoopOptions = OPTIONS) -> dict[str, Tensor]:
    state.begin(out, {})
    train(tones.task(), options, out, World("cpu"))
    return weights(out)


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def child(out: Path, steps: int, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", QUICK, str(out), str(steps)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def wait_for(out: Path, steps: int, process: subprocess.Popen[bytes]) -> int:
    """Until the state says so many steps; returns how many there are."""
    while True:
        kept = state.read(out)
        if kept and kept["step"] >= steps:
            return int(kept["step"])
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        time.sleep(0.01)


def test_killed_at_any_moment_and_started_again_it_comes_out_the_same(tmp_path: Path) -> None:
    """Bit for bit: weights, averages, and moments of both optimizers."""
    whole = run(tmp_path / "whole", replace(OPTIONS, steps=30))
    process = child(out := _made(tmp_path / "killed"), 30)
    before = wait_for(out, 3, process)
    process.kill()  # -9
    process.communicate()
    kept = state.read(out)
    assert kept is not None
    assert before <= kept["step"] < 30
    train(tones.task(), replace(OPTIONS, steps=30), out, World("cpu"))
    assert equal(weights(out), whole)
    lines = log(out)
    assert [line["step"] for line in lines if line.get("event") == "start"] == [0, kept["step"]]
    assert lines[-1]["step"] == 30
    assert rates(lines).items() <= rates(log(tmp_path / "whole")).items()


def _made(out: Path) -> Path:
    state.begin(out, {})
    return out


class Interrupted(CtcTask):
    """To which a signal comes in its third step."""

    number = signal.SIGTERM

    def draw(self, step: int) -> TrainingBatch:
        """See Task.draw."""
        if step == 2:
            os.kill(os.getpid(), self.number)
        return super().draw(step)


@pytest.mark.parametrize(("number", "ends"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_stops_it_when_the_step_is_done(
    tmp_path: Path, number: signal.Signals, ends: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    task = tones.task()
    task.__class__, before = Interrupted, signal.getsignal(number)
    task.number = number  # type: ignore[attr-defined]
    with pytest.raises(ends, match="143" if ends is SystemExit else None):
        train(task, OPTIONS, _made(tmp_path), World("cpu"))
    assert signal.getsignal(number) == before
    kept = state.read(tmp_path)
    assert kept is not None
    assert kept["step"] == log(tmp_path)[-1]["step"] == 3
    said = capsys.readouterr().err
    assert "stops after this step, and keeps what it has; once more: at once" in said
    assert "stopped; the same command goes on" in said
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert equal(run(tmp_path), run(tmp_path / "other"))


def test_stop_after_and_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = run(tmp_path, replace(OPTIONS, stop_after=1e-9))
    assert kept is not None
    assert log(tmp_path)[-1]["step"] == 1
    assert equal(run(tmp_path), run(tmp_path / "other"))
    lines = len(log(tmp_path))
    shutil.rmtree(tmp_path / "model")
    run(tmp_path)  # done is done, but for what comes after the state
    assert len(log(tmp_path)) == lines
    assert (tmp_path / "model" / "model.safetensors").exists()
    train(tones.task(), replace(OPTIONS, steps=14), tmp_path, World("cpu"))
    assert log(tmp_path)[-1]["step"] == 14
    assert "from 0 to 24% of their peak" in capsys.readouterr().err


def test_where_nothing_was_kept_it_begins_anew_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    assert "nothing was kept" not in capsys.readouterr().err
    (tmp_path / "state.pt").unlink()
    assert equal(run(tmp_path), run(tmp_path / "other"))
    assert "nothing was kept of the last start: it begins anew" in capsys.readouterr().err


def test_two_runs_into_one_folder(tmp_path: Path) -> None:
    with state.alone(_made(tmp_path)):
        with pytest.raises(TrainingError, match=r"another run is training into .* take another --out"):
            run(tmp_path)
        assert not (tmp_path / "state.pt").exists()
    run(tmp_path)


def test_by_the_clock(tmp_path: Path) -> None:
    run(tmp_path, replace(OPTIONS, steps=None, minutes=0.01))
    last = log(tmp_path)[-1]
    assert last["minutes"] >= 0.01
    assert {"dev", "share"} <= last.keys()
    kept = state.read(tmp_path)
    assert kept is not None
    assert kept["seconds"] / 60 == pytest.approx(last["minutes"], abs=0.01)
    assert kept["audio_seconds"] == pytest.approx(kept["step"] * sum(len(tones.say(t)) for t in tones.TEXTS) / 16000)


class Timed:
    """A task on a clock of its own, on which a step takes 1 s, an evaluation 10 s, writing the model 5 s."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: int = 1) -> None:
        self.module: nn.Module = Broken(range(0))
        self.scales: Mapping[str, float] = {}
        self.now, self.first, self.clock = 0.0, first, Clock()
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def draw(self, step: int) -> None:
        for _ in range(1 if step else self.first):
            self.now += 1
            while self.first > 1 and self.clock.seconds < self.now - 5:
                time.sleep(0.001)  # until somebody has looked at the clock

    def judge(self) -> Mapping[str, Any]:
        self.now += 10
        return {}

    def complaint(self) -> str:
        return "it is of no use"

    def save(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.now += 5


MINUTES = replace(OPTIONS, steps=None, minutes=2.0, judge_every=1.0)


def test_evaluations_and_writing_are_part_of_the_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Timed(monkeypatch)
    assert train(task, MINUTES, _made(tmp_path), World("cpu")) == "it is of no use"
    assert 119 <= task.now <= 121
    last = log(tmp_path)[-1]
    assert last["share"] >= 1 and last["rate"] == 0
    assert train(task, MINUTES, tmp_path, World("cpu")) == ""  # done is done
    assert "the schedule is done" in capsys.readouterr().err
    assert log(tmp_path)[-1] == last
    more = replace(MINUTES, minutes=3.0)
    before = task.now
    train(task, more, tmp_path, World("cpu"))
    assert 55 <= task.now - before <= 65


def test_a_first_step_that_compiles_is_part_of_the_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes: somebody looks at the clock meanwhile."""
    monkeypatch.setattr(schedule, "LOOK_SECONDS", 0.001)
    task = Timed(monkeypatch, first=100)
    run = Run(task, MINUTES, _made(tmp_path), World("cpu"))
    task.clock = run.clock
    with run.clock.watched():
        run.go([])
    assert 119 <= task.now <= 135  # it was not known yet how long an evaluation takes


def test_what_is_only_stopped_has_no_complaint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = replace(MINUTES, stop_after=0.1)
    assert train(Timed(monkeypatch), stopped, _made(tmp_path), World("cpu")) == ""


class Broken(nn.Module):
    """Whose gradients are not finite in some steps."""

    def __init__(self, bad: range) -> None:
        super().__init__()
        self.weight, self.bad, self.count = nn.Parameter(torch.ones(2)), bad, 0

    def forward(self, batch: None, share: float) -> tuple[Tensor, dict[str, Tensor]]:
        self.count += 1
        factor = float("inf") if self.count in self.bad else 1.0
        return (self.weight * factor - self.weight).square().sum() + self.weight.sum(), {"seconds": torch.tensor(1.0)}


class BrokenTask:
    def __init__(self, bad: range) -> None:
        self.module: nn.Module = Broken(bad)
        self.scales: Mapping[str, float] = {}

    def draw(self, step: int) -> None:
        return None

    def judge(self) -> Mapping[str, Any]:
        return {}

    def complaint(self) -> str:
        return ""

    def save(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)


def test_steps_that_are_not_finite_are_left_out_and_counted(tmp_path: Path) -> None:
    task = BrokenTask(range(3, 6))
    train(task, replace(OPTIONS, steps=8), _made(tmp_path), World("cpu"))
    assert task.module.weight.isfinite().all()  # type: ignore[operator]
    assert log(tmp_path)[-1]["skipped"] == 3
    kept = state.read(tmp_path)
    assert kept is not None
    assert kept["bad"] == 0


def test_many_of_them_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=rf"in {MOST_BAD_STEPS} steps in a row, up to step {MOST_BAD_STEPS + 2}; lower the"
    ):
        train(BrokenTask(range(3, 1000)), replace(OPTIONS, steps=100), _made(tmp_path), World("cpu"))


def test_the_average_is_exported_and_weights_come_back(tmp_path: Path) -> None:
    task = tones.task()
    train(task, OPTIONS, _made(tmp_path), World("cpu"))
    from earshot_asr.engine.checkpoint import load_checkpoint

    kept = state.read(tmp_path)
    assert kept is not None
    exported = load_checkpoint(tmp_path / "model").encoder.state_dict()
    for name, weight in exported.items():
        assert torch.equal(weight, kept["average"][f"encoder.{name}"])
        assert torch.equal(kept["model"][f"encoder.{name}"], task.module.state_dict()[f"encoder.{name}"])
    assert not torch.equal(kept["model"]["encoder.lm_head.weight"], kept["average"]["encoder.lm_head.weight"])


def test_another_model_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(TrainingError, match=r"is of another model \(size mismatch for .*take another --out"):
        Run(tones.task({**tones.CONFIG, "intermediate_size": 40}), OPTIONS, tmp_path, World("cpu"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("minutes", 0.0), ("adamw", -1.0), ("average", 1.0), ("warmup", 1.5), ("hold", 0.99), ("clip", float("nan"))],
)
def test_options_out_of_range_are_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match="hold" if name == "warmup" else name):
        replace(OPTIONS, **dict.fromkeys([name], value))


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    """Each hears other noise; gradients are the mean, so weights stay the same, and are those of both batches."""
    port = "29611"
    outs = [_made(tmp_path / f"{rank}") for rank in range(2)]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [child(outs[0], 4, RANK=str(rank), LOCAL_RANK=str(rank), **world) for rank in range(2)]
    for process in processes:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error.decode()
    both = tones.task()
    single = Run(both, replace(OPTIONS, steps=4), tmp_path / "single", World("cpu"))
    others = tones.task(rank=1).source
    for step in range(4):
        share = step / 4
        for source in (both.source, others):
            loss, _ = both.module(source.draw(step), share)
            (loss / 2).backward()
        single.optimizers.step(single.schedule.factor(share))
    kept = weights(outs[0])
    for name, weight in both.module.state_dict().items():
        torch.testing.assert_close(kept[f"model.{name}"], weight, rtol=1e-4, atol=1e-5)
