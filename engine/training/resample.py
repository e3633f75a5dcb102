"""Recordings of any rate at 16 kHz: a windowed sinc in numpy, as training may need no more than that."""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.audio import SAMPLE_RATE
from earshot_asr.engine.errors import AudioError

ZEROS = 24
"""Zero crossings of the sinc on each side."""
ROLLOFF = 0.945
"""The cutoff, as a share of the lower of both Nyquist frequencies."""
MOST_PHASES = 640
"""Filters that a ratio may need: 160 from 44,100 Hz, 640 from 11,025 Hz."""

Floats = npt.NDArray[np.float32]


def resample(samples: Floats, rate: int) -> Floats:
    """(S,) at `rate` -> (ceil(S * 16000 / rate),) at 16 kHz; sample 0 stays where it is.

    Smith, "Digital Audio Resampling" (2002), with a Hann window. Raises AudioError for a rate of too odd a ratio.
    """
    if rate == SAMPLE_RATE:
        return samples
    factor = math.gcd(rate, SAMPLE_RATE)
    down, up = rate // factor, SAMPLE_RATE // factor
    if up > MOST_PHASES:
        raise AudioError(f"{rate} Hz is no rate that can be brought to {SAMPLE_RATE} Hz here")
    filters, reach = _filters(down, up)
    blocks = -(-len(samples) // down)
    padded = np.zeros(reach + blocks * down + filters.shape[0], np.float32)
    padded[reach : reach + len(samples)] = samples
    windows = np.lib.stride_tricks.sliding_window_view(padded, filters.shape[0])[: blocks * down : down]
    return (windows @ filters).reshape(-1)[: -(-len(samples) * up // down)]


@lru_cache(maxsize=8)
def _filters(down: int, up: int) -> tuple[Floats, int]:
    """A filter for each of the `up` samples that `down` become: (K, up), and how far the first reaches back."""
    cutoff = ROLLOFF * min(1.0, up / down)
    reach = math.ceil(ZEROS / cutoff)
    # Output n of a block lies at n * down / up of its input, tap k at k - reach.
    away = np.arange(2 * reach + down)[:, None] - reach - np.arange(up) * down / up
    window = np.where(np.abs(away) < reach, np.cos(away * math.pi / 2 / reach) ** 2, 0.0)
    return (cutoff * np.sinc(cutoff * away) * window).astype(np.float32), reach
