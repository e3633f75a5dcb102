"""What the model families share: the interface of an encoder, and layers that several of them have.

Letters: B batch, S samples, T frames, C channels, V vocabulary.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, TypeAlias, TypeVar, Union, get_args, get_origin

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earshot_asr.engine.audio import FrameGrid
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel, shown

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
        raise UnsupportedModel(f"activation {shown(name)} is not supported; supported are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a parameter of an encoder is made from a checkpoint's tensors, and how these are made from it again.

    names    of the tensors in the checkpoint, pairs that stand for one weight (weight norm) already replaced by it
    make     the parameter from those tensors
    undo     the tensors to be written from the parameter
    written  their names, where they are not `names`
    """

    names: tuple[str, ...]
    make: Callable[..., Tensor] = lambda x: x
    undo: Callable[[Tensor], tuple[Tensor, ...]] = lambda x: (x,)
    written: tuple[str, ...] = ()


class Encoder(nn.Module):
    """A model as the engine and training see it: samples in, log-probabilities out.

    `grid` says where its frames lie; V is the size of its CTC head.

    HEAD     prefixes of the parameters that come with a new head; all other parameters are the body
    ABOVE    prefixes of the body's parameters that lie above its layers
    UNUSED   prefixes of tensors that a checkpoint without a CTC head may have and that an encoder does not use
    IGNORED  parts of the names of tensors that any checkpoint may have and that an encoder does not use: those of
             pretraining, and tables that are computed here

    ADAPTER  the part of a parameter's name that says that each language of the model has its own; see `adapted`

    For training, each nn.Dropout is named as config.json names its rate, and has the rate 0 until training sets it.
    The steps of encode() can be called one by one.
    """

    HEAD: tuple[str, ...] = ("lm_head.",)
    ABOVE: tuple[str, ...] = ()
    UNUSED: tuple[str, ...] = ()
    ADAPTER: str = ""
    IGNORED: frozenset[str] = frozenset(
        {"quantizer", "project_q", "project_hid", "masked_spec_embed", "embed_positions"}
    )

    def __init__(self, grid: FrameGrid, channels: int, vocab: int) -> None:
        super().__init__()
        self.grid = grid
        self.final_dropout = nn.Dropout(0.0)
        self.lm_head = nn.Linear(channels, vocab)

    @property
    def vocab_size(self) -> int:
        """V, the number of symbols of the head."""
        return len(self.lm_head.weight)  # of the language that it speaks just now: see `adapted`

    @property
    def adapted(self) -> tuple[str, ...]:
        """The parameters of which each language of the model has its own: adapters and head; () for one language."""
        names = tuple(self.state_dict())
        inside = tuple(name for name in names if self.ADAPTER and self.ADAPTER in name)
        return inside and (*inside, *(name for name in names if name.startswith("lm_head.")))

    @property
    def layers(self) -> "Stack":
        """The layers, the lowest first."""
        raise NotImplementedError

    @property
    def convolutions(self) -> nn.Module | None:
        """The learned convolutions over samples, which training may leave as they are; None if there are none."""
        return None

    @property
    def width(self) -> int:
        """The number of channels C' that the layers are given; that of the hidden states is lm_head's."""
        return self.lm_head.in_features

    @property
    def middle(self) -> int:
        """The number of layers after which training has auxiliary losses; states there are (B, T, C), as at the top."""
        return max(1, len(self.layers) * 5 // 8)

    @property
    def pre_norm(self) -> bool:
        """Whether layers normalize their input and not their output, so that states between them are not normal."""
        return False

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the layers compute in. Statistics and log-probabilities are float32 in any case."""
        return self.lm_head.weight.dtype

    def new_mask(self) -> Tensor:
        """masked_spec_embed (C,), which takes the place of masked frames, for a checkpoint that has none."""
        return torch.rand(self.width)

    def initialize(self) -> None:
        """Draws the random weights of a new encoder for which torch's defaults are not suitable."""

    def prepare_for_training(self) -> None:
        """Trades precision that training does not need for speed, before the first step."""

    def forward(self, samples: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Log-probabilities (B, T, V), float32, T = grid.frames(S), of samples (B, S), float32 in [-1, 1).

        lengths   (B,) int64: row b has lengths[b] valid samples; the padding after them may hold anything. The first
                  grid.frames(lengths[b]) frames of a row are the same as without padding, and without other rows; the
                  frames after them have no meaning. None, or a tensor on the CPU with S for all rows: nothing is
                  masked, which is faster.
        """
        frames = self.grid.frames(samples.shape[1])
        if frames == 0:
            return samples.new_zeros(len(samples), 0, self.vocab_size)
        samples, lengths = silence_padding(samples, lengths)
        hidden = self.encode(samples, lengths)
        return F.log_softmax(self.lm_head(self.final_dropout(hidden)).float(), dim=-1)

    def encode(self, samples: Tensor, lengths: Tensor | None) -> Tensor:
        """Hidden states (B, T, C), T > 0, of samples (B, S) that are zero beyond their lengths (B,)."""
        steps = None if lengths is None else self.steps(lengths)
        return self.contextualize(self.project(self.extract(samples, lengths)), steps)

    def extract(self, samples: Tensor, lengths: Tensor | None) -> Tensor:
        """Features (B, T', F) of samples; each depends on its own frame only, except for norms over time.

        T' is T, unless what is above the layers makes one frame of several; see steps().
        """
        raise NotImplementedError

    def project(self, features: Tensor) -> Tensor:
        """Features (B, T', F) -> (B, T', C'), the input of the layers, in which training masks frames."""
        raise NotImplementedError

    def contextualize(self, x: Tensor, frames: Tensor | None, states: list[Tensor] | None = None) -> Tensor:
        """(B, T', C') -> hidden states (B, T, C).

        frames   (B,) how many of the T' frames of each row are valid; None: all
        states   a list to which the output of each layer is appended
        """
        raise NotImplementedError

    def recipe(self, name: str) -> Recipe:
        """How the parameter `name` of state_dict() is made from a checkpoint."""
        raise NotImplementedError

    def unread(self) -> dict[str, Tensor]:
        """Tensors that transformers expects in a checkpoint, although neither its model nor ours reads them."""
        return {}

    def frames(self, lengths: Tensor) -> Tensor:
        """grid.frames of lengths (B,), but at least 1, as a row without any valid frame would become NaN."""
        return counts(self.grid, lengths)

    def steps(self, lengths: Tensor) -> Tensor:
        """How many of the T' frames that the layers are given are valid, of lengths (B,); at least 1."""
        return self.frames(lengths)


def counts(grid: FrameGrid, lengths: Tensor) -> Tensor:
    """grid.frames of lengths (B,), but at least 1."""
    return (torch.div(lengths - grid.field, grid.hop, rounding_mode="floor") + 1).clamp_min(1)


class Stack(nn.ModuleList):
    """Layers, each on top of the one before. `layerdrop`: chance that training skips a layer (Fan et al. 2019)."""

    layerdrop = 0.0

    def forward(self, x: Tensor, *shared: Tensor | None, states: list[Tensor] | None = None) -> Tensor:
        """(B, T, C) -> (B, T, C); each layer is also given `shared`; states: see Encoder.contextualize."""
        for layer in self:
            y = layer(x, *shared)
            if self.training and self.layerdrop > 0:
                # A skipped layer is computed all the same: the compiler sees one graph, and every process has
                # gradients for the same weights, if zeros.
                y = torch.where(torch.rand((), device=x.device) < self.layerdrop, x, y)
            x = y
            if states is not None:
                states.append(x)
        return x


class Contextual(nn.Module):
    """What is between features and head: the layers, and what is around them. Its forward is Encoder.contextualize.

    pre_norm   see Encoder
    """

    pre_norm = False
    layers: Stack


class FeedForward(nn.Module):
    """Two linear maps with an activation between them."""

    def __init__(self, channels: int, inner: int, act: str, bias: bool = True) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(channels, inner, bias=bias)
        self.output_dense = nn.Linear(inner, channels, bias=bias)
        self.act = activation(act)
        self.activation_dropout, self.hidden_dropout = nn.Dropout(0.0), nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        inner = self.activation_dropout(self.act(self.intermediate_dense(x)))
        out: Tensor = self.hidden_dropout(self.output_dense(inner))
        return out


class DepthwiseConv(nn.Conv1d):
    """A convolution over time with a kernel for each channel, on (B, T, C)."""

    def __init__(self, channels: int, kernel: int, padding: int, bias: bool = True) -> None:
        super().__init__(channels, channels, kernel, padding=padding, groups=channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T + 2 * padding - kernel + 1, C)."""
        if x.device.type != "cpu":
            return super().forward(x.mT).mT
        # oneDNN computes this as an image of one row, channels last, five times faster than as Conv1d.
        weight = self.weight[:, :, None].contiguous(memory_format=torch.channels_last)
        image = F.conv2d(x.mT[:, :, None], weight, self.bias, padding=(0, *self.padding), groups=self.groups)
        return image[:, :, 0].mT


class PaddedConv(nn.Conv1d):
    """A convolution over time, padded with zeros, as one matrix product, which is faster."""

    def __init__(self, channels: int, out: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> None:
        super().__init__(channels, out, kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, channels) -> (B, (T + 2 * padding - kernel) // stride + 1, out)."""
        padding = int(self.padding[0])
        seen = F.pad(x, (0, 0, padding, padding)).unfold(1, self.kernel_size[0], self.stride[0]).flatten(2)
        return F.linear(seen, self.weight.flatten(1), self.bias)

    def counts(self, frames: Tensor) -> Tensor:
        """How many frames it makes of so many (B,); at least 1."""
        room = 2 * int(self.padding[0]) - self.kernel_size[0]
        return (torch.div(frames + room, self.stride[0], rounding_mode="floor") + 1).clamp_min(1)


class Attention(nn.Module):
    """Multi-head self-attention without positions."""

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
    """Samples (B, S) with zeros beyond their lengths (B,), and the lengths on the same device; None if all are S."""
    if lengths is None or (lengths.device.type == "cpu" and bool((lengths == samples.shape[1]).all())):
        return samples, None
    lengths = lengths.to(samples.device, non_blocking=True)
    return samples.masked_fill(~valid(lengths, samples.shape[1]), 0.0), lengths


def valid(counts: Tensor, size: int) -> Tensor:
    """Whether each of `size` places is one of the first counts (B,): bool (B, size)."""
    return torch.arange(size, device=counts.device) < counts[:, None]


def key_mask(counts: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Attention bias (B, 1, 1, size): 0 for the first counts[b] keys, -inf for the padding after them."""
    mask = torch.zeros(len(counts), 1, 1, size, dtype=dtype, device=counts.device)
    return mask.masked_fill_(~valid(counts, size)[:, None, None], float("-inf"))


def heads(x: Tensor, n: int) -> Tensor:
    """(B, T, n * D) -> (B, n, T, D), a view."""
    return x.view(*x.shape[:2], n, x.shape[-1] // n).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, dropout: float = 0.0) -> Tensor:
    """Softmax attention of queries, keys, values (B, n, T, D) -> (B, T, n * D); bias broadcasts to (B, n, T, T)."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout).transpose(1, 2).flatten(2)


def rate(dropout: nn.Dropout) -> float:
    """The rate of a dropout that another function applies; 0 in evaluation."""
    return dropout.p if dropout.training else 0.0


Size: TypeAlias = Annotated[int, 1 << 15]
"""Of channels, frames of a kernel and the like, with the most that is allowed: ten times what is known."""
Bands: TypeAlias = Annotated[int, 1024]
"""A number of mel bands."""
Depth: TypeAlias = Annotated[int, 256]
"""A number of layers."""
Symbols: TypeAlias = Annotated[int, 1 << 20]
"""A number of outputs of a head."""
MOST_ENTRIES = 64
"""Entries of a list of sizes."""
MOST_NUMBER = 1e9

Dims = TypeVar("Dims")


def read_dims(kind: type[Dims], config: Mapping[str, Any]) -> Dims:
    """A dataclass of type `kind` with the entries of config.json that have its fields' names.

    Whole numbers are sizes, from 1 to what the field's type says. Raises CheckpointError that names an entry of a wrong
    type or size.
    """
    values: dict[str, Any] = {}
    for f in fields(kind):  # type: ignore[arg-type]
        value = config.get(f.name, None if f.default is MISSING else f.default)
        if not _fits(f.type, value):
            raise CheckpointError(f"config.json: {f.name} is {shown(value)}; it must be {_wanted(f.type)}")
        values[f.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def part_of(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The entry `name` of config.json, which is a table; an empty one if it is not there. Raises CheckpointError."""
    part = config.get(name)
    if part is not None and not isinstance(part, Mapping):
        raise CheckpointError(f"config.json: {name} is {shown(part)}; it must be a table of settings")
    return part or {}


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value of config.json goes with a field's type."""
    if get_origin(kind) is Union:  # with None
        return value is None or _fits(get_args(kind)[0], value)
    if get_origin(kind) is tuple:
        good = isinstance(value, list | tuple) and 1 <= len(value) <= MOST_ENTRIES
        return good and all(_fits(get_args(kind)[0], entry) for entry in value)
    if kind is float:
        return type(value) in (int, float) and 0 <= value <= MOST_NUMBER
    if kind in (bool, str):
        return isinstance(value, kind)
    return type(value) is int and 1 <= value <= get_args(kind)[1]


def _wanted(kind: Any) -> str:
    """What a field of this type must be."""
    if get_origin(kind) is Union:
        return f"{_wanted(get_args(kind)[0])}, or null"
    if get_origin(kind) is tuple:
        return f"a list of 1 to {MOST_ENTRIES}, each {_wanted(get_args(kind)[0])}"
    if kind is float:
        return f"a number from 0 to {MOST_NUMBER:,.0f}"
    if kind in (bool, str):
        return "true or false" if kind is bool else "a text"
    return f"a whole number from 1 to {get_args(kind)[1]:,}"


def check_heads(dims: object, size: str, count: str) -> None:
    """Raises CheckpointError unless the entry `count` of `dims`, of heads, divides the entry `size`, of channels."""
    channels, heads = getattr(dims, size), getattr(dims, count)
    if channels % heads:
        raise CheckpointError(f"config.json: {size} is {channels}, which {count}, {heads}, does not divide")
