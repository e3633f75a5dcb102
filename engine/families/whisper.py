"""Whisper's encoder (Radford et al. 2022), transformers' WhisperEncoder, with layers of our own and a CTC head on top.

    samples -> log-mels every 160 samples -> two convolutions, a frame of two -> transformer -> conformer -> CTC head

transformers has no such model; `earshot train ctc --from` a Whisper checkpoint makes one. Whisper pads all audio to
30 s; here a window keeps its length, and positions count from its start.

Padding could change the result in four places, and is masked in each: the maximum that the floor of log-mels depends
on, the input of both convolutions, the attention keys, and the depthwise convolutions of the layers on top.
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
from earshot_asr.engine.families.filters import slaney_filters
from earshot_asr.engine.families.layers import (
    Attention,
    Bands,
    Depth,
    DepthwiseConv,
    Encoder,
    FeedForward,
    PaddedConv,
    Recipe,
    Size,
    Stack,
    Symbols,
    activation,
    check_heads,
    key_mask,
    read_dims,
    valid,
)

PREFIX = "model."
EXTRACTOR = "WhisperFeatureExtractor"
ON_TOP = "ctc_encoder."
"""Prefix of the tensors of the layers between Whisper's encoder and the head."""

POSITIONS = 1500
"""Positions that a checkpoint must have: the longest window has 20 s and its contexts, a plain pass 30 s. Longer input
is not refused; Whisper has not been trained on the positions beyond."""
LARGEST_HALF = torch.finfo(torch.float16).max - 1000
MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES = 400, 160
MEL_FLOOR = 1e-10
MEL_RANGE_DECADES = 8.0
"""Powers of ten below the loudest log-mel at which the floor is."""
GRID = FrameGrid(2 * MEL_HOP_SAMPLES, MEL_WINDOW_SAMPLES + MEL_HOP_SAMPLES)


@dataclass(frozen=True, slots=True)
class WhisperDims:
    """The entries of config.json with the encoder's sizes, under transformers' names and with its defaults."""

    vocab_size: Symbols
    d_model: Size = 384
    encoder_layers: Depth = 4
    encoder_attention_heads: Size = 6
    encoder_ffn_dim: Size = 1536
    num_mel_bins: Bands = 80
    max_source_positions: Size = 1500
    activation_function: str = "gelu"

    def __post_init__(self) -> None:
        check_heads(self, "d_model", "encoder_attention_heads")
        if self.d_model % 2 or self.d_model < 4:
            raise CheckpointError(f"config.json: d_model is {self.d_model}; it must be even, and at least 4")


@dataclass(frozen=True, slots=True)
class TopDims:
    """Entries of config.json that are our own: the layers between Whisper's encoder and the head.

    ctc_inputs    numbers, from 1 on, of the encoder's layers whose outputs, side by side, are their input
    """

    ctc_layers: Depth
    ctc_inputs: tuple[Depth, ...]
    ctc_hidden_size: Size = 320
    ctc_attention_heads: Size = 5
    ctc_intermediate_size: Size = 1280
    ctc_conv_kernel: Size = 15

    def __post_init__(self) -> None:
        check_heads(self, "ctc_hidden_size", "ctc_attention_heads")
        if self.ctc_conv_kernel % 2 == 0:
            raise CheckpointError(f"config.json: ctc_conv_kernel is {self.ctc_conv_kernel}; it must be odd")


def build(config: Config, preprocessor: Config) -> "Whisper":
    """See Family.build."""
    extractor = preprocessor.get("feature_extractor_type", EXTRACTOR)
    if extractor != EXTRACTOR:
        raise UnsupportedModel(f"feature_extractor_type {shown(extractor)} does not go with model_type 'whisper'")
    for name, expected in (("n_fft", MEL_WINDOW_SAMPLES), ("hop_length", MEL_HOP_SAMPLES)):
        if preprocessor.get(name, expected) != expected:
            raise UnsupportedModel(
                f"preprocessor_config.json: {name} is {shown(preprocessor[name])}; it must be {expected}"
            )
    dims = read_dims(WhisperDims, config)
    if dims.max_source_positions < POSITIONS:
        raise UnsupportedModel(
            f"config.json: max_source_positions is {dims.max_source_positions}; windows are up to 30 s long, and want "
            f"{POSITIONS}, which all of OpenAI's have"
        )
    bands = preprocessor.get("feature_size", dims.num_mel_bins)
    if bands != dims.num_mel_bins:
        raise CheckpointError(
            f"preprocessor_config.json: feature_size is {shown(bands)}, config.json's num_mel_bins {dims.num_mel_bins}"
        )
    top = read_dims(TopDims, config) if config.get("ctc_layers") else None
    if top and max(top.ctc_inputs) > dims.encoder_layers:
        raise CheckpointError(
            f"config.json: ctc_inputs {shown(top.ctc_inputs)} of {dims.encoder_layers} encoder_layers"
        )
    return Whisper(dims, top)


def preprocessor_for(config: Config) -> dict[str, Any]:
    """See Family.preprocessor."""
    return {
        "feature_extractor_type": EXTRACTOR,
        "feature_size": config.get("num_mel_bins", 80),
        "sampling_rate": SAMPLE_RATE,
        "n_fft": MEL_WINDOW_SAMPLES,
        "hop_length": MEL_HOP_SAMPLES,
        "chunk_length": 30,
        "padding_value": 0.0,
        "return_attention_mask": False,
    }


def with_top(config: Config) -> dict[str, Any]:
    """See Family.with_new_head: adds the entries that describe the layers below the head, and keeps those that are set.

    `ctc_layers: 0` is for no such layers: the head reads the encoder's last norm. Training masks frames, which
    Whisper's own configuration turns off.
    """
    dims = read_dims(WhisperDims, config)
    size = max(64, dims.d_model * 5 // 8 // 64 * 64)
    if config.get("ctc_layers") == 0:
        return {**config, "apply_spec_augment": True}
    usual = {
        "ctc_layers": 3,
        "ctc_inputs": [max(1, round(dims.encoder_layers * 2 / 3)), dims.encoder_layers],
        "ctc_hidden_size": size,
        "ctc_attention_heads": size // 64,
        "ctc_intermediate_size": 4 * size,
        "ctc_conv_kernel": 15,
    }
    return {**usual, **config, "apply_spec_augment": True}


class Whisper(Encoder):
    """See Encoder. `top`: the layers between Whisper's encoder and the head; None: only the encoder's last norm."""

    HEAD = ("lm_head.", "top.")
    ABOVE = ("layer_norm.",)
    UNUSED = (f"{PREFIX}decoder.", "proj_out.", f"{PREFIX}encoder.layer_norm.", ON_TOP)

    def __init__(self, dims: WhisperDims, top: TopDims | None) -> None:
        super().__init__(GRID, top.ctc_hidden_size if top else dims.d_model, dims.vocab_size)
        self.mels = LogMels(dims.num_mel_bins)
        self.conv1 = PaddedConv(dims.num_mel_bins, dims.d_model)
        self.conv2 = PaddedConv(dims.d_model, dims.d_model, stride=2)
        self.act = activation(dims.activation_function)
        self.hidden_dropout = nn.Dropout(0.0)
        self.blocks = Stack(Layer(dims) for _ in range(dims.encoder_layers))
        self.layer_norm = None if top else nn.LayerNorm(dims.d_model)
        self.top = Top(top, dims.d_model) if top else None

    @property
    def layers(self) -> Stack:
        """See Encoder.layers."""
        return Stack([*self.blocks, *(self.top.layers if self.top else ())])

    @property
    def middle(self) -> int:
        """See Encoder.middle. Only the layers on top have the head's channels."""
        return len(self.blocks) + 1 if self.top else super().middle

    @property
    def pre_norm(self) -> bool:
        """See Encoder.pre_norm."""
        return True

    @property
    def width(self) -> int:
        """See Encoder.width."""
        return self.conv2.out_channels

    def new_mask(self) -> Tensor:
        """See Encoder.new_mask. Whisper was never trained with masks: they begin as frames of zeros."""
        return torch.zeros(self.width)

    def extract(self, samples: Tensor, lengths: Tensor | None) -> Tensor:
        """See Encoder.extract."""
        frames = None if lengths is None else self.frames(lengths)
        with torch.autocast(samples.device.type, enabled=False):
            mels: Tensor = self.mels(samples, frames)
        x = self.act(self.conv1(mels.to(self.dtype)))
        if frames is not None:
            x = x.masked_fill(~valid(2 * frames, x.shape[1])[..., None], 0.0)
        return self.act(self.conv2(x))

    def project(self, features: Tensor) -> Tensor:
        """See Encoder.project. Features are what the layers are given."""
        return features

    def contextualize(self, x: Tensor, frames: Tensor | None, states: list[Tensor] | None = None) -> Tensor:
        """See Encoder.contextualize."""
        mask = None if frames is None else key_mask(frames, x.shape[1], x.dtype)
        states = [] if states is None else states
        x = self.blocks(self.hidden_dropout(x + sinusoids(x)), mask, states=states)
        if self.top is None:
            assert self.layer_norm is not None
            out: Tensor = self.layer_norm(x)
            return out
        inside = None if frames is None else valid(frames, x.shape[1])[..., None]
        out = self.top(self.top.join(states[-len(self.blocks) :]), mask, inside, states)
        return out

    def recipe(self, name: str) -> Recipe:
        """See Encoder.recipe. Queries, keys and values become one matrix; Whisper's keys have no bias."""
        if name.startswith("lm_head."):
            return Recipe((name,))
        if name.startswith("top."):
            return Recipe((ON_TOP + name.removeprefix("top."),))
        name = f"{PREFIX}encoder." + name.replace("blocks.", "layers.")
        q, k, v = (name.replace("qkv", f"self_attn.{part}_proj") for part in "qkv")
        if name.endswith("qkv.weight"):
            return Recipe((q, k, v), lambda *parts: torch.cat(parts), lambda w: w.chunk(3))
        if name.endswith("qkv.bias"):
            return Recipe((q, v), lambda q, v: torch.cat((q, torch.zeros_like(q), v)), lambda b: b.chunk(3)[::2])
        return Recipe((name.replace("out_proj", "self_attn.out_proj"),))


def sinusoids(x: Tensor) -> Tensor:
    """Whisper's positions (T, C) for x (B, T, C): sines of falling frequency, then cosines."""
    half = x.shape[2] // 2
    rates = torch.arange(half, device=x.device).float() * (-math.log(10000.0) / (half - 1))
    angles = torch.arange(x.shape[1], device=x.device)[:, None] * rates.exp()
    return torch.cat((angles.sin(), angles.cos()), dim=1).to(x.dtype)


class LogMels(nn.Module):
    """Log-mels as by WhisperFeatureExtractor, but that frames are not centred: none needs samples around the window."""

    window: Tensor
    filters: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        hann = np.hanning(MEL_WINDOW_SAMPLES + 1)[:-1]  # periodic
        self.register_buffer("window", torch.from_numpy(hann.astype(np.float32)), persistent=False)
        filters = torch.from_numpy(slaney_filters(bands, MEL_WINDOW_SAMPLES).astype(np.float32))
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, samples: Tensor, frames: Tensor | None) -> Tensor:
        """(B, S) -> (B, 2 T, bands), float32; beyond 2 * frames (B,) zero, and not part of the maximum."""
        size = 2 * GRID.frames(samples.shape[1])
        windows = samples.float().unfold(1, MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES)[:, :size] * self.window.float()
        spectrum = torch.fft.rfft(windows)
        power = spectrum.real.square() + spectrum.imag.square()
        mels = (power @ self.filters.float()).clamp_min_(MEL_FLOOR).log10_()
        if frames is None:
            loudest = mels.amax((1, 2), keepdim=True)
            return (torch.maximum(mels, loudest - MEL_RANGE_DECADES) + 4.0) / 4.0
        outside = ~valid(2 * frames, size)[..., None]
        loudest = mels.masked_fill(outside, float("-inf")).amax((1, 2), keepdim=True)
        return ((torch.maximum(mels, loudest - MEL_RANGE_DECADES) + 4.0) / 4.0).masked_fill_(outside, 0.0)


class Layer(Attention):
    """A block of Whisper's encoder: attention, then a feed-forward part, each after a norm."""

    def __init__(self, dims: WhisperDims) -> None:
        super().__init__(dims.d_model, dims.encoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(dims.d_model)
        self.final_layer_norm = nn.LayerNorm(dims.d_model)
        self.fc1 = nn.Linear(dims.d_model, dims.encoder_ffn_dim)
        self.fc2 = nn.Linear(dims.encoder_ffn_dim, dims.d_model)
        self.act = activation(dims.activation_function)
        self.hidden_dropout, self.activation_dropout = nn.Dropout(0.0), nn.Dropout(0.0)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """See Attention.forward."""
        x = x + self.hidden_dropout(super().forward(self.self_attn_layer_norm(x), mask))
        inner = self.activation_dropout(self.act(self.fc1(self.final_layer_norm(x))))
        out: Tensor = x + self.hidden_dropout(self.fc2(inner))
        # As transformers does: states of the large models come near the largest number in half precision.
        return out.clamp(-LARGEST_HALF, LARGEST_HALF) if out.dtype == torch.float16 else out


class Top(nn.Module):
    """The layers between Whisper's encoder, which was trained for a decoder, and the head, which writes letters."""

    def __init__(self, dims: TopDims, channels: int) -> None:
        super().__init__()
        self.inputs = dims.ctc_inputs
        self.projection = nn.Linear(channels * len(self.inputs), dims.ctc_hidden_size)
        self.projection_norm = nn.LayerNorm(dims.ctc_hidden_size)
        self.layers = Stack(TopLayer(dims) for _ in range(dims.ctc_layers))
        self.layer_norm = nn.LayerNorm(dims.ctc_hidden_size)

    def join(self, states: list[Tensor]) -> Tensor:
        """Outputs (B, T, channels) of the encoder's layers -> (B, T, C), the input of these layers."""
        normal = [F.layer_norm(states[n - 1], states[n - 1].shape[-1:]) for n in self.inputs]
        out: Tensor = self.projection_norm(self.projection(torch.cat(normal, dim=-1)))
        return out

    def forward(self, x: Tensor, mask: Tensor | None, inside: Tensor | None, states: list[Tensor]) -> Tensor:
        """(B, T, C) -> (B, T, C); inside: which frames (B, T, 1) are valid, None for all; states: see Encoder."""
        out: Tensor = self.layer_norm(self.layers(x, mask, inside, states=states))
        return out


class TopLayer(nn.Module):
    """A conformer block without positions: attention, convolution, a feed-forward part, each after a norm."""

    def __init__(self, dims: TopDims) -> None:
        super().__init__()
        size, kernel = dims.ctc_hidden_size, dims.ctc_conv_kernel
        self.attention_norm = nn.LayerNorm(size)
        self.attention = Attention(size, dims.ctc_attention_heads)
        self.conv_norm = nn.LayerNorm(size)
        self.pointwise_conv1 = nn.Linear(size, 2 * size)
        self.depthwise_conv = DepthwiseConv(size, kernel, padding=kernel // 2)
        self.depthwise_norm = nn.LayerNorm(size)
        self.pointwise_conv2 = nn.Linear(size, size)
        self.feed_forward_norm = nn.LayerNorm(size)
        self.feed_forward = FeedForward(size, dims.ctc_intermediate_size, "silu")
        self.hidden_dropout = nn.Dropout(0.0)

    def forward(self, x: Tensor, mask: Tensor | None, inside: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C); see Top.forward."""
        x = x + self.hidden_dropout(self.attention(self.attention_norm(x), mask))
        gated = F.glu(self.pointwise_conv1(self.conv_norm(x)), dim=-1)
        gated = gated if inside is None else gated.masked_fill(~inside, 0.0)
        mixed = F.silu(self.depthwise_norm(self.depthwise_conv(gated)))
        x = x + self.hidden_dropout(self.pointwise_conv2(mixed))
        out: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return out


FAMILY = Family(
    build=build,
    head="WhisperForCTC",
    prefix=PREFIX,
    assumed_ctc=False,
    preprocessor=preprocessor_for,
    with_new_head=with_top,
    ctc_layers=True,
    # Whisper's own entries, `dropout` and `encoder_layerdrop`, are not read.
    regularization={"final_dropout": 0.0, "layerdrop": 0.0},
)
