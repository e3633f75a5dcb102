"""Tests of tones that are made for training: what they are, not how they sound."""

import numpy as np
import pytest

from earshot_asr.engine.audio import SAMPLE_RATE, to_float
from earshot_asr.engine.training.data.tones import LEVEL, tones


@pytest.mark.parametrize("seconds", [0.5, 20.0])
def test_they_are_as_long_as_asked_for_and_never_loud(seconds: float) -> None:
    made = to_float(tones(np.random.default_rng(1), seconds))
    assert len(made) == seconds * SAMPLE_RATE
    assert 0 < np.abs(made).max() < 4 * LEVEL


def test_the_seed_alone_decides() -> None:
    one, same, other = (tones(np.random.default_rng(seed), 5.0) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_they_are_tones() -> None:
    made = to_float(tones(np.random.default_rng(3), 30.0)).reshape(-1, 800)
    power = np.abs(np.fft.rfft(made * np.hanning(800))) ** 2
    heard = power.sum(1) > 1e-3
    share = np.sort(power[heard], 1)[:, -24:].sum(1) / power[heard].sum(1)  # white noise has 0.2 there
    assert np.mean(share > 0.9) > 0.9
