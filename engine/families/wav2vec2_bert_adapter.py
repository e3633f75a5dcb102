"""The adapter that most fine-tunes of w2v-BERT 2.0 have on top: `add_adapter: true` in config.json.

Each of its layers makes one frame of `adapter_stride`: of 20 ms become 40. Padding could change the result in the input
of its convolutions, which transformers does not mask, and in the attention keys.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from earshot_asr.engine.audio import FrameGrid
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel
from earshot_asr.engine.families import Config
from earshot_asr.engine.families.layers import (
    Attention,
    Depth,
    FeedForward,
    PaddedConv,
    Size,
    Stack,
    key_mask,
    read_dims,
    valid,
)

HIDDEN_SIZE = 1024


@dataclass(frozen=True, slots=True)
class AdapterDims:
    """The entries of config.json with the adapter's sizes, under transformers' names and with its defaults."""

    hidden_size: Size = HIDDEN_SIZE
    output_hidden_size: Size = HIDDEN_SIZE
    num_attention_heads: Size = 16
    intermediate_size: Size = 4096
    layer_norm_eps: float = 1e-5
    num_adapter_layers: Depth = 1
    adapter_kernel_size: Size = 3
    adapter_stride: Size = 2
    adapter_act: str = "relu"

    def __post_init__(self) -> None:
        if self.output_hidden_size % self.num_attention_heads:
            raise CheckpointError(
                f"config.json: output_hidden_size is {self.output_hidden_size}, which num_attention_heads, "
                f"{self.num_attention_heads}, does not divide"
            )
        if self.reach < 1:
            raise UnsupportedModel(
                f"config.json: adapter_kernel_size {self.adapter_kernel_size} with adapter_stride "
                f"{self.adapter_stride} is not supported: frames would be of padding alone"
            )

    @property
    def padding(self) -> int:
        """Zeros before and behind the input of a convolution."""
        return self.adapter_stride // 2

    @property
    def reach(self) -> int:
        """The least number of frames that a layer makes one of."""
        return self.adapter_kernel_size - 2 * self.padding

    def grid(self, below: FrameGrid) -> FrameGrid:
        """The grid of the adapter's frames, on top of those of `below`."""
        hop, field = below.hop, below.field
        for _ in range(self.num_adapter_layers):
            hop, field = hop * self.adapter_stride, field + (self.reach - 1) * hop
        return FrameGrid(hop, field)


def adapter_of(config: Config) -> AdapterDims | None:
    """The sizes of the adapter in config.json, None if there is none. Raises CheckpointError, UnsupportedModel."""
    if not config.get("add_adapter"):
        return None
    size = config.get("output_hidden_size") or config.get("hidden_size", HIDDEN_SIZE)
    return read_dims(AdapterDims, {**config, "output_hidden_size": size})


class Adapter(nn.Module):
    """The layers, and a map to their channels where these are others than the conformer's."""

    def __init__(self, dims: AdapterDims) -> None:
        super().__init__()
        size, eps = dims.output_hidden_size, dims.layer_norm_eps
        mapped = size != dims.hidden_size
        self.proj = nn.Linear(dims.hidden_size, size) if mapped else None
        self.proj_layer_norm = nn.LayerNorm(size, eps=eps) if mapped else None
        self.layers = Stack(AdapterLayer(dims) for _ in range(dims.num_adapter_layers))

    def forward(self, x: Tensor, frames: Tensor | None, states: list[Tensor] | None) -> Tensor:
        """(B, T', C') -> (B, T, C). frames: (B,) how many of the T' are valid, None for all; states: see Encoder."""
        if self.proj is not None and self.proj_layer_norm is not None:
            x = self.proj_layer_norm(self.proj(x))
        for layer in self.layers:  # none is ever skipped, as the next one has another number of frames
            assert isinstance(layer, AdapterLayer)
            inside = None if frames is None else valid(frames, x.shape[1])[..., None]
            frames = None if frames is None else layer.self_attn_conv.counts(frames)
            x = layer(x, inside, frames)
            if states is not None:
                states.append(x)
        return x


class AdapterLayer(nn.Module):
    """Attention and a feed-forward part, on frames that a gated convolution makes of several."""

    def __init__(self, dims: AdapterDims) -> None:
        super().__init__()
        size, eps = dims.output_hidden_size, dims.layer_norm_eps
        taken = dims.adapter_kernel_size, dims.adapter_stride, dims.padding
        self.residual_layer_norm = nn.LayerNorm(size, eps=eps)
        self.residual_conv = PaddedConv(size, 2 * size, *taken)
        self.self_attn_layer_norm = nn.LayerNorm(size, eps=eps)
        self.self_attn_conv = PaddedConv(size, 2 * size, *taken)
        self.self_attn = Attention(size, dims.num_attention_heads)
        self.conformer_conv_dropout = nn.Dropout(0.0)
        self.ffn_layer_norm = nn.LayerNorm(size, eps=eps)
        self.ffn = FeedForward(size, dims.intermediate_size, dims.adapter_act)

    def forward(self, x: Tensor, inside: Tensor | None, frames: Tensor | None) -> Tensor:
        """(B, T', C) -> (B, T, C). inside: which of the T' (B, T', 1) are valid; frames: (B,) how many of the T are."""
        kept, heard = self.residual_layer_norm(x), self.self_attn_layer_norm(x)
        if inside is not None:
            kept, heard = kept.masked_fill(~inside, 0.0), heard.masked_fill(~inside, 0.0)
        x, heard = F.glu(self.residual_conv(kept), dim=-1), F.glu(self.self_attn_conv(heard), dim=-1)
        mask = None if frames is None else key_mask(frames, heard.shape[1], heard.dtype)
        x = x + self.conformer_conv_dropout(self.self_attn(heard, mask))
        out: Tensor = x + self.ffn(self.ffn_layer_norm(x))
        return out
