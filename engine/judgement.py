"""Whether a checkpoint is one that this engine runs, judged by its settings and the names of its files; and if not,
what it is and what to do. No torch."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from earshot_asr.engine.audio import SAMPLE_RATE
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel, shown
from earshot_asr.engine.families import Family, family_of
from earshot_asr.engine.files import WEIGHTS, present, read_json

TRAIN = "`earshot train ctc MANIFEST --out OUT --from CHECKPOINT`"
OTHERS = {
    ("adapter_config.json",): "an adapter (LoRA), not a whole model; merge it with its base by merge_and_unload() of "
    "the library peft, and save that with its tokenizer",
    ("hyperparams.yaml",): "a SpeechBrain model, which only SpeechBrain runs; take a checkpoint in Hugging "
    "Face format whose architecture ends in ForCTC",
    ("*.nemo",): "a model of NeMo; take its conversion to Hugging Face format, such as nvidia/parakeet-ctc-1.1b has, "
    "or convert it with the script in transformers' repository",
    ("*.onnx",): "a model for ONNX Runtime; take the PyTorch weights that it was made from",
    ("flax_model.msgpack", "tf_model.h5"): "weights for TensorFlow or Flax only; convert them by transformers 4: "
    "from_pretrained(..., from_flax=True) or from_tf=True, then save_pretrained(...)",
    ("*.gguf", "ggml-*.bin"): "a model for ggml (whisper.cpp); take the PyTorch weights that it was made from",
    (
        "dict.*.txt",
        "*.pt",
        "*.pth",
        "*.ckpt",
    ): "a PyTorch file of another program, such as fairseq; convert it "
    "to Hugging Face format, fairseq's with the script in transformers' repository (models/wav2vec2/convert_*.py)",
    ("model.bin",): "a model for CTranslate2 (faster-whisper); take the PyTorch weights that it was made from",
}
"""Names of files, by which one sees what a folder or repository without what we need is instead, and what to do."""


def names_in(folder: Path) -> list[str]:
    """The names of the files in a folder and in the folders in it."""
    return sorted(path.name for pattern in ("*", "*/*") for path in folder.glob(pattern))


def another_kind(names: Iterable[str]) -> str | None:
    """What a folder or repository with files of these names is, which has no config.json, or no weights; if known."""
    names = [name.rpartition("/")[2] for name in names]
    for patterns, what in OTHERS.items():
        if any(fnmatch(name, pattern) for name in names for pattern in patterns):
            return what
    return None


def read_config(folder: Path, hub_id: str = "", names: Iterable[str] | None = None) -> dict[str, Any]:
    """config.json. Raises CheckpointError; UnsupportedModel where the checkpoint is something else that is known.

    hub_id, names   of a repository on the hub, and of all of its files, which are not in the folder yet
    """
    path = folder / "config.json"
    if present(path) and isinstance((config := read_json(path)).get("model_type"), str):
        return config
    if (what := another_kind(names_in(folder) if names is None else names)) is not None:
        raise UnsupportedModel(f"{hub_id or folder} holds {what}")
    return read_json(path)


def no_weights(folder: Path, hub_id: str = "", names: Iterable[str] | None = None) -> CheckpointError:
    """What to raise where there is no file with weights. Arguments: see read_config."""
    if (what := another_kind(names_in(folder) if names is None else names)) is not None:
        return UnsupportedModel(f"{hub_id or folder} holds {what}")
    return CheckpointError(f"{hub_id or folder} has no weights; one of {', '.join(WEIGHTS)} must be there")


def judge(config: Mapping[str, Any]) -> Family:
    """The family of a config.json with a CTC head. Raises UnsupportedModel, CheckpointError."""
    family = family_of(config)
    if (quantized := config.get("quantization_config")) is not None:
        method = quantized.get("quant_method") if isinstance(quantized, dict) else quantized
        raise UnsupportedModel(
            f"config.json: quantization_config: the weights are quantized by {shown(method)}; take the checkpoint that "
            "they were made from, or save them by transformers' model.dequantize() and save_pretrained()"
        )
    if not has_ctc_head(config):
        named = (_architectures(config) or [config["model_type"]])[0]
        raise UnsupportedModel(
            f"{shown(named)[1:-1]} has no CTC head, and only CTC models stream: {TRAIN} gives it one, from recordings "
            "with texts; or take one whose architecture ends in ForCTC"
        )
    return family


def has_ctc_head(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of a model with a CTC head. Raises UnsupportedModel for an unknown family."""
    named = _architectures(config)
    return any(name.endswith("ForCTC") for name in named) if named else family_of(config).assumed_ctc


def _architectures(config: Mapping[str, Any]) -> list[str]:
    named = config.get("architectures") or []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise CheckpointError(f"config.json: architectures is {shown(named)}; it must be a list of names")
    return named


def preprocessor_of(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """preprocessor_config.json, or what older and recent versions of transformers wrote instead of it.

    A checkpoint that has none gets its family's usual one. Raises UnsupportedModel, CheckpointError.
    """
    for name in ("preprocessor_config.json", "processor_config.json", "feature_extractor_config.json"):
        if not present(folder / name):
            continue
        content = read_json(folder / name)
        part = content.get("feature_extractor") if name == "processor_config.json" else content
        if isinstance(part, dict):
            return part
    return family_of(config).preprocessor(config)


def check_preprocessor(family: Family, config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> None:
    """Raises UnsupportedModel if it is not the family's, or for another sampling rate than the engine's."""
    wanted = family.preprocessor(config).get("feature_extractor_type")
    found = preprocessor.get("feature_extractor_type", wanted)
    if found != wanted:
        raise UnsupportedModel(
            f"preprocessor_config.json: feature_extractor_type {shown(found)} does not go with model_type "
            f"{shown(config.get('model_type'))}, which has {wanted}; take both files from one checkpoint"
        )
    rate = preprocessor.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise UnsupportedModel(
            f"preprocessor_config.json: the model wants {shown(rate)} samples a second, and this engine gives every "
            f"model {SAMPLE_RATE}; take one that was trained at that rate, or correct the entry if this one was"
        )
