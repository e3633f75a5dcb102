"""Creates, loads and saves models with a quantizer, as transformers' Wav2Vec2ForPreTraining."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from earshot_asr.engine.checkpoint import outline
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel, listed
from earshot_asr.engine.families import FAMILIES, Family, family_of
from earshot_asr.engine.families.wav2vec2 import Wav2Vec2
from earshot_asr.engine.files import read_json
from earshot_asr.engine.hub import locate
from earshot_asr.engine.judgement import preprocessor_of
from earshot_asr.engine.training import export
from earshot_asr.engine.training.pretrain.contrastive import Contrastive, read_contrastive_dims
from earshot_asr.engine.training.start import with_prefix
from earshot_asr.engine.weights import fuse_weight_norm, read_tensors, weight_files

QUANTIZER, MASK = "quantizer.", "masked_spec_embed"
"""The parts that a checkpoint may lack. The quantizer's projections count as part of it."""


def save(folder: Path, model: Contrastive, settings: Mapping[str, Mapping[str, Any]], dtype: str) -> None:
    """Writes a folder that transformers' Wav2Vec2ForPreTraining loads.

    settings   file name -> content: config.json and preprocessor_config.json
    dtype      of the weights, float16 or float32
    """
    tensors = {n: t for n, t in export.to_checkpoint(model.wav2vec2).items() if not n.startswith("lm_head.")}
    for name, tensor in model.state_dict().items():
        if not name.startswith("wav2vec2."):
            tensors[model.recipe(name).names[0]] = tensor
    config = settings["config.json"]
    config = {**config, "architectures": [family_of(config).pretraining]}
    export.write(folder, tensors, {**settings, "config.json": config}, dtype)


def trainable(config: Mapping[str, Any]) -> Family:
    """The family that a config.json names. Raises UnsupportedModel if it can't be pretrained."""
    family = family_of(config)
    if not family.pretraining:
        able = ", ".join(kind for kind in FAMILIES if family_of({"model_type": kind}).pretraining)
        raise UnsupportedModel(f"model_type {config['model_type']!r} can't be pretrained; these can: {able}")
    return family


def create(config: Mapping[str, Any], preprocessor: Mapping[str, Any], **options: float) -> Contrastive:
    """A model with random weights, of the sizes in config.json. options: see Contrastive. Raises CheckpointError."""
    family = trainable(config)
    outline(family, config, preprocessor)  # raises an error for sizes that make no sense
    encoder = family.build(config, preprocessor)
    assert isinstance(encoder, Wav2Vec2), encoder  # Contrastive takes its layers apart
    model = Contrastive(encoder, read_contrastive_dims(config), **options)
    encoder.initialize()
    return model


def load(folder: Path, config: Mapping[str, Any], preprocessor: Mapping[str, Any], **options: float) -> Contrastive:
    """A model with the weights in a folder, which may be those of a bare Wav2Vec2Model.

    The quantizer with its projections, and masked_spec_embed, are new where the folder has none; stderr says so.
    Raises CheckpointError that names the tensors that are missing or do not fit.
    """
    model = create(config, preprocessor, **options)
    family = family_of(config)
    tensors = with_prefix(fuse_weight_norm(read_tensors(weight_files(folder))), family)
    new = [part for part in (QUANTIZER, family.prefix + MASK) if not any(name.startswith(part) for name in tensors)]
    problems: list[str] = []
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            recipe = model.recipe(name)
            if name.startswith("wav2vec2.lm_head.") or _part(recipe.names[0], family.prefix) in new:
                continue
            parts = [tensors[part] for part in recipe.names if part in tensors]
            weight = recipe.make(*parts) if len(parts) == len(recipe.names) else None
            if weight is None or weight.shape != parameter.shape:
                problems += recipe.names
            else:
                parameter.copy_(weight)
    if problems:
        raise CheckpointError(f"{folder}: missing, or of another shape than config.json says: {listed(problems)}")
    for part in new:
        print(f"{folder} has no {part.rstrip('.')}; a new one is begun", file=sys.stderr)
    return model


def _part(name: str, prefix: str) -> str | None:
    """The part that a tensor belongs to, of those that a checkpoint may lack."""
    return name if name == prefix + MASK else None if name.startswith(prefix) else QUANTIZER


def open_pretrained(model: str | Path) -> tuple[Contrastive, dict[str, dict[str, Any]]]:
    """A pretrained model, a folder or a hub id, and its settings, file name -> content. Raises CheckpointError."""
    origin = locate(model)
    config = read_json(origin.folder / "config.json")
    settings = {"config.json": config, "preprocessor_config.json": preprocessor_of(origin.folder, config)}
    trainable(config)  # raises an error before gigabytes are downloaded
    folder = origin.with_weights().folder
    if not any(name.startswith("quantizer.") for name in read_tensors(weight_files(folder))):
        raise CheckpointError(f"{model} has no quantizer; it must be a Wav2Vec2ForPreTraining")
    return load(folder, *settings.values()), settings
