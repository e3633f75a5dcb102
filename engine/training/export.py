"""Writes a model as a folder in Hugging Face format, which transformers and the engine load."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.families import family_of
from earshot_asr.engine.families.layers import Encoder
from earshot_asr.engine.text import ESCAPES
from earshot_asr.engine.weights import SCALE
from earshot_asr.engine.whole import writing

LARGEST_INT8 = 127 * 65504.0
"""The largest weight that eight bits with a scale in half precision can hold."""
SMALLEST_SCALE = 2.0**-24
"""The smallest number above 0 in half precision."""
CLIPPED_SHARES = (1.0, 0.97, 0.94, 0.91, 0.88, 0.85, 0.8)
"""Shares of a row's largest weight that are tried as the value of 127 in eight bits; what is above it is clipped."""
DTYPES = {"float16": torch.float16, "float32": torch.float32, "int8": torch.float16}
"""Names of the dtypes that weights are written in. With int8 matrices have eight bits and a scale a row, and all other
weights 16 bits; only the engine reads that."""


def to_checkpoint(encoder: Encoder) -> dict[str, Tensor]:
    """The encoder's weights under transformers' names and in its shapes, as its recipes say."""
    tensors = encoder.unread()
    for name, weight in encoder.state_dict().items():
        recipe = encoder.recipe(name)
        tensors |= dict(zip(recipe.written or recipe.names, recipe.undo(weight.detach()), strict=True))
    return tensors


def has_mask(config: Mapping[str, Any]) -> bool:
    """Whether transformers gives a model with this config.json a masked_spec_embed."""
    usual = {"mask_time_prob": 0.05, "mask_feature_prob": 0.0, **family_of(config).regularization}
    return any(config.get(name, usual[name]) > 0 for name in ("mask_time_prob", "mask_feature_prob"))


def save(
    folder: Path,
    encoder: Encoder,
    config: Mapping[str, Any],
    preprocessor: Mapping[str, Any],
    tokenizer: Mapping[str, Mapping[str, Any]],
    masked: Tensor | None = None,
    dtype: str = "float16",
) -> None:
    """Write a model with a CTC head that transformers' AutoModelForCTC and load_checkpoint load.

    config, preprocessor   config.json and preprocessor_config.json, written as they are but for the entry dtype
    tokenizer   file name -> content: vocab.json, tokenizer_config.json, ...
    masked      masked_spec_embed (C,), for models whose frames training masks; None: zeros
    dtype       the weights' dtype, one of DTYPES

    Raises ConfigError for weights that the dtype can't hold, OutputError if the folder can't be written.
    """
    tensors = to_checkpoint(encoder)
    if has_mask(config):
        masked = torch.zeros(encoder.width) if masked is None else masked
        tensors[family_of(config).prefix + "masked_spec_embed"] = masked.detach()
    settings = {"config.json": config, "preprocessor_config.json": preprocessor, **tokenizer}
    write(folder, tensors, settings, dtype)


def write(
    folder: Path, tensors: Mapping[str, Tensor], settings: Mapping[str, Mapping[str, Any]], dtype: str = "float16"
) -> None:
    """Write a folder with `settings` (file name -> content) and model.safetensors; it replaces one that is there.

    The new folder is complete before it takes the name. Between two renames, for some microseconds, no folder has it.
    Raises ConfigError for weights that the dtype can't hold, OutputError if the folder can't be written.
    """
    cast = _cast(folder, tensors, dtype)
    fresh, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    with writing(folder, SafetensorError):
        if old.exists() and not folder.exists():  # killed between the two renames below
            old.rename(folder)
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            _fill(fresh, cast, settings, dtype)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def _cast(folder: Path, tensors: Mapping[str, Tensor], dtype: str) -> dict[str, Tensor]:
    """The tensors in the dtype in which `folder` shall have them. Raises ConfigError for one that it can't hold."""
    cast: dict[str, Tensor] = {}
    advice = "; --dtype float32 may hold them" if dtype != "float32" else ""
    for name, tensor in tensors.items():
        if dtype == "int8" and tensor.ndim > 1 and len(tensor) > 1:
            if not tensor.abs().amax() < LARGEST_INT8:
                raise ConfigError(f"{folder} is not written: {name} has values that eight bits can't hold{advice}")
            cast[name], cast[name + SCALE] = quantized(tensor)
            continue
        cast[name] = tensor.to("cpu", DTYPES[dtype], copy=True).contiguous()
        if not cast[name].isfinite().all():
            held = str(DTYPES[dtype]).removeprefix("torch.")
            raise ConfigError(f"{folder} is not written: {name} has values that are not finite in {held}{advice}")
    return cast


def _fill(folder: Path, tensors: Mapping[str, Tensor], settings: Mapping[str, Mapping[str, Any]], dtype: str) -> None:
    """Makes the folder with both."""
    folder.mkdir(parents=True)
    for name, content in settings.items():
        if name == "config.json":  # dtype: transformers 5; torch_dtype: before
            stale = ("dtype", "torch_dtype", "earshot_weights")
            content = {key: value for key, value in content.items() if key not in stale}
            content["torch_dtype"] = str(DTYPES[dtype]).removeprefix("torch.")
            if dtype == "int8":
                content["earshot_weights"] = "int8"
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / name).write_text(text, encoding="utf-8", errors=ESCAPES)
    save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # some versions of safetensors let nobody else read it


def quantized(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight (N, ...), below LARGEST_INT8, as int8 of the same shape and a scale (N,) in half precision.

    Each row has that scale, of those that are tried, whose rounded row has the smallest squared error.
    """
    rows = weight.detach().float().cpu().flatten(1)
    largest = rows.abs().amax(1, keepdim=True)
    best, error = largest / 127, torch.full_like(largest, float("inf"))
    for share in CLIPPED_SHARES:
        scale = (share * largest / 127).half().clamp_min(SMALLEST_SCALE).float()
        off = (rows - (rows / scale).round().clamp(-127, 127) * scale).square().sum(1, keepdim=True)
        best, error = torch.where(off < error, scale, best), torch.minimum(off, error)
    whole = (rows / best).round().clamp(-127, 127).to(torch.int8).view(weight.shape)
    return whole, best.flatten().half()
