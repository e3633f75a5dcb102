"""`earshot train grow`: a deeper model, or one of longer frames, that begins as what a smaller one has learned.

New layers come on top and change nothing at first: what they add to their input is zero (Chen et al. 2016). Longer
frames are approached by resampling all that knows how long a frame is: the projection of log-mels, the kernels of the
convolutions, and, as far as they can, rotary positions. After that a model wants some minutes of training.
"""

import argparse
import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from earshot_asr.engine import wav2vec2_bert
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.training import export
from earshot_asr.engine.training.options import at_least
from earshot_asr.engine.training.start import Start, describe, from_checkpoint, from_nothing

ADDING = ("ffn1.output_dense", "self_attn.linear_out", "conv_module.pointwise_conv2", "ffn2.output_dense")
"""The maps by which a layer adds to what goes through it."""
SIZES = (
    "num_hidden_layers",
    "feature_projection_input_dim",
    "conv_depthwise_kernel_size",
    "rotary_embedding_base",
)
MOST = 3
"""So many times as long frames may become; beyond that nothing is left of what was learned."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `earshot train grow`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = textwrap.dedent("""\
        Makes a larger model of a small one (Wav2Vec2-BERT's kind, with rotary positions): with more layers, which
        change nothing until they are trained; or with longer frames, which make training and use faster. It is a
        folder for `earshot train ctc --from`.""")
    parser.epilog = "example: earshot train grow OUT/model --out GROWN --depth 9 --stride 3"
    parser.add_argument("model", metavar="DIR|HUB_ID", help="a checkpoint in Hugging Face's format")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--depth", type=at_least(1), help="layers (default: as many as there are)")
    parser.add_argument("--stride", type=at_least(1), help="log-mels, 10 ms each, to a frame (default: as it is)")


def run(args: argparse.Namespace) -> None:
    """The command. Raises ConfigError, CheckpointError."""
    if args.out.exists():
        raise ConfigError(f"{args.out} is there already; give a new folder")
    folder, _, own = describe(args.model)
    if own is None:
        raise ConfigError(f"{args.model} has no CTC head; `earshot train ctc --from` gives it one")
    start = from_checkpoint(folder)
    if not isinstance(start.encoder, wav2vec2_bert.Wav2Vec2Bert) or start.encoder.encoder.positions != "rotary":
        raise ConfigError(f"{args.model} is no Wav2Vec2-BERT with rotary positions; others can't be grown yet")
    if args.depth is None and args.stride is None:
        raise ConfigError("give --depth, --stride or both: how it is to grow")
    grown = grow(start, args.depth, args.stride)
    export.save(
        args.out, grown.encoder, grown.config, grown.preprocessor, grown.tokenizer, grown.masked, dtype="float32"
    )
    print(f"{args.out}: {grown.config['num_hidden_layers']} layers, {grown.encoder.grid.hop / 16:g} ms a frame")


def grow(start: Start, depth: int | None = None, stride: int | None = None) -> Start:
    """A model of that depth and stride with the weights of another. Raises ConfigError for a smaller one."""
    assert isinstance(start.encoder, wav2vec2_bert.Wav2Vec2Bert), start.encoder
    config = start.config | {name: getattr(start.encoder.encoder.dims, name) for name in SIZES}  # which may be defaults
    preprocessor = dict(start.preprocessor)
    layers, before = config["num_hidden_layers"], start.encoder.grid.hop // wav2vec2_bert.MEL_HOP
    depth, stride = depth or layers, stride or before
    if depth < layers or stride < before:
        raise ConfigError(f"it has {layers} layers and a stride of {before} already: it can only become larger")
    if stride > MOST * before:
        raise ConfigError(f"a stride of {stride} after one of {before} is too much at once: {MOST} times, at most")
    weights = dict(start.encoder.state_dict())
    if stride > before:
        longer_frames(weights, config, before, stride)
        preprocessor["stride"] = stride
    config["num_hidden_layers"] = depth
    grown = from_nothing(config, preprocessor, start.vocabulary)
    for new in range(layers, depth):
        _stack(weights, dict(grown.encoder.state_dict()), new)
    grown.encoder.load_state_dict(weights)
    grown.masked = nn.Parameter(start.masked.detach().clone())
    grown.config, grown.tokenizer = {**config, "architectures": start.config["architectures"]}, start.tokenizer
    return grown


def _stack(weights: dict[str, Tensor], random: Mapping[str, Tensor], new: int) -> None:
    """Layer number `new` upon the one below, whose last norm moves to it: a norm of a norm is that norm."""
    here, below = f"encoder.layers.{new}.", f"encoder.layers.{new - 1}."
    for name in [name for name in random if name.startswith(here)]:
        adds = any(part in name for part in ADDING)
        weights[name] = torch.zeros_like(random[name]) if adds else random[name].clone()
    for part, plain in (("weight", torch.ones_like), ("bias", torch.zeros_like)):
        norm = f"final_layer_norm.{part}"
        weights[here + norm] = weights[below + norm]
        weights[below + norm] = plain(weights[below + norm])


# ---- longer frames


def longer_frames(weights: dict[str, Tensor], config: dict[str, Any], before: int, stride: int) -> None:
    """All that depends on the length of a frame, as nearly as it can be had; `config` gets the new sizes."""
    ratio = stride / before
    bands = config["feature_projection_input_dim"] // before
    shares = overlaps(before, stride)
    projection = "feature_projection.projection.weight"
    each = weights[projection].view(-1, before, bands)
    weights[projection] = torch.einsum("ns,cnb->csb", shares, each).flatten(1)
    for part in ("weight", "bias"):
        norm = f"feature_projection.layer_norm.{part}"
        places = weights[norm].view(before, bands)
        weights[norm] = (torch.einsum("ns,nb->sb", shares, places) / shares.sum(0)[:, None]).flatten()
    kernel = config["conv_depthwise_kernel_size"]
    taps = (math.ceil((kernel - 1) / ratio) + 1) | 1  # odd, as transformers wants it
    for name in [name for name in weights if name.endswith("depthwise_conv.weight")]:
        weights[name] = resampled_taps(weights[name], taps, ratio)
    config |= {
        "feature_projection_input_dim": bands * stride,
        "conv_depthwise_kernel_size": taps,
        "rotary_embedding_base": rotary_base(config["rotary_embedding_base"], ratio),
        "emission_delay_frames": round(config.get("emission_delay_frames", 0) / ratio),
    }


def overlaps(before: int, stride: int) -> Tensor:
    """(before, stride): how much of each place of the old frame lies in each of the new one, drawn out over it."""
    old, new = np.arange(before + 1) / before, np.arange(stride + 1) / stride
    low, high = np.maximum(old[:-1, None], new[:-1]), np.minimum(old[1:, None], new[1:])
    return torch.from_numpy((high - low).clip(min=0) * before).float()


def resampled_taps(kernels: Tensor, taps: int, ratio: float) -> Tensor:
    """Causal kernels (C, 1, K), whose last tap is now, at taps `ratio` times as far apart; their sums stay about."""
    lags = ratio * np.arange(taps)[::-1]
    old = np.arange(kernels.shape[2])[::-1].astype(float)
    rows = [np.interp(lags, old[::-1], row[::-1], right=0.0) for row in kernels[:, 0].double().numpy()]
    return torch.from_numpy(ratio * np.stack(rows)[:, None]).float()


def rotary_base(base: float, ratio: float) -> int:
    """So that the channels a quarter of the way down turn `ratio` times as far in a frame: all of them can't."""
    return round(base / ratio**4)
