"""The loop of all training: a schedule by time or steps, averaging, a log, state on disk, several processes.

Each step: draw -> forward, loss -> backward -> clip, update -> average. Now and then: log, evaluate, keep, export.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from earshot_asr.engine.errors import ConfigError, TrainingError
from earshot_asr.engine.training import state as files
from earshot_asr.engine.training.distributed import World, half_precision
from earshot_asr.engine.training.optimizers import Average, Optimizers
from earshot_asr.engine.training.progress import Progress, duration
from earshot_asr.engine.training.schedule import Clock, Schedule
from earshot_asr.engine.training.task import Task

FIRST_KEEP_MINUTES = 1.0
"""Minutes after which a start keeps its state for the first time."""
MOST_BAD_STEPS = 50
"""Steps in a row without finite gradients after which the run ends with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopOptions:
    """How long, how fast, how often.

    minutes       the whole schedule, over all starts, by the clock on the wall: compiling, evaluations and writing are
                  part of it; only time in which the process was paused is not
    steps         the schedule in steps, in place of minutes; such a run can be repeated bit for bit
    stop_after    minutes after which this start ends
    warmup, hold  shares of the schedule in which learning rates rise, and stay; then they fall to zero
    adamw, muon   peak learning rates; muon None: AdamW updates all
    average       decay of the average of the weights, per step
    half          whether matrix products are in bfloat16; None: if the device is faster in it
    log_every     steps; judge_every, keep_every: minutes
    """

    minutes: float = 100.0
    steps: int | None = None
    stop_after: float | None = None
    warmup: float = 0.03
    hold: float = 0.37
    adamw: float = 1.5e-3
    muon: float | None = 3e-3
    decay: float = 0.01
    muon_decay: float = 0.05
    clip: float = 2.0
    average: float = 0.998
    half: bool | None = None
    seed: int = 0
    log_every: int = 50
    judge_every: float = 10.0
    keep_every: float = 5.0

    def __post_init__(self) -> None:
        for name in (
            "minutes",
            "steps",
            "stop_after",
            "adamw",
            "muon",
            "clip",
            "log_every",
            "judge_every",
            "keep_every",
        ):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"{name} is {value:g}; it must be more than 0")
        for name in ("decay", "muon_decay", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name):g}; it must be from 0 on and below 1")
        Schedule(self.warmup, self.hold)


MAY_CHANGE = ("minutes", "steps", "stop_after", "half", "log_every", "judge_every", "keep_every")
"""Options with which a run may be started again though they were others before."""


def train(task: Task, options: LoopOptions, out: Path, world: World) -> str:
    """Trains until the schedule or stop_after is over, or a signal comes; a run that is in `out` goes on.

    Returns the task's complaint about the model when the schedule is done, else nothing.
    Raises TrainingError if the state can't be read or written, or if MOST_BAD_STEPS steps in a row have no finite
    gradients; KeyboardInterrupt after SIGINT and SystemExit after SIGTERM, when the state is written.
    """
    with files.alone(out) if world.first else nullcontext():
        run = Run(task, options, out, world)
        with interruptible(run.progress.say) as interrupted, run.clock.watched():
            return run.go(interrupted)


@contextmanager
def interruptible(say: Callable[[str], None]) -> Iterator[list[int]]:
    """A context in which SIGINT and SIGTERM only go into the list, so that the step ends; a second one ends at once."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        say("stops after this step, and keeps what it has; once more: at once")
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if signal.SIGINT in seen:
        raise KeyboardInterrupt
    if seen:
        sys.exit(128 + seen[0])


@dataclass
class Counters:
    """The counts of a run, over all starts.

    bad      the last steps in a row without an update
    best     the lowest score
    closing  seconds that the last evaluation will take, and the last writing, as far as is known: the longest so far
    """

    step: int = 0
    audio_seconds: float = 0.0
    skipped: int = 0
    bad: int = 0
    best: float = float("inf")
    closing: float = 0.0


@dataclass
class Sums:
    """Sums of figures since the last line of the log, on the device."""

    count: int = 0
    totals: dict[str, Tensor] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    def add(self, figures: Mapping[str, Tensor]) -> None:
        """Adds the figures of a step."""
        self.count += 1
        for name, value in figures.items():
            self.totals[name] = self.totals.get(name, 0.0) + value.detach()
            self.seen[name] = self.seen.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """The mean of each figure over the steps that had it."""
        return {name: float(total) / self.seen[name] for name, total in self.totals.items()}


class Run:
    """A run in progress."""

    def __init__(self, task: Task, options: LoopOptions, out: Path, world: World) -> None:
        self.task, self.options, self.out, self.world = task, options, out, world
        self.schedule = Schedule(options.warmup, options.hold)
        self.half = half_precision(world.device) if options.half is None else options.half
        task.module.to(world.device).train()
        torch.set_float32_matmul_precision("high")
        self.optimizers = Optimizers(
            task.module,
            adamw=options.adamw,
            muon=options.muon,
            decay=options.decay,
            muon_decay=options.muon_decay,
            clip=options.clip,
            scales=task.scales,
        )
        self.average = Average(task.module, options.average)
        self.counters, self.clock = Counters(), Clock()
        self.seconds = 0.0  # of the clock, when all processes last agreed on it
        self.took: dict[str, float] = {}
        self.progress = Progress(quiet=not world.first)
        self._resume()
        self.model = world.wrap(task.module)

    def _resume(self) -> None:
        state = files.read(self.out)
        if state is None:
            if (self.out / files.LOG).exists():
                self.progress.say("nothing was kept of the last start: it begins anew")
            return
        try:
            self.task.module.load_state_dict(state["model"])
            for name, weight in self.average.weights.items():
                weight.copy_(state["average"][name])
            self.optimizers.load(state["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).strip().split("\n")[:2][-1].strip()  # torch's first line says little
            raise TrainingError(
                f"{self.out / files.STATE} is of another model ({reason}); take another --out"
            ) from None
        self.counters = Counters(**{name: state[name] for name in Counters.__annotations__ if name in state})
        self.clock = Clock(state["seconds"])
        self.seconds = self.clock.seconds
        hours = self.counters.audio_seconds / 3600
        self.progress.say(f"goes on from step {self.counters.step:,}, {hours:.2f} h of audio heard")
        if state.get("share", 0.0) >= 1 > self.share:
            peak = self.schedule.factor(self.share)
            self.progress.say(
                f"this run had finished; extending it raises the learning rates from 0 to {peak:.0%} of their peak"
            )

    @property
    def share(self) -> float:
        """The share of the schedule that is done."""
        if self.options.steps is not None:
            return self.counters.step / self.options.steps
        seconds = 60 * self.options.minutes
        return self.seconds / (seconds - min(self.counters.closing, seconds / 2))

    def _has_room(self) -> bool:
        """Whether there is time to evaluate and write now, and again at the end."""
        left = 60 * self.options.minutes - self.clock.seconds
        return self.options.steps is not None or left > 2 * self.counters.closing

    def go(self, interrupted: list[int]) -> str:
        """Trains until the run, or this start of it, is over; see train()."""
        if self.share >= 1:
            self._export()  # the last start may have been killed before it did that
            self.progress.say("the schedule is done; for more of it, give more --minutes or --steps")
            return ""
        if self.world.first:
            self.log = files.Log(self.out)
            self._note(
                {"event": "start", "torch": torch.__version__, "device": str(self.world.device), "half": self.half}
            )
        judged = kept = self.seconds
        keep_after = 60 * min(FIRST_KEEP_MINUTES, self.options.keep_every)  # so that an early end loses little
        sums, mark = Sums(), (self.seconds, self.counters.audio_seconds)
        last = False
        while not last:
            sums.add(self._step())
            last = self._agree(bool(interrupted))
            if self.counters.step % self.options.log_every == 0 or last:
                self._log(sums, *mark)
                sums, mark = Sums(), (self.seconds, self.counters.audio_seconds)
            self._show()
            if self.share >= 1 or (self.seconds - judged >= 60 * self.options.judge_every and self._has_room()):
                self._timed(self._judge)
                judged = self.seconds
            if last or (self.seconds - kept >= keep_after and self._has_room()):
                self._timed(self._keep)
                kept, keep_after = self.seconds, 60 * self.options.keep_every
        complaint = self._complaint() if self.share >= 1 else ""
        self.progress.close()
        how = "done" if self.share >= 1 else "stopped; the same command goes on"
        self.progress.say(f"{how}: {duration(self.clock.seconds)}, step {self.counters.step:,}, {self.out / 'model'}")
        return complaint

    def _agree(self, stop: bool) -> bool:
        """Agrees with all processes on the time, so that they have the same schedule, and on whether to stop."""
        self.seconds, closing, stops = self.world.agree(self.clock.tick(), sum(self.took.values()), float(stop))
        self.clock.advance(self.seconds)
        self.counters.closing = max(self.counters.closing, closing)
        limit = 60 * (self.options.stop_after or float("inf"))
        return self.share >= 1 or bool(stops) or self.seconds - self.clock.before >= limit

    def _step(self) -> dict[str, Tensor]:
        """One update. It depends only on seed, rank and step, not on when the run was interrupted."""
        counters, share = self.counters, self.share
        torch.manual_seed((self.options.seed * 1_000_003 + counters.step) * 1009 + self.world.rank)
        batch = self.task.draw(counters.step)
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.half):
            loss, figures = self.model(batch, share)
        loss.backward()
        norm = self.optimizers.step(self.schedule.factor(share))
        counters.step += 1
        if norm.isfinite():  # the same in all processes, which share their gradients
            counters.bad = 0
            self.average.update(counters.step)
        else:
            self._skip()
            figures = {name: value for name, value in figures.items() if name == "seconds"}
        figures = dict(figures)
        counters.audio_seconds += float(figures.pop("seconds", 0.0)) * self.world.size
        return figures | ({"loss": loss, "norm": norm} if counters.bad == 0 else {})

    def _skip(self) -> None:
        self.counters.skipped += 1
        self.counters.bad += 1
        if self.counters.bad >= MOST_BAD_STEPS:
            raise TrainingError(
                f"loss or gradients are not finite in {MOST_BAD_STEPS} steps in a row, "
                f"up to step {self.counters.step}; lower the learning rates (--adamw, --muon), or look at the data. "
                f"The weights from before are in {self.out / 'model'}"
            )

    # ---- for the first process only

    def _note(self, line: Mapping[str, Any]) -> None:
        at = {"step": self.counters.step, "minutes": self.seconds / 60, "share": self.share}
        self.log.write({**at, "time": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()), **line})

    def _log(self, sums: Sums, seconds: float, audio: float) -> None:
        if not self.world.first:
            return
        passed = max(self.seconds - seconds, 1e-9)
        self.figures = sums.means()
        self._note(
            {
                **self.figures,
                "rate": self.schedule.factor(min(self.share, 1.0)),
                "hours": self.counters.audio_seconds / 3600,
                "times_real_time": (self.counters.audio_seconds - audio) / passed,
                **({"skipped": self.counters.skipped} if self.counters.skipped else {}),
            }
        )
        self.pace = (self.counters.audio_seconds - audio) / passed

    figures: Mapping[str, float] = {}
    dev: Mapping[str, Any] = {}
    pace: float = 0.0

    def _show(self) -> None:
        shown: dict[str, float | str] = {}
        if "loss" in self.figures:
            shown["loss"] = self.figures["loss"]
        if self.pace:
            shown["times real time"] = self.pace
        if "score" in self.dev:
            shown["dev"] = f"{self.dev['score']:.1f}"
        if self.counters.skipped:
            shown["skipped"] = str(self.counters.skipped)
        self.progress.show(self.counters.step, self.share, self.seconds, shown)

    def _timed(self, part: Callable[[], None]) -> None:
        """Runs a part of what is done last, too, so that it is known how long that will take."""
        began = self.clock.tick()
        part()
        self.took[part.__name__] = max(self.took.get(part.__name__, 0.0), self.clock.tick() - began)

    @contextmanager
    def _evaluated(self) -> Iterator[None]:
        """A context in which the module has the averaged weights and is not compiled, as each length is another."""
        half = torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.half)
        with self.average.applied(), half, torch.compiler.set_stance("force_eager"):
            yield

    def _complaint(self) -> str:
        if not self.world.first:
            return ""
        with self._evaluated():
            return self.task.complaint()

    def _judge(self) -> None:
        if not self.world.first:
            return
        with self._evaluated():
            self.dev = self.task.judge()
            if not self.dev:
                return
            if self.dev.get("score", float("inf")) < self.counters.best:
                self.counters.best = self.dev["score"]
                self.task.save(self.out / "best")
        self._note({"dev": self.dev})
        figures = ", ".join(said(name, value) for name, value in self.dev.items() if name not in ("languages", "score"))
        self.progress.say(f"step {self.counters.step:,}, {self.share:.0%}: dev {figures}")

    def _keep(self) -> None:
        """Writes state and model. A killed process never leaves an incomplete file."""
        if not self.world.first:
            return
        state = {
            "model": self.task.module.state_dict(),
            "average": self.average.weights,
            "optimizer": self.optimizers.state(),
            "seconds": self.clock.seconds,
            "share": self.share,
            **vars(self.counters),
        }
        files.keep(self.out, state)
        self._export()

    def _export(self) -> None:
        if self.world.first:
            with self.average.applied():
                self.task.save(self.out / "model")


def said(name: str, figure: Any) -> str:
    """A figure of an evaluation, or the figures of a corpus, as text."""
    if isinstance(figure, Mapping):
        return f"{name} " + " ".join(f"{each} {value:.1f}" for each, value in figure.items())
    return f"{name} {files.rounded(figure)}"
