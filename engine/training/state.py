"""The files of a run, from which it goes on after it was killed at any moment.

OUT/run.json     the settings it was begun with
OUT/state.pt     all that the next step depends on: weights, their average, optimizers, counters
OUT/log.jsonl    a line for each start, for every few steps, and for each evaluation
OUT/model, best  exported models
"""

import json
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from earshot_asr.engine.errors import ConfigError, OutputError, TrainingError
from earshot_asr.engine.text import ESCAPES
from earshot_asr.engine.whole import replacing, writing

RUN, STATE, LOG, LOCK = "run.json", "state.pt", "log.jsonl", ".lock"


def begin(out: Path, settings: Mapping[str, Any], retired: Mapping[str, Any] = {}) -> None:
    """Makes the folder for a run, or compares the settings if a run is there that has a state already.

    retired   options that there are no more, with the value that changed nothing: a run begun with it goes on

    Raises ConfigError that names the settings that differ: the run would not be the one that was asked for.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"can't write to {out}: {error.strerror or error}") from None
    settings = json.loads(json.dumps(settings, default=str))
    known = _settings(out / RUN)
    if known is None or not (out / STATE).exists():
        _replace(out / RUN, lambda path: path.write_text(json.dumps(settings, indent=2) + "\n"))
        return
    # A run does not name options that came after it was begun, and these do not stop it.
    now = {**retired, **settings}
    differ = [name for name in known if known[name] != now.get(name)]
    if gone := [name for name in differ if name in retired]:
        raise ConfigError(f"{out} holds a run with options that no longer exist: {', '.join(gone)}; give another --out")
    if differ:
        was = ", ".join(f"{name} was {_said(known.get(name))}, is {_said(now.get(name))}" for name in differ)
        raise ConfigError(f"{out} holds a run with other settings: {was}; give the same ones, or another --out")


def _said(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def _settings(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not readable: {error}; take another --out") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a JSON object; take another --out")
    return content


def read(out: Path) -> dict[str, Any] | None:
    """The state that was kept last, on the CPU; None if there is none. Raises TrainingError if it can't be read."""
    path = out / STATE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        missing = {"model", "average", "optimizer", "step", "seconds"} - set(state)
    except (OSError, RuntimeError, EOFError, ValueError, TypeError, pickle.UnpicklingError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise TrainingError(f"{path} is damaged or no state of a run ({reason}); take another --out") from None
    if missing:
        raise TrainingError(f"{path} is no state of a run: it lacks {', '.join(sorted(missing))}; take another --out")
    return dict(state)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """A context in which no other process trains into the folder, on systems that have such locks.

    The lock ends with the process. Raises TrainingError if another process has it.
    """
    try:
        file = (out / LOCK).open("w")
    except OSError as error:
        raise TrainingError(f"can't write to {out}: {error.strerror or error}") from None
    with file:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TrainingError(f"another run is training into {out}; wait for it, or take another --out") from None
            except OSError:  # a file system without locks
                pass
        yield


def keep(out: Path, state: Mapping[str, Any]) -> None:
    """Writes the state; the old one is only replaced when the new one is complete on the disk. Raises TrainingError."""
    _replace(out / STATE, lambda path: torch.save(dict(state), path))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    try:
        with replacing(path, RuntimeError) as fresh:  # which torch's writer raises when the disk is full
            write(fresh)
    except OutputError as error:
        raise TrainingError(str(error)) from None


class Log:
    """OUT/log.jsonl, to which lines are appended; it keeps those of all starts."""

    def __init__(self, out: Path) -> None:
        self._path = out / LOG
        torn = self._path.exists() and not self._path.read_bytes().endswith(b"\n") and self._path.stat().st_size
        if torn:  # a process was killed while it wrote
            with self._path.open("a") as file:
                file.write("\n")

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends a line, with numbers rounded. Raises OutputError."""
        with writing(self._path), self._path.open("a", encoding="utf-8", errors=ESCAPES) as file:
            file.write(json.dumps({key: rounded(value) for key, value in line.items()}, ensure_ascii=False) + "\n")


def rounded(value: Any) -> Any:
    """The value with numbers rounded to five significant digits, in mappings too."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: rounded(each) for key, each in value.items()}
    return value
