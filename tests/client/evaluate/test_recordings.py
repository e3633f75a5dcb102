"""What is played behind a recording, and in which pieces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.client.evaluate.recordings import noise_floor, timed_blocks
from earshot_asr.engine.endpoint import EnergyGate
from tests.helpers import noise, silence, speak


@pytest.mark.parametrize("loud", [3.0, 20.0, 300.0])
def test_the_noise_floor_is_as_loud_as_where_nobody_speaks(loud: float) -> None:
    rng = np.random.default_rng(1)
    speech = np.concatenate([silence(0.7), speak("HELLO WORLD"), silence(0.7)])
    floor = noise_floor(speech + noise(len(speech), rng, loud), 32_000)
    assert len(floor) == 32_000
    assert floor.std() == pytest.approx(loud, rel=0.25)


def test_it_has_the_colour_of_the_noise() -> None:
    rng = np.random.default_rng(2)
    low = np.convolve(rng.normal(0, 100, 48_000), np.ones(16) / 16, "same").astype(np.int16)
    floor = noise_floor(low, 32_000).astype(np.float64)
    assert np.diff(floor).var() < floor.var() / 4  # white noise: twice its variance


def test_nobody_speaks_in_it() -> None:
    rng = np.random.default_rng(3)
    speech = np.concatenate([silence(1), speak("HELLO WORLD", blocks=4), silence(0.3)])
    speech = speech + noise(len(speech), rng, 30.0)
    played = np.concatenate([speech, noise_floor(speech, 32_000)])
    played = played[: len(played) // 320 * 320].reshape(-1, 320)
    voiced = EnergyGate(320, stream_start=False).feed(played)
    assert any(voiced[50:-120])
    assert not any(voiced[-100:])


def test_silence_is_followed_by_silence_and_the_same_by_the_same() -> None:
    assert not noise_floor(silence(1), 1000).any()
    assert len(noise_floor(silence(0), 1000)) == 1000
    some = noise(5000, np.random.default_rng(4))
    assert np.array_equal(noise_floor(some, 700), noise_floor(some, 700))


@given(st.integers(0, 5000), st.integers(1, 2000))
def test_blocks_are_there_when_their_last_sample_is(samples: int, size: int) -> None:
    pcm = np.arange(samples).astype(np.int16)
    parts = list(timed_blocks(pcm, size))
    assert np.array_equal(np.concatenate([pcm[:0], *(block for _, block in parts)]), pcm)
    assert all(len(block) == size for _, block in parts[:-1])
    assert [at for at, _ in parts] == [min((n + 1) * size, samples) / 16_000 for n in range(len(parts))]
