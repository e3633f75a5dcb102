"""Masks over frames and channels, as transformers draws them (SpecAugment, Park et al. 2019; wav2vec 2.0).

B rows, N places of an axis: frames, or channels. All of it runs on the device, without waiting for it.
"""

import torch
from torch import Tensor

from earshot_asr.engine.families.layers import valid


def spans(
    shape: tuple[int, int],
    prob: float,
    length: int,
    min_masks: int = 0,
    counts: Tensor | None = None,
    *,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Random spans of `length` places, bool (B, N), as transformers' _compute_mask_indices draws them.

    A row of n places has int(prob * n / length + u) spans, with u uniform in [0, 1) and the same for all rows, but at
    least min_masks, and no more than fit. Spans start at different places, and may overlap.

    counts     (B,) int64 on the device: valid places of each row; None: all
    generator  of random numbers; None: the device's default
    """
    rows, size = shape
    if length > size:
        return torch.zeros(shape, dtype=torch.bool, device=device)
    n = torch.full((rows,), size, device=device) if counts is None else counts
    chance = torch.rand((), device=device, generator=generator, dtype=torch.float64)
    number = (prob * n / length + chance).long().clamp(min=min_masks).clamp(max=size // length)
    places = (n - length + 1).clamp(min=0)  # where a span may start
    number = torch.minimum(number, places)
    keys = torch.rand(shape, device=device, generator=generator).masked_fill_(~valid(places, size), 2.0)
    starts = keys.argsort(1).argsort(1) < number[:, None]
    before = torch.cat((starts.new_zeros(rows, length), starts), dim=1).cumsum(1)
    return before[:, length:] > before[:, :size]


def mask(x: Tensor, time: Tensor | None, channels: Tensor | None, embedding: Tensor) -> Tensor:
    """x (B, T, C) with the embedding (C,) where time (B, T) is true, and zeros where channels (B, C) is true."""
    if time is not None:
        x = torch.where(time[..., None], embedding.to(x.dtype), x)
    if channels is not None:
        x = x.masked_fill(channels[:, None], 0.0)
    return x
