"""Loads a model. What is wrong with its name or its device is said before torch is loaded, which takes seconds."""

import ctypes
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from earshot_asr.engine.errors import CheckpointError, DeviceError, shown
from earshot_asr.engine.files import read_json
from earshot_asr.engine.model import Runner

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def load_runner(model: str | Path | None = None, device: str = "auto", revision: str | None = None) -> Runner:
    """See runner.load_runner, which loads torch. Raises CheckpointError and DeviceError."""
    check(model, device, revision)
    _locate(model, revision)
    from earshot_asr.engine.runner import load_runner

    return load_runner(model, device, revision)


def fetch(model: str | Path | None = None, revision: str | None = None) -> None:
    """Downloads what is needed of a model of the hub, unless it is here: loading it shall not take unforeseen minutes.

    Loads torch only if it is a model of the hub. Raises CheckpointError.
    """
    if model is not None and _locate(model, revision):
        from earshot_asr.engine.checkpoint import fetch

        fetch(model, revision)


def _locate(model: str | Path | None, revision: str | None) -> bool:
    """Whether it is a model of the hub, whose settings are here then. Raises CheckpointError."""
    if model is None or local_folder(model, revision) is not None:
        return False
    from earshot_asr.engine.hub import locate

    locate(model, revision)
    return True


def check(model: str | Path | None = None, device: str = "auto", revision: str | None = None) -> None:
    """Raises CheckpointError or DeviceError if it is clear without torch that there is no such model or device.

    device   also several, with commas between them
    """
    if "cuda" in device and (reason := _why_no_cuda()) is not None:
        raise DeviceError(f"there is no device {device}: {reason}; use cpu")
    if model is not None and (folder := local_folder(model, revision)) is not None:
        read_json(folder / "config.json")


def local_folder(model: str | Path, revision: str | None = None) -> Path | None:
    """The folder of a model; None for a hub id. Raises CheckpointError for what is neither."""
    path = Path(model).expanduser()
    if path.is_dir():
        if revision is not None:
            raise CheckpointError(
                f"{model} is a folder and has no revision {shown(revision)}; revisions are for hub ids"
            )
        return path
    if path.exists():
        raise CheckpointError(f"{model} is a file; give the folder that holds config.json and the weights")
    if not HUB_ID.fullmatch(str(model)):
        raise CheckpointError(f"there is no folder {model}, and a hub id would look like 'organization/name'")
    return None


def _why_no_cuda() -> str | None:
    """Why there can be no CUDA device; None if only torch knows."""
    torch = find_spec("torch")
    if torch is None or torch.origin is None:
        return None
    try:
        version = Path(torch.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    built_for = dict(re.findall(r"^(cuda|hip)\b[^=\n]*= *(\S+)", version, re.MULTILINE))
    if built_for.get("cuda") == built_for.get("hip") == "None":
        return "torch is installed without CUDA"
    if built_for.get("hip") == "None" and not _has_driver():
        return "NVIDIA's driver is not installed"
    return None


def _has_driver() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
