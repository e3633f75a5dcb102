"""The conformer (Gulati et al. 2020), in the forms that several families have: w2v-BERT, wav2vec 2.0's, Parakeet's.

A block is half a feed-forward part, attention, convolution, half a feed-forward part. The convolution is causal, with a
layer norm behind it, or centred, with a batch norm. Padding could change the result in the attention keys and, where
the convolution is centred, in its input; it is masked in both.

What a batch norm has learned of the mean and variance of its input stays as it is, in training too: it is a factor and
a shift for each channel, which become part of the convolution's weights when a checkpoint is loaded.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earshot_asr.engine.errors import CheckpointError, UnsupportedModel, shown
from earshot_asr.engine.families import Config
from earshot_asr.engine.families.layers import (
    Contextual,
    DepthwiseConv,
    FeedForward,
    Recipe,
    Stack,
    activation,
    attend,
    heads,
    key_mask,
    rate,
    valid,
)

BATCH_NORM_EPS = 1e-5
BATCH_NORM = ("bias", "weight", "running_mean", "running_var")
"""Names of a batch norm's tensors."""
UPDATES = "num_batches_tracked"
"""Name of one more, which is of no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of a conformer, and what its families differ in.

    positions    "relative_key", "relative", "rotary" or None: see Conformer.table
    kernel       frames that a convolution sees: a frame and those before it if `causal`, else as many on either side
    bias         whether the linear maps have one
    conv_bias    whether the convolutions have one; a centred one has one in any case, its batch norm's
    left, right  the largest distances that relative_key tells apart
    base         of the rates of rotary positions
    """

    channels: int
    heads: int
    inner: int
    depth: int
    act: str
    positions: str | None
    kernel: int
    causal: bool
    eps: float = 1e-5
    bias: bool = True
    conv_bias: bool = False
    left: int = 0
    right: int = 0
    base: float = 10000.0

    def __post_init__(self) -> None:
        if self.positions == "rotary" and self.channels // self.heads % 2:
            raise CheckpointError(f"config.json: hidden_size {self.channels}: each head must have an even part of it")
        if self.positions == "relative" and self.channels % 2:
            raise CheckpointError(f"config.json: hidden_size is {self.channels}; it must be even")
        if not self.causal and self.kernel % 2 == 0:
            raise CheckpointError(f"config.json: the convolutions' kernel is {self.kernel}; it must be odd")


def positions_of(config: Config, default: str | None, known: tuple[str | None, ...]) -> str | None:
    """position_embeddings_type in config.json. Raises UnsupportedModel if it is none of those that are known."""
    positions: str | None = config.get("position_embeddings_type", default)
    if positions not in known:
        raise UnsupportedModel(f"position_embeddings_type {shown(positions)} is none of {known}")
    return positions


class Conformer(Contextual):
    """The layers, and the table of positions that they share."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.hidden_dropout = nn.Dropout(0.0)
        self.layers = Stack(Layer(shape) for _ in range(shape.depth))

    def forward(self, x: Tensor, frames: Tensor | None, states: list[Tensor] | None = None) -> Tensor:
        """See Encoder.contextualize."""
        mask = inside = None
        if frames is not None:
            mask = key_mask(frames, x.shape[1], x.dtype)
            inside = None if self.shape.causal else valid(frames, x.shape[1])[..., None]
        x = self.hidden_dropout(x)
        out: Tensor = self.layers(x, self.table(x), mask, inside, states=states)
        return out

    def table(self, x: Tensor) -> Tensor | None:
        """The table of positions for x (B, T, C), which the attention of each layer gets; None if it uses none.

        rotary         cosine and sine (2, T, 1, D)
        relative       sinusoids (2 T - 1, C) of the distances T - 1 down to 1 - T from key to query
        relative_key   int64 (T, T): the number of the embedding for the distance from query to key
        """
        time = torch.arange(x.shape[1], device=x.device)
        match self.shape.positions:
            case "rotary":
                size = self.shape.channels // self.shape.heads
                rates = 1.0 / self.shape.base ** (torch.arange(0, size, 2, device=x.device).float() / size)
                angles = (time[:, None] * rates).repeat(1, 2)[:, None]
                return torch.stack((angles.cos(), angles.sin())).to(x.dtype)
            case "relative":
                rates = torch.arange(0, x.shape[2], 2, device=x.device).float() * (-math.log(10000.0) / x.shape[2])
                distance = torch.arange(x.shape[1] - 1, -x.shape[1], -1, device=x.device)
                angles = distance[:, None] * rates.exp()
                return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1).to(x.dtype)
            case "relative_key":
                left, right = self.shape.left, self.shape.right
                return (time - time[:, None]).clamp_(-left, right) + left
        return None

    def recipe(self, name: str, theirs: Callable[[str], str]) -> Recipe:
        """How the parameter `name` of the layers is made from a checkpoint; see Encoder.recipe.

        Queries, keys and values become one matrix, pointwise convolutions matrices, and a batch norm part of the
        depthwise convolution before it.

        theirs   a name in a checkpoint for one of ours, and for those of linear_q, linear_k, linear_v and batch_norm
        """
        if ".qkv." in name:
            names = tuple(theirs(name.replace("qkv", part)) for part in ("linear_q", "linear_k", "linear_v"))
            return Recipe(names, lambda *parts: torch.cat(parts), lambda w: w.chunk(3))
        if ".pointwise_conv" in name and name.endswith(".weight"):
            return Recipe((theirs(name),), lambda w: w.squeeze(-1), lambda w: (w.unsqueeze(-1),))
        if ".depthwise_conv." in name and not self.shape.causal:
            stem, _, kind = name.rpartition("depthwise_conv.")
            norm = {part: theirs(f"{stem}batch_norm.{part}") for part in BATCH_NORM}
            if kind == "weight":
                names = (theirs(name), norm["weight"], norm["running_var"])
                return Recipe(names, _fused_weight, written=names[:1])
            names = (*norm.values(), *([theirs(name)] if self.shape.conv_bias else []))
            written = (*names, theirs(f"{stem}batch_norm.{UPDATES}"))
            return Recipe(names, _fused_bias, lambda b: (*_shift_alone(b)[: len(names)], torch.zeros(())), written)
        return Recipe((theirs(name),))

    @torch.no_grad()
    def initialize(self) -> None:
        """Draws the random weights of a new conformer for which torch's defaults are not suitable."""
        for module in self.modules():
            match module:
                case RelativeAttention():
                    nn.init.xavier_uniform_(module.pos_bias_u)
                    nn.init.xavier_uniform_(module.pos_bias_v)
                case nn.Embedding():
                    nn.init.normal_(module.weight, std=0.02)


class Layer(nn.Module):
    """A conformer block."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size, eps = shape.channels, shape.eps
        self.ffn1_layer_norm = nn.LayerNorm(size, eps=eps)
        self.ffn1 = FeedForward(size, shape.inner, shape.act, shape.bias)
        self.self_attn_layer_norm = nn.LayerNorm(size, eps=eps)
        self.self_attn = ATTENTIONS[shape.positions](shape)
        self.attention_dropout = nn.Dropout(0.0)
        self.conv_module = ConvModule(shape)
        self.ffn2_layer_norm = nn.LayerNorm(size, eps=eps)
        self.ffn2 = FeedForward(size, shape.inner, shape.act, shape.bias)
        self.final_layer_norm = nn.LayerNorm(size, eps=eps)

    def forward(self, x: Tensor, table: Tensor | None, mask: Tensor | None, inside: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C).

        table    see Conformer.table
        mask     (B, 1, 1, T), added to the scores; None: nothing is masked
        inside   which frames (B, T, 1) are valid; None: all, or the convolution is causal
        """
        x = torch.add(x, self.ffn1(self.ffn1_layer_norm(x)), alpha=0.5)
        x = x + self.attention_dropout(self.self_attn(self.self_attn_layer_norm(x), table, mask))
        x = x + self.conv_module(x, inside)
        x = torch.add(x, self.ffn2(self.ffn2_layer_norm(x)), alpha=0.5)
        out: Tensor = self.final_layer_norm(x)
        return out


class ConvModule(nn.Module):
    """A gated depthwise convolution, causal or centred."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size, kernel, causal = shape.channels, shape.kernel, shape.causal
        padding = kernel - 1 if causal else kernel // 2
        self.layer_norm = nn.LayerNorm(size, eps=shape.eps)
        self.pointwise_conv1 = nn.Linear(size, 2 * size, bias=shape.conv_bias)
        self.depthwise_conv = DepthwiseConv(size, kernel, padding, bias=not causal)
        self.depthwise_layer_norm = nn.LayerNorm(size, eps=shape.eps) if causal else None
        self.pointwise_conv2 = nn.Linear(size, size, bias=shape.conv_bias)
        self.act = activation(shape.act)
        self.conformer_conv_dropout = nn.Dropout(0.0)

    def forward(self, x: Tensor, inside: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C); inside: see Layer.forward."""
        gated = F.glu(self.pointwise_conv1(self.layer_norm(x)), dim=-1)
        if inside is not None:
            gated = gated.masked_fill(~inside, 0.0)
        x = self.depthwise_conv(gated)[:, : x.shape[1]]
        if self.depthwise_layer_norm is not None:
            x = self.depthwise_layer_norm(x)
        out: Tensor = self.conformer_conv_dropout(self.pointwise_conv2(self.act(x)))
        return out


class Attention(nn.Module):
    """Multi-head self-attention without positions. Its subclasses add positions, and override one step each."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.n, self.size = shape.heads, shape.channels // shape.heads
        self.scale = self.size**-0.5
        self.qkv = nn.Linear(shape.channels, 3 * shape.channels, bias=shape.bias)
        self.linear_out = nn.Linear(shape.channels, shape.channels, bias=shape.bias)
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

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.distance_embedding = nn.Embedding(shape.left + shape.right + 1, self.size)

    def place(self, q: Tensor, table: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See Attention.place."""
        assert table is not None
        by_distance = (q * self.scale) @ self.distance_embedding.weight.T  # (B, n, T, distances)
        return q, by_distance.gather(-1, table.expand(*q.shape[:2], -1, -1))


class RelativeAttention(Attention):
    """Sinusoids of the distance and two learned biases (Transformer-XL, Dai et al. 2019, section 3.3)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.linear_pos = nn.Linear(shape.channels, shape.channels, bias=False)
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


def _fused_weight(weight: Tensor, gain: Tensor, variance: Tensor) -> Tensor:
    """The weight (C, 1, k) of a depthwise convolution, times the factor of the batch norm behind it."""
    return weight.float() * (gain.float() * torch.rsqrt(variance.float() + BATCH_NORM_EPS))[:, None, None]


def _fused_bias(shift: Tensor, gain: Tensor, mean: Tensor, variance: Tensor, *bias: Tensor) -> Tensor:
    """The bias (C,) of a depthwise convolution, which may have had one, with the batch norm behind it."""
    before = bias[0].float() if bias else 0.0
    return shift.float() + (before - mean.float()) * gain.float() * torch.rsqrt(variance.float() + BATCH_NORM_EPS)


def _shift_alone(bias: Tensor) -> tuple[Tensor, ...]:
    """Shift, gain, mean and variance of a batch norm that only adds a bias (C,), and no bias before it."""
    one = torch.ones_like(bias)
    return bias, one, torch.zeros_like(bias), one - BATCH_NORM_EPS, torch.zeros_like(bias)
