"""Tensors of a checkpoint, by name, from its files of weights: one or several, mapped into memory."""

import zipfile
from collections import Counter
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from earshot_asr.engine.errors import CheckpointError, UnsupportedModel, listed, shown
from earshot_asr.engine.files import WEIGHTS, present, shards
from earshot_asr.engine.judgement import no_weights

MOST_TENSORS = 50_000
"""A model of 7 G parameters has 1,000 tensors, and could have 10 files."""
MOST_PICKLE_BYTES = 8 << 20
"""Most bytes of the pickle with the names and shapes of tensors, which is not their data."""
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
WHOLES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)

SCALE = ".scale"
"""Ending of the name of the tensor that has the scale of each row of a tensor in eight bits."""
WEIGHT_NORM = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))
"""Names of magnitude and direction, of torch.nn.utils.weight_norm and of its successor."""


def weight_files(folder: Path) -> list[Path]:
    """The files with the weights; if there are shards, their index is the first. Raises CheckpointError."""
    for name in WEIGHTS:
        path = folder / name
        if not present(path):
            continue
        if not name.endswith(".index.json"):
            return [path]
        paths = [folder / shard for shard in shards(path)]
        if missing := [shard.name for shard in paths if not present(shard)]:
            raise CheckpointError(f"{folder} lacks {listed(missing)}, which {name} lists; download it again")
        return [path, *paths]
    raise no_weights(folder)


def read_tensors(files: list[Path]) -> dict[str, Tensor]:
    """All tensors of the files by name, on the CPU, mapped into memory. Raises CheckpointError."""
    tensors: dict[str, Tensor] = {}
    for path in files:
        try:
            if path.suffix == ".safetensors":
                tensors |= _mapped(path)
            elif path.suffix == ".bin":
                tensors |= _unpickled(path)
        except Exception as error:  # a damaged file makes its readers raise anything
            reason = str(error).strip().split("\n", 1)[0]
            raise CheckpointError(
                f"{path} is damaged or no file of weights ({reason or type(error).__name__}); download it again"
            ) from None
    if len(tensors) > MOST_TENSORS:
        raise CheckpointError(f"{files[0]}: {len(tensors):,} tensors; {MOST_TENSORS:,} are the most")
    if odd := [f"{name} ({tensor.dtype})" for name, tensor in tensors.items() if not _is_plain(tensor)]:
        raise CheckpointError(f"{files[0]}: tensors of a kind that is not supported: {listed(odd)}")
    return tensors


def _is_plain(tensor: Tensor) -> bool:
    """Whether it is of ordinary numbers, all of which are there: pickles know tensors that are only described."""
    return (
        tensor.dtype in FLOATS + WHOLES
        and (tensor.layout, tensor.device.type) == (torch.strided, "cpu")
        and tensor.nbytes <= tensor.untyped_storage().nbytes()
    )


def _mapped(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        names = file.keys()
        if len(names) > MOST_TENSORS:
            raise ValueError(f"{len(names):,} tensors")
        return {name: file.get_tensor(name) for name in names}


def _unpickled(path: Path) -> dict[str, Tensor]:
    mapped = zipfile.is_zipfile(path)  # files from before torch 1.6 are not
    if mapped:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
        if any(part.compress_type for part in parts):
            raise ValueError("parts of it are compressed")
        if any(part.filename.endswith("data.pkl") and part.file_size > MOST_PICKLE_BYTES for part in parts):
            raise ValueError("its table of tensors is too large")
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    named = isinstance(content, dict) and all(isinstance(name, str) for name in content)
    if not named or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError("it does not map names to tensors")
    return dict(content)


def widened(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors with those in eight bits (`earshot_weights: int8` in config.json) in float32, by their rows' scales.

    Raises CheckpointError, UnsupportedModel.
    """
    form = config.get("earshot_weights")
    if form is None:
        return dict(tensors)
    if form != "int8":
        raise UnsupportedModel(f"config.json: earshot_weights is {shown(form)}; it must be 'int8', or not be there")
    plain = {name: tensor for name, tensor in tensors.items() if not name.endswith(SCALE)}
    for name, tensor in plain.items():
        if tensor.dtype != torch.int8:
            continue
        scale = tensors.get(name + SCALE)
        if scale is None or scale.shape != tensor.shape[:1]:
            raise CheckpointError(
                f"{listed([name])} is of int8, and lacks a {SCALE} tensor with a number for each of its rows"
            )
        plain[name] = tensor.float() * scale.float().view(-1, *[1] * (tensor.ndim - 1))
    return plain


def named_alike(tensors: Mapping[str, Tensor], wanted: Set[str]) -> dict[str, Tensor]:
    """The tensors under the names that a model wants, if a wrapper has put a word before all of them, or if they are
    those of a model without the word that most of the wanted ones begin with."""
    wrapper = next(iter(tensors), "").split(".")[0] + "."
    if all(name.startswith(wrapper) for name in tensors) and not any(name.startswith(wrapper) for name in wanted):
        tensors = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
    (prefix, _), *_ = Counter(name.split(".")[0] + "." for name in wanted).most_common()
    if any(name.startswith(prefix) for name in tensors):
        return dict(tensors)
    bare = {name.split(".")[1] for name in wanted if name.startswith(prefix)}
    return {prefix + name if name.split(".")[0] in bare else name: tensor for name, tensor in tensors.items()}


def fuse_weight_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with each pair of magnitude and direction (Salimans & Kingma 2016) replaced by its weight.

    Raises CheckpointError.
    """
    fused = dict(tensors)
    for magnitude, direction in WEIGHT_NORM:
        for name in [name for name in fused if name.endswith("." + magnitude)]:
            stem = name.removesuffix(magnitude)
            if stem + direction not in fused:
                continue
            g, v = fused.pop(name).float(), fused.pop(stem + direction).float()
            if g.ndim != v.ndim or any(size not in (1, whole) for size, whole in zip(g.shape, v.shape, strict=True)):
                raise CheckpointError(f"{listed([name])} {tuple(g.shape)} is no magnitude of {tuple(v.shape)}")
            over = [dim for dim, size in enumerate(g.shape) if size == 1]
            fused[stem + "weight"] = v * (g / torch.linalg.vector_norm(v, dim=over, keepdim=True))
    return fused
