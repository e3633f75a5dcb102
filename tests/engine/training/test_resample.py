"""Resampling: what stays, what goes, where it is, and how many samples there are."""

import numpy as np
import pytest

from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.training.resample import resample

RATES = [8_000, 11_025, 22_050, 24_000, 44_100, 48_000]


def tone(hertz: float, rate: int, seconds: float = 0.25) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("hertz", [200, 3000])
def test_a_tone_stays_what_it_is_and_where_it_is(rate: int, hertz: int) -> None:
    heard = resample(tone(hertz, rate), rate)
    assert heard.dtype == np.float32
    assert heard[400:-400] == pytest.approx(tone(hertz, 16_000)[400 : len(heard) - 400], abs=2e-3)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_what_16_khz_can_not_hold_goes(rate: int) -> None:
    heard = resample(tone(9000, rate), rate)
    assert np.abs(heard[400:-400]).max() < 0.01


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("samples", [0, 1, 2, 1000, 44_101])
def test_lengths(rate: int, samples: int) -> None:
    assert len(resample(np.ones(samples, np.float32), rate)) == -(-samples * 16_000 // rate)


def test_nothing_to_do() -> None:
    samples = tone(440, 16_000)
    assert resample(samples, 16_000) is samples


def test_odd_rates() -> None:
    with pytest.raises(AudioError, match="44099 Hz is no rate that can be brought to 16000 Hz"):
        resample(np.ones(10, np.float32), 44_099)


def test_as_soxr_does() -> None:
    soxr = pytest.importorskip("soxr")
    noise = np.random.default_rng(0).normal(0, 0.1, 44_100).astype(np.float32)
    slow = np.convolve(noise, np.hanning(21) / 10, "same").astype(np.float32)  # little above 6 kHz
    ours, theirs = resample(slow, 44_100), soxr.resample(slow, 44_100, 16_000)
    assert ours[500:-500] == pytest.approx(theirs[500:-500], abs=2e-3)
