"""Bootstrap confidence intervals: how much a figure would vary over other recordings of the same kind."""

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

Interval = tuple[float, float]
"""Lower and upper end."""

RESAMPLE_COUNT = 1000
INTERVAL_QUANTILES = (0.025, 0.975)


class Bootstrap:
    """Resamples the recordings with replacement, RESAMPLE_COUNT times; the same way for the same seed.

    An interval holds 95 % of the samples' figures. It is None with fewer than two recordings, or if no sample has a
    figure.
    """

    def __init__(self, recordings: Sequence[Hashable], seed: int) -> None:
        """recordings: the recording of each clip (N,). Clips of the same recording are drawn together, as they are not
        independent.
        """
        places = {recording: place for place, recording in enumerate(dict.fromkeys(recordings))}
        count = len(places)
        self.draws: Floats = np.empty((0, len(recordings)))  # (R, N): how often each clip was drawn
        if count > 1:
            drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLE_COUNT)
            self.draws = drawn[:, [places[recording] for recording in recordings]].astype(np.float64)

    def ratio(self, above: Floats, below: Floats) -> Interval | None:
        """The interval of sum(above) / sum(below), given the terms of each clip (N,)."""
        below = self.draws @ below
        valid = below > 0
        return _interval((self.draws @ above)[valid] / below[valid])

    def quantiles(self, values: Sequence[Floats], levels: Sequence[float]) -> list[Interval | None]:
        """The intervals of quantiles of the values of all clips. `levels`: of the quantiles, from 0 to 1."""
        ranked = RankedValues(values)
        found = np.array([ranked.quantiles(levels, draw) for draw in self.draws])
        return [_interval(column[~np.isnan(column)]) for column in found.T] if len(found) else [None] * len(levels)


class RankedValues:
    """The values of N clips, sorted together."""

    def __init__(self, values: Sequence[Floats]) -> None:
        together = np.concatenate(values)
        order = np.argsort(together, kind="stable")
        self._values = together[order]
        self._clip = np.repeat(np.arange(len(values)), [len(each) for each in values])[order]

    def quantiles(self, levels: Sequence[float], weights: Floats) -> Floats:
        """Weighted quantiles: the smallest values at or below which lies this share of the weight.

        weights    of each clip (N,), for all its values; if they sum to 0, the quantiles are NaN
        """
        weight = np.cumsum(weights[self._clip])
        if not len(weight) or not weight[-1]:
            return np.full(len(levels), np.nan)
        ranks = np.searchsorted(weight, np.ceil(np.multiply(levels, weight[-1]) - 1e-9))
        found: Floats = self._values[ranks]
        return found


def _interval(values: Floats) -> Interval | None:
    if not len(values):
        return None
    low, high = np.quantile(values, INTERVAL_QUANTILES)
    return float(low), float(high)
