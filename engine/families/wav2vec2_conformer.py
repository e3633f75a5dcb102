"""wav2vec 2.0 with conformer layers and a CTC head, as transformers' Wav2Vec2ConformerForCTC.

    samples -> wav2vec 2.0's convolutions, a frame every 320 samples -> conformer -> CTC head

Padding could change the result in the group norm's statistics over time, in the input of the convolutions of the
layers, which transformers does not mask, and in the attention keys. It is masked in all three.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from earshot_asr.engine.errors import UnsupportedModel
from earshot_asr.engine.families import Config
from earshot_asr.engine.families.conformer import Conformer, Shape, positions_of
from earshot_asr.engine.families.layers import Encoder, Recipe, Size, read_dims
from earshot_asr.engine.families.wav2vec2 import (
    DIRECTION,
    MAGNITUDE,
    POSITIONS,
    WITHOUT_ADAPTERS,
    Wav2Vec2,
    Wav2Vec2Dims,
    normalizes,
)
from earshot_asr.engine.families.wav2vec2 import FAMILY as WAV2VEC2

KINDS = ("relative", "rotary", None)
"""Of position_embeddings_type."""


@dataclass(frozen=True, slots=True)
class Wav2Vec2ConformerDims(Wav2Vec2Dims):
    """See Wav2Vec2Dims."""

    conv_depthwise_kernel_size: Size = 31
    rotary_embedding_base: float = 10000

    def shape(self, positions: str | None) -> Shape:
        """The conformer's shape. positions: one of KINDS."""
        return Shape(
            channels=self.hidden_size,
            heads=self.num_attention_heads,
            inner=self.intermediate_size,
            depth=self.num_hidden_layers,
            act=self.hidden_act,
            positions=positions,
            kernel=self.conv_depthwise_kernel_size,
            causal=False,
            base=self.rotary_embedding_base,
        )


def build(config: Config, preprocessor: Config) -> "Wav2Vec2Conformer":
    """See Family.build."""
    if config.get("add_adapter"):
        raise UnsupportedModel(f"config.json: add_adapter is true; {WITHOUT_ADAPTERS}")
    dims = read_dims(Wav2Vec2ConformerDims, config)
    encoder = ConformerEncoder(dims.shape(positions_of(config, "relative", KINDS)), dims.layer_norm_eps)
    return Wav2Vec2Conformer(dims, normalizes(config, preprocessor), encoder)


class Wav2Vec2Conformer(Wav2Vec2):
    """See Encoder."""

    PREFIX = "wav2vec2_conformer."
    IGNORED = Encoder.IGNORED | {"pos_conv_embed", "num_batches_tracked"}

    encoder: "ConformerEncoder"

    def __init__(self, dims: Wav2Vec2Dims, normalize: bool, encoder: "ConformerEncoder") -> None:
        super().__init__(dims, normalize, encoder)
        self.dims = dims
        self.ABOVE = ("encoder.layer_norm.",)

    def initialize(self) -> None:
        """See Encoder.initialize: as transformers does."""
        super().initialize()
        self.encoder.initialize()

    def recipe(self, name: str) -> Recipe:
        """See Encoder.recipe."""
        if name.startswith("encoder.layers."):
            return self.encoder.recipe(name, lambda ours: self.PREFIX + ours)
        return super().recipe(name)

    def unread(self) -> dict[str, Tensor]:
        """See Encoder.unread: the positional convolution of wav2vec 2.0, which transformers makes and never calls."""
        stem, size = f"{self.PREFIX}encoder.{POSITIONS}", self.dims.hidden_size
        kernel, groups = self.dims.num_conv_pos_embeddings, self.dims.num_conv_pos_embedding_groups
        direction = torch.ones(size, size // groups, kernel)
        return {stem + "bias": torch.zeros(size), stem + MAGNITUDE: direction[:1, :1], stem + DIRECTION: direction}


class ConformerEncoder(Conformer):
    """A conformer with a norm behind it."""

    def __init__(self, shape: Shape, eps: float) -> None:
        super().__init__(shape)
        self.layer_norm = nn.LayerNorm(shape.channels, eps=eps)

    def forward(self, x: Tensor, frames: Tensor | None, states: list[Tensor] | None = None) -> Tensor:
        """See Encoder.contextualize."""
        out: Tensor = self.layer_norm(super().forward(x, frames, states))
        return out


FAMILY = replace(
    WAV2VEC2,
    build=build,
    head="Wav2Vec2ConformerForCTC",
    prefix=Wav2Vec2Conformer.PREFIX,
    pretraining="",
)
