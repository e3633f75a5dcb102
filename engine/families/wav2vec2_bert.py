"""Wav2Vec2-BERT with a CTC head (Barrault et al. 2023), as transformers' Wav2Vec2BertForCTC.

    samples -> log-mels every 160 samples, two to a frame -> conformer (Gulati et al. 2020) -> CTC head

Its convolutions are causal, so padding on the right could change the result in two places, and is masked in both: the
statistics that normalize log-mels, and the attention keys.
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
from earshot_asr.engine.families.layers import (
    Depth,
    DepthwiseConv,
    Encoder,
    FeedForward,
    Recipe,
    Size,
    Stack,
    Symbols,
    activation,
    attend,
    check_heads,
    heads,
    key_mask,
    rate,
    read_dims,
    valid,
)

PREFIX = "wav2vec2_bert."
EXTRACTOR = "SeamlessM4TFeatureExtractor"
POSITIONS = ("relative_key", "relative", "rotary", None)

MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES, MEL_FFT_SAMPLES = 400, 160, 512
MEL_FLOOR = 1.192092955078125e-07
PREEMPHASIS = 0.97


@dataclass(frozen=True, slots=True)
class Wav2Vec2BertDims:
    """The entries of config.json with the model's sizes, under transformers' names and with its defaults."""

    vocab_size: Symbols
    hidden_size: Size = 1024
    num_hidden_layers: Depth = 24
    num_attention_heads: Size = 16
    intermediate_size: Size = 4096
    feature_projection_input_dim: Size = 160
    hidden_act: str = "swish"
    layer_norm_eps: float = 1e-5
    use_intermediate_ffn_before_adapter: bool = False
    rotary_embedding_base: float = 10000
    left_max_position_embeddings: Size = 64
    right_max_position_embeddings: Size = 8
    conv_depthwise_kernel_size: Size = 31

    def __post_init__(self) -> None:
        check_heads(self, "hidden_size", "num_attention_heads")


def build(config: Config, preprocessor: Config) -> "Wav2Vec2Bert":
    """See Family.build."""
    if config.get("add_adapter"):
        raise UnsupportedModel("config.json: add_adapter is true; adapters are not supported")
    extractor = preprocessor.get("feature_extractor_type", EXTRACTOR)
    if extractor != EXTRACTOR:
        raise UnsupportedModel(f"feature_extractor_type {shown(extractor)} does not go with model_type 'wav2vec2-bert'")
    positions = config.get("position_embeddings_type", "relative_key")
    if positions not in POSITIONS:
        raise UnsupportedModel(f"position_embeddings_type {shown(positions)} is none of {POSITIONS}")
    dims = read_dims(Wav2Vec2BertDims, config)
    bands, stride = preprocessor.get("num_mel_bins", 80), preprocessor.get("stride", 2)
    whole = type(bands) is int and type(stride) is int and bands > 0 and stride > 0
    if not (whole and bands * stride == dims.feature_projection_input_dim):
        raise CheckpointError(
            f"preprocessor_config.json: num_mel_bins {shown(bands)} times stride {shown(stride)} is not "
            f"config.json's feature_projection_input_dim, {dims.feature_projection_input_dim}"
        )
    if positions == "rotary" and dims.hidden_size // dims.num_attention_heads % 2:
        raise CheckpointError(f"config.json: hidden_size is {dims.hidden_size}; each head must have an even part of it")
    if positions == "relative" and dims.hidden_size % 2:
        raise CheckpointError(f"config.json: hidden_size is {dims.hidden_size}; it must be even")
    return Wav2Vec2Bert(dims, positions, bands, stride)


def preprocessor_for(config: Config) -> dict[str, Any]:
    """See Family.preprocessor."""
    return {
        "feature_extractor_type": EXTRACTOR,
        "feature_size": 80,
        "num_mel_bins": 80,
        "stride": 2,
        "sampling_rate": 16000,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
    }


class Wav2Vec2Bert(Encoder):
    """See Encoder. positions: one of POSITIONS. bands: of log-mels. stride: log-mel frames in a frame."""

    ABOVE = ("intermediate_ffn.",)

    def __init__(self, dims: Wav2Vec2BertDims, positions: str | None, bands: int, stride: int) -> None:
        grid = FrameGrid(MEL_HOP_SAMPLES * stride, MEL_WINDOW_SAMPLES + MEL_HOP_SAMPLES * (stride - 1))
        super().__init__(grid, dims.hidden_size, dims.vocab_size)
        self.mels = LogMels(bands, stride)
        self.feature_projection = FeatureProjection(dims)
        self.encoder = Conformer(dims, positions)
        ffn = dims.use_intermediate_ffn_before_adapter
        self.intermediate_ffn = FeedForward(dims.hidden_size, dims.intermediate_size, "relu") if ffn else None

    @property
    def layers(self) -> Stack:
        """See Encoder.layers."""
        return self.encoder.layers

    @torch.no_grad()
    def initialize(self) -> None:
        """See Encoder.initialize: as transformers does."""
        for module in self.modules():
            match module:
                case RelativeAttention():
                    nn.init.xavier_uniform_(module.pos_bias_u)
                    nn.init.xavier_uniform_(module.pos_bias_v)
                case nn.Embedding():
                    nn.init.normal_(module.weight, std=0.02)

    def prepare_for_training(self) -> None:
        """See Encoder.prepare_for_training. Log-mels in single precision take half the time."""
        self.mels.precision = torch.float32

    def extract(self, samples: Tensor, lengths: Tensor | None) -> Tensor:
        """See Encoder.extract."""
        with torch.autocast(
            samples.device.type, enabled=False
        ):  # otherwise the filters would be applied in half precision
            mels: Tensor = self.mels(samples, lengths)
        return mels.to(self.dtype)

    def project(self, features: Tensor) -> Tensor:
        """See Encoder.project."""
        out: Tensor = self.feature_projection(features)
        return out

    def contextualize(self, x: Tensor, frames: Tensor | None, states: list[Tensor] | None = None) -> Tensor:
        """See Encoder.contextualize."""
        x = self.encoder(x, frames, states)
        return x if self.intermediate_ffn is None else torch.add(x, self.intermediate_ffn(x), alpha=0.5)

    def recipe(self, name: str) -> Recipe:
        """See Encoder.recipe. Queries, keys and values become one matrix, pointwise convolutions matrices."""
        if name.startswith("lm_head."):
            return Recipe((name,))
        if ".qkv." in name:
            names = (PREFIX + name.replace("qkv", part) for part in ("linear_q", "linear_k", "linear_v"))
            return Recipe(tuple(names), lambda *parts: torch.cat(parts), lambda w: w.chunk(3))
        if ".pointwise_conv" in name:
            return Recipe((PREFIX + name,), lambda w: w.squeeze(-1), lambda w: (w.unsqueeze(-1),))
        return Recipe((PREFIX + name,))


def mel_filters(bands: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Kaldi's triangular mel filters, 20 Hz to the Nyquist frequency: (MEL_FFT_SAMPLES // 2 + 1, bands)."""

    def mel(hertz: Any) -> Any:
        return 1127.0 * np.log(1.0 + hertz / 700.0)

    centres = np.linspace(mel(20.0), mel(SAMPLE_RATE / 2), bands + 2)
    bins = mel(np.arange(MEL_FFT_SAMPLES // 2 + 1) * SAMPLE_RATE / MEL_FFT_SAMPLES)[:, None]
    width = np.diff(centres)
    rising, falling = (bins - centres[:-2]) / width[:-1], (centres[2:] - bins) / width[1:]
    filters: np.ndarray[Any, np.dtype[np.float64]] = np.maximum(0.0, np.minimum(rising, falling))
    return filters


class LogMels(nn.Module):
    """Log-mels, normalized per band over the valid frames of a row, as by SeamlessM4TFeatureExtractor.

    Computed in double precision until they are normalized: in single precision a quiet band next to a loud one is off
    by 1e-3, and a row of two frames, whose variance is small, by 7e-5. Training changes the sound more than that, and
    sets `precision` to float32.

    A last log-mel frame without a partner (there is none in a window of exactly grid.span() samples) counts in mean and
    variance but makes no frame. transformers appends a padded frame there and masks it, which has the same result.
    """

    window: Tensor
    filters: Tensor
    precision = torch.float64

    def __init__(self, bands: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        povey = np.hanning(MEL_WINDOW_SAMPLES) ** 0.85 * 2.0**15  # Kaldi's samples are 16 bit integers
        self.register_buffer("window", torch.from_numpy(povey), persistent=False)
        self.register_buffer("filters", torch.from_numpy(mel_filters(bands)), persistent=False)

    def forward(self, samples: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, S) -> (B, T, stride * bands), float32."""
        mels = self.raw(samples)
        if lengths is None:
            variance, mean = torch.var_mean(mels, dim=1, correction=1, keepdim=True)
        else:
            count = (torch.div(lengths - MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES, rounding_mode="floor") + 1).clamp_min(2)
            inside = valid(count, mels.shape[1])[..., None]
            count = count[:, None, None]
            mean = mels.masked_fill(~inside, 0.0).sum(1, keepdim=True) / count
            variance = (mels - mean).masked_fill(~inside, 0.0).square().sum(1, keepdim=True) / (count - 1)
        mels = (mels - mean) * torch.rsqrt(variance + 1e-7)
        frames = mels.shape[1] // self.stride
        return mels[:, : frames * self.stride].reshape(len(mels), frames, -1).float()

    def raw(self, samples: Tensor) -> Tensor:
        """(B, S) -> log-mels (B, (S - 400) // 160 + 1, bands) of dtype `precision`, not normalized."""
        frames = samples.to(self.precision).unfold(1, MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat((frames[..., :1], frames[..., :-1]), dim=-1)
        window, filters = self.window.to(self.precision), self.filters.to(self.precision)
        spectrum = torch.fft.rfft(before.mul_(-PREEMPHASIS).add_(frames).mul_(window), n=MEL_FFT_SAMPLES)
        power = spectrum.real.square() + spectrum.imag.square()
        mels: Tensor = power @ filters
        return mels.clamp_min_(MEL_FLOOR).log_()


class FeatureProjection(nn.Module):
    """A norm and a linear map from log-mels to the conformer's channels."""

    def __init__(self, dims: Wav2Vec2BertDims) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(dims.feature_projection_input_dim, eps=dims.layer_norm_eps)
        self.projection = nn.Linear(dims.feature_projection_input_dim, dims.hidden_size)
        self.feat_proj_dropout = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, mels) -> (B, T, C)."""
        out: Tensor = self.feat_proj_dropout(self.projection(self.layer_norm(x)))
        return out


class Conformer(nn.Module):
    """The layers, and the table of positions that they share."""

    def __init__(self, dims: Wav2Vec2BertDims, positions: str | None) -> None:
        super().__init__()
        self.dims, self.positions = dims, positions
        self.hidden_dropout = nn.Dropout(0.0)
        self.layers = Stack(Layer(dims, positions) for _ in range(dims.num_hidden_layers))

    def forward(self, x: Tensor, frames: Tensor | None, states: list[Tensor] | None = None) -> Tensor:
        """See Encoder.contextualize."""
        mask = None if frames is None else key_mask(frames, x.shape[1], x.dtype)
        x = self.hidden_dropout(x)
        out: Tensor = self.layers(x, self.table(x), mask, states=states)
        return out

    def table(self, x: Tensor) -> Tensor | None:
        """The table of positions for x (B, T, C), which the attention of each layer gets; None if it uses none.

        rotary         cosine and sine (2, T, 1, D)
        relative       sinusoids (2 T - 1, C) of the distances T - 1 down to 1 - T from key to query
        relative_key   int64 (T, T): the number of the embedding for the distance from query to key
        """
        time = torch.arange(x.shape[1], device=x.device)
        match self.positions:
            case "rotary":
                size = self.dims.hidden_size // self.dims.num_attention_heads
                base = self.dims.rotary_embedding_base
                rates = 1.0 / base ** (torch.arange(0, size, 2, device=x.device).float() / size)
                angles = (time[:, None] * rates).repeat(1, 2)[:, None]
                return torch.stack((angles.cos(), angles.sin())).to(x.dtype)
            case "relative":
                rates = torch.arange(0, x.shape[2], 2, device=x.device).float() * (-math.log(10000.0) / x.shape[2])
                distance = torch.arange(x.shape[1] - 1, -x.shape[1], -1, device=x.device)
                angles = distance[:, None] * rates.exp()
                return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1).to(x.dtype)
            case "relative_key":
                left, right = self.dims.left_max_position_embeddings, self.dims.right_max_position_embeddings
                return (time - time[:, None]).clamp_(-left, right) + left
        return None


class Layer(nn.Module):
    """A conformer block: half a feed-forward part, attention, convolution, half a feed-forward part."""

    def __init__(self, dims: Wav2Vec2BertDims, positions: str | None) -> None:
        super().__init__()
        size, eps = dims.hidden_size, dims.layer_norm_eps
        self.ffn1_layer_norm = nn.LayerNorm(size, eps=eps)
        self.ffn1 = FeedForward(size, dims.intermediate_size, dims.hidden_act)
        self.self_attn_layer_norm = nn.LayerNorm(size, eps=eps)
        self.self_attn = ATTENTIONS[positions](dims)
        self.attention_dropout = nn.Dropout(0.0)
        self.conv_module = ConvModule(dims)
        self.ffn2_layer_norm = nn.LayerNorm(size, eps=eps)
        self.ffn2 = FeedForward(size, dims.intermediate_size, dims.hidden_act)
        self.final_layer_norm = nn.LayerNorm(size, eps=eps)

    def forward(self, x: Tensor, table: Tensor | None, mask: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C); `table`: see Conformer.table; `mask`: (B, 1, 1, T), added to the scores."""
        x = torch.add(x, self.ffn1(self.ffn1_layer_norm(x)), alpha=0.5)
        x = x + self.attention_dropout(self.self_attn(self.self_attn_layer_norm(x), table, mask))
        x = x + self.conv_module(x)
        x = torch.add(x, self.ffn2(self.ffn2_layer_norm(x)), alpha=0.5)
        out: Tensor = self.final_layer_norm(x)
        return out


class ConvModule(nn.Module):
    """A gated, causal depthwise convolution: a frame depends on itself and on earlier ones."""

    def __init__(self, dims: Wav2Vec2BertDims) -> None:
        super().__init__()
        size, kernel = dims.hidden_size, dims.conv_depthwise_kernel_size
        self.layer_norm = nn.LayerNorm(size, eps=dims.layer_norm_eps)
        self.pointwise_conv1 = nn.Linear(size, 2 * size, bias=False)
        self.depthwise_conv = DepthwiseConv(size, kernel, padding=kernel - 1, bias=False)
        self.depthwise_layer_norm = nn.LayerNorm(size, eps=dims.layer_norm_eps)
        self.pointwise_conv2 = nn.Linear(size, size, bias=False)
        self.act = activation(dims.hidden_act)
        self.conformer_conv_dropout = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        gated = F.glu(self.pointwise_conv1(self.layer_norm(x)), dim=-1)
        x = self.depthwise_conv(gated)[:, : x.shape[1]]
        out: Tensor = self.conformer_conv_dropout(self.pointwise_conv2(self.act(self.depthwise_layer_norm(x))))
        return out


class Attention(nn.Module):
    """Multi-head self-attention without positions. Its subclasses add positions, and override one step each."""

    def __init__(self, dims: Wav2Vec2BertDims) -> None:
        super().__init__()
        self.n, self.size = dims.num_attention_heads, dims.hidden_size // dims.num_attention_heads
        self.scale = self.size**-0.5
        self.qkv = nn.Linear(dims.hidden_size, 3 * dims.hidden_size)
        self.linear_out = nn.Linear(dims.hidden_size, dims.hidden_size)
        self.attention_dropout = nn.Dropout(0.0)

    def forward(self, x: Tensor, table: Tensor | None, mask: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        q, k, v = (heads(part, self.n) for part in self.project(x, table))
        q, bias = self.place(q, table)
        if mask is not None:
            bias = mask if bias is None else bias + mask
        out: Tensor = self.linear_out(attend(q, k, v, bias, rate(self.attention_dropout)))
        return out

    def project(self, x: Tensor, table: Tensor | None) -> tuple[Tensor, ...]:
        """Queries, keys and values, (B, T, C) each."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return q, k, v

    def place(self, q: Tensor, table: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The queries (B, n, T, D) to use, and a bias (B, n, T, T) on the scaled scores, or None."""
        return q, None


class RotaryAttention(Attention):
    """Rotary positions (Su et al. 2021), applied before the projection to queries and keys, not to values."""

    def project(self, x: Tensor, table: Tensor | None) -> tuple[Tensor, ...]:
        """See Attention.project."""
        assert table is not None
        each = x.view(*x.shape[:2], self.n, self.size)
        first, second = each.chunk(2, dim=-1)
        turned = (each * table[0] + torch.cat((-second, first), dim=-1) * table[1]).flatten(2)
        size = 2 * x.shape[-1]
        qk = F.linear(turned, self.qkv.weight[:size], self.qkv.bias[:size])
        return *qk.chunk(2, dim=-1), F.linear(x, self.qkv.weight[size:], self.qkv.bias[size:])


class RelativeKeyAttention(Attention):
    """A learned embedding for each clamped distance (Shaw et al. 2018), as in the pretrained w2v-bert-2.0."""

    def __init__(self, dims: Wav2Vec2BertDims) -> None:
        super().__init__(dims)
        count = dims.left_max_position_embeddings + dims.right_max_position_embeddings + 1
        self.distance_embedding = nn.Embedding(count, self.size)

    def place(self, q: Tensor, table: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See Attention.place."""
        assert table is not None
        by_distance = (q * self.scale) @ self.distance_embedding.weight.T  # (B, n, T, distances)
        return q, by_distance.gather(-1, table.expand(*q.shape[:2], -1, -1))


class RelativeAttention(Attention):
    """Sinusoids of the distance and two learned biases (Transformer-XL, Dai et al. 2019, section 3.3)."""

    def __init__(self, dims: Wav2Vec2BertDims) -> None:
        super().__init__(dims)
        self.linear_pos = nn.Linear(dims.hidden_size, dims.hidden_size, bias=False)
        self.pos_bias_u = nn.Parameter(torch.empty(self.n, self.size))
        self.pos_bias_v = nn.Parameter(torch.empty(self.n, self.size))

    def place(self, q: Tensor, table: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See Attention.place."""
        assert table is not None
        places = heads(self.linear_pos(table)[None], self.n)  # (1, n, 2 T - 1, D)
        scores = (q + self.pos_bias_v[:, None]) @ places.mT  # (B, n, T, 2 T - 1)
        batch, n, frames, width = scores.shape
        # The score of query i and key j is in column T - 1 + j - i, which a view with rows one shorter moves to j.
        strides = (n * frames * width, frames * width, width - 1, 1)
        skewed = scores.contiguous().as_strided((batch, n, frames, frames), strides, frames - 1)
        return q + self.pos_bias_u[:, None], skewed * self.scale


ATTENTIONS: dict[str | None, type[Attention]] = {
    None: Attention,
    "rotary": RotaryAttention,
    "relative": RelativeAttention,
    "relative_key": RelativeKeyAttention,
}


FAMILY = Family(
    build=build,
    head="Wav2Vec2BertForCTC",
    prefix=PREFIX,
    preprocessor=preprocessor_for,
)
