"""WavLM with a CTC head (Chen et al. 2022), as transformers' WavLMForCTC.

It is wav2vec 2.0, whose attention also has a bias for the distance of query and key. That is the same for all layers,
but for a factor for each query and head, the gate, which a layer tells from its input.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from earshot_asr.engine.errors import CheckpointError
from earshot_asr.engine.families.layers import Attention, Recipe, Size
from earshot_asr.engine.families.wav2vec2 import Transformer, Wav2Vec2, Wav2Vec2Dims, relative

EMBEDDING = "rel_attn_embed.weight"
SUMMED = 4
"""Outputs of a checkpoint's gates that are added up."""


@dataclass(frozen=True, slots=True)
class WavLmDims(Wav2Vec2Dims):
    """See Wav2Vec2Dims. num_buckets: of distances, half of them for later keys."""

    num_buckets: Size = 320
    max_bucket_distance: Size = 800

    def __post_init__(self) -> None:
        Wav2Vec2Dims.__post_init__(self)
        if self.num_buckets < 4 or self.max_bucket_distance <= self.num_buckets // 4:
            raise CheckpointError(
                f"config.json: num_buckets is {self.num_buckets}, max_bucket_distance {self.max_bucket_distance}; "
                "these must be at least 4, and more than a fourth of that"
            )


class WavLm(Wav2Vec2):
    """See Encoder."""

    PREFIX = "wavlm."

    def __init__(self, dims: WavLmDims, normalize: bool) -> None:
        super().__init__(dims, normalize, RelativeTransformer(dims))

    @torch.no_grad()
    def initialize(self) -> None:
        """See Encoder.initialize."""
        super().initialize()
        nn.init.normal_(self.get_parameter(f"encoder.{EMBEDDING}"), std=0.02)

    def recipe(self, name: str) -> Recipe:
        """See Encoder.recipe. The bias's table is the first layer's there; the sums of a gate become its weights."""
        theirs = self.PREFIX + name
        if name.endswith(EMBEDDING):
            return Recipe((f"{self.PREFIX}encoder.layers.0.attention.{EMBEDDING}",))
        if name.endswith("gru_rel_pos_const"):
            return Recipe((theirs,), lambda c: c.flatten(), lambda c: (c.view(1, -1, 1, 1),))
        if ".gru_rel_pos_linear." in name:
            return Recipe((theirs,), summed, unsummed)
        return super().recipe(name)


def summed(weight: Tensor) -> Tensor:
    """(2 * SUMMED, ...) -> (2, ...)."""
    return weight.float().view(2, SUMMED, *weight.shape[1:]).sum(1)


def unsummed(weight: Tensor) -> tuple[Tensor]:
    """(2, ...) -> (2 * SUMMED, ...)."""
    return (weight.repeat_interleave(SUMMED, dim=0) / SUMMED,)


class GatedAttention(Attention):
    """Multi-head self-attention with a bias of positions, times a gate."""

    def __init__(self, channels: int, n: int) -> None:
        super().__init__(channels, n)
        self.gru_rel_pos_linear = nn.Linear(channels // n, 2)
        self.gru_rel_pos_const = nn.Parameter(torch.ones(n))

    def forward(self, x: Tensor, bias: Tensor | None, positions: Tensor | None = None) -> Tensor:
        """See Attention.forward. positions: (n, T, T)."""
        assert positions is not None
        reset, update = self.gru_rel_pos_linear(x.view(*x.shape[:2], self.n, -1)).sigmoid().unbind(-1)  # (B, T, n)
        gate = (reset * (update * self.gru_rel_pos_const - 1.0) + 2.0).mT[..., None]
        gated = gate * positions if bias is None else torch.addcmul(bias, gate, positions)
        return super().forward(x, gated)


class RelativeTransformer(Transformer):
    """The layers, and the bias of positions, which they share."""

    ATTENTION = GatedAttention

    def __init__(self, dims: WavLmDims) -> None:
        super().__init__(dims)
        self.buckets, self.farthest = dims.num_buckets, dims.max_bucket_distance
        self.rel_attn_embed = nn.Embedding(dims.num_buckets, dims.num_attention_heads)

    def shared(self, x: Tensor, frames: Tensor | None) -> tuple[Tensor | None, ...]:
        """See Transformer.shared; and the bias of positions (n, T, T)."""
        size = x.shape[1]
        table = self.rel_attn_embed(self.bucket(torch.arange(1 - size, size, device=x.device)))  # of all distances
        return *super().shared(x, frames), table.mT.contiguous().unfold(-1, size, 1).flip(1)

    def bucket(self, distance: Tensor) -> Tensor:
        """Number of the bucket of each distance from query to key: one for each near one, wider ones for the rest."""
        half = self.buckets // 2
        near = half // 2
        away = distance.abs()
        share = torch.log(away.clamp_min(near).float() / near) / math.log(self.farthest / near)
        far = (near + share * (half - near)).long().clamp_max(half - 1)
        return torch.where(away < near, away, far) + (distance > 0) * half


FAMILY = relative(WavLm, "WavLMForCTC", WavLmDims)
