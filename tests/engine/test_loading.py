"""What is known of a model and a device without torch."""

import ctypes
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from earshot_asr.engine import loading
from earshot_asr.engine.errors import CheckpointError, DeviceError
from earshot_asr.engine.model import BUNDLED

CPU = "from typing import Optional\n__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n"
CUDA = CPU.replace("cuda: Optional[str] = None", "cuda: Optional[str] = '12.8'")
ROCM = CPU.replace("hip: Optional[str] = None", "hip: Optional[str] = '6.4'")


def pretend(version: str | None, driver: bool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another torch is installed, and NVIDIA's driver is, or is not."""
    if version is not None:
        (folder / "version.py").write_text(version)
    monkeypatch.setattr(loading, "find_spec", lambda name: ModuleSpec(name, None, origin=str(folder / "__init__.py")))

    def library(name: str) -> None:
        if not driver:
            raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", library)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "cpu,cuda:0"])
@pytest.mark.parametrize(
    ("version", "driver", "reason"),
    [(CPU, True, "torch is installed without CUDA"), (CUDA, False, "NVIDIA's driver is not installed")],
)
def test_a_device_that_can_not_be_there_is_said(
    device: str, version: str, driver: bool, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(version, driver, tmp_path, monkeypatch)
    with pytest.raises(DeviceError, match=f"^there is no device {device}: {reason}; use cpu$"):
        loading.check(device=device)
    for other in ("cpu", "auto"):
        loading.check(device=other)


@pytest.mark.parametrize(("version", "driver"), [(CUDA, True), (ROCM, False), ("something else", False), (None, False)])
def test_what_only_torch_knows_is_left_to_it(
    version: str | None, driver: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(version, driver, tmp_path, monkeypatch)
    loading.check(device="cuda")


def test_torch_writes_its_version_as_it_is_read_here() -> None:
    torch = pytest.importorskip("torch")
    without = torch.version.cuda is None and torch.version.hip is None
    assert (loading._why_no_cuda() == "torch is installed without CUDA") == without


def test_models(tmp_path: Path) -> None:
    for model in (None, BUNDLED, "facebook/wav2vec2-base-960h"):
        loading.check(model)
    for model, complaint in (("/nowhere", "no folder /nowhere"), (tmp_path, "config.json"), (__file__, "is a file")):
        with pytest.raises(CheckpointError, match=complaint):
            loading.check(model)
    with pytest.raises(CheckpointError, match="revision 'v2'"):
        loading.check(BUNDLED, revision="v2")
