"""The ring holds what was fed until it is released, at its absolute place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.ring import RingBuffer


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=60), st.integers(0, 10**9))
def test_what_is_held_is_what_was_fed(steps: list[tuple[int, int]], start: int) -> None:
    ring, fed = RingBuffer(16, start), np.empty(0, np.int16)
    for count, released in steps:
        pcm = np.arange(len(fed), len(fed) + min(count, ring.room), dtype=np.int16)
        ring.feed(pcm)
        fed = np.concatenate([fed, pcm])
        ring.release(ring.start + released)
        assert ring.end == start + len(fed)
        assert ring.room == 16 - (ring.end - ring.start) >= 0
        assert np.array_equal(ring.view(ring.start, ring.end), fed[ring.start - start :])


def test_nothing_is_overwritten_before_it_is_released() -> None:
    ring = RingBuffer(4)
    ring.feed(np.arange(4, dtype=np.int16))
    with pytest.raises(AssertionError):
        ring.feed(np.zeros(1, np.int16))
    ring.release(1)
    ring.feed(np.array([9], np.int16))
    assert ring.view(1, 5).tolist() == [1, 2, 3, 9]
    with pytest.raises(AssertionError):
        ring.view(0, 2)


def test_release_never_goes_back_nor_ahead() -> None:
    ring = RingBuffer(8)
    ring.feed(np.zeros(6, np.int16))
    ring.release(4)
    ring.release(2)
    assert ring.start == 4
    ring.release(100)
    assert (ring.start, ring.end, ring.room) == (6, 6, 8)


def test_views_are_copies() -> None:
    ring = RingBuffer(4)
    ring.feed(np.ones(4, np.int16))
    view = ring.view(0, 4)
    ring.release(4)
    ring.feed(np.full(4, 7, np.int16))
    assert view.tolist() == [1, 1, 1, 1]
