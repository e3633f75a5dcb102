"""Waits between attempts, by a clock and dice of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.client.backoff import STEADY_SECONDS, Backoff


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def worst(low: float, high: float) -> float:
    return high


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(300, 0.1, 5.0, Clock(), worst)
    backoff.lost()
    assert [backoff.wait() for _ in range(8)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert backoff.attempts == 8


def test_jitter_is_full() -> None:
    backoff = Backoff(300, 0.1, 5.0, Clock(), lambda low, high: low)
    backoff.lost()
    assert [backoff.wait() for _ in range(8)] == [0.0] * 8
    waits = []
    for _ in range(1000):
        alone = Backoff(300)
        alone.lost()
        waits.append(alone.wait())
    assert min(waits) < 0.01
    assert 0.09 < max(waits) <= 0.1


def test_only_time_without_a_connection_counts() -> None:
    clock = Clock()
    backoff = Backoff(10, clock=clock)
    backoff.lost()
    clock.now += 4
    assert backoff.left == 6
    backoff.found()
    clock.now += STEADY_SECONDS / 2
    assert backoff.left == 6
    backoff.lost()
    clock.now += 4
    assert backoff.left == 2


def test_what_was_of_use_counts_as_a_new_beginning() -> None:
    clock = Clock()
    backoff = Backoff(10, 0.1, 5.0, clock, worst)
    backoff.lost()
    clock.now += 9
    backoff.wait()
    backoff.found()
    backoff.achieved()
    backoff.lost()
    assert (backoff.left, backoff.attempts) == (10, 0)
    assert backoff.wait() == 0.1


def test_a_steady_connection_was_of_use() -> None:
    clock = Clock()
    backoff = Backoff(10, 0.1, 5.0, clock, worst)
    for _ in range(100):
        backoff.lost()
        clock.now += 9
        assert backoff.wait() == 0.1
        backoff.found()
        clock.now += STEADY_SECONDS


def test_for_ever() -> None:
    clock = Clock()
    backoff = Backoff(float("inf"), 0.1, 5.0, clock, worst)
    for _ in range(3):
        backoff.lost()
        clock.now += 1e6
        assert backoff.left > 0
        assert backoff.wait() > 0
        backoff.found()
    assert backoff.left > 0


def test_a_server_that_fails_every_time_is_not_asked_for_ever() -> None:
    """It admits the stream, and fails again before anything more is committed."""
    clock, attempts = Clock(), 0
    backoff = Backoff(60, clock=clock)
    backoff.lost()
    while backoff.left > 0:
        clock.now += backoff.wait() + 0.01
        backoff.found()
        attempts += 1
        clock.now += 1
        backoff.lost()
    assert attempts < 100


@given(st.floats(0, 400), st.lists(st.floats(0, 10), max_size=50))
def test_no_wait_is_longer_than_the_time_left(limit: float, passing: list[float]) -> None:
    clock = Clock()
    backoff = Backoff(limit, 0.1, 5.0, clock, worst)
    backoff.lost()
    for seconds in passing:
        left = backoff.left
        assert 0 <= backoff.wait() <= max(0, left)
        clock.now += seconds
