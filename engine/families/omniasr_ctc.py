"""Omnilingual ASR's CTC models (2025), as transformers' OmniASRForCTC: 1,600 languages, from 300 M to 7 G parameters.

They are wav2vec 2.0 in its large form under other names, without weight norm. CTC's blank is `blank_token_id` in
config.json, and not the tokenizer's padding token.
"""

from dataclasses import dataclass, replace
from typing import Any

from earshot_asr.engine.families import Config, Family
from earshot_asr.engine.families.layers import Depth, Recipe, Size, Symbols, part_of, read_dims
from earshot_asr.engine.families.wav2vec2 import POSITIONS, Wav2Vec2, Wav2Vec2Dims, normalizes

EXTRACTOR = "OmniASRFeatureExtractor"
VOCAB_SIZE = 10288
NAMES = {
    "feature_extractor.": "subsampling.",
    "feature_projection.": "subsampling.",
    "encoder.pos_conv_embed.": "encode_positions.",
    "encoder.": "",
}
"""What names of parameters begin with here, and in a checkpoint."""


@dataclass(frozen=True, slots=True)
class OmniAsrDims(Wav2Vec2Dims):
    """See Wav2Vec2Dims."""

    vocab_size: Symbols = VOCAB_SIZE
    hidden_size: Size = 1024
    num_hidden_layers: Depth = 24
    num_attention_heads: Size = 16
    intermediate_size: Size = 4096
    conv_bias: bool = True


def build(config: Config, preprocessor: Config) -> "OmniAsr":
    """See Family.build."""
    audio = {**part_of(config, "audio_config"), "vocab_size": config.get("vocab_size", VOCAB_SIZE)}
    act = audio.get("hidden_act", "gelu")
    fixed = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "feat_extract_activation": act}
    return OmniAsr(read_dims(OmniAsrDims, {**audio, **fixed}), normalizes(config, preprocessor, EXTRACTOR))


def preprocessor_for(config: Config) -> dict[str, Any]:
    """See Family.preprocessor."""
    return {
        "feature_extractor_type": EXTRACTOR,
        "feature_size": 1,
        "sampling_rate": 16000,
        "do_normalize": True,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
    }


class OmniAsr(Wav2Vec2):
    """See Encoder."""

    PREFIX = "model.audio_tower."
    NORMALIZE_EPS = 1e-5

    def recipe(self, name: str) -> Recipe:
        """See Encoder.recipe."""
        if name.startswith("lm_head."):
            return Recipe((name.replace("lm_head.", "ctc_head."),))
        if name.endswith(POSITIONS + "weight"):
            return Recipe((self._theirs(self.PREFIX + name),))
        recipe = super().recipe(name)
        return replace(recipe, names=tuple(map(self._theirs, recipe.names)))

    def _theirs(self, name: str) -> str:
        name = name.removeprefix(self.PREFIX)
        ours = next(start for start in NAMES if name.startswith(start))
        return self.PREFIX + NAMES[ours] + name.removeprefix(ours)


FAMILY = Family(
    build=build,
    head="OmniASRForCTC",
    prefix=OmniAsr.PREFIX,
    preprocessor=preprocessor_for,
    with_new_head=lambda config: {**config, "blank_token_id": config.get("pad_token_id", 0)},
    # transformers' model has no masks, and its settings are in audio_config.
    regularization={"hidden_dropout": 0.1, "activation_dropout": 0.1, "mask_time_prob": 0.0},
)
