"""Mixing, levels and cuts: what comes out depends on the samples alone."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, to_pcm
from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources.converter import FAINT, LEVEL_START_SAMPLES, LEVELLED, Converter, CutShort, Samples
from tests.engine.sources.made import tone


def converted(samples: Samples, rate: int = SAMPLE_RATE, cuts: Sequence[int] = (), **options: int | None) -> Pcm:
    converter = Converter(**options)  # type: ignore[arg-type]
    return fed(converter, samples, rate, cuts)


def fed(converter: Converter, samples: Samples, rate: int = SAMPLE_RATE, cuts: Sequence[int] = ()) -> Pcm:
    edges = [0, *sorted(cuts), samples.shape[1]]
    pieces = [converter.feed(samples[:, a:b], rate) for a, b in itertools.pairwise(edges)]
    return np.concatenate([*pieces, converter.finish()])


def bursts(seed: int, channels: int, samples: int) -> Samples:
    """Noise whose level jumps by decades, in each channel; now and then one is another's negative."""
    rng = np.random.default_rng(seed)
    loud = 10 ** rng.uniform(-5, 4, (channels, samples // 500 + 1)).repeat(500, axis=1)[:, :samples]
    made = loud * rng.standard_normal((channels, samples))
    if channels > 1 and rng.random() < 0.5:
        made[1] = -made[0]
    return made.astype(np.float32)


@given(
    seed=st.integers(0, 2**32 - 1),
    channels=st.integers(1, 3),
    samples=st.integers(0, 40_000),
    rate=st.sampled_from([8000, 16_000, 44_100]),
    start=st.sampled_from([0, LEVEL_START_SAMPLES]),
    cuts=st.lists(st.integers(0, 40_000), max_size=20),
)
def test_cuts_make_no_difference(
    seed: int, channels: int, samples: int, rate: int, start: int, cuts: list[int]
) -> None:
    made = bursts(seed, channels, samples)
    whole = converted(made, rate, start=start)
    assert abs(len(whole) - samples * SAMPLE_RATE / rate) <= 2
    cut = [at % (samples + 1) for at in cuts]
    assert converted(made, rate, cut, start=start).tobytes() == whole.tobytes()


def test_channels_that_cancel_one_another_out() -> None:
    sound = tone(2.0)
    both = np.stack([sound, -0.8 * sound])
    assert np.array_equal(converted(both), to_pcm(sound))
    converter = Converter()
    fed(converter, both)
    assert converter.cancelled


@pytest.mark.parametrize("other", [0.0, 0.5, 1.0])
def test_channels_that_do_not_are_mixed_by_their_mean(other: float) -> None:
    sound = tone(1.0)
    noise = np.random.default_rng(0).standard_normal(len(sound)).astype(np.float32) * np.float32(0.1 * other)
    converter = Converter()
    mixed = fed(converter, np.stack([sound, noise]))
    assert np.array_equal(mixed, to_pcm(np.float32(0.5) * (sound + noise)))
    assert not converter.cancelled


def test_channels_that_cancel_only_for_a_while() -> None:
    sound = tone(6.0)
    second = np.concatenate([sound[:32_000], -sound[32_000:64_000], sound[64_000:]])
    mixed = converted(np.stack([sound, second])).astype(int)
    quiet = np.abs(mixed.reshape(-1, 800)).max(axis=1) < 8000
    assert quiet.sum() <= 40  # two seconds at most, while it makes up its mind: once to the loudest, once back


def test_one_channel() -> None:
    sound = np.stack([tone(0.5), 0.3 * tone(0.5)])
    assert np.array_equal(converted(sound, channel=2), to_pcm(sound[1]))


@pytest.mark.parametrize("scale", [32768.0, 20.0, 3.0])
def test_samples_beyond_full_scale_are_scaled_down_not_clipped(scale: float) -> None:
    sound = tone(2.0)[None]
    converter = Converter(start=LEVEL_START_SAMPLES)
    pcm = fed(converter, 5 * scale * sound).astype(np.float64)
    assert np.corrcoef(pcm, sound[0])[0, 1] > 0.9999
    assert converter.gain < 1


def test_a_spike_is_no_scale() -> None:
    sound = tone(2.0)[None].copy()
    sound[0, 20_000] = 1e30
    converter = Converter(start=LEVEL_START_SAMPLES)
    pcm = fed(converter, sound)
    assert converter.gain == 1
    assert np.array_equal(np.delete(pcm, 20_000), np.delete(to_pcm(sound[0]), 20_000))


def test_music_that_was_mastered_too_loud_is_clipped_as_ever() -> None:
    sound = 3.5 * tone(2.0)[None]
    assert np.array_equal(converted(sound, start=LEVEL_START_SAMPLES), to_pcm(sound[0]))


@pytest.mark.parametrize("start", [0, LEVEL_START_SAMPLES])
def test_the_gain_only_falls(start: int) -> None:
    sound = np.ones(32_000, np.float32) * np.repeat([1.0, 100.0, 1.0, 10_000.0], 8000).astype(np.float32)
    pcm = np.abs(converted(sound[None], start=start))
    gains = pcm / sound / 32768
    assert (np.diff(gains[::320][:24]) <= 1e-6).all()
    assert pcm[-1] > 0.05 * 32768


def test_what_begins_faintly_is_amplified_and_what_follows_is_not_clipped() -> None:
    pauses = np.arange(32_000) // 2000 % 3 == 0
    sound = np.concatenate([tone(2.0) * pauses / 1000, tone(2.0)])
    converter = Converter(start=LEVEL_START_SAMPLES)
    pcm = fed(converter, sound[None])
    assert np.abs(pcm[:16_000]).max() == pytest.approx(LEVELLED * 32768, rel=0.02)
    assert np.abs(pcm[40_000:]).max() < 32767
    assert converter.gain == 1


@pytest.mark.parametrize("level", [0.0, 1e-5, 1.1 * FAINT])
def test_silence_and_what_is_loud_enough_stay_as_they_are(level: float) -> None:
    sound = np.float32(2 * level) * tone(2.0)
    assert np.array_equal(converted(sound[None], start=LEVEL_START_SAMPLES), to_pcm(sound))


def test_what_came_before_a_sample_that_is_no_number() -> None:
    sound = tone(1.0)[None].copy()
    sound[0, 12_345] = np.nan
    converter = Converter()
    with pytest.raises(CutShort, match="NaN or infinite") as raised:
        converter.feed(sound, SAMPLE_RATE)
    before = np.concatenate([raised.value.before, converter.finish()])
    assert np.array_equal(before, to_pcm(sound[0, :12_345]))


def test_rates_and_channels_may_change() -> None:
    converter = Converter()
    pieces = [
        converter.feed(tone(1.0, 44_100)[None], 44_100),
        converter.feed(np.stack([tone(1.0, 8000)] * 2), 8000),
        converter.feed(tone(1.0)[None], SAMPLE_RATE),
        converter.finish(),
    ]
    assert abs(sum(map(len, pieces)) - 3 * SAMPLE_RATE) <= 3
    with pytest.raises(AudioError, match="4000 Hz"):
        converter.feed(tone(1.0)[None], 4000)


def test_faint_noise_is_not_amplified() -> None:
    noise = np.random.default_rng(0).normal(0, 1e-3, 32_000).astype(np.float32)
    assert np.array_equal(converted(noise[None], start=LEVEL_START_SAMPLES), to_pcm(noise))


def test_less_than_a_second_is_levelled_too() -> None:
    sound = (tone(0.6) * (np.arange(9600) // 1000 % 3 == 0) / 1000).astype(np.float32)
    assert np.abs(converted(sound[None], start=LEVEL_START_SAMPLES)).max() > 3000
