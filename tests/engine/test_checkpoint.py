"""Loading: every layout of a checkpoint gives the same model, and what is wrong with one is said."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2BertProcessor,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2ForPreTraining,
    Wav2Vec2Processor,
)

from earshot_asr.engine.checkpoint import load_checkpoint
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel
from earshot_asr.engine.families import FAMILIES
from tests.engine.families.test_wav2vec2 import difference, speechlike

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = dict(
    vocab_size=6,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    pad_token_id=3,
)
CONVOLUTIONS: dict[str, Any] = dict(
    conv_dim=(8,) * 7,
    num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=2,
    codevector_dim=8,
    proj_codevector_dim=8,
)
VOCAB = {"|": 0, "A": 1, "B": 2, "[PAD]": 3, "[UNK]": 4}
NORM = "wav2vec2.encoder.pos_conv_embed.conv."
SAMPLES = speechlike(6000)[None]


def tokenizer(folder: Path) -> Wav2Vec2CTCTokenizer:
    (folder / "vocab.json").write_text(json.dumps(VOCAB))
    return Wav2Vec2CTCTokenizer(
        folder / "vocab.json", pad_token="[PAD]", unk_token="[UNK]", bos_token=None, eos_token=None
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec 2.0 model with all that belongs to it, written by transformers."""
    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    folder.mkdir()
    torch.manual_seed(0)
    Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL, **CONVOLUTIONS)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    tokenizer(folder).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of it, to break."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def edit(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **entries}), encoding="utf-8")


def log_probs(model: str | Path, **options: Any) -> Tensor:
    with torch.inference_mode():
        out: Tensor = load_checkpoint(model, **options).encoder(SAMPLES)
    return out


def test_all_of_a_checkpoint(saved: Path) -> None:
    checkpoint = load_checkpoint(saved)
    assert checkpoint.name == "small"
    assert checkpoint.emission_delay == 0
    assert checkpoint.vocabulary.symbols == ("|", "A", "B", "[PAD]", "[UNK]", "[UNK]")  # one more in the head
    assert (checkpoint.vocabulary.blank, checkpoint.vocabulary.delimiter) == (3, 0)
    assert (checkpoint.encoder.grid.hop, checkpoint.encoder.grid.field) == (320, 400)
    assert not checkpoint.encoder.training
    assert not any(parameter.requires_grad for parameter in checkpoint.encoder.parameters())
    theirs = Wav2Vec2ForCTC.from_pretrained(saved).eval()
    values = Wav2Vec2FeatureExtractor.from_pretrained(saved)(
        SAMPLES[0].numpy(), sampling_rate=16000, return_tensors="pt"
    )
    with torch.inference_mode():
        expected = torch.log_softmax(theirs(values.input_values).logits, -1)
    assert difference(log_probs(saved), expected) < 1e-4


def test_w2v_bert_saved_with_its_processor(tmp_path: Path) -> None:
    theirs = Wav2Vec2BertForCTC(Wav2Vec2BertConfig(**SMALL, conv_depthwise_kernel_size=5)).eval()
    theirs.save_pretrained(tmp_path)
    Wav2Vec2BertProcessor(SeamlessM4TFeatureExtractor(), tokenizer(tmp_path)).save_pretrained(tmp_path)
    inputs = SeamlessM4TFeatureExtractor()(SAMPLES[0].numpy(), sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        expected = torch.log_softmax(theirs(**inputs).logits, -1)
    ours = log_probs(tmp_path)
    assert difference(ours, expected[:, : ours.shape[1]]) < 1e-4


def test_normalization_is_read_from_either_file(saved: Path, tmp_path: Path) -> None:
    """transformers 5 writes processor_config.json, in which the extractor is a part."""
    for normalize in (True, False):
        one = Path(shutil.copytree(saved, tmp_path / f"one{normalize}"))
        edit(one / "preprocessor_config.json", do_normalize=normalize)
        other = Path(shutil.copytree(one, tmp_path / f"other{normalize}"))
        (other / "preprocessor_config.json").unlink()
        Wav2Vec2Processor(Wav2Vec2FeatureExtractor(do_normalize=normalize), tokenizer(other)).save_pretrained(other)
        (other / "preprocessor_config.json").unlink(missing_ok=True)
        assert torch.equal(log_probs(one), log_probs(other))
    assert not torch.equal(log_probs(tmp_path / "oneTrue"), log_probs(tmp_path / "oneFalse"))


def old_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    new = {NORM + "parametrizations.weight.original0": NORM + "weight_g",
           NORM + "parametrizations.weight.original1": NORM + "weight_v"}  # fmt: skip
    assert new.keys() < tensors.keys()
    return {new.get(name, name): tensor for name, tensor in tensors.items()}


def shard(folder: Path, tensors: dict[str, Tensor], stem: str, suffix: str, save: Callable[..., None]) -> None:
    names = sorted(tensors)
    parts = {f"{stem}-0000{i + 1}-of-00003.{suffix}": names[i::3] for i in range(3)}
    for file, part in parts.items():
        save({name: tensors[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))


LAYOUTS: dict[str, Callable[[Path, dict[str, Tensor]], None]] = {
    "old names of weight norm": lambda f, t: save_file(old_names(t), f / "model.safetensors"),
    "leftovers": lambda f, t: save_file(
        {
            **t,
            "quantizer.codevectors": torch.ones(1),
            "project_q.weight": torch.ones(1),
            "project_hid.bias": torch.ones(1),
        },
        f / "model.safetensors",
    ),
    "sharded": lambda f, t: shard(f, t, "model", "safetensors", save_file),
    "pickled": lambda f, t: torch.save(t, f / "pytorch_model.bin"),
    "pickled long ago": lambda f, t: torch.save(
        old_names(t), f / "pytorch_model.bin", _use_new_zipfile_serialization=False
    ),
    "pickled and sharded": lambda f, t: shard(f, t, "pytorch_model", "bin", torch.save),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_same_model(saved: Path, folder: Path, layout: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    LAYOUTS[layout](folder, tensors)
    assert torch.equal(log_probs(folder), log_probs(saved))


def test_half_precision_in_the_file_or_asked_for(saved: Path, folder: Path) -> None:
    halves = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(halves, folder / "model.safetensors")
    assert load_checkpoint(folder).encoder.dtype == torch.float32
    assert difference(log_probs(folder), log_probs(saved)) < 0.01
    assert load_checkpoint(saved, dtype=torch.float16).encoder.dtype == torch.float16


def test_missing_and_unexpected_tensors_are_listed(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    gone = ["lm_head.bias", "wav2vec2.encoder.layers.1.attention.k_proj.weight"]
    for name in (*gone, NORM + "parametrizations.weight.original1"):
        del tensors[name]
    tensors["wav2vec2.encoder.layers.2.layer_norm.bias"] = torch.ones(16)
    tensors["lm_head.weight"] = torch.ones(7, 16)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    missing, unexpected, misshapen = str(caught.value).split("; ")
    assert missing.endswith(f"missing: {gone[0]}, {gone[1]} and 1 more")
    assert "layers.2.layer_norm.bias" in unexpected
    assert "lm_head.weight (7, 16)" in misshapen


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("encoder.layers.0.attention.k_proj.weight", (16, 15)),
        ("feature_extractor.conv_layers.1.conv.weight", (3,)),
        ("encoder.pos_conv_embed.conv.parametrizations.weight.original0", (8, 1, 16)),
    ],
)
def test_parts_that_do_not_go_together(folder: Path, name: str, shape: tuple[int, ...]) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, f"wav2vec2.{name}": torch.ones(shape)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=re.escape(f"wav2vec2.{name} {shape}")):
        load_checkpoint(folder)


def test_fingerprint_is_of_every_byte_of_weights_and_settings(saved: Path, folder: Path) -> None:
    known = {load_checkpoint(saved).fingerprint}
    assert load_checkpoint(folder).fingerprint in known
    (folder / "README.md").write_text("no part of the model")
    assert load_checkpoint(folder).fingerprint in known
    edit(folder / "config.json", emission_delay_frames=3)
    assert load_checkpoint(folder).emission_delay == 3
    known.add(load_checkpoint(folder).fingerprint)
    edit(folder / "preprocessor_config.json", do_normalize=False)
    known.add(load_checkpoint(folder).fingerprint)
    edit(folder / "vocab.json", C=5)
    known.add(load_checkpoint(folder).fingerprint)
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "lm_head.bias": tensors["lm_head.bias"] + 1e-6}, folder / "model.safetensors")
    known.add(load_checkpoint(folder).fingerprint)
    assert len(known) == 5
    assert {len(one) for one in known} == {16}


@pytest.mark.parametrize("kind", ["sew-d", "speecht5", None])
def test_other_families_are_refused_by_name(folder: Path, kind: str | None) -> None:
    edit(folder / "config.json", model_type=kind)
    with pytest.raises(UnsupportedModel, match=f"{kind!r}.*{', '.join(FAMILIES)}"):
        load_checkpoint(folder)


def test_a_model_without_a_ctc_head_is_refused(folder: Path) -> None:
    Wav2Vec2ForPreTraining(Wav2Vec2Config(**SMALL, **CONVOLUTIONS)).save_pretrained(folder)
    with pytest.raises(UnsupportedModel, match="Wav2Vec2ForPreTraining has no CTC head"):
        load_checkpoint(folder)


def test_another_sampling_rate_is_refused(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", sampling_rate=8000)
    with pytest.raises(UnsupportedModel, match="8000"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, "has no config.json"),
        ("config.json", b"{", "config.json is not readable as JSON"),
        ("config.json", b"\xff\xfe", "config.json is not readable as JSON"),
        ("vocab.json", None, "has no vocab.json and no tokenizer.json"),
        ("model.safetensors", None, "has no weights"),
        ("model.safetensors", b"", "model.safetensors is damaged"),
        ("model.safetensors", b"\x08\0\0\0\0\0\0\0{broken}", "model.safetensors is damaged"),
        ("pytorch_model.bin", b"", "pytorch_model.bin is damaged"),
        ("pytorch_model.bin", b"no pickle", "pytorch_model.bin is damaged"),
        ("pytorch_model.bin", b"PK\x03\x04", "pytorch_model.bin is damaged"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": "../x.safetensors"}}', "weight_map"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": "x.safetensors"}}', "lacks x.safetensors"),
    ],
)
def test_what_is_broken_is_named(folder: Path, file: str, content: bytes | None, message: str) -> None:
    if content is None:
        (folder / file).unlink()
    else:
        if file.startswith(("pytorch", "model.safetensors.index")):
            (folder / "model.safetensors").unlink()
        (folder / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_a_truncated_file_is_damaged(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(folder)


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code in a checkpoint was run",)


def test_no_code_in_a_pickle_is_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"lm_head.bias": Harmful()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="is damaged or no file of weights"):
        load_checkpoint(folder)
    assert "was run" not in capsys.readouterr().out


def test_a_pickle_of_something_else(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    contents: list[object] = [[1, 2], {"lm_head.bias": "a string"}, {"state_dict": {}}]
    for content in contents:
        torch.save(content, folder / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match="is damaged or no file of weights"):
            load_checkpoint(folder)


def test_what_is_neither_a_folder_nor_a_hub_id(folder: Path) -> None:
    for model in ("no-such-model", "/no/such/folder", "./no/such", "a/b/c", ""):
        with pytest.raises(CheckpointError, match=r"no folder|has no config"):
            load_checkpoint(model)
    with pytest.raises(CheckpointError, match="is a file"):
        load_checkpoint(folder / "config.json")


@pytest.fixture
def hub(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a machine that is offline, with the model as acme/small at two revisions."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repo = tmp_path / "models--acme--small"
    for name, commit in (("main", "a" * 40), ("v1", "b" * 40)):
        shutil.copytree(saved, repo / "snapshots" / commit)
        (repo / "refs").mkdir(exist_ok=True)
        (repo / "refs" / name).write_text(commit)
    edit(repo / "snapshots" / ("b" * 40) / "config.json", emission_delay_frames=5)
    return repo


def test_hub_id_from_the_cache(hub: Path, saved: Path) -> None:
    checkpoint = load_checkpoint("acme/small")
    assert checkpoint.name == "acme/small"
    assert checkpoint.fingerprint == load_checkpoint(saved).fingerprint
    assert checkpoint.emission_delay == 0
    assert load_checkpoint("acme/small", revision="v1").emission_delay == 5
    assert load_checkpoint("acme/small", revision="b" * 40).emission_delay == 5
    with pytest.raises(
        CheckpointError, match="acme/small at revision v2 is not in the cache, and HF_HUB_OFFLINE is set"
    ):
        load_checkpoint("acme/small", revision="v2")
    with pytest.raises(CheckpointError, match="acme/large is not in the cache"):
        load_checkpoint("acme/large")


def test_pickled_weights_from_the_cache(hub: Path) -> None:
    snapshot = hub / "snapshots" / ("a" * 40)
    torch.save(load_file(snapshot / "model.safetensors"), snapshot / "pytorch_model.bin")
    expected = log_probs("acme/small")
    (snapshot / "model.safetensors").unlink()
    assert torch.equal(log_probs("acme/small"), expected)


def test_a_folder_needs_neither_the_hub_nor_transformers(saved: Path) -> None:
    code = (
        "import sys; from earshot_asr.engine.checkpoint import load_checkpoint; load_checkpoint(sys.argv[1]);"
        "print([m for m in ('huggingface_hub', 'transformers', 'requests', 'httpx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, saved], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
