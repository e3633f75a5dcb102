"""Bootstrap intervals, and the quantiles that they are of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.client.evaluate.intervals import Bootstrap, RankedValues

values = st.lists(st.lists(st.floats(-5, 5), max_size=5), min_size=1, max_size=5)
levels = st.lists(st.floats(0.01, 1), min_size=1, max_size=3)


@given(values, levels, st.data())
def test_quantiles_are_numpy_s_of_the_clips_as_often_as_they_were_drawn(
    clips: list[list[float]], levels: list[float], data: st.DataObject
) -> None:
    drawn = [data.draw(st.integers(0, 3)) for _ in clips]
    found = RankedValues([np.array(clip) for clip in clips]).quantiles(levels, np.array(drawn, np.float64))
    together = [value for clip, times in zip(clips, drawn, strict=True) for value in clip * times]
    if together:
        assert found.tolist() == np.quantile(together, levels, method="inverted_cdf").tolist()
    else:
        assert np.isnan(found).all()


def test_one_clip_has_no_interval() -> None:
    alone = Bootstrap(range(1), seed=0)
    assert alone.ratio(np.array([1.0]), np.array([2.0])) is None
    assert alone.quantiles([np.array([1.0, 2.0])], [0.5, 0.9]) == [None, None]


def test_equal_clips_have_an_interval_of_no_width() -> None:
    many = Bootstrap(range(5), seed=0)
    assert many.ratio(np.full(5, 1.0), np.full(5, 4.0)) == (0.25, 0.25)
    assert many.quantiles([np.array([2.0])] * 5, [0.5]) == [(2.0, 2.0)]


def test_it_covers_what_it_should() -> None:
    """Of 100 samples of a known law, about 95 have the true mean in their intervals."""
    rng = np.random.default_rng(7)
    covered = 0
    for seed in range(100):
        interval = Bootstrap(range(60), seed).ratio(rng.exponential(1.0, 60), np.ones(60))
        assert interval is not None
        covered += interval[0] <= 1.0 <= interval[1]
    assert 87 <= covered <= 99


def test_draws_without_a_figure_do_not_count() -> None:
    interval = Bootstrap(range(2), seed=0).ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
    assert interval == (0.5, 0.5)
    assert Bootstrap(range(2), seed=0).ratio(np.zeros(2), np.zeros(2)) is None
    (found,) = Bootstrap(range(2), seed=0).quantiles([np.array([3.0]), np.array([])], [0.5])
    assert found == pytest.approx((3.0, 3.0))


def test_the_clips_of_a_recording_are_drawn_together() -> None:
    """So that a recording that is played ten times says no more than one that is played once."""
    rng = np.random.default_rng(3)
    above, below = rng.poisson(3, 8).astype(np.float64), np.ones(8)
    once = Bootstrap(range(8), seed=0).ratio(above, below)
    often = Bootstrap(list(range(8)) * 10, seed=0).ratio(np.tile(above, 10), np.tile(below, 10))
    assert once == often and once is not None and once[0] < once[1]
    assert Bootstrap(["a.wav"] * 5, seed=0).ratio(above[:5], below[:5]) is None
