"""Loads a checkpoint, a folder or a hub id, as an encoder and its vocabulary. All sizes come from the checkpoint."""

import hashlib
import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from earshot_asr.engine.audio import SAMPLE_RATE
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel
from earshot_asr.engine.families import family_of
from earshot_asr.engine.layers import Encoder
from earshot_asr.engine.loading import local_folder
from earshot_asr.engine.vocabulary import Vocabulary, read_json

SETTINGS = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "vocab.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
WEIGHTS = (*SAFETENSORS, *PICKLED)
"""Names of files with weights; the first one that is there is read."""

SCALE = ".scale"
"""Ending of the name of the tensor that has the scale of each row of a tensor in eight bits."""
WEIGHT_NORM = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))
"""Names of magnitude and direction, of torch.nn.utils.weight_norm and of its successor."""


@dataclass(frozen=True)
class Checkpoint:
    """A model that is ready to run.

    name            the folder's name, or the hub id
    emission_delay  frames from a sound to its letter: emission_delay_frames in config.json
    fingerprint     16 hex digits, which change with any byte of weights or settings
    """

    name: str
    encoder: Encoder
    vocabulary: Vocabulary
    emission_delay: int
    fingerprint: str


def load_checkpoint(
    model: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Checkpoint:
    """Load a checkpoint in Hugging Face format from a folder or, if there is no folder `model`, from the hub.

    revision   branch, tag or commit on the hub
    dtype      of the weights and layers, whatever the file has

    Raises CheckpointError if it can't be loaded, UnsupportedModel if the engine does not run such models.
    """
    folder, name = locate(model, revision)
    config = read_json(folder / "config.json")
    encoder = build_encoder(config, preprocessor_of(folder))
    files = weight_files(folder)
    load_weights(encoder, widened(read_tensors(files), config), torch.device(device), dtype)
    delay = config.get("emission_delay_frames", 0)
    if type(delay) is not int or delay < 0:
        raise CheckpointError(f"config.json: emission_delay_frames is {delay!r}; it must be a whole number from 0 on")
    vocabulary = Vocabulary.from_folder(folder, encoder.vocab_size)
    return Checkpoint(name, encoder, vocabulary, delay, fingerprint(folder, files))


def locate(model: str | Path, revision: str | None = None) -> tuple[Path, str]:
    """Folder and name of a checkpoint; a hub id is downloaded, or found in the cache. Raises CheckpointError."""
    folder = local_folder(model, revision)
    return (_download(str(model), revision), str(model)) if folder is None else (folder, folder.resolve().name)


def _download(model: str, revision: str | None) -> Path:
    """The snapshot of a hub id. Pickled weights are only fetched if there are no others."""
    from huggingface_hub import snapshot_download

    def snapshot(*patterns: str) -> Path:
        return Path(snapshot_download(model, revision=revision, allow_patterns=[*SETTINGS, *patterns]))

    try:
        folder = snapshot(*SAFETENSORS, "model-*.safetensors")
        if not any((folder / name).exists() for name in SAFETENSORS):
            folder = snapshot(*PICKLED, "pytorch_model-*.bin")
    except (OSError, ValueError) as error:  # the base classes of huggingface_hub's errors
        at = "" if revision is None else f" at revision {revision}"
        reason = str(error).strip().split("\n", 1)[0]
        raise CheckpointError(
            f"there is no folder {model}, and {model}{at} could not be downloaded from the hub and is not in the local "
            f"cache: {reason}"
        ) from None
    return folder


def preprocessor_of(folder: Path) -> dict[str, Any]:
    """preprocessor_config.json, or the part of processor_config.json that recent versions of transformers write."""
    nested = folder / "processor_config.json"
    if not (folder / "preprocessor_config.json").exists() and nested.exists():
        part = read_json(nested).get("feature_extractor")
        if isinstance(part, dict):
            return part
    return read_json(folder / "preprocessor_config.json")


def build_encoder(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> Encoder:
    """The encoder that a checkpoint's settings describe, on the meta device, without weights.

    Raises UnsupportedModel that names what is not supported, CheckpointError for a setting that makes no sense.
    """
    family = family_of(config)
    if not has_ctc_head(config):
        named = (config.get("architectures") or [config["model_type"]])[0]
        raise UnsupportedModel(
            f"{named} has no CTC head, and only CTC models stream: `earshot train ctc MANIFEST --out OUT --from "
            "CHECKPOINT` gives it one, from recordings with texts; or take one whose architecture ends in ForCTC"
        )
    rate = preprocessor.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise UnsupportedModel(f"the model wants {rate!r} samples a second; this engine works at {SAMPLE_RATE}")
    with torch.device("meta"):
        return family.build(config, preprocessor).eval().requires_grad_(False)


def has_ctc_head(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of a model with a CTC head. Raises UnsupportedModel for an unknown family."""
    named = config.get("architectures") or ()
    return any(str(name).endswith("ForCTC") for name in named) if named else family_of(config).assumed_ctc


def weight_files(folder: Path) -> list[Path]:
    """The files with the weights; if there are shards, their index is the first. Raises CheckpointError."""
    for name in WEIGHTS:
        path = folder / name
        if not path.exists():
            continue
        if not name.endswith(".index.json"):
            return [path]
        shards = read_json(path).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(s, str) and Path(s).name == s for s in shards.values()):
            raise CheckpointError(f"{path}: weight_map must give a file name beside it for each tensor")
        paths = [folder / shard for shard in sorted(set(shards.values()))]
        if missing := [shard.name for shard in paths if not shard.exists()]:
            raise CheckpointError(f"{folder} lacks {', '.join(missing)}, which {name} lists; download it again")
        return [path, *paths]
    raise CheckpointError(f"{folder} has no weights; one of {', '.join(WEIGHTS)} must be there")


def read_tensors(files: list[Path]) -> dict[str, Tensor]:
    """All tensors of the files by name, on the CPU, mapped into memory. Raises CheckpointError."""
    tensors: dict[str, Tensor] = {}
    for path in files:
        try:
            if path.suffix == ".safetensors":
                tensors |= load_file(path)
            elif path.suffix == ".bin":
                tensors |= _unpickled(path)
        except (
            SafetensorError,
            pickle.UnpicklingError,
            RuntimeError,
            OSError,
            EOFError,
            ValueError,
            TypeError,
        ) as error:
            reason = str(error).strip().split("\n", 1)[0]
            raise CheckpointError(f"{path} is damaged or no file of weights ({reason}); download it again") from None
    return tensors


def _unpickled(path: Path) -> dict[str, Tensor]:
    mapped = zipfile.is_zipfile(path)  # files from before torch 1.6 are not
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError("it does not map names to tensors")
    return content


def widened(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors with those in eight bits (`earshot_weights: int8` in config.json) in float32, by their rows' scales.

    Raises CheckpointError, UnsupportedModel.
    """
    form = config.get("earshot_weights")
    if form is None:
        return dict(tensors)
    if form != "int8":
        raise UnsupportedModel(f"config.json: earshot_weights is {form!r}; it must be 'int8', or not be there")
    plain = {name: tensor for name, tensor in tensors.items() if not name.endswith(SCALE)}
    for name, tensor in plain.items():
        if tensor.dtype != torch.int8:
            continue
        scale = tensors.get(name + SCALE)
        if scale is None or scale.shape != tensor.shape[:1]:
            raise CheckpointError(f"{name} is of int8, and {name + SCALE} must have a scale for each of its rows")
        plain[name] = tensor.float() * scale.float().view(-1, *[1] * (tensor.ndim - 1))
    return plain


def fuse_weight_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with each pair of magnitude and direction (Salimans & Kingma 2016) replaced by its weight."""
    fused = dict(tensors)
    for magnitude, direction in WEIGHT_NORM:
        for name in [name for name in fused if name.endswith("." + magnitude)]:
            stem = name.removesuffix(magnitude)
            if stem + direction not in fused:
                continue
            g, v = fused.pop(name).float(), fused.pop(stem + direction).float()
            over = [dim for dim, size in enumerate(g.shape) if size == 1]
            fused[stem + "weight"] = v * (g / torch.linalg.vector_norm(v, dim=over, keepdim=True))
    return fused


def load_weights(encoder: Encoder, tensors: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> None:
    """Give the encoder its weights, and move it to the device.

    Raises CheckpointError that lists tensors that are missing, unexpected, or of other shapes than config.json says.
    """
    tensors = fuse_weight_norm(tensors)
    weights: dict[str, Tensor] = {}
    missing: list[str] = []
    misshapen: list[str] = []
    used: set[str] = set()
    for name, parameter in encoder.state_dict().items():
        recipe = encoder.recipe(name)
        used.update(recipe.names)
        if absent := [part for part in recipe.names if part not in tensors]:
            missing += absent
            continue
        parts = [tensors[part] for part in recipe.names]
        try:
            weight = recipe.make(*parts)
            fits = weight.shape == parameter.shape
        except (RuntimeError, IndexError):  # shapes that can't be put together
            fits = False
        if fits:
            weights[name] = weight.to(device, dtype)
        else:
            misshapen += [f"{part} {tuple(t.shape)}" for part, t in zip(recipe.names, parts, strict=True)]
    unexpected = [name for name in tensors if name not in used and not encoder.IGNORED & set(name.split("."))]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape than config.json says": misshapen}
    if any(problems.values()):
        lists = "; ".join(f"{what}: {', '.join(sorted(names))}" for what, names in problems.items() if names)
        raise CheckpointError(f"the weights do not fit the model. Tensors {lists}")
    encoder.load_state_dict(weights, assign=True)
    encoder.requires_grad_(False).to(device)


def fingerprint(folder: Path, files: list[Path]) -> str:
    """16 hex digits of the SHA-256 over names and bytes of settings and weights."""
    digest = hashlib.sha256()
    for path in [*(folder / name for name in SETTINGS), *files]:
        if path.exists():
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(json.dumps([path.name, content]).encode())
    return digest.hexdigest()[:16]
