"""What the model families share: the interface of an encoder, and the parts that are the same in each of them.

Letters: B batch, S samples, T frames, C channels, V vocabulary.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earshot_asr.engine.audio import FrameGrid
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel

Activation = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,
    "gelu_python": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_fast": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "mish": F.mish,
    "tanh": torch.tanh,
}


def activation(name: str) -> Activation:
    """The activation function that config.json calls `name`. Raises UnsupportedModel."""
    if name not in ACTIVATIONS:
        raise UnsupportedModel(f"activation {name!r} is not supported; supported are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a parameter of ours is made of a checkpoint: `make` of the tensors `names` there; `undo` for export."""

    names: tuple[str, ...]
    make: Callable[..., Tensor] = lambda x: x
    undo: Callable[[Tensor], tuple[Tensor, ...]] = lambda x: (x,)


class Encoder(nn.Module):
    """Samples in, log-probabilities out: all that the engine knows of a model.

    `grid` says where its frames lie; V is the size of its CTC head.

    `HEAD`: before the names of the weights that come with a new head; all others are the body. `ABOVE`: before those of
    the body that come after its layers. `UNUSED`: before the names of tensors that a checkpoint without a CTC head may
    have, and a model with one has no use for.

    For training, each nn.Dropout in it is called what config.json calls its rate, and has the rate 0 until it is set;
    in evaluation it does nothing. The steps of encode() can be called one by one.
    """

    HEAD: tuple[str, ...] = ("lm_head.",)
    ABOVE: tuple[str, ...] = ()
    UNUSED: tuple[str, ...] = ()

    def __init__(self, grid: FrameGrid, channels: int, vocab: int) -> None:
        super().__init__()
        self.grid = grid
        self.final_dropout = nn.Dropout(0.0)
        self.lm_head = nn.Linear(channels, vocab)

    @property
    def vocab_size(self) -> int:
        """V, the number of symbols of the head."""
        return self.lm_head.out_features

    @property
    def layers(self) -> "Stack":
        """What hidden states go through."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        """C of what the layers are given; that of hidden states is lm_head's."""
        return self.lm_head.in_features

    @property
    def middle(self) -> int:
        """After how many layers phones, and letters, can be told in training: states there have lm_head's channels."""
        return max(1, len(self.layers) * 5 // 8)

    @property
    def pre_norm(self) -> bool:
        """Whether nothing is normalized between the layers, but only before and after each."""
        return False

    @property
    def dtype(self) -> torch.dtype:
        """What the layers compute in. Statistics and log-probabilities are float32 whatever it is."""
        return self.lm_head.weight.dtype

    def forward(self, samples: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Log-probabilities (B, T, V), float32, T = grid.frames(S), of samples (B, S), float32 in [-1, 1).

        lengths: (B,), int64: row b has lengths[b] valid samples, what follows is padding and may hold anything. Its
            first grid.frames(lengths[b]) frames are what they are when the row comes alone; the others mean nothing.
            None, or a tensor on the CPU that says S for all: nothing is masked, which is faster.
        """
        frames = self.grid.frames(samples.shape[1])
        if frames == 0:
            return samples.new_zeros(len(samples), 0, self.vocab_size)
        samples, lengths = silence_padding(samples, lengths)
        hidden = self.encode(samples, lengths)
        return F.log_softmax(self.lm_head(self.final_dropout(hidden)).float(), dim=-1)

    def encode(self, samples: Tensor, lengths: Tensor | None) -> Tensor:
        """Hidden states (B, T, C) of samples (B, S), T > 0, which are zero beyond their lengths."""
        frames = None if lengths is None else self.frames(lengths)
        return self.contextualize(self.project(self.extract(samples, lengths)), frames)

    def extract(self, samples: Tensor, lengths: Tensor | None) -> Tensor:
        """Features (B, T, F): of each frame alone, but for norms over time."""
        raise NotImplementedError

    def project(self, features: Tensor) -> Tensor:
        """Features (B, T, F) -> (B, T, C): what the layers are given, and what is masked in training."""
        raise NotImplementedError

    def contextualize(
        self, x: Tensor, frames: Tensor | None, states: list[Tensor] | None = None, first: int = 0
    ) -> Tensor:
        """(B, T, C) -> hidden states (B, T, C); frames (B,): how many of each row are valid, None for all.

        states: what comes out of each layer is appended.
        first: the layer that x goes into; not 0: x is what came out of the one below.
        """
        raise NotImplementedError

    def recipe(self, name: str) -> Recipe:
        """What the parameter `name` of state_dict() is made of."""
        raise NotImplementedError

    def frames(self, lengths: Tensor) -> Tensor:
        """grid.frames for a tensor, but at least 1: a row of which nothing is valid must not become NaN."""
        return (torch.div(lengths - self.grid.field, self.grid.hop, rounding_mode="floor") + 1).clamp_min(1)


class Stack(nn.ModuleList):
    """Layers, one upon another. `layerdrop`: how often each is left out in training (Fan et al. 2019)."""

    layerdrop = 0.0

    def forward(self, x: Tensor, *shared: Tensor | None, states: list[Tensor] | None = None, first: int = 0) -> Tensor:
        """(B, T, C) -> (B, T, C); `shared` is given to each layer; states, first: see Encoder.contextualize."""
        for layer in list(self)[first:]:
            y = layer(x, *shared)
            if self.training and self.layerdrop > 0:
                # Computed all the same: one graph for the compiler, and gradients, if of zero, for all processes.
                y = torch.where(torch.rand((), device=x.device) < self.layerdrop, x, y)
            x = y
            if states is not None:
                states.append(x)
        return x


class FeedForward(nn.Module):
    """Two linear maps with an activation between."""

    def __init__(self, channels: int, inner: int, act: str) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(channels, inner)
        self.output_dense = nn.Linear(inner, channels)
        self.act = activation(act)
        self.activation_dropout, self.hidden_dropout = nn.Dropout(0.0), nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        inner = self.activation_dropout(self.act(self.intermediate_dense(x)))
        out: Tensor = self.hidden_dropout(self.output_dense(inner))
        return out


class DepthwiseConv(nn.Conv1d):
    """Each channel convolved over time with a kernel of its own, on (B, T, C)."""

    def __init__(self, channels: int, kernel: int, padding: int, bias: bool = True) -> None:
        super().__init__(channels, channels, kernel, padding=padding, groups=channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T + 2 * padding - kernel + 1, C)."""
        if x.device.type != "cpu":
            return super().forward(x.mT).mT
        # As an image of one row, channels last: oneDNN computes that five times faster than Conv1d.
        weight = self.weight[:, :, None].contiguous(memory_format=torch.channels_last)
        image = F.conv2d(x.mT[:, :, None], weight, self.bias, padding=(0, *self.padding), groups=self.groups)
        return image[:, :, 0].mT


class Attention(nn.Module):
    """Multi-head self-attention that knows nothing of positions."""

    def __init__(self, channels: int, n: int) -> None:
        super().__init__()
        self.n = n
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out_proj = nn.Linear(channels, channels)
        self.attention_dropout = nn.Dropout(0.0)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C); bias: added to the scores, broadcasts to (B, n, T, T)."""
        q, k, v = (heads(part, self.n) for part in self.qkv(x).chunk(3, dim=-1))
        out: Tensor = self.out_proj(attend(q, k, v, bias, rate(self.attention_dropout)))
        return out


def silence_padding(samples: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Samples (B, S), zero beyond their lengths (B,), and these on the same device; None if they say S for all."""
    if lengths is None or (lengths.device.type == "cpu" and bool((lengths == samples.shape[1]).all())):
        return samples, None
    lengths = lengths.to(samples.device, non_blocking=True)
    return samples.masked_fill(~valid(lengths, samples.shape[1]), 0.0), lengths


def valid(counts: Tensor, size: int) -> Tensor:
    """Which of `size` places lie before counts (B,): bool (B, size)."""
    return torch.arange(size, device=counts.device) < counts[:, None]


def key_mask(counts: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Attention bias (B, 1, 1, size): 0 for the first counts[b] keys, -inf for the padding behind them."""
    mask = torch.zeros(len(counts), 1, 1, size, dtype=dtype, device=counts.device)
    return mask.masked_fill_(~valid(counts, size)[:, None, None], float("-inf"))


def heads(x: Tensor, n: int) -> Tensor:
    """(B, T, n * D) -> (B, n, T, D), a view."""
    return x.view(*x.shape[:2], n, x.shape[-1] // n).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, dropout: float = 0.0) -> Tensor:
    """Softmax attention of queries, keys, values (B, n, T, D) -> (B, T, n * D); bias broadcasts to (B, n, T, T)."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout).transpose(1, 2).flatten(2)


def rate(dropout: nn.Dropout) -> float:
    """The rate of a dropout that is done elsewhere: 0 in evaluation."""
    return dropout.p if dropout.training else 0.0


Dims = TypeVar("Dims")


def read_dims(kind: type[Dims], config: Mapping[str, Any]) -> Dims:
    """The dataclass `kind` from the entries of the same names in config.json; its defaults are transformers'.

    Sizes, here every whole number, are at least 1. Raises CheckpointError that names the entry.
    """
    values: dict[str, Any] = {}
    for f in fields(kind):  # type: ignore[arg-type]
        value = config.get(f.name, None if f.default is MISSING else f.default)
        if f.type in (int, "int"):
            good = type(value) is int and 1 <= value <= 1 << 24
        elif f.type in (float, "float"):
            good = type(value) in (int, float)
        elif f.type in (bool, "bool"):
            good = isinstance(value, bool)
        elif f.type in (str, "str"):
            good = isinstance(value, str)
        else:  # a tuple of sizes
            good = isinstance(value, list | tuple) and len(value) > 0 and all(type(v) is int and v >= 1 for v in value)
            value = tuple(value) if good else value
        if not good:
            raise CheckpointError(f"config.json: {f.name} is {value!r}; it must be {f.type}, sizes at least 1")
        values[f.name] = value
    return kind(**values)


def check_heads(dims: object, size: str, count: str) -> None:
    """Raises CheckpointError unless the heads, the entry `count` of `dims`, divide the channels, its entry `size`."""
    channels, heads = getattr(dims, size), getattr(dims, count)
    if channels % heads:
        raise CheckpointError(f"config.json: {size} is {channels}, which {count}, {heads}, does not divide")
