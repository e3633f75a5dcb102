"""One line of samples: gaps become silence, overlaps are laid once, times that begin anew go on."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.sources.converter import Samples
from earshot_asr.engine.sources.timeline import ROUNDING_SECONDS, Timeline

RATE = 8000


def block(seconds: Seconds, value: float = 1.0) -> Samples:
    return np.full((1, round(seconds * RATE)), value, np.float32)


def laid(timeline: Timeline, *pieces: tuple[Seconds | None, Samples]) -> list[tuple[float, Seconds]]:
    """Runs of equal samples: their value, and how long they are."""
    line = np.concatenate([part[0] for at, samples in pieces for part in timeline.lay(samples, RATE, at)] or [[]])
    edges = [0, *(np.flatnonzero(np.diff(line)) + 1).tolist(), len(line)]
    return [(float(line[a]), (b - a) / RATE) for a, b in itertools.pairwise(edges) if b > a]


def test_a_gap_is_silence() -> None:
    timeline = Timeline(60)
    assert laid(timeline, (3.0, block(1)), (7.5, block(1, 0.5))) == [(0, 3), (1, 1), (0, 3.5), (0.5, 1)]
    assert timeline.end == 8.5


def test_what_overlaps_is_laid_once() -> None:
    assert laid(Timeline(60), (0.0, block(2)), (1.5, block(2, 0.5))) == [(1, 2), (0.5, 1.5)]
    assert laid(Timeline(60), (0.0, block(3)), (1.0, block(1, 0.5)), (3.0, block(1, 0.25))) == [(1, 3), (0.25, 1)]


def test_a_slow_clock_loses_nothing() -> None:
    """Times that go half as fast as the samples: of what seems to overlap, only the first is taken for a repetition."""
    runs = laid(Timeline(60), *((0.1 * n, block(0.2)) for n in range(40)))
    assert sum(length for _, length in runs) == pytest.approx(8, abs=0.2)


def test_silence_is_bounded_by_what_is_heard() -> None:
    timeline = Timeline(60)
    runs = laid(timeline, *((50.0 * n, block(0.1)) for n in range(100)))
    assert sum(length for value, length in runs if value == 0) <= 60 + 10 * 10
    assert timeline.shortened > 1000


def test_without_times_all_follows() -> None:
    assert laid(Timeline(60), (None, block(1)), (None, block(1, 0.5))) == [(1, 1), (0.5, 1)]


@pytest.mark.parametrize("again", [0.0, -0.02, 0.03])
def test_times_that_begin_anew_go_on(again: Seconds) -> None:
    timeline = Timeline(60)
    runs = laid(timeline, (0.0, block(5)), (again, block(1, 0.5)), (again + 2, block(1, 0.25)))
    assert runs == [(1, 5), (0.5, 1), (0, 1), (0.25, 1)]


def test_times_that_jump_far_back_go_on() -> None:
    assert laid(Timeline(60), (0.0, block(30)), (4.0, block(1, 0.5)), (5.0, block(1, 0.25)))[1:] == [
        (0.5, 1),
        (0.25, 1),
    ]


def test_a_new_part_begins_where_the_last_ended() -> None:
    timeline = Timeline(60)
    assert laid(timeline, (1.0, block(1))) == [(0, 1), (1, 1)]
    timeline.begin()
    assert laid(timeline, (1.0, block(1, 0.5))) == [(0, 1), (0.5, 1)]
    assert timeline.end == 4


def test_a_long_gap_is_cut_once() -> None:
    timeline = Timeline(2)
    assert laid(timeline, (0.0, block(1)), (1000.0, block(1, 0.5)), (1001.0, block(1, 0.25))) == [
        (1, 1), (0, 2), (0.5, 1), (0.25, 1),
    ]  # fmt: skip
    assert timeline.shortened == 997


@given(st.lists(st.floats(-0.9 * ROUNDING_SECONDS, 0.9 * ROUNDING_SECONDS), min_size=1, max_size=40))
def test_rounding_neither_cuts_nor_adds(errors: list[float]) -> None:
    timeline = Timeline(60)
    assert laid(timeline, *((n + error, block(1)) for n, error in enumerate(errors))) == [(1, len(errors))]


@given(st.lists(st.tuples(st.floats(0, 50) | st.none(), st.floats(0.01, 2)), max_size=20))
def test_the_end_is_what_was_laid_and_nothing_goes_back(pieces: list[tuple[Seconds | None, Seconds]]) -> None:
    timeline = Timeline(60)
    runs = laid(timeline, *((at, block(length)) for at, length in pieces))
    assert timeline.end == pytest.approx(sum(length for _, length in runs))
    for at, length in pieces[-1:]:
        before = timeline.end
        laid(timeline, (before if at is None else at, block(length)))
        assert timeline.end >= before


def test_no_rounding_adds_up_over_hours_and_rates() -> None:
    timeline = Timeline(60)
    for rate in (44_100, 48_000, 11_025):
        for _ in range(3000):
            list(timeline.lay(np.zeros((1, rate // 3), np.float32), rate, None))
    assert timeline.end == pytest.approx(3000 * (14_700 / 44_100 + 16_000 / 48_000 + 3675 / 11_025), abs=1e-6)
