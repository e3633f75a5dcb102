"""The arithmetic of the conditions' table."""

import numpy as np
import pytest

from tests.benchmarks.conditions import Row, above


def row(words: list[int], wrong: list[int], condition: str = "other") -> Row:
    return Row(condition, 1.0, words, wrong, 1.0)


def test_recordings_are_compared_with_themselves() -> None:
    """What is hard in both rows makes no difference, and no width of its interval."""
    wrong = np.random.default_rng(0).integers(0, 10, 20)
    clean = row([10] * 20, wrong.tolist())
    points, found = above(row([10] * 20, (wrong + 1).tolist()), clean)
    assert found and [points, *found] == pytest.approx([10, 10, 10])
    points, found = above(row([10] * 20, np.roll(wrong, 1).tolist()), clean)
    assert points == 0 and found and found[0] < 0 < found[1]


def test_recordings_that_are_joined_are_compared_with_each_of_theirs() -> None:
    clean = row([1, 2, 3, 4, 5], [0, 1, 0, 1, 0])
    points, found = above(row([6, 4, 5], [1, 1, 3]), clean)
    assert points == pytest.approx(100 * 3 / 15)
    assert found is None, "three streams are too few"
    with pytest.raises(AssertionError, match="not the recordings"):
        above(row([3, 4, 8], [1, 1, 3]), clean)
