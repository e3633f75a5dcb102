"""The seam of model families: one file and one line in the registry are enough to run and to train a further one."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from earshot_asr.engine import families
from earshot_asr.engine.checkpoint import load_checkpoint
from earshot_asr.engine.errors import UnsupportedModel
from earshot_asr.engine.families import FAMILIES, Family, family_of
from earshot_asr.engine.families.layers import Encoder
from earshot_asr.engine.training.data.units import characters
from earshot_asr.engine.training.regularization import Regularization
from earshot_asr.engine.training.start import from_checkpoint
from tests.engine.families.test_wav2vec2 import speechlike
from tests.engine.training.tones import TEXTS, say, train_a_little

CONFIG: dict[str, Any] = {"model_type": "made-up", "channels": 16}
TRAINING = ["--steps", "2", "--eager", "--precision", "fp32", "--device", "cpu", "--seconds", "2", "--dtype", "float32"]
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the family that is defined in made_up.py: the one line."""
    monkeypatch.setitem(FAMILIES, "made-up", "tests.engine.families.made_up")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Recordings of tones with their texts."""
    rows = [{"audio": f"{n}.wav", "text": text.lower()} for n, text in enumerate(TEXTS)]
    for row, text in zip(rows, TEXTS, strict=True):
        soundfile.write(tmp_path / row["audio"], say(text), 16000)
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "m.jsonl"


def train(manifest: Path, out: Path, *options: str | Path) -> Path:
    """Trains some steps by the command; returns the folder with the model."""
    given = ["ctc", manifest, "--out", out, "--cache", manifest.parent / "cache", *TRAINING, *options]
    train_a_little([str(option) for option in given])
    return out / "model"


def test_a_further_family_is_trained_and_loaded(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    model = train(manifest, tmp_path / "first", "--config", tmp_path / "config.json", "--augment", "0")
    config = json.loads((model / "config.json").read_text())
    assert (config["architectures"], config["depth"]) == (["MadeUpForCTC"], 2)
    assert json.loads((model / "preprocessor_config.json").read_text())["sampling_rate"] == 16000
    tensors = load_file(model / "model.safetensors")
    assert tensors["made_up.ears.kernel"].shape == (400, 16)
    assert tensors["mouth.weight"].shape == (9, 16, 1)
    assert {"made_up.blocks.1.output_dense.bias", "made_up.masked_spec_embed"} <= tensors.keys()
    save_file({**tensors, "made_up.vocoder.bias": torch.ones(3)}, model / "model.safetensors")
    encoder = load_checkpoint(model).encoder
    assert type(encoder).__name__ == "MadeUp"
    log_probs = encoder(speechlike(8000)[None])
    assert log_probs.shape == (1, encoder.grid.frames(8000), 9)
    assert log_probs.isfinite().all()
    second = train(manifest, tmp_path / "second", "--from", model, "--freeze-layers", "1", "--layer-decay", "0.5")
    moved = {
        name: float((weight - encoder.state_dict()[name]).abs().max())
        for name, weight in load_checkpoint(second).encoder.state_dict().items()
    }
    assert moved["ears.weight"] == moved["blocks.0.output_dense.weight"] == 0
    assert moved["blocks.1.output_dense.weight"] > 0 < moved["lm_head.weight"]


def test_a_head_for_other_symbols_is_new_whatever_it_is_called(manifest: Path, tmp_path: Path) -> None:
    """Also if there are as many symbols as before."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    model = train(manifest, tmp_path / "out", "--config", tmp_path / "config.json")
    before = from_checkpoint(model).encoder
    after = from_checkpoint(model, characters(["WXYZ"])).encoder
    assert after.lm_head.weight.shape == before.lm_head.weight.shape
    assert not torch.equal(after.lm_head.weight, before.lm_head.weight)
    assert not after.lm_head.bias.any()
    assert torch.equal(after.get_parameter("ears.weight"), before.get_parameter("ears.weight"))


def test_a_bare_checkpoint_gets_a_head(manifest: Path, tmp_path: Path) -> None:
    """Its family says that it has none, which weights stay, and how often training drops what."""
    torch.manual_seed(0)
    build = family_of(CONFIG).build
    encoder = build({**CONFIG, "depth": 3, "vocab_size": 5}, {"feature_extractor_type": "MadeUpFeatureExtractor"})
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**CONFIG, "depth": 3}))
    (folder / "preprocessor_config.json").write_text('{"feature_extractor_type": "MadeUpFeatureExtractor"}')
    bare = {encoder.recipe(n).names[0]: encoder.recipe(n).undo(w)[0] for n, w in encoder.state_dict().items()}
    bare = {n.removeprefix("made_up."): w.contiguous() for n, w in bare.items() if not n.startswith("mouth.")}
    save_file(bare, folder / "model.safetensors")
    with pytest.raises(UnsupportedModel, match="made-up has no CTC head"):
        load_checkpoint(folder)
    model = train(manifest, tmp_path / "out", "--from", folder)
    trained = from_checkpoint(model)
    Regularization.read(trained.config).apply(trained.encoder)
    rates = {name.rpartition(".")[2]: m.p for name, m in trained.encoder.named_modules() if isinstance(m, nn.Dropout)}
    assert rates == {"hidden_dropout": 0.25, "activation_dropout": 0.0, "final_dropout": 0.1}
    assert torch.equal(trained.encoder.get_parameter("ears.weight"), encoder.get_parameter("ears.weight"))  # frozen
    assert len(trained.encoder.layers) == 3


@pytest.mark.parametrize("kind", list(FAMILIES))
def test_the_record_of_each_family(kind: str) -> None:
    """Whatever it makes is what it says: encoder, preprocessor, names of tensors."""
    family = family_of({"model_type": kind})
    assert family.head.endswith("ForCTC")
    config = family.with_new_head({"model_type": kind, "vocab_size": 7})
    with torch.device("meta"):
        encoder = family.build(config, family.preprocessor(config))
    assert isinstance(encoder, Encoder) and encoder.vocab_size == 7
    names = {part for name in encoder.state_dict() for part in encoder.recipe(name).names}
    outside = {name for name in names if not name.startswith(family.prefix)}
    assert any(outside >= {f"{head}.weight", f"{head}.bias"} for head in ("lm_head", "ctc_head"))
    assert any(name.startswith(family.prefix) for name in names)


def test_only_the_registry_and_its_own_file_name_a_family() -> None:
    """Shapes of ours are config.json, which names its model_type; pretraining is wav2vec 2.0's own."""
    modules = {path.rpartition(".")[2] for path in FAMILIES.values()} - {"made_up"}
    may = {"__init__.py", "shapes.py", *(f"{module}.py" for module in modules)}
    own = {"pretrain/contrastive.py", "pretrain/pretrained.py"}
    naming = set()
    for path in (ROOT / "earshot_asr" / "engine").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        named = [kind for kind in FAMILIES if f'"{kind}"' in text]
        named += [
            module for module in modules if f"families.{module} import" in text or f"families import {module}" in text
        ]
        if named:
            naming.add(path.name)
            where = str(path.relative_to(ROOT / "earshot_asr" / "engine"))
            assert path.name in may or where.removeprefix("training/") in own, (where, named)
    assert {"__init__.py", "shapes.py"} <= naming


def test_an_unknown_family_is_refused_with_those_that_are_known() -> None:
    for kind in ("tapas", None, ["whisper"]):
        with pytest.raises(UnsupportedModel, match=r"is not supported; supported are wav2vec2, .*made-up"):
            family_of({"model_type": kind})


def test_families_are_imported_when_they_are_needed() -> None:
    assert families.FAMILIES is FAMILIES
    for name in FAMILIES.values():
        assert isinstance(import_module(name).FAMILY, Family)
