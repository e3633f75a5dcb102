"""The rates of dropout, layer drop and masks: config.json's, or a flag's. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from earshot_asr.engine.errors import ConfigError, shown
from earshot_asr.engine.families import FAMILIES, family_of


@dataclass(frozen=True, slots=True)
class Rates:
    """Entries of config.json by their names, with the defaults of transformers' Wav2Vec2BertConfig.

    *dropout, layerdrop     rates, 0 to 0.99
    mask_time_*             masks of frames: about the share that is masked, the frames of each, the fewest in a row
    mask_feature_*          the same of channels
    """

    hidden_dropout: float = 0.0
    activation_dropout: float = 0.0
    attention_dropout: float = 0.0
    feat_proj_dropout: float = 0.0
    conformer_conv_dropout: float = 0.1
    final_dropout: float = 0.1
    layerdrop: float = 0.1
    mask_time_prob: float = 0.05
    mask_time_length: int = 10
    mask_time_min_masks: int = 2
    mask_feature_prob: float = 0.0
    mask_feature_length: int = 10
    mask_feature_min_masks: int = 0

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type is int:
                good, wanted = (
                    type(value) is int and value >= f.name.endswith("length"),
                    "a whole number, lengths from 1 on",
                )
            else:
                top = 1.0 if f.name.endswith("prob") else 0.99
                good, wanted = type(value) in (int, float) and 0 <= value <= top, f"a number from 0 to {top:g}"
            if not good:
                raise ConfigError(f"{f.name} is {shown(value)}; it must be {wanted}")

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Self:
        """Reads config.json; its family says what is missing. Raises ConfigError that names the entry."""
        defaults = family_of(config).regularization if config.get("model_type") in FAMILIES else {}
        named = {f.name: config.get(f.name, defaults.get(f.name, f.default)) for f in fields(cls)}
        if not config.get("apply_spec_augment", True):
            named |= {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}
        return cls(**named)
