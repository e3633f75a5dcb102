"""Three stages, and a clock that does not count pauses."""

import time
from itertools import count
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.training import schedule
from earshot_asr.engine.training.schedule import LONGEST_LOOK_SECONDS, Clock, Schedule


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
    rates = Schedule(0.2, 0.3)
    assert [rates.factor(share) for share in (0.0, 0.1, 0.2, 0.5, 0.75, 1.0)] == [0.01, 0.5, 1, 1, 0.5, 0]


@pytest.mark.parametrize(("warmup", "hold"), [(-0.1, 0), (0.5, 0.5), (0, 1), (float("nan"), 0)])
def test_shares_that_leave_nothing_are_refused(warmup: float, hold: float) -> None:
    with pytest.raises(ConfigError, match="warm-up"):
        Schedule(warmup, hold)


def test_a_pause_does_not_count() -> None:
    with patch("time.monotonic", side_effect=[100.0, 101.5, 5000.0, 5001.0]):
        clock = Clock(60.0)
        assert clock.tick() == 61.5
        assert clock.tick() == 61.5 + LONGEST_LOOK_SECONDS
        assert clock.tick() == 62.5 + LONGEST_LOOK_SECONDS
    assert clock.before == 60.0


def test_a_step_that_takes_minutes_counts_whole() -> None:
    """While the clock is watched, which here goes on a second with each look."""
    looks = count()
    with patch("time.monotonic", side_effect=looks), patch.object(schedule, "LOOK_SECONDS", 0.001):
        clock = Clock()
        with clock.watched():
            while clock.seconds < 10 * LONGEST_LOOK_SECONDS:
                time.sleep(0.001)
        assert clock.tick() == next(looks) - 1


def test_the_clock_follows_that_of_another_process_which_is_ahead() -> None:
    clock = Clock(5.0)
    clock.advance(9.0)
    clock.advance(7.0)
    assert clock.seconds == 9.0
