"""How many streams fit."""

import itertools

import pytest

from earshot_asr.engine.config import StreamConfig, Timing
from earshot_asr.engine.cost import USABLE_SHARE, Cost, frames_a_second
from earshot_asr.server.capacity import Capacity, Full
from tests.helpers import GRID


def timing(**settings: object) -> Timing:
    return Timing.of(StreamConfig(**settings), GRID, 0, 0)  # type: ignore[arg-type]


def admitted(capacity: Capacity, of: Timing) -> int:
    for number in itertools.count():
        try:
            capacity.add(number, of)
        except Full:
            return number
    raise AssertionError


def test_a_stream_is_charged_for_what_it_may_want() -> None:
    final = 50 * (1 + 0.64 / 5)
    assert frames_a_second(timing(partials=False)) == pytest.approx(final)
    assert frames_a_second(timing()) == pytest.approx(50 * (4 + 4 * 0.4 + 0.64) / (4 * 0.4) + 1.3 * final)
    assert frames_a_second(timing(commit="hop")) == pytest.approx(50 * (4 + 0.4 + 0.64) / 0.4)
    assert frames_a_second(timing(commit="hop", partials=False)) == frames_a_second(timing(commit="hop"))


def test_the_device_is_given_away_and_no_more() -> None:
    wanted = frames_a_second(timing())
    capacity = Capacity(Cost(frame=USABLE_SHARE / wanted / 10.5, process=0.0))
    assert admitted(capacity, timing()) == capacity.room(timing()) == 10
    assert capacity.used == pytest.approx(10 / 10.5)
    capacity.remove(3)
    assert capacity.fits(timing())
    assert not capacity.fits(timing(commit="hop"))


def test_so_is_the_process() -> None:
    assert admitted(Capacity(Cost(frame=1e-9, process=USABLE_SHARE / 7.5)), timing()) == 7


def test_a_limit_that_was_set_is_the_limit() -> None:
    assert admitted(Capacity(Cost(1.0, 1.0), streams=5), timing()) == 5


def test_however_slow_one_stream_is_served() -> None:
    capacity = Capacity(Cost(1.0, 1.0))
    assert capacity.load(timing()) > 1
    assert admitted(capacity, timing()) == capacity.room(timing()) == 1


def test_a_device_that_slows_down_takes_no_more_and_keeps_what_it_has() -> None:
    wanted = frames_a_second(timing())
    capacity = Capacity(Cost(frame=USABLE_SHARE / wanted / 10.5, process=0.0))
    for number in range(5):
        capacity.add(number, timing())
    for _ in range(200):
        capacity.record(400, 400 * 4 * USABLE_SHARE / wanted / 10.5)
    assert not capacity.fits(timing())
    assert capacity.used == pytest.approx(4 * 5 / 10.5, rel=0.01)
    for _ in range(200):
        capacity.record(400, 400 * USABLE_SHARE / wanted / 10.5)
    assert capacity.fits(timing())
