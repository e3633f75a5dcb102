"""Models with a quantizer: begun, read and written as transformers' Wav2Vec2ForPreTraining."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from earshot_asr.engine import wav2vec2
from earshot_asr.engine.checkpoint import fuse_weight_norm, locate, preprocessor_of, read_tensors, weight_files
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel
from earshot_asr.engine.training import export
from earshot_asr.engine.training.contrastive import Contrastive, read_contrastive_dims
from earshot_asr.engine.training.start import initialize, with_prefix
from earshot_asr.engine.vocabulary import read_json

QUANTIZER, MASK = "quantizer.", "wav2vec2.masked_spec_embed"
"""What names of the parts begin with; the projections come and go with the quantizer."""


def save(folder: Path, model: Contrastive, settings: Mapping[str, Mapping[str, Any]], dtype: str) -> None:
    """Writes a directory that transformers' Wav2Vec2ForPreTraining loads; dtype: float16 or float32."""
    tensors = {n: t for n, t in export.to_checkpoint(model.wav2vec2).items() if not n.startswith("lm_head.")}
    for name, tensor in model.state_dict().items():
        if not name.startswith("wav2vec2."):
            tensors[model.recipe(name).names[0]] = tensor
    config = {**settings["config.json"], "architectures": ["Wav2Vec2ForPreTraining"]}
    export.write(folder, tensors, {**settings, "config.json": config}, dtype)


def create(config: Mapping[str, Any], preprocessor: Mapping[str, Any], **options: float) -> Contrastive:
    """A model of that shape with the weights that one begins with. options: see Contrastive. Raises CheckpointError."""
    if config.get("model_type") != "wav2vec2":
        raise UnsupportedModel(f"model_type {config.get('model_type')!r} can't be pretrained; 'wav2vec2' can")
    model = Contrastive(wav2vec2.build(config, preprocessor), read_contrastive_dims(config), **options)
    initialize(model.wav2vec2)
    return model


def load(folder: Path, config: Mapping[str, Any], preprocessor: Mapping[str, Any], **options: float) -> Contrastive:
    """A model with the weights in a directory, of a bare Wav2Vec2Model too: what only pretraining needs may be missing.

    That is the quantizer with its projections, and the mask's embedding; each is new then, and that is said.
    Raises CheckpointError that names the tensors that are missing or do not fit.
    """
    model = create(config, preprocessor, **options)
    tensors = with_prefix(fuse_weight_norm(read_tensors(weight_files(folder))), config)
    new = [part for part in (QUANTIZER, MASK) if not any(name.startswith(part) for name in tensors)]
    problems: list[str] = []
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            recipe = model.recipe(name)
            if name.startswith("wav2vec2.lm_head.") or _part(recipe.names[0]) in new:
                continue
            parts = [tensors[part] for part in recipe.names if part in tensors]
            weight = recipe.make(*parts) if len(parts) == len(recipe.names) else None
            if weight is None or weight.shape != parameter.shape:
                problems += recipe.names
            else:
                parameter.copy_(weight)
    if problems:
        raise CheckpointError(f"{folder}: missing, or of another shape than config.json says: {', '.join(problems)}")
    for part in new:
        print(f"{folder} has no {part.rstrip('.')}; a new one is begun", file=sys.stderr)
    return model


def _part(name: str) -> str | None:
    """Of what may be missing, the part that a tensor belongs to."""
    return MASK if name == MASK else None if name.startswith("wav2vec2.") else QUANTIZER


def open_pretrained(model: str | Path) -> tuple[Contrastive, dict[str, dict[str, Any]]]:
    """A pretrained model and its settings, file name -> content, from a folder or a hub id. Raises CheckpointError."""
    folder, _ = locate(model)
    settings = {"config.json": read_json(folder / "config.json"), "preprocessor_config.json": preprocessor_of(folder)}
    if not any(name.startswith("quantizer.") for name in read_tensors(weight_files(folder))):
        raise CheckpointError(f"{model} has no quantizer; it must be a Wav2Vec2ForPreTraining")
    return load(folder, *settings.values()), settings
