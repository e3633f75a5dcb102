"""Band filters to begin a wide first convolution with, which would need hours of speech to learn them."""

import torch
from torch import Tensor

from earshot_asr.engine.audio import SAMPLE_RATE

WIDE_SAMPLES = 200
"""A first convolution at least as wide as this begins as a bank of filters."""
LOWEST_HERTZ, HIGHEST_HERTZ = 60.0, 7600.0


def band_filters(kernel: int, channels: int) -> Tensor:
    """Windowed cosines and sines in turn, at frequencies evenly spaced on the mel scale: (kernel, channels).

    They turn white noise of variance 1 into variance 2, as weights drawn as in He et al. 2015 do.
    """
    low, high = (1127 * torch.tensor(hertz / 700).log1p() for hertz in (LOWEST_HERTZ, HIGHEST_HERTZ))
    hertz = 700 * (torch.linspace(float(low), float(high), (channels + 1) // 2) / 1127).expm1()
    phase = 2 * torch.pi / SAMPLE_RATE * torch.arange(kernel)[:, None] * hertz
    waves = torch.stack([phase.cos(), phase.sin()], dim=-1).flatten(1)[:, :channels]
    filters = waves * torch.hann_window(kernel + 1)[1:, None]
    return filters * (2 / filters.square().sum(0)).sqrt()
