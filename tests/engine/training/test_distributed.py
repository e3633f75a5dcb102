"""Which device a process has, and which there is none of."""

import pytest
import torch

from earshot_asr.engine.errors import DeviceError
from earshot_asr.engine.training.distributed import World


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were two GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two")
def test_a_device_that_is_there() -> None:
    assert World("cuda:1").device == torch.device("cuda:1")
    assert World("cuda").device == World("auto").device == torch.device("cuda")


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("name", ["cuda:2", "cuda:9"])
def test_a_device_that_is_not_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match=f"there is no {name} here; there is cuda:0 to cuda:1"):
        World(name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match=f"there is no {name} here; there is cuda:0$"):
        World(name)


@pytest.mark.usefixtures("two")
def test_more_processes_than_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "3", "RANK": "2", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DeviceError, match="more processes than CUDA devices; take torchrun --nproc-per-node 2"):
        World("cuda")


def test_no_device_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert World("auto").device == torch.device("cpu")
    for name in ("cuda", "cuda:0"):
        with pytest.raises(DeviceError, match="there is no CUDA device here; take --device cpu"):
            World(name)
    with pytest.raises(DeviceError, match="'tpu' is no device"):
        World("tpu")
    with pytest.raises(DeviceError, match="'mps' is not supported"):
        World("mps")
