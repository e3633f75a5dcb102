"""wav2vec 2.0 with a CTC head (Baevski et al. 2020), as transformers' Wav2Vec2ForCTC: base, XLSR-53, XLS-R, large-lv60.

    samples -> convolutions, a frame every 320 samples -> positional convolution -> transformer -> CTC head

Its relatives, of which each has a file of its own, are built from the same parts (see relative).

All states are (B, T, C). Convolutions are matrix products over views of them, so that nothing is transposed. Padding
could change the result in three places, and is masked in each: the group norm's statistics over time, the input of the
positional convolution, and the attention keys.

Models of many languages (MMS, Pratap et al. 2023) have a small adapter at the end of each layer, and each language has
adapters and a head of its own.
"""

from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod, sqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earshot_asr.engine.audio import FrameGrid
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel, shown
from earshot_asr.engine.families import Config, Family
from earshot_asr.engine.families.filters import WIDE_SAMPLES, band_filters
from earshot_asr.engine.families.layers import (
    Activation,
    Attention,
    Contextual,
    Depth,
    Encoder,
    FeedForward,
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

EXTRACTOR = "Wav2Vec2FeatureExtractor"
WITHOUT_ADAPTERS = "such models run without adapters here; take a checkpoint that has none"
NORM_EPS = 1e-5
"""Epsilon of the norms inside the feature extractor; layer_norm_eps is for those behind it."""
POSITIONS = "pos_conv_embed.conv."
MAGNITUDE, DIRECTION = "parametrizations.weight.original0", "parametrizations.weight.original1"
"""The pair of tensors that transformers writes for a weight with weight norm (Salimans & Kingma 2016)."""


@dataclass(frozen=True, slots=True)
class Wav2Vec2Dims:
    """The entries of config.json with the model's sizes, under transformers' names and with its defaults."""

    vocab_size: Symbols = 32
    hidden_size: Size = 768
    num_hidden_layers: Depth = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
    feat_extract_norm: str = "group"
    feat_extract_activation: str = "gelu"
    conv_dim: tuple[Size, ...] = (512,) * 7
    conv_stride: tuple[Size, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_kernel: tuple[Size, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_bias: bool = False
    num_conv_pos_embeddings: Size = 128
    num_conv_pos_embedding_groups: Size = 16
    do_stable_layer_norm: bool = False
    adapter_attn_dim: Size | None = None

    def __post_init__(self) -> None:
        check_heads(self, "hidden_size", "num_attention_heads")
        if not len(self.conv_dim) == len(self.conv_stride) == len(self.conv_kernel):
            raise CheckpointError("config.json: conv_dim, conv_stride and conv_kernel differ in length")
        if self.hidden_size % self.num_conv_pos_embedding_groups:
            raise CheckpointError("config.json: num_conv_pos_embedding_groups does not divide hidden_size")
        if self.feat_extract_norm not in ("group", "layer"):
            raise UnsupportedModel(f"feat_extract_norm {shown(self.feat_extract_norm)} is neither 'group' nor 'layer'")

    @property
    def grid(self) -> FrameGrid:
        """Hop and field of the stack of convolutions."""
        before = accumulate((1, *self.conv_stride[:-1]), lambda a, b: a * b)
        field = 1 + sum((k - 1) * hop for k, hop in zip(self.conv_kernel, before, strict=True))
        return FrameGrid(prod(self.conv_stride), field)


def build(config: Config, preprocessor: Config) -> "Wav2Vec2":
    """See Family.build."""
    if config.get("add_adapter"):
        raise UnsupportedModel(f"config.json: add_adapter is true; {WITHOUT_ADAPTERS}")
    return Wav2Vec2(read_dims(Wav2Vec2Dims, config), normalizes(config, preprocessor))


def normalizes(config: Config, preprocessor: Config, kind: str = EXTRACTOR) -> bool:
    """Whether the feature extractor `kind` is to normalize the samples. Raises UnsupportedModel, CheckpointError."""
    extractor = preprocessor.get("feature_extractor_type", kind)
    if extractor != kind:
        family = config.get("model_type")
        raise UnsupportedModel(f"feature_extractor_type {shown(extractor)} does not go with model_type {family!r}")
    normalize = preprocessor.get("do_normalize", True)
    if not isinstance(normalize, bool):
        raise CheckpointError(f"preprocessor_config.json: do_normalize is {shown(normalize)}; it must be true or false")
    return normalize


def preprocessor_for(config: Config) -> dict[str, Any]:
    """See Family.preprocessor. transformers gives group-norm models no attention mask."""
    return {
        "feature_extractor_type": EXTRACTOR,
        "feature_size": 1,
        "sampling_rate": 16000,
        "do_normalize": True,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": config.get("feat_extract_norm", "group") == "layer",
    }


class Wav2Vec2(Encoder):
    """See Encoder.

    normalize   each row to zero mean and unit variance first, as Wav2Vec2FeatureExtractor does
    encoder     of a relative, which is not the usual one
    """

    PREFIX = "wav2vec2."
    NORMALIZE_EPS = 1e-7
    ADAPTER = ".adapter_layer."

    def __init__(self, dims: Wav2Vec2Dims, normalize: bool, encoder: "Contextual | None" = None) -> None:
        super().__init__(dims.grid, dims.hidden_size, dims.vocab_size)
        self.normalize = normalize
        self.feature_extractor = FeatureExtractor(dims)
        self.feature_projection = FeatureProjection(dims)
        self.encoder = Transformer(dims) if encoder is None else encoder
        self.ABOVE = ("encoder.layer_norm.",) if self.encoder.pre_norm else ()

    @property
    def pre_norm(self) -> bool:
        """See Encoder.pre_norm."""
        return self.encoder.pre_norm

    @property
    def layers(self) -> Stack:
        """See Encoder.layers."""
        return self.encoder.layers

    @property
    def convolutions(self) -> nn.Module:
        """See Encoder.convolutions."""
        return self.feature_extractor

    @torch.no_grad()
    def initialize(self) -> None:
        """See Encoder.initialize: as transformers does, but that a wide first convolution becomes a bank of filters."""
        for module in self.modules():
            if isinstance(module, Conv | PositionalConv):
                module.reset_parameters()

    def extract(self, samples: Tensor, lengths: Tensor | None) -> Tensor:
        """See Encoder.extract."""
        if self.normalize:
            samples = normalized(samples, lengths, self.NORMALIZE_EPS)
        out: Tensor = self.feature_extractor(samples, lengths, self.dtype)
        return out

    def project(self, features: Tensor) -> Tensor:
        """See Encoder.project."""
        out: Tensor = self.feature_projection(features)
        return out

    def contextualize(self, x: Tensor, frames: Tensor | None, states: list[Tensor] | None = None) -> Tensor:
        """See Encoder.contextualize."""
        out: Tensor = self.encoder(x, frames, states)
        return out

    def recipe(self, name: str) -> Recipe:
        """See Encoder.recipe. Convolutions become (k, C in, C out); queries, keys and values one matrix."""
        if name.startswith("lm_head."):
            return Recipe((name,))
        theirs = self.PREFIX + name
        if ".qkv." in name:
            names = tuple(theirs.replace("qkv", part) for part in ("q_proj", "k_proj", "v_proj"))
            return Recipe(names, lambda *parts: torch.cat(parts), lambda w: w.chunk(3))
        if name.startswith("feature_extractor.") and name.endswith(".conv.weight"):
            return Recipe((theirs,), _permuted, lambda w: (_permuted(w),))
        if name.endswith(POSITIONS + "weight"):
            stem = theirs.removesuffix("weight")
            return Recipe((theirs,), undo=_magnitude_and_direction, written=(stem + MAGNITUDE, stem + DIRECTION))
        return Recipe((theirs,))


def _permuted(weight: Tensor) -> Tensor:
    """(C out, C in, k) <-> (k, C in, C out)."""
    return weight.permute(2, 1, 0).contiguous()


def _magnitude_and_direction(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The weight (C out, C in, k) of the positional convolution with a norm (1, 1, k) for each of its taps."""
    return torch.linalg.vector_norm(weight.float(), dim=(0, 1), keepdim=True), weight


def normalized(samples: Tensor, lengths: Tensor | None, eps: float = 1e-7) -> Tensor:
    """Samples (B, S) with zero mean and unit variance over the valid part of each row, and zeros beyond it.

    In double precision: what is left of a quiet row with an offset would depend on the order of the sum.
    """
    exact = samples.double()
    if lengths is None:
        variance, mean = torch.var_mean(exact, dim=1, correction=0, keepdim=True)
        return ((exact - mean) * torch.rsqrt(variance + eps)).to(samples.dtype)
    inside = valid(lengths, samples.shape[1])
    count = lengths.clamp_min(1)[:, None]
    centred = (exact - exact.sum(1, keepdim=True) / count).masked_fill_(~inside, 0.0)
    return (centred * torch.rsqrt(centred.square().sum(1, keepdim=True) / count + eps)).to(samples.dtype)


class FeatureExtractor(nn.Module):
    """The stack of convolutions: samples (B, S) -> features (B, T, C)."""

    def __init__(self, dims: Wav2Vec2Dims) -> None:
        super().__init__()
        act = activation(dims.feat_extract_activation)
        shapes = zip(dims.conv_kernel, dims.conv_stride, (1, *dims.conv_dim[:-1]), dims.conv_dim, strict=True)
        self.conv_layers = nn.ModuleList()
        for i, (kernel, stride, c_in, c_out) in enumerate(shapes):
            conv = Conv(kernel, stride, c_in, c_out, dims.conv_bias)
            if dims.feat_extract_norm == "layer":
                self.conv_layers.append(ConvLayer(conv, nn.LayerNorm(c_out, eps=NORM_EPS), act))
            elif i == 0:
                self.conv_layers.append(GroupNormConvLayer(conv, nn.GroupNorm(c_out, c_out, eps=NORM_EPS), act))
            else:
                self.conv_layers.append(ConvLayer(conv, None, act))

    def forward(self, samples: Tensor, lengths: Tensor | None, dtype: torch.dtype) -> Tensor:
        """`samples` float32, zero beyond their lengths; the result is of `dtype`."""
        first, *rest = self.conv_layers
        if isinstance(first, GroupNormConvLayer):
            x = first(samples, lengths, dtype)
        else:
            x = first(samples.to(dtype)[..., None])
        for layer in rest:
            x = layer(x)
        out: Tensor = x
        return out


class Conv(nn.Module):
    """Convolution over time on (B, T, C), as one matrix product for each `stride` taps of the kernel.

    `stride` frames side by side are one row of a matrix, without a copy. A kernel of 3 with stride 2 takes two
    products, over rows of two frames and of one frame.
    """

    def __init__(self, kernel: int, stride: int, c_in: int, c_out: int, bias: bool) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.weight = nn.Parameter(torch.empty(kernel, c_in, c_out))
        self.bias = nn.Parameter(torch.empty(c_out)) if bias else None

    def reset_parameters(self) -> None:
        """Draws random weights; those of a wide convolution over samples are band filters."""
        taken = self.kernel * self.weight.shape[1]
        nn.init.normal_(self.weight, std=sqrt(2 / taken))
        if self.weight.shape[1] == 1 and self.kernel >= WIDE_SAMPLES:
            self.weight.copy_(band_filters(self.kernel, self.weight.shape[2])[:, None])
        if self.bias is not None:
            nn.init.uniform_(self.bias, -(taken**-0.5), taken**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C in) -> (B, (T - kernel) // stride + 1, C out)."""
        frames = (x.shape[1] - self.kernel) // self.stride + 1
        out: Tensor | None = self.bias
        for tap in range(0, self.kernel, self.stride):
            taps = min(self.stride, self.kernel - tap)
            rows = x[:, tap:].unfold(1, taps, self.stride)[:, :frames].transpose(2, 3).flatten(2)
            weight = self.weight[tap : tap + taps].flatten(0, 1).expand(len(x), -1, -1)
            out = torch.bmm(rows, weight) if out is None else torch.baddbmm(out, rows, weight)
        assert out is not None
        return out


class ConvLayer(nn.Module):
    """Convolution, layer norm over channels or none, activation."""

    def __init__(self, conv: Conv, norm: nn.LayerNorm | None, act: Activation) -> None:
        super().__init__()
        self.conv, self.layer_norm, self.act = conv, norm, act

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T', C')."""
        x = self.conv(x)
        return self.act(x if self.layer_norm is None else self.layer_norm(x))


class GroupNormConvLayer(nn.Module):
    """The first layer of a group-norm model, which normalizes each channel over time.

    Mean and variance of a channel follow from those of its input: if patches p of `kernel` samples have the mean m and
    the covariance K over time, then w·p has the mean w·m and the variance w·Kw. So the norm becomes a factor on the
    weights and a bias, without a pass over the long output. Padding is left out of m and K, which are computed in
    double precision, because K is ill-conditioned on speech; they are small.
    """

    def __init__(self, conv: Conv, norm: nn.GroupNorm, act: Activation) -> None:
        super().__init__()
        self.conv, self.layer_norm, self.act = conv, norm, act

    def forward(self, samples: Tensor, lengths: Tensor | None, dtype: torch.dtype) -> Tensor:
        """(B, S) float32 -> (B, T, C) of `dtype`."""
        patches = samples.unfold(1, self.conv.kernel, self.conv.stride)  # (B, T, k)
        mean, covariance = self.statistics(patches.double(), lengths)
        weight = self.conv.weight.flatten(0, 1).double()  # (k, C)
        variance = (weight * (covariance @ weight)).sum(1)  # (B, C)
        scale = self.layer_norm.weight * torch.rsqrt(variance + self.layer_norm.eps)
        shift = self.layer_norm.bias - (mean @ weight) * scale  # the convolution's own bias cancels
        weight = weight * scale[:, None]  # (B, k, C)
        return self.act(torch.baddbmm(shift[:, None].to(dtype), patches.to(dtype), weight.to(dtype)))

    def statistics(self, patches: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean (B, k) and covariance (B, k, k) over the patches (B, T, k) that hold no padding."""
        if lengths is None:
            mean = patches.mean(1)
            centred = patches - mean[:, None]
            return mean, centred.mT @ centred / patches.shape[1]
        stride, kernel = self.conv.stride, self.conv.kernel
        count = (torch.div(lengths - kernel, stride, rounding_mode="floor") + 1).clamp_min(1)[:, None]
        outside = ~valid(count[:, 0], patches.shape[1])[..., None]
        mean = patches.masked_fill(outside, 0.0).sum(1) / count
        centred = (patches - mean[:, None]).masked_fill_(outside, 0.0)
        return mean, centred.mT @ centred / count[..., None]


class FeatureProjection(nn.Module):
    """A norm and a linear map from the convolutions' channels to the transformer's. A relative may lack either."""

    def __init__(self, dims: Wav2Vec2Dims) -> None:
        super().__init__()
        self.channels = dims.conv_dim[-1]
        self.layer_norm: nn.Module = nn.LayerNorm(dims.conv_dim[-1], eps=dims.layer_norm_eps)
        self.projection: nn.Module = nn.Linear(dims.conv_dim[-1], dims.hidden_size)
        self.feat_proj_dropout = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C')."""
        out: Tensor = self.feat_proj_dropout(self.projection(self.layer_norm(x)))
        return out


class PositionalConv(nn.Module):
    """Relative positions, by a wide grouped convolution, whose weight norm is fused when a checkpoint is loaded."""

    def __init__(self, dims: Wav2Vec2Dims, kernel: int | None = None, stride: int = 1) -> None:
        super().__init__()
        kernel, groups = kernel or dims.num_conv_pos_embeddings, dims.num_conv_pos_embedding_groups
        self.conv = nn.Conv1d(dims.hidden_size, dims.hidden_size, kernel, stride, kernel // 2, groups=groups)
        self.act = activation(dims.feat_extract_activation)

    def reset_parameters(self) -> None:
        """Draws random weights."""
        nn.init.normal_(self.conv.weight, std=2 * sqrt(1 / (self.conv.kernel_size[0] * self.conv.in_channels)))
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, inside: Tensor | None) -> Tensor:
        """(B, T, C), zero where it is not inside (B, T, 1) -> (B, T // stride, C). inside: see cleared."""
        return self.act(self.convolve(x))

    def convolve(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T // stride, C). Other kernels give one frame too many, which is cut off."""
        out: Tensor = self.conv(x.mT)[..., : x.shape[1] // self.conv.stride[0]]
        return out.mT


def cleared(x: Tensor, inside: Tensor | None) -> Tensor:
    """x (B, T, C) with zeros in the frames that are padding; inside: which are not (B, T, 1), None for all."""
    return x if inside is None else x.masked_fill(~inside, 0.0)


class Transformer(Contextual):
    """The layers, post-norm in base models, pre-norm in large ones (`do_stable_layer_norm`).

    positions   what takes the place of PositionalConv
    """

    ATTENTION: type[Attention] = Attention

    def __init__(self, dims: Wav2Vec2Dims, positions: nn.Module | None = None) -> None:
        super().__init__()
        self.pre_norm = dims.do_stable_layer_norm
        self.pos_conv_embed = PositionalConv(dims) if positions is None else positions
        self.layer_norm = nn.LayerNorm(dims.hidden_size, eps=dims.layer_norm_eps)
        self.hidden_dropout = nn.Dropout(0.0)
        self.layers = Stack(Layer(dims, self.ATTENTION) for _ in range(dims.num_hidden_layers))

    def forward(self, x: Tensor, frames: Tensor | None, states: list[Tensor] | None = None) -> Tensor:
        """See Encoder.contextualize."""
        inside = None if frames is None else valid(frames, x.shape[1])[..., None]
        x = cleared(x, inside)
        x = x + self.pos_conv_embed(x, inside)
        x = self.hidden_dropout(x if self.pre_norm else self.layer_norm(x))
        x = self.layers(x, *self.shared(x, frames), states=states)
        return self.layer_norm(x) if self.pre_norm else x

    def shared(self, x: Tensor, frames: Tensor | None) -> tuple[Tensor | None, ...]:
        """What each layer's attention is given beside x (B, T, C): the bias of keys that are padding."""
        return (None if frames is None else key_mask(frames, x.shape[1], x.dtype),)


class Adapter(nn.Module):
    """What a language adds to a layer's output (Houlsby et al. 2019): norm, a narrow linear map, ReLU, and back."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=NORM_EPS)
        self.linear_1 = nn.Linear(channels, inner)
        self.linear_2 = nn.Linear(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        out: Tensor = self.linear_2(F.relu(self.linear_1(self.norm(x))))
        return out


class Layer(nn.Module):
    """A transformer layer: self-attention, a feed-forward part and, in pre-norm models of many languages, an adapter.

    As in transformers, post-norm models have no adapters, whatever adapter_attn_dim says.
    """

    def __init__(self, dims: Wav2Vec2Dims, attention: type[Attention]) -> None:
        super().__init__()
        self.pre_norm = dims.do_stable_layer_norm
        self.attention = attention(dims.hidden_size, dims.num_attention_heads)
        self.hidden_dropout = nn.Dropout(0.0)
        self.layer_norm = nn.LayerNorm(dims.hidden_size, eps=dims.layer_norm_eps)
        self.feed_forward = FeedForward(dims.hidden_size, dims.intermediate_size, dims.hidden_act)
        self.final_layer_norm = nn.LayerNorm(dims.hidden_size, eps=dims.layer_norm_eps)
        self.adapter_layer: Adapter | None = None
        if self.pre_norm and dims.adapter_attn_dim is not None:
            self.adapter_layer = Adapter(dims.hidden_size, dims.adapter_attn_dim)

    def forward(self, x: Tensor, *shared: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C); shared: see Transformer.shared."""
        if self.pre_norm:
            x = x + self.hidden_dropout(self.attention(self.layer_norm(x), *shared))
            out: Tensor = x + self.feed_forward(self.final_layer_norm(x))
            if self.adapter_layer is not None:
                out = out + self.adapter_layer(out)
        else:
            x = self.layer_norm(x + self.hidden_dropout(self.attention(x, *shared)))
            out = self.final_layer_norm(x + self.feed_forward(x))
        return out


FAMILY = Family(
    build=build,
    head="Wav2Vec2ForCTC",
    prefix=Wav2Vec2.PREFIX,
    preprocessor=preprocessor_for,
    regularization={"hidden_dropout": 0.1, "activation_dropout": 0.1, "attention_dropout": 0.1},
    pretraining="Wav2Vec2ForPreTraining",
)


def relative(model: type[Wav2Vec2], head: str, dims: type[Wav2Vec2Dims] = Wav2Vec2Dims, **fixed: Any) -> Family:
    """The family of a model that is wav2vec 2.0 but for some of its parts.

    model   the class of the encoder
    head    see Family
    dims    the entries of its config.json
    fixed   entries that transformers does not read for this family, with what they are instead
    """

    def build_relative(config: Config, preprocessor: Config) -> Wav2Vec2:
        for name in ("add_adapter", "adapter_attn_dim"):
            if config.get(name):
                raise UnsupportedModel(f"config.json: {name} is {shown(config[name])}; {WITHOUT_ADAPTERS}")
        return model(read_dims(dims, {**config, **fixed}), normalizes(config, preprocessor))

    return replace(
        FAMILY,
        build=build_relative,
        head=head,
        prefix=model.PREFIX,
        preprocessor=lambda config: preprocessor_for({**config, **fixed}),
        pretraining="",
    )
