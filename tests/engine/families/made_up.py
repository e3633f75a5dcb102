"""A family of models that exists nowhere: all that a further family needs, but for its line in the registry."""

from typing import Any

from torch import Tensor, nn

from earshot_asr.engine.audio import FrameGrid
from earshot_asr.engine.errors import UnsupportedModel
from earshot_asr.engine.families import Config, Family
from earshot_asr.engine.families.layers import Encoder, FeedForward, Recipe, Stack

PREFIX = "made_up."
GRID = FrameGrid(320, 400)


class MadeUp(Encoder):
    """Each frame for itself: its samples through a linear map and feed-forward layers."""

    IGNORED = frozenset({"masked_spec_embed", "vocoder"})

    def __init__(self, channels: int, layers: int, vocab: int) -> None:
        super().__init__(GRID, channels, vocab)
        self.ears = nn.Linear(GRID.field, channels)
        self.blocks = Stack(FeedForward(channels, 2 * channels, "relu") for _ in range(layers))

    @property
    def layers(self) -> Stack:
        """See Encoder.layers."""
        return self.blocks

    @property
    def convolutions(self) -> nn.Module:
        """See Encoder.convolutions."""
        return self.ears

    def initialize(self) -> None:
        """See Encoder.initialize."""
        nn.init.constant_(self.ears.bias, 0.25)

    def extract(self, samples: Tensor, lengths: Tensor | None) -> Tensor:
        """See Encoder.extract."""
        return samples.to(self.dtype).unfold(1, GRID.field, GRID.hop)

    def project(self, features: Tensor) -> Tensor:
        """See Encoder.project."""
        out: Tensor = self.ears(features)
        return out

    def contextualize(self, x: Tensor, frames: Tensor | None, states: list[Tensor] | None = None) -> Tensor:
        """See Encoder.contextualize."""
        out: Tensor = self.blocks(x, states=states)
        return out

    def recipe(self, name: str) -> Recipe:
        """See Encoder.recipe. In checkpoints the first map is transposed, and the head a convolution named mouth."""
        if name == "ears.weight":
            return Recipe((PREFIX + "ears.kernel",), lambda w: w.T.contiguous(), lambda w: (w.T,))
        if name == "lm_head.weight":
            return Recipe(("mouth.weight",), lambda w: w[..., 0], lambda w: (w[..., None],))
        return Recipe((name.replace("lm_head", "mouth") if name.startswith("lm_head.") else PREFIX + name,))


def build(config: Config, preprocessor: Config) -> MadeUp:
    """See Family.build."""
    if preprocessor.get("feature_extractor_type") != "MadeUpFeatureExtractor":
        raise UnsupportedModel(f"{preprocessor.get('feature_extractor_type')!r} is no MadeUpFeatureExtractor")
    return MadeUp(config["channels"], config["depth"], config["vocab_size"])


def preprocessor_for(config: Config) -> dict[str, Any]:
    """See Family.preprocessor."""
    return {"feature_extractor_type": "MadeUpFeatureExtractor", "sampling_rate": 16000}


FAMILY = Family(
    build=build,
    head="MadeUpForCTC",
    prefix=PREFIX,
    assumed_ctc=False,
    preprocessor=preprocessor_for,
    with_new_head=lambda config: {**config, "depth": config.get("depth", 2)},
    regularization={"hidden_dropout": 0.25, "layerdrop": 0.0},
)
