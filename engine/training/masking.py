"""Masks over time and features (SpecAugment, Park et al. 2019; wav2vec 2.0, Baevski et al. 2020), as in transformers.

B rows, N places of an axis: frames, or channels. All on the device, nothing is waited for.
"""

import torch
from torch import Tensor

from earshot_asr.engine.layers import valid


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
    """Random spans of `length` places, bool (B, N): transformers' _compute_mask_indices.

    A row of n places has int(prob * n / length + u) spans, u uniform and the same for all rows, but at least min_masks
    and no more than fit; they start at different places and may overlap.

    counts     (B,) int64 on the device: how many places of each row are valid; None: all
    generator  where the randomness comes from; None: the device's own
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
    """(B, T, C): frames where time (B, T) is true become the embedding (C,), channels where (B, C) is true 0."""
    if time is not None:
        x = torch.where(time[..., None], embedding.to(x.dtype), x)
    if channels is not None:
        x = x.masked_fill(channels[:, None], 0.0)
    return x
