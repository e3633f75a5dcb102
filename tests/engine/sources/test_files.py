"""Files: of every format, whole or damaged, become the audio that they hold."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, to_pcm
from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources import AudioSource, RawFormat, open_file
from earshot_asr.engine.sources.reader import Reader
from tests.engine.sources.made import drain, looks_like_the_tone, tone, write
from tests.engine.sources.test_compressed import decoded


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
    expected = (
        f", or damaged: of its 4.0 s, {given:.1f} s could be decoded" if name == "a.flac" else ": its header says"
    )
    assert said.startswith(f"it is cut off{expected}")


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


PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile {secret}\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "list.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet '
    'mimeType="audio/mp3"><Representation id="1" bandwidth="1"><BaseURL>file://{secret}</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "sine=f=440": "sine=f=440",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_can_not_name_other_files(name: str, tmp_path: Path) -> None:
    """Neither in a file nor in a pipe. Whatever a file is called, its name means nothing to FFmpeg."""
    secret = write(tmp_path / "a.mp3")
    text = PLAYLISTS[name].format(secret=secret)
    (tmp_path / name).write_text(text)
    with pytest.raises(AudioError, match="no known format"):
        samples_of(tmp_path / name)
    (error,) = decoded(text.encode() * 20)
    assert b"no known format" in error[1]


@pytest.mark.parametrize(("demuxer", "name"), [("hls", "list.m3u8"), ("concat", "list.ffconcat")])
def test_those_playlists_would_name_others_if_they_were_read(demuxer: str, name: str, tmp_path: Path) -> None:
    """Shows that the test above is one: where playlists are let in, the other file is heard."""
    text = PLAYLISTS[name].format(secret=write(tmp_path / "a.mp3"))
    (tmp_path / name).write_text(text)
    allowed = {"safe": "0", "allowed_extensions": "ALL", "extension_picky": "0"}
    with av.open(str(tmp_path / name), format=demuxer, options=allowed) as opened:
        assert sum(frame.samples for frame in opened.decode(audio=0)) > 44_100


def test_pictures_are_no_audio_whatever_they_are_called(tmp_path: Path) -> None:
    (tmp_path / "a%03d.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    with pytest.raises(AudioError, match="no known format"):
        samples_of(tmp_path / "a%03d.png")


@pytest.mark.parametrize("address", ["https://example.com/a.mp3", "file:///etc/passwd", "rtmp://example.com/live"])
@pytest.mark.parametrize("kind", [str, Path])
def test_addresses_are_refused_in_a_sentence(address: str, kind: Callable[[str], str | Path]) -> None:
    with pytest.raises(AudioError, match=r"://.*: addresses are not read; fetch it first, or pipe it: curl"):
        open_file(kind(address))


def test_a_file_with_a_header_is_not_read_as_raw_samples(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac")
    with pytest.raises(AudioError, match=r"a\.flac: this is FLAC, whose header says what it holds: leave out"):
        open_file(path, raw=RawFormat(sample_rate=44_100))
    path.rename(tmp_path / "a.raw")
    assert looks_like_the_tone(samples_of(tmp_path / "a.raw"), 2.0)  # its name alone does not make it raw


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"track": 2}, "there is no audio track 2: there is but one"),
        ({"channel": 2}, "there is no channel 2: there are 1, counted from 1 on"),
    ],
)
def test_tracks_and_channels_that_are_not_there(options: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=message):
        open_file(write(tmp_path / "a.flac"), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a.wav", "a.ogg", "a.webm", "a.m4a", "a.mp3", "a.flac"])
def test_standard_input(name: str, tmp_path: Path) -> None:
    """The first bytes are not lost, and an MP4 whose index comes last is read, too."""
    path = write(tmp_path / name)
    script = (
        "import sys; from earshot_asr.engine.sources import open_file\n"
        "for pcm in open_file('-'): sys.stdout.buffer.write(pcm.tobytes())"
    )
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as cat:
        ours = subprocess.run([sys.executable, "-c", script], stdin=cat.stdout, capture_output=True, check=True)
    assert looks_like_the_tone(np.frombuffer(ours.stdout, np.int16), 2.0)


def test_ctrl_c_ends_what_waits_for_a_pipe(tmp_path: Path) -> None:
    data = write(tmp_path / "a.wav", 8.0).read_bytes()
    script = (
        "import sys; from earshot_asr.engine.sources import open_file\n"
        "for pcm in open_file('-'): print(len(pcm), flush=True)"
    )
    command = [sys.executable, "-c", "import signal; signal.signal(2, signal.default_int_handler)\n" + script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(data[: len(data) // 2])
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert errors.rstrip().endswith(b"KeyboardInterrupt")
    assert b"Exception ignored" not in errors


@pytest.mark.parametrize("name", ["a.wav", "a.ogg", "a.raw"])
def test_a_read_that_fails_ends_the_audio_and_is_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    if name == "a.raw":
        path.write_bytes(to_pcm(tone(4.0)).tobytes())
    else:
        write(path, 4.0)
    readable = path.stat().st_size // 2
    os.mkfifo(tmp_path / "fifo.raw")

    def more(reader: Reader, size: int) -> bytes:
        nonlocal readable
        if not readable:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        data: bytes = reader._file.read(min(size, readable))
        readable -= len(data)
        return data

    monkeypatch.setattr(Reader, "_more", more)

    def write_all() -> None:
        with suppress(BrokenPipeError):
            (tmp_path / "fifo.raw").write_bytes(path.read_bytes())

    writer = threading.Thread(target=write_all)
    writer.start()
    with open_file(tmp_path / "fifo.raw") as source:
        assert sum(map(len, source)) > SAMPLE_RATE / 2
        assert "can't be read further: input/output error" in source.damage
    writer.join()


def test_a_codec_that_nobody_knows_is_named(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.wav").read_bytes())
    data[20:22] = b"\x99\x99"
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(AudioError, match="there is no decoder for its codec here"):
        open_file(tmp_path / "a.wav")


def test_no_name_is_printed_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[31m.wav").write_bytes(b"")
    with pytest.raises(AudioError) as raised:
        open_file(tmp_path / "a\x1b[31m.wav")
    assert "\x1b" not in str(raised.value)


def test_a_pipe_whose_writer_pauses_can_be_stopped(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    data = write(tmp_path / "a.wav", 4.0).read_bytes()
    descriptor = os.open(tmp_path / "fifo", os.O_RDWR)  # keeps the pipe open
    writer = threading.Thread(target=os.write, args=(descriptor, data[: len(data) // 2]), daemon=True)
    writer.start()
    with open_file(tmp_path / "fifo") as source:
        chunks = iter(source)
        next(chunks)
        threading.Timer(0.1, source.stop).start()
        assert sum(map(len, chunks)) < 2 * SAMPLE_RATE
    writer.join()
    os.close(descriptor)


def test_an_odd_byte_in_a_raw_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(17))
    with open_file(tmp_path / "a.raw") as source:
        assert np.concatenate(list(source)).tolist() == [0] * 8
        assert "1 byte(s) are left over" in source.damage
