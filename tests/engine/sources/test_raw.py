"""Raw samples: any bytes, however they are cut, become the same audio."""

import av
import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.audio import SAMPLE_RATE, to_pcm
from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources import AudioSource
from earshot_asr.engine.sources.converter import CutShort
from tests.engine.sources.made import cut, drain, looks_like_the_tone, tone

ENCODINGS = {"pcm_s16le": 2, "pcm_s24le": 3, "pcm_s32le": 4, "pcm_f32le": 4, "mulaw": 1, "alaw": 1}


@given(
    encoding=st.sampled_from(sorted(ENCODINGS)),
    rate=st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000, 191_999, 192_000]) | st.integers(8000, 192_000),
    channels=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
    n_samples=st.integers(0, 3000),
    cuts=st.lists(st.integers(0, 2**20), max_size=30),
)
def test_cuts_make_no_difference(
    encoding: str, rate: int, channels: int, seed: int, n_samples: int, cuts: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    data = rng.bytes(n_samples * channels * ENCODINGS[encoding])
    if encoding == "pcm_f32le":
        data = rng.normal(0, 0.4, n_samples * channels).astype("<f4").tobytes()
    whole = drain(AudioSource(encoding, rate, channels), [data])
    assert whole.dtype == np.int16
    assert abs(len(whole) - n_samples * SAMPLE_RATE / rate) <= 2
    pieces = drain(AudioSource(encoding, rate, channels), cut(data, cuts))
    assert whole.tobytes() == pieces.tobytes()


@pytest.mark.parametrize(("encoding", "rate", "channels"), [("pcm_s16le", 44_100, 2), ("pcm_f32le", 8000, 1)])
def test_one_byte_at_a_time(encoding: str, rate: int, channels: int) -> None:
    data = np.repeat(tone(0.05, rate), channels)
    raw = data.astype("<f4").tobytes() if encoding == "pcm_f32le" else to_pcm(data).tobytes()
    bytewise = drain(AudioSource(encoding, rate, channels), [raw[i : i + 1] for i in range(len(raw))])
    np.testing.assert_array_equal(bytewise, drain(AudioSource(encoding, rate, channels), [raw]))


@pytest.mark.parametrize(("encoding", "bits"), [("pcm_s24le", 24), ("pcm_s32le", 32)])
def test_more_bits_are_rounded_to_16(encoding: str, bits: int) -> None:
    pcm = np.arange(-32768, 32768, 7)
    wide = (pcm << (bits - 16)).astype("<i4")
    data = wide.view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes()
    np.testing.assert_array_equal(drain(AudioSource(encoding), [data]), pcm)


def test_each_channel_for_itself() -> None:
    left, right = to_pcm(tone(1.0, 44_100)), to_pcm(tone(1.0, 44_100)[::-1])
    source = AudioSource("pcm_s16le", 44_100, 2, each=True)
    data = np.stack([left, right], axis=1).tobytes()
    both = np.concatenate([*(source.feed(piece) for piece in cut(data, [999, 12_345])), source.finish()], axis=1)
    for channel, alone in zip(both, (left, right), strict=True):
        np.testing.assert_array_equal(channel, drain(AudioSource("pcm_s16le", 44_100), [alone.tobytes()]))


def test_each_channel_up_to_a_sample_that_is_none() -> None:
    samples = np.tile(np.array([0.1, 0.2], "<f4"), (1000, 1))
    samples[640, 1] = np.nan
    with pytest.raises(CutShort) as e:
        AudioSource("pcm_f32le", 16_000, 2, each=True).feed(samples.tobytes())
    np.testing.assert_array_equal(e.value.before, np.tile([[round(0.1 * 32768)], [round(0.2 * 32768)]], 640))


def test_16_khz_mono_is_passed_through_to_the_bit() -> None:
    pcm = np.arange(-32768, 32768, 7, dtype=np.int16)
    source = AudioSource()
    np.testing.assert_array_equal(source.feed(pcm.tobytes()), pcm)
    assert len(source.finish()) == 0


def test_channels_are_mixed_by_their_mean() -> None:
    frames = np.array([[0.5, -0.1, 0.2], [1.0, 1.0, 1.0], [-0.3, 0.3, 0.0]], np.float32)
    mixed = drain(AudioSource("pcm_f32le", 16_000, 3), [frames.tobytes()])
    np.testing.assert_array_equal(mixed, [round(0.2 * 32768), 32767, 0])


def test_resampling_is_what_soxr_does_at_once() -> None:
    samples = tone(1.0, 44_100)
    streamed = drain(AudioSource("pcm_f32le", 44_100), cut(samples.tobytes(), [1, 999, 77_777]))
    np.testing.assert_array_equal(streamed, to_pcm(soxr.resample(samples, 44_100, SAMPLE_RATE)))
    assert looks_like_the_tone(streamed, 1.0, slack=0)


def test_what_is_certain_comes_at_once() -> None:
    source = AudioSource("pcm_s16le", 48_000)
    given_out = len(source.feed(bytes(2 * 48_000)))
    assert 15_000 < given_out <= 16_000


@pytest.mark.parametrize(("encoding", "codec"), [("mulaw", "pcm_mulaw"), ("alaw", "pcm_alaw")])
def test_g711_tables_are_those_of_another_decoder(encoding: str, codec: str) -> None:
    codes = bytes(range(256))
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate = SAMPLE_RATE
    decoder.layout = "mono"
    theirs = decoder.decode(av.Packet(codes))[0].to_ndarray()[0]
    np.testing.assert_array_equal(drain(AudioSource(encoding), [codes]), theirs)


@given(
    rate=st.integers(8000, 192_000),
    channels=st.integers(1, 2),
    lengths=st.lists(st.integers(0, 4000), min_size=1, max_size=4),
)
def test_a_flush_holds_nothing_back(rate: int, channels: int, lengths: list[int]) -> None:
    source = AudioSource("pcm_s16le", rate, channels)
    for length in lengths:
        data = np.ones(length * channels, "<i2").tobytes()
        pcm = np.concatenate([source.feed(data + b"\1"), source.flush(), source.feed(b"\0" * (2 * channels - 1))])
        pcm = np.concatenate([pcm, source.flush()])
        assert abs(len(pcm) - (length + 1) * SAMPLE_RATE / rate) <= 2


def test_g711_known_values() -> None:
    assert AudioSource("mulaw").feed(bytes([0x00, 0x80, 0x7F, 0xFF])).tolist() == [-32124, 32124, 0, 0]
    assert AudioSource("alaw").feed(bytes([0x2A, 0xAA, 0x55, 0xD5])).tolist() == [-32256, 32256, -8, 8]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_floats_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(AudioError, match="NaN or infinite"):
        AudioSource("pcm_f32le").feed(np.array([0.1, bad], np.float32).tobytes())


def test_no_sum_of_huge_floats_is_infinite() -> None:
    loud = np.array([[3e38, 3e38], [-3e38, -3e38]], np.float32)
    assert drain(AudioSource("pcm_f32le", 16_000, 2), [loud.tobytes()]).tolist() == [3277, -3277]


def test_an_incomplete_sample_at_the_end_is_an_error() -> None:
    source = AudioSource("pcm_s16le", 16_000, 2)
    source.feed(bytes(7))
    with pytest.raises(CutShort, match=r"3 byte\(s\) are left over.* takes 4 bytes") as raised:
        source.finish()
    assert raised.value.before.tolist() == [0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mp5", 16_000, 1), "encoding is 'mp5'.*pcm_s16le"),
        (("alaw", 7999, 1), "7999 Hz.*between 8000 and 192000"),
        (("alaw", 192_001, 1), "192001 Hz"),
        (("alaw", 8000, 0), "0 channels"),
    ],
)
def test_a_format_that_is_not_understood(arguments: tuple[str, int, int], message: str) -> None:
    with pytest.raises(AudioError, match=message):
        AudioSource(*arguments)
