"""HuBERT with a CTC head (Hsu et al. 2021), as transformers' HubertForCTC.

It is wav2vec 2.0 under another prefix, with two options: `feat_proj_layer_norm: false` leaves out the norm after the
convolutions (DistilHuBERT), `conv_pos_batch_norm` has a batch norm before the positional convolution instead of its
weight norm (mHuBERT-147). Of zeros that norm makes other values: padding is cleared after it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from earshot_asr.engine.families.layers import Recipe
from earshot_asr.engine.families.wav2vec2 import (
    NORM_EPS,
    PositionalConv,
    Transformer,
    Wav2Vec2,
    Wav2Vec2Dims,
    cleared,
    relative,
)


@dataclass(frozen=True, slots=True)
class HubertDims(Wav2Vec2Dims):
    """See Wav2Vec2Dims."""

    feat_proj_layer_norm: bool = True
    conv_pos_batch_norm: bool = False


class Hubert(Wav2Vec2):
    """See Encoder."""

    PREFIX = "hubert."
    IGNORED = Wav2Vec2.IGNORED | {"num_batches_tracked"}

    def __init__(self, dims: HubertDims, normalize: bool) -> None:
        positions = ScaledPositionalConv(dims) if dims.conv_pos_batch_norm else None
        super().__init__(dims, normalize, Transformer(dims, positions))
        if not dims.feat_proj_layer_norm:
            self.feature_projection.layer_norm = nn.Identity()

    def recipe(self, name: str) -> Recipe:
        """See Encoder.recipe. A batch norm becomes a scale and a shift."""
        before, positional, part = name.partition("pos_conv_embed.")
        if not (positional and isinstance(self.encoder.pos_conv_embed, ScaledPositionalConv)):
            return super().recipe(name)
        norm = f"{self.PREFIX}{before}{positional}batch_norm."
        if part == "scale":
            names = (norm + "weight", norm + "running_var")
            return Recipe(names, scale, of_scale, written=(*names, norm + "num_batches_tracked"))
        if part == "shift":
            names = (norm + "bias", norm + "running_mean")
            return Recipe((*names, norm + "weight", norm + "running_var"), shift, of_shift, written=names)
        return Recipe((self.PREFIX + name,))


def scale(weight: Tensor, variance: Tensor) -> Tensor:
    """The factor that a batch norm is when it is not trained."""
    return weight.float() * torch.rsqrt(variance.float() + NORM_EPS)


def shift(bias: Tensor, mean: Tensor, weight: Tensor, variance: Tensor) -> Tensor:
    """What it adds after that."""
    return bias.float() - mean.float() * scale(weight, variance)


def of_scale(scale: Tensor) -> tuple[Tensor, ...]:
    """Weight, variance and number of batches of a batch norm with this scale."""
    return scale, torch.full_like(scale, 1 - NORM_EPS), scale.new_zeros(())


def of_shift(shift: Tensor) -> tuple[Tensor, ...]:
    """Bias and mean of a batch norm with this shift."""
    return shift, torch.zeros_like(shift)


class ScaledPositionalConv(PositionalConv):
    """The positional convolution after a batch norm, which keeps its statistics in training, too."""

    def __init__(self, dims: HubertDims) -> None:
        super().__init__(dims)
        self.scale, self.shift = nn.Parameter(torch.ones(dims.hidden_size)), nn.Parameter(torch.zeros(dims.hidden_size))

    def forward(self, x: Tensor, inside: Tensor | None) -> Tensor:
        """See PositionalConv.forward."""
        return super().forward(cleared(torch.addcmul(self.shift, x, self.scale), inside), inside)


FAMILY = relative(Hubert, "HubertForCTC", HubertDims)
