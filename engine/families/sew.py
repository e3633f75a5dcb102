"""SEW with a CTC head (Wu et al. 2021), as transformers' SEWForCTC.

It is wav2vec 2.0, whose layers see one frame for each `squeeze_factor` frames of the convolutions; a linear map behind
them makes as many of it again. Frames that are left over at the end of a window become zeros, so what their symbols are
is left to the head's bias; so it is in transformers.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earshot_asr.engine.families.layers import Activation, Recipe, Size, activation, valid
from earshot_asr.engine.families.wav2vec2 import PositionalConv, Transformer, Wav2Vec2, Wav2Vec2Dims, cleared, relative


@dataclass(frozen=True, slots=True)
class SewDims(Wav2Vec2Dims):
    """See Wav2Vec2Dims."""

    conv_dim: tuple[Size, ...] = (64, 128, 128, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512)
    conv_stride: tuple[Size, ...] = (5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1)
    conv_kernel: tuple[Size, ...] = (10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1)
    squeeze_factor: Size = 2


class Sew(Wav2Vec2):
    """See Encoder."""

    PREFIX = "sew."

    def __init__(self, dims: SewDims, normalize: bool) -> None:
        super().__init__(dims, normalize, SqueezedTransformer(dims))
        if dims.conv_dim[-1] == dims.hidden_size:
            self.feature_projection.projection = nn.Identity()
        self.ABOVE = ("encoder.upsample.",)

    def recipe(self, name: str) -> Recipe:
        """See Encoder.recipe. The norm before the projection, and the projection, have shorter names there."""
        for ours, theirs in (("layer_norm.", "layer_norm."), ("projection.", "feature_projection.")):
            if name.startswith(ours := f"feature_projection.{ours}"):
                return Recipe((self.PREFIX + theirs + name.removeprefix(ours),))
        return super().recipe(name)


class SqueezedTransformer(Transformer):
    """The layers, on fewer frames."""

    def __init__(self, dims: SewDims) -> None:
        super().__init__(dims, PositionalConv(dims, stride=dims.squeeze_factor))
        self.factor = dims.squeeze_factor
        self.upsample = Upsample(dims.hidden_size, self.factor, activation(dims.feat_extract_activation))

    def forward(self, x: Tensor, frames: Tensor | None, states: list[Tensor] | None = None) -> Tensor:
        """See Encoder.contextualize. States are those of fewer frames, each repeated."""
        size, whole = x.shape[1], x.shape[1] // self.factor * self.factor
        inside = None if frames is None else valid(frames, size)[..., None]
        x = F.pad(cleared(x, inside), (0, 0, 0, max(0, self.factor - size)))  # layers want a frame at least
        x = F.avg_pool1d(x.mT, self.factor).mT + self.pos_conv_embed(x, inside)
        x = self.hidden_dropout(self.layer_norm(x))
        fewer = None if frames is None else (frames // self.factor).clamp_min(1)
        squeezed: list[Tensor] = []
        x = self.upsample(self.layers(x, *self.shared(x, fewer), states=squeezed))
        if states is not None:
            source = (torch.arange(size, device=x.device) // self.factor).clamp_max(squeezed[0].shape[1] - 1)
            states += [state[:, source] for state in squeezed]
        x = F.pad(x[:, :whole], (0, 0, 0, size - whole))
        return x if frames is None else cleared(x, valid(frames // self.factor * self.factor, size)[..., None])


class Upsample(nn.Module):
    """A linear map to the channels of `factor` frames."""

    def __init__(self, channels: int, factor: int, act: Activation) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, channels * factor)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T * factor, C)."""
        return self.act(self.projection(x)).view(len(x), -1, x.shape[-1])


FAMILY = relative(Sew, "SEWForCTC", SewDims, do_stable_layer_norm=False)
