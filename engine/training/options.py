"""The options that all training commands have, and what is checked of them before torch is loaded."""

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.loading import check

if TYPE_CHECKING:
    from earshot_asr.engine.training.loop import LoopOptions

CACHE = Path("~/.cache/earshot/audio")
DTYPES = ("float16", "float32", "int8")
"""Names of the dtypes that weights are written in; see export.DTYPES."""
FREE = ("precision", "out", "cache", "device", "eager", "dtype", "run", "command")
"""Options that may change when a run goes on, besides those in loop.MAY_CHANGE."""
COMPILED_MINUTES = 30
"""Duration of a run from which on it is worth while to compile the model, which takes some minutes on two cores."""


def positive(text: str) -> float:
    """A number above 0, for argparse."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def not_negative(text: str) -> float:
    """A number from 0 on, for argparse."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 on")
    return value


def share(text: str) -> float:
    """A number from 0 to 1, for argparse."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


def at_least(least: int, most: int | None = None) -> Callable[[str], int]:
    """Whole numbers from `least` on, to `most`, for argparse."""

    def whole(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        if most is not None and value > most:
            raise argparse.ArgumentTypeError(f"{text} is above {most}")
        return value

    whole.__name__ = "number"  # what argparse calls it
    return whole


def pair(text: str) -> tuple[str, float]:
    """NAME=NUMBER, for argparse."""
    name, equals, value = text.rpartition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not like NAME=NUMBER")
    return name, float(value)


def crop(text: str) -> tuple[float, float]:
    """SECONDS=CHANCE, for argparse."""
    seconds, _, chance = text.partition("=")
    if not 0 < (length := float(seconds)) <= 60:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 8=0.5, with up to 60 seconds")
    return length, positive(chance)


def add_loop_arguments(parser: argparse.ArgumentParser, adamw: str = "1.5e-3", muon: str = "3e-3") -> None:
    """Adds the options of the loop. adamw, muon: the default rates without --from, as --help has them."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for model, log and state; if it holds a run, that is resumed",
    )
    group.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float16",
        help="dtype of the weights in DIR/model; int8 is half the size of float16, but only the engine reads it "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--cache", type=Path, default=CACHE, metavar="DIR", help="folder for decoded audio (default: %(default)s)"
    )
    group.add_argument(
        "--keep-every", type=positive, metavar="MINUTES", help="how often state and model are written (default: 5)"
    )

    group = parser.add_argument_group(
        "duration, over all starts, by the clock on the wall from the first step on: compiling, evaluations, writing "
        "files are part of it; time in which the process is paused is not"
    )
    group.add_argument("--minutes", type=positive, default=100.0, help="length of the schedule (default: %(default)g)")
    group.add_argument("--steps", type=at_least(1), help="length of the schedule in steps, in place of minutes")
    group.add_argument(
        "--stop-after", type=positive, metavar="MINUTES", help="stop after this time; the same command resumes the run"
    )

    group = parser.add_argument_group("learning rates, which rise, stay, and fall to zero")
    group.add_argument(
        "--warmup",
        type=share,
        default=0.03,
        metavar="SHARE",
        help="share of the schedule in which they rise (default: %(default)g)",
    )
    group.add_argument(
        "--hold", type=share, default=0.37, metavar="SHARE", help="share in which they stay (default: %(default)g)"
    )
    group.add_argument(
        "--adamw", type=positive, metavar="RATE", help=f"the highest rate of AdamW (default: {adamw}; with --from 1e-4)"
    )
    group.add_argument(
        "--muon",
        type=float,
        metavar="RATE",
        help="the highest rate of Muon, which updates the matrices of the layers; 0: AdamW updates all "
        f"(default: {muon}; with --from 0)",
    )
    group.add_argument("--decay", type=share, default=0.01, help="weight decay of AdamW (default: %(default)g)")
    group.add_argument("--muon-decay", type=share, default=0.05, help="weight decay of Muon (default: %(default)g)")
    group.add_argument(
        "--clip", type=positive, default=2.0, help="largest norm of the gradients (default: %(default)g)"
    )
    group.add_argument(
        "--average",
        type=share,
        default=0.998,
        help="decay per step of the average of the weights (default: %(default)g)",
    )

    group = parser.add_argument_group(
        "device; for several GPUs: torchrun --nproc-per-node N -m earshot_asr.engine.training ..."
    )
    group.add_argument("--device", default="auto", help="cpu, cuda or cuda:N (default: a GPU if there is one)")
    group.add_argument(
        "--precision",
        choices=("auto", "bf16", "fp32"),
        default="auto",
        help="precision of matrix products; auto: bf16 where the device is faster in it",
    )
    group.add_argument(
        "--eager",
        action=argparse.BooleanOptionalAction,
        help="do not compile the model, which takes minutes: the first steps come sooner, the others are slower "
        f"(default: if --minutes is below {COMPILED_MINUTES})",
    )
    group.add_argument("--seed", type=at_least(0), default=0, help="seed of all that is random (default: %(default)s)")


def check_arguments(args: argparse.Namespace) -> None:
    """Raises an EarshotError if it is clear without torch that a file, a model or the device is not there."""
    alignments = getattr(args, "alignments", None) or ()
    for path in (*args.manifests, *args.dev, *alignments, getattr(args, "noise", None)):
        if path is not None and not os.path.exists(path):
            raise ConfigError(f"can't read {path}: No such file or directory")
    check(args.start, args.device)


def eager(args: argparse.Namespace, say: Callable[[str], None]) -> bool:
    """Whether the model is not to be compiled; says so if it is."""
    short = args.steps is None and args.minutes < COMPILED_MINUTES
    without: bool = short if args.eager is None else args.eager
    if not without:
        say("the model is compiled: the first steps, and the first of each length, take up to minutes; --eager: not")
    return without


def loop_options(args: argparse.Namespace, **defaults: Any) -> "LoopOptions":
    """The loop's options from parsed arguments, then `defaults`, then LoopOptions' own. Raises ConfigError."""
    from earshot_asr.engine.training.loop import LoopOptions

    names = LoopOptions.__slots__
    given = {name: getattr(args, name) for name in names if getattr(args, name, None) is not None}
    options = {**defaults, **given}
    if not options.get("muon", True):
        options["muon"] = None
    options["half"] = {"auto": None, "bf16": True, "fp32": False}[args.precision]
    return LoopOptions(**options)


def settings(args: argparse.Namespace, free: tuple[str, ...] = ()) -> Mapping[str, Any]:
    """The options that must stay the same when a run goes on: all but FREE and `free`."""
    from earshot_asr.engine.training.loop import MAY_CHANGE

    kept = {name: value for name, value in vars(args).items() if name not in (*MAY_CHANGE, *FREE, *free)}
    return {"from" if name == "start" else name: value for name, value in kept.items()}
