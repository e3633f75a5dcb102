"""The bundled model on a device: windows in any company, bad names."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.errors import CheckpointError, ConfigError, DeviceError
from earshot_asr.engine.model import BUNDLED, BUNDLED_LEAST_LOG_ODDS
from earshot_asr.engine.runner import TorchRunner, load_runner, resolve_device
from tests.helpers import noise


@pytest.fixture(scope="module")
def runner() -> TorchRunner:
    return load_runner(device="cpu")


def window(frames: int, seed: int, runner: TorchRunner) -> Pcm:
    return noise(runner.info.grid.span(0, frames)[1], np.random.default_rng(seed), 1000)


def test_the_bundled_model(runner: TorchRunner) -> None:
    assert runner.info.name == BUNDLED.name == "base-en"
    assert (runner.info.grid.hop, runner.info.grid.field, runner.info.emission_delay) == (320, 560, 3)
    assert len(runner.info.fingerprint) == 16
    assert runner.device == "cpu"
    assert runner.speaking("English") is runner.speaking("en-GB") is runner.speaking(None) is runner
    with pytest.raises(ConfigError, match="base-en has no language 'fr'"):
        runner.speaking("fr")


def test_company_makes_no_difference(runner: TorchRunner) -> None:
    """Windows of many lengths in one batch, and each alone: the same to 1e-5."""
    windows = [window(frames, seed, runner) for seed, frames in enumerate((7, 50, 50, 64, 201, 1))]
    together = runner.run(windows)
    for pcm, log_probs in zip(windows, together, strict=True):
        alone = runner.run([pcm])[0]
        assert log_probs.shape == alone.shape == (runner.info.grid.frames(len(pcm)), runner.info.vocabulary.size)
        assert np.abs(np.exp(log_probs) - np.exp(alone)).max() < 1e-5
        assert np.abs(log_probs - alone).max() < 1e-4
        assert np.allclose(np.exp(log_probs).sum(-1), 1, atol=1e-5)


def test_windows_of_one_length_are_not_padded(runner: TorchRunner) -> None:
    windows = [window(37, seed, runner) for seed in range(3)]
    for pcm, log_probs in zip(windows, runner.run(windows), strict=True):
        assert np.abs(np.exp(log_probs) - np.exp(runner.run([pcm])[0])).max() < 1e-5


def test_devices_have_names() -> None:
    assert resolve_device("cpu").type == "cpu"
    for name in ("tpu", "mps", "gpu 1"):
        with pytest.raises(DeviceError, match="it must be auto, cpu, cuda or cuda:N"):
            resolve_device(name)
    if not torch.cuda.is_available():
        assert resolve_device("auto").type == "cpu"
        with pytest.raises(DeviceError, match="there is no cuda: 0 CUDA devices found; use --device cpu"):
            resolve_device("cuda")


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(CheckpointError, match="no-such-folder"):
        load_runner("./no-such-folder", device="cpu")


@pytest.mark.gpu
def test_half_precision_on_a_gpu_says_nearly_the_same(runner: TorchRunner) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    on_gpu = load_runner(device="cuda")
    windows = [window(frames, seed, runner) for seed, frames in enumerate((50, 50, 64))]
    for cpu, gpu in zip(runner.run(windows), on_gpu.run(windows), strict=True):
        assert np.abs(np.exp(cpu) - np.exp(gpu)).max() < 0.05


ARPA = "\\data\\\nngram 1=4\n\n\\1-grams:\n-1\t<unk>\n-1\t<s>\n-1\t</s>\n-0.5\thello\n\n\\end\\\n"


def test_a_model_brings_its_language_model_along(tmp_path: Path) -> None:
    """The bundled one its own, with calibrated confidences; a checkpoint's; one that is named; or none."""
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED, folder)
    assert load_runner(folder, "cpu").info.lexicon is None
    (folder / "language_model").mkdir()
    (folder / "language_model" / "lm.arpa").write_text(ARPA)
    (folder / "language_model" / "attrs.json").write_text('{"alpha": 0.7, "beta": 1.5}')
    own = load_runner(folder, "cpu").info.lexicon
    assert own and own.lm.knows("hello") and own.weights.alpha == 0.7
    named = load_runner(BUNDLED, "cpu", lm=folder / "language_model" / "lm.arpa").info.lexicon
    assert named and named.lm.knows("hello") and named.weights.sureness == 1.0
    bundled = load_runner(device="cpu").info.lexicon
    assert bundled and bundled.lm.knows("captions") and bundled.weights.sureness == 0.8
    assert load_runner(folder, "cpu", lm="none").info.lexicon is None


def test_of_the_bundled_model_it_is_known_what_is_noise(tmp_path: Path) -> None:
    """With any language model; of others it is not, even if only their folder is another."""
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED, folder)
    bundled, other = (load_runner(model, "cpu", lm="none").info for model in (BUNDLED, folder))
    assert bundled.least_log_odds == load_runner(device="cpu").info.least_log_odds == BUNDLED_LEAST_LOG_ODDS
    assert other.least_log_odds == 0
    assert bundled.fingerprint == other.fingerprint and bundled.identity != other.identity
