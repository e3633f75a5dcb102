"""What is left out at random in training: dropout, layer drop, masks. The rates are config.json's, or a flag's."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from earshot_asr.engine import whisper
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.layers import Encoder, Stack
from earshot_asr.engine.training.masking import spans

DEFAULTS: Mapping[str, Mapping[str, float]] = {
    "wav2vec2": {"hidden_dropout": 0.1, "activation_dropout": 0.1, "attention_dropout": 0.1},
    "whisper": {"final_dropout": 0.0, "layerdrop": 0.0},
}
"""Where those of other families differ: transformers' of wav2vec 2.0, ours of Whisper, whose own entries (`dropout`,
`encoder_layerdrop`) are not read."""


@dataclass(frozen=True, slots=True)
class Regularization:
    """Entries of config.json, by their names; the defaults are those of transformers' Wav2Vec2BertConfig.

    Dropouts and layerdrop are rates, mask_*_prob about the share that is masked, mask_*_length frames or channels.
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
                raise ConfigError(f"{f.name} is {value!r}; it must be {wanted}")

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "Regularization":
        """From config.json. Raises ConfigError that names the entry."""
        defaults = DEFAULTS.get(str(config.get("model_type")), {})
        named = {f.name: config.get(f.name, defaults.get(f.name, f.default)) for f in fields(cls)}
        if not config.get("apply_spec_augment", True):
            named |= {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}
        return cls(**named)

    def apply(self, encoder: Encoder) -> None:
        """Sets the rates of all dropouts, and of layerdrop."""
        for name, module in encoder.named_modules():
            if isinstance(module, nn.Dropout):
                module.p = getattr(self, name.rpartition(".")[2])
            elif isinstance(module, Stack):
                module.layerdrop = self.layerdrop

    def masks(
        self, shape: tuple[int, int, int], frames: Tensor | None, device: torch.device
    ) -> tuple[Tensor | None, Tensor | None]:
        """Which frames (B, T) and which channels (B, C) of a (B, T, C) are to be masked; None: none of them.

        frames (B,): how many of each row are valid, None for all.
        """
        rows, size, channels = shape
        time = feature = None
        if self.mask_time_prob > 0:
            rule = self.mask_time_prob, self.mask_time_length, self.mask_time_min_masks
            time = spans((rows, size), *rule, frames, device=device)
        if self.mask_feature_prob > 0:
            rule = self.mask_feature_prob, self.mask_feature_length, self.mask_feature_min_masks
            feature = spans((rows, channels), *rule, device=device)
        return time, feature


def masked_embedding(encoder: Encoder) -> nn.Parameter:
    """masked_spec_embed (C,) as transformers begins it; zeros for a model that was never trained with one."""
    if isinstance(encoder, whisper.Whisper):
        return nn.Parameter(torch.zeros(encoder.width))
    return nn.Parameter(torch.rand(encoder.width))
