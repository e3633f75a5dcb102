"""Commands with a model of the hub, in processes of their own, as the variables of the hub are read once."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from earshot_asr.engine.audio import SAMPLE_RATE
from tests.engine.hub.conftest import checkpoint  # noqa: F401
from tests.loopback_hub import BLOCK_BYTES, TOKEN, LoopbackHub, wait_for

ROOT = Path(__file__).parents[2]
LOCATE = """
import sys
from earshot_asr.engine.errors import CheckpointError
from earshot_asr.engine.hub import cache_folder, locate
try:
    print(locate(sys.argv[1]).with_weights().folder.relative_to(cache_folder()))
except CheckpointError as error:
    print(error)
assert "torch" not in sys.modules
"""
GIVE_UP_SECONDS = 120.0


@pytest.fixture(scope="module")
def large(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A model with 4 MB of weights, most of them a leftover of its pretraining that is not used."""
    folder = Path(shutil.copytree(checkpoint, tmp_path_factory.mktemp("large") / "model"))
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "quantizer.codevectors": torch.rand(1_000_000)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def hub(large: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.add("acme/small", large)
        yield hub


@pytest.fixture
def variables(hub: LoopbackHub, tmp_path: Path) -> dict[str, str]:
    """An environment with this hub and an empty cache."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "EARSHOT_"))}
    return {**kept, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}


def located(variables: dict[str, str], model: str = "acme/small", **more: str) -> str:
    """Where a process with these variables finds a model, in the cache; or why it does not."""
    command = [sys.executable, "-c", LOCATE, model]
    done = subprocess.run(command, env={**variables, **more}, capture_output=True, text=True, timeout=GIVE_UP_SECONDS)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.mark.slow
def test_the_variables_of_the_hub(hub: LoopbackHub, variables: dict[str, str], large: Path, tmp_path: Path) -> None:
    place = f"models--acme--small/snapshots/{'a' * 40}"
    assert "acme/small is not in the cache, and HF_HUB_OFFLINE is set" in located(variables, HF_HUB_OFFLINE="1")
    assert hub.requests == []
    assert located(variables) == place  # HF_ENDPOINT, HF_HOME
    assert (tmp_path / "home" / "hub" / place / "model.safetensors").exists()
    asked = len(hub.requests)
    assert located(variables, HF_HUB_OFFLINE="1") == place
    assert len(hub.requests) == asked
    hub.add("acme/secret", large, access="private")
    assert located(variables, "acme/secret", HF_TOKEN=TOKEN) == place.replace("small", "secret")
    hub.behaviour.silent = True
    said = located(variables, "acme/other", HF_HUB_ETAG_TIMEOUT="1")
    assert said == f"acme/other is not in the cache, and {hub.url} did not answer within 1 s"


def earshot(*arguments: str | Path, env: dict[str, str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "earshot_asr", *arguments]
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it has got its name since
        return 0


def interrupted_in_its_download(hub: LoopbackHub, process: "subprocess.Popen[str]", home: Path) -> list[str]:
    """What a process says that gets Ctrl-C while weights come. It ends at once: most of them have not come yet."""
    wait_for(lambda: hub.files and any(length(path) >= BLOCK_BYTES for path in home.rglob("*.incomplete")))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=GIVE_UP_SECONDS)
    assert process.returncode == 130, err
    assert all(path.stat().st_size < 2_000_000 for path in home.rglob("*.incomplete"))
    return err.splitlines()


def test_transcribe_is_interrupted_and_goes_on(hub: LoopbackHub, variables: dict[str, str], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    command = ("transcribe", "--model", "acme/small", "--device", "cpu", "--offline", tmp_path / "a.wav")
    hub.behaviour.pause_seconds = 0.1
    said = interrupted_in_its_download(hub, earshot(*command, env=variables), tmp_path)
    assert said[0].startswith("earshot: --offline is called --whole now")
    assert said[1] == "earshot: acme/small: 0 bytes of 4.0 MB are here"
    assert said[2].startswith("earshot: interrupted; ") and said[2].endswith("the next try goes on from there")
    assert len(said) == 3
    (part,) = tmp_path.rglob("*.incomplete")
    kept = part.stat().st_size
    hub.behaviour.pause_seconds = 0.0
    assert located(variables).startswith("models--acme--small")
    ranges = [request.headers.get("range") for request in hub.requests if "/cdn/" in request.path]
    assert ranges == [None, f"bytes={kept}-"]


def test_serve_is_interrupted_while_it_loads(hub: LoopbackHub, variables: dict[str, str], tmp_path: Path) -> None:
    """And its log is JSON throughout, without lines of libraries."""
    hub.behaviour.pause_seconds = 0.1
    process = earshot("serve", "--model", "acme/small", "--port", "0", "--log-format", "json", env=variables)
    said = interrupted_in_its_download(hub, process, tmp_path)
    lines = [json.loads(line) for line in said if line.startswith("{") or pytest.fail("\n".join(said))]
    assert all(line["logger"].startswith("earshot_asr.") for line in lines)
    messages = [line["message"] for line in lines]
    assert "acme/small: 0 bytes of 4.0 MB are here" in messages
    assert messages[-1] == "stopped before all of acme/small was here; what has come is kept"


def test_serve_is_interrupted_while_the_hub_is_silent(hub: LoopbackHub, variables: dict[str, str]) -> None:
    hub.behaviour.silent = True
    process = earshot("serve", "--language", "de", "--port", "0", env={**variables, "HF_HUB_ETAG_TIMEOUT": "900"})
    wait_for(lambda: hub.requests)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=GIVE_UP_SECONDS)
    assert process.returncode == 130
    assert "stopped before all of the model that is recommended for de was here" in err.splitlines()[-1]
