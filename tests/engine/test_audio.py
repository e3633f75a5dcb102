"""Units: samples, frames, seconds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.audio import FrameGrid, exact_div, from_ms, seconds, to_float, to_pcm

grids = st.sampled_from([FrameGrid(320, 400), FrameGrid(320, 560)])


@given(grids, st.integers(0, 10**7), st.integers(1, 2000))
def test_span_holds_exactly_its_frames(grid: FrameGrid, start: int, frames: int) -> None:
    first, end = grid.span(start, frames)
    assert first == start * grid.hop
    assert grid.frames(end - first) == frames
    assert grid.frames(end - first - 1) == frames - 1
    assert grid.frames(end) == start + frames


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (719, 1), (720, 2), (16000, 49)])
def test_frames_of_wav2vec2(samples: int, frames: int) -> None:
    assert FrameGrid(320, 400).frames(samples) == frames


def test_every_int16_survives_the_way_to_float_and_back() -> None:
    every = np.arange(-32768, 32768).astype(np.int16)
    assert np.array_equal(to_pcm(to_float(every)), every)
    assert to_float(every).dtype == np.float32
    assert to_pcm(np.array([1.5, -1.5, 0.99999], np.float32)).tolist() == [32767, -32768, 32767]


def test_seconds_and_milliseconds() -> None:
    assert seconds(16001) == 1.0
    assert seconds(24000) == 1.5
    assert from_ms(20) == 320
    assert FrameGrid(320, 400).from_ms(480) == 24
    assert exact_div(320, 160) == 2
    with pytest.raises(AssertionError):
        exact_div(400, 320)
