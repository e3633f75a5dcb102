"""Filters for bands of frequency: those that a wide first convolution begins with, and Slaney's for log-mels."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from earshot_asr.engine.audio import SAMPLE_RATE

WIDE_SAMPLES = 200
"""A first convolution at least as wide as this begins as a bank of filters."""
LOWEST_HERTZ, HIGHEST_HERTZ = 60.0, 7600.0


def band_filters(kernel: int, channels: int) -> Tensor:
    """Windowed cosines and sines in turn, at frequencies evenly spaced on the mel scale: (kernel, channels).

    A convolution would need hours of speech to learn them. They turn white noise of variance 1 into variance 2, as
    weights drawn as in He et al. 2015 do.
    """
    low, high = (1127 * torch.tensor(hertz / 700).log1p() for hertz in (LOWEST_HERTZ, HIGHEST_HERTZ))
    hertz = 700 * (torch.linspace(float(low), float(high), (channels + 1) // 2) / 1127).expm1()
    phase = 2 * torch.pi / SAMPLE_RATE * torch.arange(kernel)[:, None] * hertz
    waves = torch.stack([phase.cos(), phase.sin()], dim=-1).flatten(1)[:, :channels]
    filters = waves * torch.hann_window(kernel + 1)[1:, None]
    return filters * (2 / filters.square().sum(0)).sqrt()


def slaney_filters(bands: int, fft_samples: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Slaney's triangular mel filters of equal area: (fft_samples // 2 + 1, bands)."""
    # Linear up to 1 kHz, 15 mels of it, then logarithmic: 27 mels for a factor of 6.4.
    mels = np.linspace(0.0, 15.0 + 27.0 * math.log(SAMPLE_RATE / 2 / 1000.0) / math.log(6.4), bands + 2)
    logarithmic = 1000.0 * np.exp((mels - 15.0) * math.log(6.4) / 27.0)
    edges = np.where(mels < 15.0, mels * 200.0 / 3.0, logarithmic)
    bins = (np.arange(fft_samples // 2 + 1) * SAMPLE_RATE / fft_samples)[:, None]
    width = np.diff(edges)
    rising, falling = (bins - edges[:-2]) / width[:-1], (edges[2:] - bins) / width[1:]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    filters: np.ndarray[Any, np.dtype[np.float64]] = triangles * 2.0 / (edges[2:] - edges[:-2])
    return filters
