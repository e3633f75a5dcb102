"""Measuring how fast a runner is, and this process beside it."""

import itertools

import pytest

from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.cost import Cost, combined, measure
from tests.helpers import FakeRunner


def test_two_runners_are_as_fast_as_both_together() -> None:
    assert combined([Cost(0.002, 0.01)]) == Cost(0.002, 0.01)
    both = combined([Cost(0.002, 0.01), Cost(0.001, 0.02)])
    assert both.frame == pytest.approx(1 / 1500) and both.process == 0.02


def test_measured_is_the_best_of_full_batches() -> None:
    """By a clock on which each look takes a second: the runner gets as many windows as go into a batch."""

    class Counting(FakeRunner):
        batches: list[int]

        def run(self, windows):  # type: ignore[no-untyped-def]
            self.batches.append(len(windows))
            return super().run(windows)

    runner = Counting()
    runner.batches = []
    ticks = itertools.count()
    speed = measure(runner, StreamConfig(left_ms=3000, hop_ms=400, right_ms=600), clock=lambda: float(next(ticks)))
    assert set(runner.batches) == {2}  # of 4 s: 8 s are a batch
    assert speed == Cost(frame=1 / (2 * 200), process=1 / 4)


def test_a_batch_that_is_too_big_for_the_device_is_halved() -> None:
    class Small(FakeRunner):
        def run(self, windows):  # type: ignore[no-untyped-def]
            if len(windows) > 1:
                raise MemoryError
            return super().run(windows)

    assert measure(Small(), StreamConfig()).frame > 0
    with pytest.raises(RuntimeError, match="fire"):
        measure(FakeRunner(fail_on=lambda pcm: True), StreamConfig())
