"""Audio sources: any bytes, however they are cut, become the same samples."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, to_pcm
from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources import PIPE_BYTES, AudioSource, ContainerSource, RawFormat, open_file
from earshot_asr.engine.sources.converter import CutShort

ENCODINGS = {"pcm_s16le": 2, "pcm_f32le": 4, "mulaw": 1, "alaw": 1}
STREAMABLE = ["wav", "flac", "ogg", "mp3", "webm", "fragmented.m4a"]


class Source(Protocol):
    def feed(self, data: bytes) -> Pcm: ...
    def finish(self) -> Pcm: ...


def drain(source: Source, pieces: Sequence[bytes]) -> Pcm:
    return np.concatenate([*(source.feed(piece) for piece in pieces), source.finish()])


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    return [data[a:b] for a, b in pairwise([0, *sorted(c % (len(data) + 1) for c in cuts), len(data)])]


def tone(seconds: float, rate: int = SAMPLE_RATE) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A tone that rises, so that a shift or a gap shows."""
    t = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * (300 + 100 * t) * t)).astype(np.float32)


def write(path: Path, seconds: float = 2.0) -> Path:
    """A file in the format that its name says."""
    name = path.name
    rate = 48_000 if "ogg" in name or "webm" in name else 44_100
    codec, container, options = {
        "wav": ("pcm_s16le", "wav", {}),
        "flac": ("flac", "flac", {}),
        "ogg": ("libopus", "ogg", {}),
        "mp3": ("libmp3lame", "mp3", {}),
        "webm": ("libopus", "webm", {}),
        "m4a": ("aac", "mp4", {"movflags": "frag_keyframe+empty_moov"} if "fragmented" in name else {}),
    }[path.suffix[1:]]
    with av.open(str(path), "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(to_pcm(tone(seconds, rate))[None], format="s16", layout="mono")
        frame.sample_rate = rate
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(stream.format, "mono", rate, frame_size=size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return path


def looks_like_the_tone(pcm: Pcm, seconds: float, *, slack: float = 0.08) -> bool:
    """The right length, and the right sound at the right place (codecs may pad and shift a little)."""
    expected = tone(seconds)
    overlap = min(len(pcm), len(expected))
    spectrum = np.fft.rfft(pcm[:overlap], 2 * overlap).conj() * np.fft.rfft(expected[:overlap], 2 * overlap)
    correlation = np.fft.irfft(spectrum)
    shift = int(np.abs(correlation).argmax())
    norm = np.linalg.norm(pcm[:overlap].astype(np.float64)) * np.linalg.norm(expected[:overlap])
    shift = min(shift, 2 * overlap - shift)
    slack_samples = slack * SAMPLE_RATE
    near = abs(len(pcm) - len(expected)) <= slack_samples and shift <= slack_samples
    return near and bool(correlation.max() > 0.9 * norm)


# ---- raw samples


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


def test_g711_known_values() -> None:
    assert AudioSource("mulaw").feed(bytes([0x00, 0x80, 0x7F, 0xFF])).tolist() == [-32124, 32124, 0, 0]
    assert AudioSource("alaw").feed(bytes([0x2A, 0xAA, 0x55, 0xD5])).tolist() == [-32256, 32256, -8, 8]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_floats_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(AudioError, match="NaN or infinite"):
        AudioSource("pcm_f32le").feed(np.array([0.1, bad], np.float32).tobytes())


def test_no_sum_of_huge_floats_is_infinite() -> None:
    loud = np.array([[3e38, 3e38], [-3e38, -3e38]], np.float32)
    assert drain(AudioSource("pcm_f32le", 16_000, 2), [loud.tobytes()]).tolist() == [16384, -16384]


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


# ---- files


def samples_of(path: Path, raw: RawFormat | None = None) -> Pcm:
    with open_file(path, raw=raw) as source:
        chunks = list(source)
    assert all(8000 <= len(chunk) <= 32_000 for chunk in chunks[:-1])
    return np.concatenate(chunks)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.m4a", "a.webm", "a.fragmented.m4a"])
def test_files_of_every_format(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name)
    assert looks_like_the_tone(samples_of(path), 2.0)
    with open_file(path) as source:
        assert source.duration == pytest.approx(2.0, abs=0.1)


def test_opus_files_begin_where_they_should(tmp_path: Path) -> None:
    """The codec's pre-skip is taken off, as another decoder does."""
    whole, rate = soundfile.read(write(tmp_path / "a.ogg"), dtype="float32")
    theirs = to_pcm(soxr.resample(whole, rate, SAMPLE_RATE))
    np.testing.assert_allclose(samples_of(tmp_path / "a.ogg"), theirs, atol=1)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("rate", [8000, 16_000, 96_000])
def test_lossless_files_are_exact(suffix: str, rate: int, tmp_path: Path) -> None:
    pcm = np.random.default_rng(rate).integers(-30_000, 30_000, (rate, 2), dtype=np.int16)
    soundfile.write(tmp_path / f"a.{suffix}", pcm, rate)
    expected = drain(AudioSource("pcm_s16le", rate, 2), [pcm.tobytes()])
    np.testing.assert_array_equal(samples_of(tmp_path / f"a.{suffix}"), expected)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_wav_of_every_width(subtype: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0), SAMPLE_RATE, subtype=subtype)
    assert looks_like_the_tone(samples_of(tmp_path / "a.wav"), 1.0, slack=0)


def test_flac_of_24_bits(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", tone(1.0), SAMPLE_RATE, subtype="PCM_24")
    assert np.abs(samples_of(tmp_path / "a.flac").astype(int) - to_pcm(tone(1.0))).max() <= 1


def test_the_sound_of_a_video(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as file:
        video = file.add_stream("mpeg4", rate=5)
        audio = file.add_stream("aac", rate=16_000)
        assert isinstance(video, av.VideoStream)
        assert isinstance(audio, av.AudioStream)
        video.width = video.height = 16
        video.pix_fmt = "yuv420p"
        audio.layout = "mono"
        for i in range(5):
            picture = av.VideoFrame(16, 16, "yuv420p")
            picture.pts = i
            file.mux(video.encode(picture))
        frame = av.AudioFrame.from_ndarray(tone(1.0)[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        resampler = av.AudioResampler("fltp", "mono", 16_000, frame_size=1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(audio.encode(part))
        for stream in (video, audio):
            file.mux(stream.encode(None))
    assert looks_like_the_tone(samples_of(path), 1.0, slack=0.1)


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.flac", "flac"), ("a.webm", "libopus")])
@pytest.mark.parametrize("layout", ["5.1", "7.1"])
def test_surround_sound(name: str, codec: str, layout: str, tmp_path: Path) -> None:
    """Eight planes are more than PyAV's to_ndarray() can take; it crashes."""
    path = tmp_path / name
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=48_000)
        assert isinstance(stream, av.AudioStream)
        stream.layout = layout
        channels = stream.layout.nb_channels
        frame = av.AudioFrame.from_ndarray(
            np.repeat(tone(1.0, 48_000), channels)[None], format="flt", layout=stream.layout
        )
        frame.sample_rate = 48_000
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(stream.format, layout, 48_000, frame_size=size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    assert looks_like_the_tone(samples_of(path), 1.0)


def test_raw_files(tmp_path: Path) -> None:
    pcm = to_pcm(tone(1.0))
    for suffix in ("raw", "pcm", "s16"):
        (tmp_path / f"a.{suffix}").write_bytes(pcm.tobytes())
        np.testing.assert_array_equal(samples_of(tmp_path / f"a.{suffix}"), pcm)
    stereo = np.repeat(tone(1.0, 8000), 2).astype("<f4")
    (tmp_path / "a.bin").write_bytes(stereo.tobytes())
    raw = RawFormat("pcm_f32le", 8000, 2)
    assert looks_like_the_tone(samples_of(tmp_path / "a.bin", raw), 1.0, slack=0)
    with open_file(tmp_path / "a.bin", raw=raw) as source:
        assert source.duration == 1.0


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.webm"])
def test_half_a_file_gives_half_of_its_audio(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, 4.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 1.0 < len(samples_of(path)) / SAMPLE_RATE < 3.0


@pytest.mark.parametrize("name", ["a.flac", "a.mp3"])
def test_where_a_file_breaks_off_is_said(name: str, tmp_path: Path) -> None:
    def complaint(path: Path) -> tuple[str, float]:
        with open_file(path) as source:
            assert source.damage == ""
            given = sum(map(len, source)) / SAMPLE_RATE
            return source.damage, given

    path = write(tmp_path / name, 4.0)
    assert complaint(path)[0] == ""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    said, given = complaint(path)
    assert said == f"it is cut off, or damaged: of its 4.0 s, {given:.1f} s could be decoded"


@pytest.mark.parametrize("name", ["a.wav", "a.ogg", "a.webm", "a.m4a", "a.mp3", "a.flac"])
def test_nothing_is_said_of_whole_files(name: str, tmp_path: Path) -> None:
    for seconds in (0.3, 2.0):
        with open_file(write(tmp_path / name, seconds)) as source:
            assert list(source) and not source.damage


def test_audio_behind_damage_is_not_lost(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", 4.0)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    path.write_bytes(data)
    assert len(samples_of(path)) > 3.5 * SAMPLE_RATE


def test_damage_that_the_decoder_tells_of_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3", 4.0)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = np.random.default_rng(1).bytes(300)
    path.write_bytes(data)
    with open_file(path) as source:
        assert sum(map(len, source)) > 3.5 * SAMPLE_RATE
        assert source.damage.startswith("it is cut off, or damaged: invalid data")


def _directory(path: Path) -> None:
    path.mkdir()


def _rate_too_low(path: Path) -> None:
    soundfile.write(path, np.zeros(4000, np.int16), 4000, format="WAV")


def _no_samples(path: Path) -> None:
    soundfile.write(path, np.zeros(0, np.int16), 16_000, format="WAV")


def _nan(path: Path) -> None:
    soundfile.write(path, np.full(100, np.nan, np.float32), 16_000, format="WAV", subtype="FLOAT")


def _half_an_m4a(path: Path) -> None:
    whole = write(path.with_suffix(".m4a"))
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])


def _silent_film(path: Path) -> None:
    with av.open(str(path), "w", format="matroska") as file:
        video = file.add_stream("mpeg4", rate=5)
        assert isinstance(video, av.VideoStream)
        video.width = video.height = 16
        video.pix_fmt = "yuv420p"
        file.mux(video.encode(av.VideoFrame(16, 16, "yuv420p")))
        file.mux(video.encode(None))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (_directory, "directory"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_text("hello, this is no audio\n" * 99), "no known format.*expected WAV, FLAC"),
        (lambda path: path.write_bytes(np.random.default_rng(0).bytes(9999)), "no known format"),
        (lambda path: path.write_bytes(b"RIFF" + bytes(99)), "no known format"),
        (_half_an_m4a, "not whole"),
        (_rate_too_low, "4000 Hz.*between 8000"),
        (_no_samples, "no samples"),
        (_nan, "NaN"),
        (_silent_film, "no audio track"),
    ],
)
def test_what_is_no_audio_is_named(make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "thing"
    make(path)
    with pytest.raises(AudioError, match=rf"thing: .*{message}"):
        samples_of(path)


def test_a_playlist_can_not_name_other_files(tmp_path: Path) -> None:
    secret = write(tmp_path / "a.mp3")
    (tmp_path / "list.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(AudioError, match="no known format"):
        samples_of(tmp_path / "list.m3u8")


def test_an_odd_byte_in_a_raw_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(17))
    with open_file(tmp_path / "a.raw") as source:
        assert np.concatenate(list(source)).tolist() == [0] * 8
        assert "1 byte(s) are left over" in source.damage


# ---- containers as streams


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("streams")
    return {name: write(folder / f"a.{name}").read_bytes() for name in STREAMABLE}


@pytest.mark.parametrize("name", STREAMABLE)
def test_containers_however_they_are_cut(name: str, streams: dict[str, bytes]) -> None:
    data = streams[name]
    with ContainerSource() as source:
        whole = drain(source, [data])
    assert looks_like_the_tone(whole, 2.0)
    cuts = np.random.default_rng(7).integers(0, len(data), 99).tolist()
    for pieces in (cut(data, cuts), cut(data, list(range(0, len(data), 11)))):
        with ContainerSource() as source:
            assert drain(source, pieces).tobytes() == whole.tobytes()


def test_audio_comes_before_the_stream_ends(streams: dict[str, bytes]) -> None:
    data = streams["webm"]
    with ContainerSource() as source:
        got = len(source.feed(data[: len(data) // 2]))
        while got < 8000:  # it comes in the end, with nothing more fed
            got += len(source.feed(b""))


def test_more_than_the_pipe_holds_may_be_fed_at_once(tmp_path: Path) -> None:
    data = write(tmp_path / "a.wav", 5.0).read_bytes()
    assert len(data) > 4 * PIPE_BYTES
    with ContainerSource() as source:
        assert looks_like_the_tone(drain(source, [data]), 5.0)


@pytest.mark.parametrize("name", ["wav", "webm"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_closing_early_ends_the_thread(name: str, share: float, streams: dict[str, bytes]) -> None:
    data = streams[name]
    source = ContainerSource()
    source.feed(data[: int(len(data) * share)])
    source.close()
    source.close()
    assert not source._thread.is_alive()


@pytest.mark.parametrize(
    "data", [b"no audio at all " * 9, bytes(300_000), b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n" * 9]
)
def test_a_stream_that_is_no_audio(data: bytes) -> None:
    with ContainerSource() as source, pytest.raises(AudioError, match=r"can't decode audio: .*expected WAV, FLAC"):
        drain(source, [data])
    assert not source._thread.is_alive()


def test_an_error_is_told_to_who_feeds_on() -> None:
    with ContainerSource() as source, pytest.raises(AudioError):
        drain(source, [b"no audio at all " * 99] * 9999)


def test_nothing_fed_is_no_error() -> None:
    with ContainerSource() as source:
        assert len(source.finish()) == 0


def test_bytes_behind_the_container_are_ignored(streams: dict[str, bytes]) -> None:
    with ContainerSource() as source:
        alone = drain(source, [streams["wav"]])
    with ContainerSource() as source:
        assert drain(source, [streams["wav"], b"x" * 999, b"y"]).tobytes() == alone.tobytes()
