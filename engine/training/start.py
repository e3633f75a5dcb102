"""The model that a training begins with: a checkpoint with its own head or a new one, or random weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from earshot_asr.engine.checkpoint import build_encoder, load_weights
from earshot_asr.engine.errors import CheckpointError, ConfigError, UnsupportedModel
from earshot_asr.engine.families import Family, family_of
from earshot_asr.engine.families.layers import Encoder
from earshot_asr.engine.files import present, read_json
from earshot_asr.engine.hub import locate
from earshot_asr.engine.judgement import has_ctc_head, preprocessor_of
from earshot_asr.engine.training.data.units import tokenizer, tokenizer_of
from earshot_asr.engine.training.shapes import CTC_SHAPES
from earshot_asr.engine.vocabulary import Vocabulary
from earshot_asr.engine.weights import fuse_weight_norm, read_tensors, weight_files, widened


@dataclass
class TrainingModel:
    """A model to be trained, and what is written beside its weights.

    masked      masked_spec_embed (C,), which takes the place of masked frames
    tokenizer   file name -> content: vocab.json and what else its tokenizer needs
    new_head    whether the head has random weights
    """

    encoder: Encoder
    masked: nn.Parameter
    config: dict[str, Any]
    preprocessor: Mapping[str, Any]
    tokenizer: Mapping[str, Mapping[str, Any]]
    vocabulary: Vocabulary
    new_head: bool


def describe(model: str | Path, revision: str | None = None) -> tuple[Path, dict[str, Any], Vocabulary | None]:
    """Folder, config.json and vocabulary of a checkpoint; None if it has no CTC head. Raises CheckpointError."""
    origin = locate(model, revision)
    config = origin.config
    family_of(config)  # raises an error before gigabytes are downloaded
    folder = origin.with_weights().folder
    if not (has_ctc_head(config) and present(folder / "vocab.json")):
        return folder, config, None
    return folder, config, Vocabulary.from_folder(folder)


def from_checkpoint(
    folder: Path, vocabulary: Vocabulary | None = None, overrides: Mapping[str, Any] = {}, seed: int = 0
) -> TrainingModel:
    """The model in a folder in Hugging Face format, fine-tuned or only pretrained.

    vocabulary   of a new head; None: the checkpoint keeps its head
    overrides    entries that replace those of config.json
    seed         of the weights of a new head

    Raises CheckpointError, UnsupportedModel.
    """
    config = {**read_json(folder / "config.json"), **overrides}
    preprocessor = preprocessor_of(folder, config)
    family = family_of(config)
    config["architectures"] = [family.head]
    tensors = with_prefix(fuse_weight_norm(widened(read_tensors(weight_files(folder)), config)), family)
    if vocabulary is not None:
        config.pop("language", None)  # that of the head that goes
        config = {**family.with_new_head(config | _of_head(vocabulary)), **overrides}
        tensors = new_head(tensors, config, preprocessor, seed)
    encoder = build_encoder(config, preprocessor)
    masked = tensors.get(family.prefix + "masked_spec_embed")
    load_weights(encoder, tensors, torch.device("cpu"), torch.float32)
    parameter = nn.Parameter(encoder.new_mask() if masked is None else masked.float().clone())
    _make_trainable(encoder)
    if vocabulary is not None:
        return TrainingModel(encoder, parameter, config, preprocessor, tokenizer(vocabulary), vocabulary, True)
    kept = Vocabulary.from_folder(folder, encoder.vocab_size)
    return TrainingModel(encoder, parameter, config, preprocessor, tokenizer_of(folder), kept, False)


def from_nothing(
    config: Mapping[str, Any], preprocessor: Mapping[str, Any], vocabulary: Vocabulary, seed: int = 0
) -> TrainingModel:
    """A model with random weights, of the sizes in config.json. Raises CheckpointError, UnsupportedModel."""
    family = family_of(config)
    config = {**family.with_new_head({**config, **_of_head(vocabulary)}), "architectures": [family.head]}
    build_encoder(config, preprocessor)  # raises an error for settings that make no sense
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = family.build(config, preprocessor)
        encoder.initialize()
        masked = nn.Parameter(encoder.new_mask())
    _make_trainable(encoder)
    return TrainingModel(encoder, masked, config, preprocessor, tokenizer(vocabulary), vocabulary, True)


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A config.json, and the preprocessor_config.json beside it, or its family's usual one. Raises ConfigError."""
    try:
        config = read_json(path)
        family = family_of(config)
    except UnsupportedModel as error:
        raise ConfigError(f"{path}: {error}") from None
    except CheckpointError as error:
        raise ConfigError(str(error)) from None
    beside = path.parent / "preprocessor_config.json"
    return config, read_json(beside) if present(beside) else family.preprocessor(config)


def _make_trainable(encoder: Encoder) -> None:
    """Gives the encoder weights of its own, not those of a memory-mapped file, which have gradients."""
    for parameter in encoder.parameters():
        parameter.data = parameter.data.clone()
    encoder.requires_grad_(True).train()
    encoder.prepare_for_training()


def _of_head(vocabulary: Vocabulary) -> dict[str, Any]:
    """The entries of config.json that depend on the vocabulary."""

    def id(symbol: str) -> int | None:
        return vocabulary.symbols.index(symbol) if symbol in vocabulary.symbols else None

    return {
        "vocab_size": vocabulary.size,
        "pad_token_id": vocabulary.blank,
        "bos_token_id": id("<s>"),
        "eos_token_id": id("</s>"),
    }


def new_head(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], preprocessor: Mapping[str, Any], seed: int
) -> dict[str, Tensor]:
    """A checkpoint's tensors with those of a new head, which has random weights as transformers draws them.

    Layers between body and head keep the checkpoint's weights where it has them in the same shape, and else have
    torch's random ones. Tensors that the encoder does not use, such as Whisper's decoder, are dropped.
    """
    encoder = build_encoder(config, preprocessor)
    new = {name for name in encoder.state_dict() if name.startswith(encoder.HEAD)}
    for part in {name.split(".")[0] for name in new}:
        encoder.get_submodule(part).to_empty(device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in encoder.named_modules():
            if f"{name}.weight" in new:
                module.reset_parameters()
        nn.init.normal_(encoder.lm_head.weight, std=0.02)
        nn.init.zeros_(encoder.lm_head.bias)
    made: dict[str, Tensor] = {}
    head: set[str] = set()
    known: set[str] = set()
    for name, tensor in encoder.state_dict().items():
        recipe = encoder.recipe(name)
        if name in new:
            made |= dict(zip(recipe.names, recipe.undo(tensor), strict=True))
            head.update(recipe.names if name.startswith("lm_head.") else ())
        else:
            known.update(recipe.names)
    kept = {name: tensor for name, tensor in tensors.items() if name in known or not name.startswith(encoder.UNUSED)}
    for name in (made.keys() & tensors.keys()) - head:
        if tensors[name].shape == made[name].shape:
            made[name] = tensors[name]
    return kept | made


def with_prefix(tensors: dict[str, Tensor], family: Family) -> dict[str, Tensor]:
    """The tensors under the names of a model with a head: those of a bare model lack the family's prefix."""
    if any(name.startswith(family.prefix) for name in tensors):
        return tensors
    return {family.prefix + name: tensor for name, tensor in tensors.items()}


def ctc_shape(
    name: str, *, width: int | None, depth: int | None, inner: int | None, kernel: int | None
) -> dict[str, Any]:
    """The config.json of one of CTC_SHAPES.

    width    channels; None, as for the others: what the shape has
    depth    layers
    inner    channels within the feed-forward parts
    kernel   frames that a convolution sees

    Raises ConfigError.
    """
    if name not in CTC_SHAPES:
        raise ConfigError(f"there is no shape {json.dumps(name)}; there are {', '.join(CTC_SHAPES)}")
    config = dict(CTC_SHAPES[name])
    if width is not None:
        size = config["hidden_size"] // config["num_attention_heads"]
        if width % size:
            raise ConfigError(f"--width {width} is not a multiple of {size}, the channels of an attention head")
        config |= {"hidden_size": width, "num_attention_heads": width // size}
    sizes = {"num_hidden_layers": depth, "intermediate_size": inner, "conv_depthwise_kernel_size": kernel}
    return config | {key: value for key, value in sizes.items() if value is not None}
