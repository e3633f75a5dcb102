"""Three stages, and a clock that does not count pauses."""

from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.training.schedule import LONGEST_STEP_SECONDS, Clock, Schedule


@given(st.floats(0, 0.5), st.floats(0, 0.49), st.floats(0, 1.2))
def test_rates_rise_hold_and_fall_to_zero(warmup: float, hold: float, share: float) -> None:
    factor = Schedule(warmup, hold).factor(share)
    assert 0 <= factor <= 1
    if warmup <= share <= warmup + hold:
        assert factor == 1
    if share >= 1:
        assert factor == 0
    elif share < 0.999:
        assert factor > 0


def test_in_numbers() -> None:
    schedule = Schedule(0.2, 0.3)
    assert [schedule.factor(share) for share in (0.0, 0.1, 0.2, 0.5, 0.75, 1.0)] == [0.01, 0.5, 1, 1, 0.5, 0]


@pytest.mark.parametrize(("warmup", "hold"), [(-0.1, 0), (0.5, 0.5), (0, 1), (float("nan"), 0)])
def test_shares_that_leave_nothing_are_refused(warmup: float, hold: float) -> None:
    with pytest.raises(ConfigError, match="warm-up"):
        Schedule(warmup, hold)


def test_a_pause_does_not_count() -> None:
    with patch("time.monotonic", side_effect=[100.0, 101.5, 5000.0, 5001.0]):
        clock = Clock(60.0)
        assert clock.tick() == 61.5
        assert clock.tick() == 61.5 + LONGEST_STEP_SECONDS
        assert clock.tick() == 62.5 + LONGEST_STEP_SECONDS
    assert clock.since_start == 2.5 + LONGEST_STEP_SECONDS


def test_what_is_skipped_does_not_count() -> None:
    with patch("time.monotonic", side_effect=[0.0, 25.0, 26.0]):
        clock = Clock()
        clock.skip()
        assert clock.tick() == 1.0


def test_steps_that_are_slow_count_whole() -> None:
    """After the first few; of a pause among them no more than three steps count."""
    with patch("time.monotonic", side_effect=[0.0, *(100.0 * n for n in range(1, 11)), 90_000.0, 90_100.0]):
        clock = Clock()
        seen = [clock.tick() for _ in range(10)]
        assert seen[0] == LONGEST_STEP_SECONDS
        assert [b - a for a, b in pairwise(seen[3:])] == [100.0] * 6
        assert clock.tick() - seen[-1] == 300.0
        assert clock.tick() - seen[-1] == 400.0
