"""A grown model begins as what it was made of."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCTC, SeamlessM4TFeatureExtractor

from earshot_asr.engine.checkpoint import load_checkpoint
from earshot_asr.engine.model import BUNDLED
from earshot_asr.engine.training import export
from earshot_asr.engine.training.__main__ import main
from earshot_asr.engine.training.grow import grow, overlaps, resampled_taps, rotary_base
from earshot_asr.engine.training.start import PREPROCESSORS, Start, from_checkpoint, from_nothing, shape
from earshot_asr.engine.training.units import characters
from tests.engine.test_wav2vec2 import difference, speechlike
from tests.engine.training.test_export import BERT, TOKENIZER, preprocessor, random_encoder

RELATIVE = {**BERT, "position_embeddings_type": "relative_key"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conformer of the shape of ours, its weights at random."""
    config = shape("tiny", width=64, depth=3, inner=48, kernel=7)
    start = from_nothing(config, PREPROCESSORS["wav2vec2-bert"], characters(["ABCD"]))
    folder = tmp_path_factory.mktemp("small") / "model"
    export.save(folder, start.encoder, start.config, start.preprocessor, start.tokenizer, dtype="float32")
    return folder


@pytest.fixture
def start(small: Path) -> Start:
    return from_checkpoint(small)


@torch.inference_mode()
def log_probs(start: Start, samples: Tensor) -> Tensor:
    found: Tensor = start.encoder.eval()(samples[None])
    return found


def test_new_layers_change_nothing(start: Start) -> None:
    samples = speechlike(32000)
    expected = log_probs(start, samples)
    layers = start.config["num_hidden_layers"]
    grown = grow(start, depth=layers + 2)
    assert len(grown.encoder.layers) == grown.config["num_hidden_layers"] == layers + 2
    assert difference(log_probs(grown, samples), expected) < 1e-4
    assert start.config["num_hidden_layers"] == layers


def test_new_layers_learn(start: Start) -> None:
    """Were both of two factors zero, neither would ever have a gradient."""
    grown = grow(start, depth=start.config["num_hidden_layers"] + 1)
    grown.encoder(speechlike(16000)[None]).square().mean().backward()
    newest = grown.encoder.layers[-1]
    for name, parameter in newest.named_parameters():
        if "output_dense.weight" in name or "linear_out.weight" in name or "pointwise_conv2.weight" in name:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_longer_frames_of_the_same_sound_are_about_the_same_channels(start: Start) -> None:
    """Log-mels that do not change in time: what the projection makes of them stays."""
    bands = start.preprocessor["num_mel_bins"]
    stride = start.preprocessor["stride"]
    grown = grow(start, stride=stride + 2)
    mels = torch.randn(1, 1, bands, generator=torch.Generator().manual_seed(0))
    before = start.encoder.project(mels.repeat(1, 1, stride))
    after = grown.encoder.project(mels.repeat(1, 1, stride + 2))
    assert grown.encoder.grid.hop == 160 * (stride + 2)
    assert (after - before).norm() < 0.1 * before.norm()


def test_a_kernel_at_taps_farther_apart() -> None:
    kernel = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 5.0]]])  # the last is now
    assert resampled_taps(kernel, 5, 1.0).tolist() == kernel.tolist()
    assert resampled_taps(kernel, 3, 2.0).flatten().tolist() == [2.0, 6.0, 10.0]  # twice as far, twice as much
    assert resampled_taps(kernel, 4, 2.0).flatten().tolist() == [0.0, 2.0, 6.0, 10.0]


@pytest.mark.parametrize(("before", "stride"), [(1, 2), (2, 3), (2, 4), (3, 5)])
def test_a_longer_frame_takes_from_all_of_a_shorter_one(before: int, stride: int) -> None:
    shares = overlaps(before, stride)
    assert shares.sum(0).numpy() == pytest.approx(np.full(stride, before / stride))
    assert shares.sum(1).numpy() == pytest.approx(np.ones(before))


def test_rotary_positions_turn_as_far_in_a_second() -> None:
    """A quarter of the way down."""
    assert rotary_base(10_000, 1.5) ** -0.25 == pytest.approx(1.5 * 10_000**-0.25, rel=1e-3)


def test_the_command_and_transformers(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it writes is a model for the engine and for transformers, with the same logits."""
    out = tmp_path / "grown"
    main(["grow", str(small), "--out", str(out), "--depth", "4", "--stride", "4"])
    assert capsys.readouterr().out == f"{out}: 4 layers, 40 ms a frame\n"
    checkpoint = load_checkpoint(out)
    assert checkpoint.encoder.grid.hop == 640
    samples = speechlike(checkpoint.encoder.grid.span(0, 50)[1])
    theirs = AutoModelForCTC.from_pretrained(out, dtype=torch.float32).eval()
    inputs = SeamlessM4TFeatureExtractor.from_pretrained(out)(samples.numpy(), sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        expected = theirs(**inputs).logits.log_softmax(-1)
        assert difference(checkpoint.encoder(samples[None]), expected) < 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--depth", "1"], "it can only become larger"),
        (["--stride", "1"], "it can only become larger"),
    ],
)
def test_it_can_not_shrink(
    options: list[str], message: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["grow", str(small), "--out", str(tmp_path / "x"), *options])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_folder_that_is_there_is_not_overwritten(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["grow", str(small), "--out", str(tmp_path)])
    assert "is there already" in capsys.readouterr().err


def test_what_can_not_be_grown(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each in one line; and nothing is written."""

    def failure(model: Path | str, *options: str) -> str:
        with pytest.raises(SystemExit):
            main(["grow", str(model), "--out", str(tmp_path / "x"), *options])
        assert not (tmp_path / "x").exists()
        return capsys.readouterr().err

    relative = tmp_path / "relative"
    export.save(relative, random_encoder(RELATIVE), RELATIVE, preprocessor(RELATIVE), TOKENIZER)
    assert "no Wav2Vec2-BERT with rotary positions" in failure(relative, "--depth", "3")
    (relative / "vocab.json").unlink()
    assert "has no CTC head" in failure(relative, "--depth", "3")
    assert "no Wav2Vec2-BERT with rotary positions" in failure(BUNDLED, "--depth", "9")
    assert "give --depth, --stride or both" in failure(small)
    assert "too much at once" in failure(small, "--stride", "100")


def test_sizes_that_config_json_leaves_out(tmp_path: Path) -> None:
    """Are transformers' defaults."""
    config = {**BERT, "position_embeddings_type": "rotary"}
    export.save(tmp_path / "m", random_encoder(config), config, preprocessor(config), TOKENIZER)
    start = from_checkpoint(tmp_path / "m")
    assert "rotary_embedding_base" not in start.config
    assert grow(start, stride=4).config["rotary_embedding_base"] == 10_000 / 2**4
