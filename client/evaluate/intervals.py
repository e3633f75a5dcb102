"""Bootstrap intervals: how far a figure would move if others of the same kind had been recorded."""

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

Interval = tuple[float, float]

RESAMPLE_COUNT = 1000
INTERVAL_QUANTILES = (0.025, 0.975)


class Bootstrap:
    """Draws as many recordings as there are, with replacement, 1000 times; the same ones for the same seed.

    Intervals are where 95 % of the draws' figures lie; None with fewer than two recordings, or where no draw has a
    figure.
    """

    def __init__(self, recordings: Sequence[Hashable], seed: int) -> None:
        """recordings: that of each clip (N,); the clips of one are drawn together, as they tell less than others."""
        places = {recording: place for place, recording in enumerate(dict.fromkeys(recordings))}
        count = len(places)
        self.draws: Floats = np.empty((0, len(recordings)))  # (R, N): how often each clip was drawn
        if count > 1:
            drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLE_COUNT)
            self.draws = drawn[:, [places[recording] for recording in recordings]].astype(np.float64)

    def ratio(self, above: Floats, below: Floats) -> Interval | None:
        """The interval of sum(above) / sum(below), of what each clip (N,) contributes."""
        below = self.draws @ below
        there = below > 0
        return _interval((self.draws @ above)[there] / below[there])

    def quantiles(self, values: Sequence[Floats], levels: Sequence[float]) -> list[Interval | None]:
        """The intervals of quantiles of all clips' values together."""
        ranked = RankedValues(values)
        found = np.array([ranked.quantiles(levels, draw) for draw in self.draws])
        return [_interval(column[~np.isnan(column)]) for column in found.T] if len(found) else [None] * len(levels)


class RankedValues:
    """The values of N clips, in ascending order."""

    def __init__(self, values: Sequence[Floats]) -> None:
        together = np.concatenate(values)
        order = np.argsort(together, kind="stable")
        self._values = together[order]
        self._clip = np.repeat(np.arange(len(values)), [len(each) for each in values])[order]

    def quantiles(self, levels: Sequence[float], weights: Floats) -> Floats:
        """The least values that have so much of the weight at or below them; each clip (N,) has one. NaN for none."""
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
