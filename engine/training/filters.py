"""A first convolution that is wide begins as a bank of band filters, which take hours of speech to be learned."""

import torch
from torch import Tensor

from earshot_asr.engine.audio import SAMPLE_RATE

WIDE = 200
"""Samples: a first convolution at least as wide begins so."""
LOWEST, HIGHEST = 60.0, 7600.0
"""Hertz."""


def band_filters(kernel: int, channels: int) -> Tensor:
    """Windowed cosines and sines by turns, their frequencies even on the mel scale: (kernel, channels).

    White noise of variance 1 comes out with a variance of 2, as of weights by He et al. 2015.
    """
    low, high = (1127 * torch.tensor(hertz / 700).log1p() for hertz in (LOWEST, HIGHEST))
    hertz = 700 * (torch.linspace(float(low), float(high), (channels + 1) // 2) / 1127).expm1()
    phase = 2 * torch.pi / SAMPLE_RATE * torch.arange(kernel)[:, None] * hertz
    waves = torch.stack([phase.cos(), phase.sin()], dim=-1).flatten(1)[:, :channels]
    filters = waves * torch.hann_window(kernel + 1)[1:, None]
    return filters * (2 / filters.square().sum(0)).sqrt()
