"""Parakeet with a CTC head (NVIDIA, 2024), as transformers' ParakeetForCTC: a FastConformer (Rekesh et al. 2023).

    samples -> log-mels every 160 samples -> convolutions, a frame of eight -> conformer -> CTC head

Log-mels and convolutions are centred, and a window is taken for a whole recording: around it is silence. Frame k lies
around the sample 1280 k, and is there as soon as a log-mel frame of its own is.

Padding could change the result in the statistics that normalize log-mels, in the input of all convolutions, and in the
attention keys. It is masked in all of them.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel, shown
from earshot_asr.engine.families import Config, Family
from earshot_asr.engine.families.conformer import Conformer, Shape
from earshot_asr.engine.families.filters import slaney_filters
from earshot_asr.engine.families.layers import (
    Bands,
    Depth,
    Encoder,
    Recipe,
    Size,
    Stack,
    Symbols,
    check_heads,
    part_of,
    read_dims,
    valid,
)

PREFIX = "encoder."
EXTRACTOR = "ParakeetFeatureExtractor"

MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES, MEL_FFT_SAMPLES = 400, 160, 512
MEL_FLOOR = 2.0**-24
MEL_EPS = 1e-5
PREEMPHASIS = 0.97
FIXED = {"hop_length": MEL_HOP_SAMPLES, "n_fft": MEL_FFT_SAMPLES, "win_length": MEL_WINDOW_SAMPLES}
"""Entries of preprocessor_config.json that all of NVIDIA's have so."""
NAMES = {
    "ffn1_layer_norm": "norm_feed_forward1",
    "ffn1.intermediate_dense": "feed_forward1.linear1",
    "ffn1.output_dense": "feed_forward1.linear2",
    "self_attn_layer_norm": "norm_self_att",
    "self_attn.linear_q": "self_attn.q_proj",
    "self_attn.linear_k": "self_attn.k_proj",
    "self_attn.linear_v": "self_attn.v_proj",
    "self_attn.linear_out": "self_attn.o_proj",
    "self_attn.linear_pos": "self_attn.relative_k_proj",
    "self_attn.pos_bias": "self_attn.bias",
    "conv_module.layer_norm": "norm_conv",
    "conv_module.batch_norm": "conv.norm",
    "conv_module.": "conv.",
    "ffn2_layer_norm": "norm_feed_forward2",
    "ffn2.intermediate_dense": "feed_forward2.linear1",
    "ffn2.output_dense": "feed_forward2.linear2",
    "final_layer_norm": "norm_out",
}
"""Parts of the names of a layer's parameters here, and in a checkpoint."""


@dataclass(frozen=True, slots=True)
class ParakeetDims:
    """The entries of encoder_config in config.json, under transformers' names and with its defaults."""

    vocab_size: Symbols = 1025
    hidden_size: Size = 1024
    num_hidden_layers: Depth = 24
    num_attention_heads: Size = 8
    intermediate_size: Size = 4096
    hidden_act: str = "silu"
    attention_bias: bool = True
    convolution_bias: bool = True
    conv_kernel_size: Size = 9
    num_mel_bins: Bands = 80
    subsampling_factor: Size = 8
    subsampling_conv_channels: Size = 256
    subsampling_conv_kernel_size: Size = 3
    subsampling_conv_stride: Size = 2
    scale_input: bool = True

    def __post_init__(self) -> None:
        check_heads(self, "hidden_size", "num_attention_heads")
        if self.subsampling_conv_stride != 2 or self.subsampling_factor not in (2, 4, 8, 16):
            raise UnsupportedModel(
                f"config.json: subsampling_factor {self.subsampling_factor} with subsampling_conv_stride "
                f"{self.subsampling_conv_stride} is not supported; supported are 2, 4, 8 and 16 with a stride of 2"
            )
        if self.subsampling_conv_kernel_size % 2 == 0:
            raise CheckpointError(
                f"config.json: subsampling_conv_kernel_size is {self.subsampling_conv_kernel_size}; it must be odd"
            )
        if self.num_mel_bins % self.subsampling_factor:
            raise CheckpointError(
                f"config.json: num_mel_bins is {self.num_mel_bins}, which subsampling_factor, "
                f"{self.subsampling_factor}, does not divide"
            )

    @property
    def shape(self) -> Shape:
        """The conformer's shape."""
        return Shape(
            channels=self.hidden_size,
            heads=self.num_attention_heads,
            inner=self.intermediate_size,
            depth=self.num_hidden_layers,
            act=self.hidden_act,
            positions="relative",
            kernel=self.conv_kernel_size,
            causal=False,
            bias=self.attention_bias,
            conv_bias=self.convolution_bias,
        )


def build(config: Config, preprocessor: Config) -> "Parakeet":
    """See Family.build."""
    extractor = preprocessor.get("feature_extractor_type", EXTRACTOR)
    if extractor != EXTRACTOR:
        raise UnsupportedModel(f"feature_extractor_type {shown(extractor)} does not go with model_type 'parakeet_ctc'")
    for name, expected in {**FIXED, "preemphasis": PREEMPHASIS}.items():
        if preprocessor.get(name, expected) != expected:
            wrong = shown(preprocessor[name])
            raise UnsupportedModel(f"preprocessor_config.json: {name} is {wrong}; it must be {expected}")
    size = {"vocab_size": config["vocab_size"]} if "vocab_size" in config else {}
    dims = read_dims(ParakeetDims, {**part_of(config, "encoder_config"), **size})
    bands = preprocessor.get("feature_size", 80)
    if bands != dims.num_mel_bins:
        raise CheckpointError(
            f"preprocessor_config.json: feature_size is {shown(bands)}, config.json's num_mel_bins {dims.num_mel_bins}"
        )
    return Parakeet(dims)


def preprocessor_for(config: Config) -> dict[str, Any]:
    """See Family.preprocessor."""
    return {
        "feature_extractor_type": EXTRACTOR,
        "feature_size": part_of(config, "encoder_config").get("num_mel_bins", 80),
        "sampling_rate": SAMPLE_RATE,
        **FIXED,
        "preemphasis": PREEMPHASIS,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
    }


class Parakeet(Encoder):
    """See Encoder."""

    IGNORED = Encoder.IGNORED | {"num_batches_tracked"}

    def __init__(self, dims: ParakeetDims) -> None:
        grid = FrameGrid(MEL_HOP_SAMPLES * dims.subsampling_factor, MEL_HOP_SAMPLES)
        super().__init__(grid, dims.hidden_size, dims.vocab_size)
        self.scale = math.sqrt(dims.hidden_size) if dims.scale_input else 1.0
        self.mels = LogMels(dims.num_mel_bins)
        self.subsampling = Subsampling(dims)
        self.encoder = Conformer(dims.shape)

    @property
    def layers(self) -> Stack:
        """See Encoder.layers."""
        return self.encoder.layers

    def initialize(self) -> None:
        """See Encoder.initialize."""
        self.encoder.initialize()

    def prepare_for_training(self) -> None:
        """See Encoder.prepare_for_training. Log-mels in single precision take half the time."""
        self.mels.precision = torch.float32

    def extract(self, samples: Tensor, lengths: Tensor | None) -> Tensor:
        """See Encoder.extract."""
        with torch.autocast(samples.device.type, enabled=False):
            mels: Tensor = self.mels(samples, lengths)
        out: Tensor = self.subsampling(mels.to(self.dtype), None if lengths is None else mel_counts(lengths))
        return out

    def project(self, features: Tensor) -> Tensor:
        """See Encoder.project."""
        out: Tensor = self.subsampling.linear(features) * self.scale
        return out

    def contextualize(self, x: Tensor, frames: Tensor | None, states: list[Tensor] | None = None) -> Tensor:
        """See Encoder.contextualize."""
        out: Tensor = self.encoder(x, frames, states)
        return out

    def recipe(self, name: str) -> Recipe:
        """See Encoder.recipe. The head is a convolution in a checkpoint."""
        if name.startswith("lm_head."):
            theirs = (name.replace("lm_head.", "ctc_head."),)
            weight = name.endswith("weight")
            return Recipe(theirs, lambda w: w.squeeze(-1), lambda w: (w.unsqueeze(-1),)) if weight else Recipe(theirs)
        if name.startswith("encoder."):
            return self.encoder.recipe(name, _theirs)
        for kind, after in (("depthwise", 2), ("pointwise", 3)):
            if name.startswith(start := f"subsampling.{kind}."):
                number, _, part = name.removeprefix(start).partition(".")
                return Recipe((f"{PREFIX}subsampling.layers.{3 * int(number) + after}.{part}",))
        return Recipe((PREFIX + name.replace("subsampling.first.", "subsampling.layers.0."),))


def _theirs(name: str) -> str:
    """The name in a checkpoint of a parameter of a layer."""
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs)
    return name


def mel_counts(lengths: Tensor) -> Tensor:
    """How many log-mel frames of lengths (B,) samples there are; at least 1."""
    return torch.div(lengths, MEL_HOP_SAMPLES, rounding_mode="floor").clamp_min(1)


class LogMels(nn.Module):
    """Log-mels, normalized per band over the valid frames of a row, as by ParakeetFeatureExtractor.

    Computed in double precision until they are normalized, for the same reasons as w2v-BERT's; training sets
    `precision` to float32. A single frame, of whose band there is no variance, is zero.
    """

    window: Tensor
    filters: Tensor
    precision = torch.float64

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.from_numpy(np.hanning(MEL_WINDOW_SAMPLES)), persistent=False)
        filters = torch.from_numpy(slaney_filters(bands, MEL_FFT_SAMPLES))
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, samples: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, S) -> (B, S // 160, bands), float32, zero beyond the frames of lengths (B,)."""
        mels = self.raw(samples, lengths)
        if lengths is None:
            mean = mels.mean(1, keepdim=True)
            variance = (mels - mean).square().sum(1, keepdim=True) / max(1, mels.shape[1] - 1)
            return ((mels - mean) / (variance.sqrt() + MEL_EPS)).float()
        count = mel_counts(lengths)
        outside, count = ~valid(count, mels.shape[1])[..., None], count[:, None, None]
        mean = mels.masked_fill(outside, 0.0).sum(1, keepdim=True) / count
        centred = (mels - mean).masked_fill(outside, 0.0)
        variance = centred.square().sum(1, keepdim=True) / (count - 1).clamp_min(1)
        return (centred / (variance.sqrt() + MEL_EPS)).float()

    def raw(self, samples: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, S) -> log-mels (B, S // 160, bands) of dtype `precision`, not normalized, around every 160th sample."""
        sharp = samples.to(self.precision)
        sharp = torch.cat((sharp[:, :1], sharp[:, 1:] - PREEMPHASIS * sharp[:, :-1]), dim=1)
        if lengths is not None:
            sharp = sharp.masked_fill(~valid(lengths, sharp.shape[1]), 0.0)
        half = MEL_WINDOW_SAMPLES // 2
        frames = F.pad(sharp, (half, half)).unfold(1, MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES)
        frames = frames[:, : samples.shape[1] // MEL_HOP_SAMPLES] * self.window.to(self.precision)
        spectrum = torch.fft.rfft(frames, n=MEL_FFT_SAMPLES)
        power = spectrum.real.square() + spectrum.imag.square()
        mels: Tensor = power @ self.filters.to(self.precision)
        return mels.add_(MEL_FLOOR).log_()


class Subsampling(nn.Module):
    """Convolutions over time and bands, each of which halves both."""

    def __init__(self, dims: ParakeetDims) -> None:
        super().__init__()
        size, kernel, stride = (
            dims.subsampling_conv_channels,
            dims.subsampling_conv_kernel_size,
            dims.subsampling_conv_stride,
        )
        more = range(dims.subsampling_factor.bit_length() - 2)
        self.first = nn.Conv2d(1, size, kernel, stride, kernel // 2)
        self.depthwise = nn.ModuleList(nn.Conv2d(size, size, kernel, stride, kernel // 2, groups=size) for _ in more)
        self.pointwise = nn.ModuleList(nn.Conv2d(size, size, 1) for _ in more)
        self.linear = nn.Linear(size * dims.num_mel_bins // dims.subsampling_factor, dims.hidden_size)

    def forward(self, mels: Tensor, counts: Tensor | None) -> Tensor:
        """(B, M, bands), zero beyond counts (B,) -> (B, T, C); counts: None if nothing is padding."""
        x = F.relu(self.first(mels[:, None]))
        for depthwise, pointwise in zip(self.depthwise, self.pointwise, strict=True):
            if counts is not None:
                counts = torch.div(counts + 1, 2, rounding_mode="floor")
                x = x.masked_fill(~valid(counts, x.shape[2])[:, None, :, None], 0.0)
            x = F.relu(pointwise(depthwise(x)))
        return x.transpose(1, 2).flatten(2)


FAMILY = Family(
    build=build,
    head="ParakeetForCTC",
    prefix=PREFIX,
    preprocessor=preprocessor_for,
    # transformers' model has no masks, and its settings are in encoder_config.
    regularization={
        "hidden_dropout": 0.1,
        "activation_dropout": 0.1,
        "attention_dropout": 0.1,
        "final_dropout": 0.0,
        "mask_time_prob": 0.0,
    },
)
