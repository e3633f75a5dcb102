"""The mean of models is a model."""

import json
from pathlib import Path

import pytest
import torch

from earshot_asr.engine.checkpoint import load_checkpoint
from earshot_asr.engine.training.__main__ import main
from earshot_asr.engine.training.export import save
from earshot_asr.engine.weights import read_tensors, weight_files
from tests.engine.training.test_export import BERT, TOKENIZER, preprocessor, random_encoder


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    """Two of one shape: the second's weights are three times the first's."""
    encoder = random_encoder(BERT)
    save(tmp_path / "one", encoder, BERT, preprocessor(BERT), TOKENIZER, dtype="float32")
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(3)
    save(tmp_path / "two", encoder, BERT, preprocessor(BERT), TOKENIZER, dtype="float16")
    return tmp_path / "one", tmp_path / "two"


@pytest.mark.parametrize(("shares", "factor"), [([], 2.0), (["1", "3"], 2.5)])
def test_the_mean(
    models: tuple[Path, Path], tmp_path: Path, shares: list[str], factor: float, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "blend"
    main(["blend", *map(str, models), "--out", str(out), *(word for share in shares for word in ("--share", share))])
    assert capsys.readouterr().out.startswith(f"{out}: 2 models, ")
    before, after = (read_tensors(weight_files(folder)) for folder in (models[0], out))
    assert before.keys() == after.keys()
    assert json.loads((out / "config.json").read_text())["torch_dtype"] == "float32"
    for name, tensor in after.items():
        assert tensor.dtype == torch.float32
        if "masked_spec_embed" not in name:
            assert torch.allclose(tensor, factor * before[name], rtol=2e-3, atol=1e-4), name
    load_checkpoint(out)


def test_the_precision_is_the_firsts(models: tuple[Path, Path], tmp_path: Path) -> None:
    main(["blend", str(models[1]), str(models[0]), "--out", str(tmp_path / "half")])
    tensors = read_tensors(weight_files(tmp_path / "half"))
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert json.loads((tmp_path / "half" / "config.json").read_text())["torch_dtype"] == "float16"


def test_one_model_in_eight_bits_and_back(models: tuple[Path, Path], tmp_path: Path) -> None:
    one, small, back = models[0], tmp_path / "small", tmp_path / "back"
    main(["blend", str(one), "--dtype", "int8", "--out", str(small)])
    assert json.loads((small / "config.json").read_text())["earshot_weights"] == "int8"
    main(["blend", str(small), str(small), "--out", str(tmp_path / "both")])
    assert json.loads((tmp_path / "both" / "config.json").read_text())["earshot_weights"] == "int8"  # the first's
    main(["blend", str(small), "--dtype", "float32", "--out", str(back)])
    assert "earshot_weights" not in json.loads((back / "config.json").read_text())
    before, after = (read_tensors(weight_files(folder)) for folder in (one, back))
    assert before.keys() == after.keys()
    assert all((before[name] - after[name]).abs().max() < 0.05 for name in before)


def test_models_that_do_not_match(
    models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = map(str, models)
    deeper = {**BERT, "num_hidden_layers": 3}
    save(tmp_path / "deep", random_encoder(deeper), deeper, preprocessor(deeper), TOKENIZER)

    def failure(*args: str) -> str:
        with pytest.raises(SystemExit):
            main(["blend", *args])
        return capsys.readouterr().err

    out = ("--out", str(tmp_path / "x"))
    assert "deep is of another shape than" in failure(one, str(tmp_path / "deep"), *out)
    assert "one model is no blend" in failure(one, *out)
    assert "1 shares for 2 models" in failure(one, two, "--share", "1", *out)
    assert "is there already" in failure(one, two, "--out", one)
    vocab = models[1] / "vocab.json"
    vocab.write_text(json.dumps({**json.loads(vocab.read_text()), "more": 99}))
    assert "two has another vocabulary" in failure(one, two, *out)
    assert not (tmp_path / "x").exists()
