"""Loads a model. What is wrong with its name or its device is said before torch is loaded, which takes seconds."""

import ctypes
import logging
import re
import sys
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from earshot_asr.engine.errors import CheckpointError, DeviceError, HubError, shown
from earshot_asr.engine.judgement import read_config
from earshot_asr.engine.lm import NO_LM
from earshot_asr.engine.model import Runner

if TYPE_CHECKING:
    from earshot_asr.engine.catalogue import Choice

log = logging.getLogger(__name__)

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def load_runner(
    model: str | Path | None = None,
    device: str = "auto",
    revision: str | None = None,
    language: str | None = None,
    lm: str | Path | None = None,
) -> Runner:
    """Loads a model by its folder, its name in the catalogue or its hub id; see runner.load_runner, which loads torch.

    language   by any of its names; without a model, its recommended checkpoint is loaded. If that is for English and
               can't be had from the hub, the bundled model is loaded, and that is logged
    lm         the file or folder of a language model, or "none"; None: the one that goes with the model

    Raises CheckpointError, ConfigError and DeviceError.
    """
    choice = _here(check(model, device, revision, language, lm), own_lm=lm is None)
    from earshot_asr.engine.runner import load_runner

    return load_runner(choice.model, device, choice.revision, choice.language, lm)


def fetch(
    model: str | Path | None = None,
    revision: str | None = None,
    language: str | None = None,
    lm: str | Path | None = None,
) -> None:
    """Downloads what is needed of a model of the hub, unless it is here: loading it shall not take unforeseen minutes.

    lm   as load_runner takes it: where it is given, the model's own language model is not needed

    Loads torch only if it is a model of the hub. Raises CheckpointError and ConfigError.
    """
    _here(check(model, revision=revision, language=language, lm=lm), own_lm=lm is None)


@cache
def _here(choice: "Choice", *, own_lm: bool) -> "Choice":
    """The choice, downloaded if need be; or the bundled model, if that may take its place and has to.

    That is decided once: all devices run the same model.
    """
    if choice.model is None or local_folder(choice.model, choice.revision) is not None:
        return choice
    from earshot_asr.engine.hub import locate

    try:
        locate(choice.model, choice.revision)  # what is wrong with its settings is said before torch is loaded
        from earshot_asr.engine.checkpoint import fetch

        fetch(choice.model, choice.revision, own_lm=own_lm)
    except HubError as error:
        if not choice.bundled_will_do:
            raise
        log.warning("%s; the bundled English model takes its place", error)
        return replace(choice, model=None, revision=None)
    return choice


def check(
    model: str | Path | None = None,
    device: str = "auto",
    revision: str | None = None,
    language: str | None = None,
    lm: str | Path | None = None,
) -> "Choice":
    """What is to be loaded. Raises what load_runner would, if it is clear without torch and the hub.

    device   also several, with commas between them
    """
    from earshot_asr.engine.catalogue import choose

    if "cuda" in device and (reason := _why_no_cuda()) is not None:
        raise DeviceError(f"there is no device {device}: {reason}; use cpu")
    if lm is not None and lm != NO_LM and not Path(lm).expanduser().exists():
        raise CheckpointError(f"there is no language model {lm}; give an ARPA or KenLM file, its folder, or {NO_LM}")
    choice = choose(model, language, revision)
    if choice.model is None and revision is not None:
        raise CheckpointError(f"the bundled model has no revision {shown(revision)}; revisions are for hub ids")
    if choice.model is not None and (folder := local_folder(choice.model, revision)) is not None:
        read_config(folder)
    return choice


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
        raise CheckpointError(f"there is no folder {model}{_no_such_name(str(model))}")
    return None


def _no_such_name(model: str) -> str:
    from earshot_asr.engine.catalogue import near

    hub = "and a hub id would look like 'organization/name'"
    if not re.fullmatch(r"[\w.-]+", model) or model.startswith("."):
        return f", {hub}"
    offer = f"near are {', '.join(names)}" if (names := near(model)) else "`earshot models list` shows those that are"
    return f", no such model in the catalogue ({offer}), {hub}"


def cuda_is_possible() -> bool:
    """Whether there may be a CUDA device, as far as that is known without torch."""
    return _why_no_cuda() is None


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
