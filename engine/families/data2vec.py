"""data2vec of speech with a CTC head (Baevski et al. 2022), as transformers' Data2VecAudioForCTC.

It is wav2vec 2.0 with a layer norm after each convolution and layers that are post-norm, but several narrow positional
convolutions in turn. Each spreads what is in padding by half its kernel, so padding is cleared after each.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from earshot_asr.engine.families.layers import Depth, Size
from earshot_asr.engine.families.wav2vec2 import PositionalConv, Transformer, Wav2Vec2, Wav2Vec2Dims, cleared, relative


@dataclass(frozen=True, slots=True)
class Data2VecDims(Wav2Vec2Dims):
    """See Wav2Vec2Dims. num_conv_pos_embeddings: how many positional convolutions there are."""

    num_conv_pos_embeddings: Depth = 5
    conv_pos_kernel_size: Size = 19


class Data2Vec(Wav2Vec2):
    """See Encoder."""

    PREFIX = "data2vec_audio."

    def __init__(self, dims: Data2VecDims, normalize: bool) -> None:
        super().__init__(dims, normalize, Transformer(dims, PositionalConvs(dims)))


class PositionalConvs(nn.Module):
    """Relative positions, by convolutions one after the other."""

    def __init__(self, dims: Data2VecDims) -> None:
        super().__init__()
        convs = (NormedPositionalConv(dims, dims.conv_pos_kernel_size) for _ in range(dims.num_conv_pos_embeddings))
        self.layers = nn.ModuleList(convs)

    def forward(self, x: Tensor, inside: Tensor | None) -> Tensor:
        """See PositionalConv.forward."""
        for conv in self.layers:
            x = cleared(conv(x, inside), inside)
        return x


class NormedPositionalConv(PositionalConv):
    """One of them: a convolution, a layer norm without weights, an activation."""

    def forward(self, x: Tensor, inside: Tensor | None) -> Tensor:
        """See PositionalConv.forward."""
        return self.act(F.layer_norm(self.convolve(x), x.shape[-1:]))


FAMILY = relative(Data2Vec, "Data2VecAudioForCTC", Data2VecDims, feat_extract_norm="layer", do_stable_layer_norm=False)
