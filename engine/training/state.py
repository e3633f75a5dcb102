"""What a run has on disk, so that it goes on after it was killed at any moment.

OUT/run.json     the settings it was begun with
OUT/state.pt     weights, their average, optimizers, counters: all that the next step depends on
OUT/log.jsonl    a line for each start, for every few steps, and for each judgement
OUT/model, best  what is exported
"""

import json
import os
import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from earshot_asr.engine.errors import ConfigError, TrainingError

RUN, STATE, LOG, LOCK = "run.json", "state.pt", "log.jsonl", ".lock"


def begin(out: Path, settings: Mapping[str, Any]) -> None:
    """Makes the folder; of a run that is there already, compares the settings.

    Raises ConfigError that names those that differ: another run would come out than was asked for. Before its first
    state a run has nothing to lose, and settings may still be mended.
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
    # An option that a run does not name came after it was begun.
    differ = [name for name in known if known[name] != settings.get(name)]
    if differ:
        was = ", ".join(f"{name} was {_said(known.get(name))}, is {_said(settings.get(name))}" for name in differ)
        raise ConfigError(f"{out} holds a run with other settings: {was}; give the same ones, or another --out")


def _said(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def _settings(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not readable: {error}; take another --out") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a JSON object; take another --out")
    return content


def read(out: Path) -> dict[str, Any] | None:
    """The last state that was kept, on the CPU; None if there is none. Raises TrainingError if it can't be read."""
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
    """No other process trains into the folder meanwhile, where the system knows such locks; it ends with the process.

    Raises TrainingError if one does.
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
    """Writes the state: the old one is there until the new one is whole, and on the disk. Raises TrainingError."""
    _replace(out / STATE, lambda path: torch.save(dict(state), path))


def _replace(path: Path, write: Any) -> None:
    fresh = path.with_name(f".{path.name}.new")
    try:
        write(fresh)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(path)
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError when the disk is full
        reason = str(getattr(error, "strerror", None) or error).strip().split("\n", 1)[0]
        raise TrainingError(f"can't write {path}: {reason}") from None


class Log:
    """OUT/log.jsonl: every line stays, those of a killed start too."""

    def __init__(self, out: Path) -> None:
        self._path = out / LOG
        torn = self._path.exists() and not self._path.read_bytes().endswith(b"\n") and self._path.stat().st_size
        if torn:  # killed while it wrote
            with self._path.open("a") as file:
                file.write("\n")

    def write(self, line: Mapping[str, Any]) -> None:
        """A line, numbers rounded to what is of interest."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({key: rounded(value) for key, value in line.items()}, ensure_ascii=False) + "\n")


def rounded(value: Any) -> Any:
    """Five significant digits of numbers, in mappings too."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: rounded(each) for key, each in value.items()}
    return value
