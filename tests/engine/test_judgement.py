"""What is no CTC checkpoint that we run is refused in one sentence: what it is, and what to do."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from earshot_asr.engine.checkpoint import load_checkpoint
from earshot_asr.engine.errors import MESSAGE_CHARACTERS, CheckpointError, UnsupportedModel
from earshot_asr.engine.families import FAMILIES
from earshot_asr.engine.judgement import another_kind
from earshot_asr.engine.loading import check
from tests.engine.test_checkpoint import edit, saved

__all__ = ["saved"]


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def only(*names: str) -> Callable[[Path], None]:
    """Leaves nothing but files of these names, which are empty."""

    def change(folder: Path) -> None:
        shutil.rmtree(folder)
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"{}" if name.endswith(".json") else b"")

    return change


def instead_of_weights(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"")

    return change


def config(**entries: Any) -> Callable[[Path], None]:
    """Changes config.json, and takes away all that must not be asked for before it is judged."""

    def change(folder: Path) -> None:
        edit(folder / "config.json", **entries)
        for path in folder.iterdir():
            if path.name != "config.json":
                path.unlink()

    return change


def tensors(change: Callable[[str, torch.Tensor], torch.Tensor | None]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        path = folder / "model.safetensors"
        changed = {name: change(name, tensor) for name, tensor in load_file(path).items()}
        save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, path)

    return rewrite


BITS = {"load_in_8bit": True, "quant_method": "bitsandbytes", "llm_int8_threshold": 6.0}
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a text model": (config(model_type="bert", architectures=["BertForMaskedLM"]), f"'bert'.*{', '.join(FAMILIES)}"),
    "Whisper": (
        config(model_type="whisper", architectures=["WhisperForConditionalGeneration"]),
        "WhisperForConditionalGeneration has no CTC head.*earshot train ctc .* --from",
    ),
    "only pretrained": (
        config(architectures=["Wav2Vec2ForPreTraining"]),
        "has no CTC head.*earshot train ctc .*--from",
    ),
    "a bare model": (config(architectures=["Wav2Vec2Model"]), "Wav2Vec2Model has no CTC head"),
    "a classifier": (
        config(architectures=["Wav2Vec2ForSequenceClassification"]),
        "Wav2Vec2ForSequenceClassification has no CTC head",
    ),
    "quantized": (config(quantization_config=BITS), "quantization_config.*'bitsandbytes'.*dequantize"),
    "quantized by something": (config(quantization_config="x"), "quantization_config.*'x'"),
    "LoRA": (only("adapter_config.json", "adapter_model.safetensors", "vocab.json"), "LoRA.*merge_and_unload"),
    "SpeechBrain": (only("config.json", "hyperparams.yaml", "asr.ckpt"), "SpeechBrain"),
    "SpeechBrain without settings": (only("hyperparams.yaml", "asr.ckpt"), "SpeechBrain"),
    "fairseq": (only("dict.ltr.txt", "wav2vec_small_960h.pt"), "fairseq.*convert"),
    "NeMo": (only("parakeet.nemo"), "NeMo.*Hugging Face format"),
    "ONNX": (instead_of_weights("onnx/model.onnx"), "ONNX Runtime.*PyTorch"),
    "TensorFlow": (instead_of_weights("tf_model.h5"), "TensorFlow or Flax.*from_tf"),
    "Flax": (instead_of_weights("flax_model.msgpack"), "TensorFlow or Flax.*from_flax"),
    "whisper.cpp": (only("ggml-base.bin"), "ggml"),
    "faster-whisper": (only("model.bin", "config.json"), "CTranslate2"),
    "nothing at all": (only("README.md"), "has no config.json; a checkpoint in Hugging Face format needs one"),
    "no weights": (instead_of_weights(), "has no weights; one of model.safetensors"),
    "no tokenizer": (lambda f: (f / "vocab.json").unlink(), "no vocab.json and no tokenizer.json.*copy these files"),
    "of another preprocessor": (
        lambda f: edit(f / "preprocessor_config.json", feature_extractor_type="WhisperFeatureExtractor"),
        "'WhisperFeatureExtractor' does not go with model_type 'wav2vec2', which has Wav2Vec2FeatureExtractor",
    ),
    "of 8 kHz": (lambda f: edit(f / "preprocessor_config.json", sampling_rate=8000), "8000 samples.*16000"),
    "no head": (tensors(lambda name, t: None if "lm_head" in name else t), "there is no lm_head.*earshot train ctc"),
    "whole numbers": (tensors(lambda name, t: t.to(torch.int8) if t.ndim == 2 else t), "whole numbers.*torch.int8"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_said_what_it_is_and_what_to_do(folder: Path, kind: str) -> None:
    change, message = REFUSED[kind]
    change(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(folder)
    assert len(str(caught.value)) <= MESSAGE_CHARACTERS
    assert " ... " not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_tokenizer_is_judged_before_the_weights(folder: Path) -> None:
    (folder / "vocab.json").unlink()
    (folder / "model.safetensors").write_bytes(b"gigabytes, and damaged")
    with pytest.raises(CheckpointError, match=r"no vocab\.json"):
        load_checkpoint(folder)


def test_the_model_is_judged_before_its_preprocessor(folder: Path) -> None:
    edit(folder / "config.json", architectures=["Wav2Vec2ForPreTraining"])
    (folder / "preprocessor_config.json").write_text("{")
    with pytest.raises(UnsupportedModel, match="has no CTC head"):
        load_checkpoint(folder)


def test_a_folder_of_something_else_is_refused_without_torch(folder: Path) -> None:
    only("adapter_config.json")(folder)
    with pytest.raises(UnsupportedModel, match="LoRA"):
        check(folder)


def test_names_of_a_repository_tell_as_much() -> None:
    assert another_kind(["README.md", "onnx/decoder/model.onnx"]) is not None
    assert another_kind(["README.md", "config.json", "model.safetensors"]) is None
