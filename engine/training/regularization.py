"""Regularization in training: dropout, layer drop and masks, at the rates that config.json or flags say."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from earshot_asr.engine.families.layers import Encoder, Stack
from earshot_asr.engine.training.masking import spans
from earshot_asr.engine.training.rates import Rates


@dataclass(frozen=True, slots=True)
class Regularization(Rates):
    """What is done at these rates."""

    def apply(self, encoder: Encoder) -> None:
        """Sets the rates of all dropouts of an encoder, and of its layer drop."""
        for name, module in encoder.named_modules():
            if isinstance(module, nn.Dropout):
                module.p = getattr(self, name.rpartition(".")[2])
            elif isinstance(module, Stack):
                module.layerdrop = self.layerdrop

    def masks(
        self, shape: tuple[int, int, int], frames: Tensor | None, device: torch.device
    ) -> tuple[Tensor | None, Tensor | None]:
        """Draws which frames (B, T) and which channels (B, C) of a batch (B, T, C) to mask; None where none are.

        frames   (B,) how many frames of each row are valid; None: all
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
