"""Compressed audio in a process of its own: the same samples however it is cut, and a process that is confined."""

import io
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from earshot_asr.engine.audio import Pcm, to_pcm
from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources import confined, open_file
from earshot_asr.engine.sources.compressed import DATA, ERROR, HEAD_BYTES, MARK, NOTE, PCM, Compressed, main, message
from earshot_asr.engine.sources.confined import environment
from tests.engine.sources.made import cut, looks_like_the_tone, tone, write, written

STREAMABLE = ["wav", "flac", "ogg", "mp3", "webm", "fragmented.m4a"]
linux = pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("streams")
    return {name: write(folder / f"a.{name}").read_bytes() for name in STREAMABLE}


def messages(data: bytes) -> list[tuple[bytes, bytes]]:
    """What was written: kinds and contents."""
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + HEAD_BYTES], "little")
        found.append((data[at : at + 1], data[at + HEAD_BYTES : at + HEAD_BYTES + size]))
        at += HEAD_BYTES + size
    return found


def decoded(*parts: bytes, packing: str = "container", channels: int = 0) -> list[tuple[bytes, bytes]]:
    """What main() writes; parts are messages of data, b"" is a mark."""
    target = io.BytesIO()
    source = io.BytesIO(b"".join(message(DATA, part) if part else message(MARK) for part in parts))
    main(packing, str(channels), source, target)
    return messages(target.getvalue())


def samples(found: list[tuple[bytes, bytes]]) -> Pcm:
    assert not [text for kind, text in found if kind == ERROR], found
    return np.frombuffer(b"".join(data for kind, data in found if kind == PCM), np.int16)


@pytest.mark.parametrize("name", STREAMABLE)
def test_containers_however_they_are_cut(name: str, streams: dict[str, bytes]) -> None:
    data = streams[name]
    whole = samples(decoded(data))
    assert looks_like_the_tone(whole, 2.0)
    cuts = np.random.default_rng(7).integers(0, len(data), 99).tolist()
    for pieces in (cut(data, cuts), cut(data, list(range(0, len(data), 11)))):
        assert samples(decoded(*filter(None, pieces))).tobytes() == whole.tobytes()


def test_a_mark_comes_back_behind_what_was_sent_before_it(streams: dict[str, bytes]) -> None:
    data = streams["webm"]
    found = decoded(b"", data[: len(data) // 2], b"", data[len(data) // 2 :], b"")
    kinds = [kind for kind, _ in found if kind in (MARK, PCM)]
    first, second, third = (at for at, kind in enumerate(kinds) if kind == MARK)
    assert first == 0 and second > 1 and third > second + 1
    assert looks_like_the_tone(samples(found), 2.0)  # it is resampled anew behind a mark


def test_what_stands_behind_the_audio_does_not_end_the_stream() -> None:
    """As the chunks that many programs write behind the data of a WAV: its sender says when it ends."""
    wav = written(tone(1.0), 16_000, format="WAV")
    found = decoded(wav, b"", b"LIST\xd0\x07\x00\x00" + bytes(2000), b"", b"")
    assert [kind for kind, _ in found if kind != PCM] == [MARK] * 3
    assert len(samples(found)) == 16_000


def packets(seconds: float, layout: str = "mono") -> list[bytes]:
    """Bare packets of Opus."""
    codec = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format = 48_000, layout, "flt"
    frame = av.AudioFrame.from_ndarray(tone(seconds, 48_000)[None], format="flt", layout="mono")
    frame.sample_rate = 48_000
    resampler = av.AudioResampler("flt", layout, 48_000, frame_size=960)
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    return [bytes(packet) for part in [*parts, None] for packet in codec.encode(part)]


@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_bare_packets_of_opus(layout: str) -> None:
    assert looks_like_the_tone(samples(decoded(*packets(2.0, layout), packing="opus")), 2.0)
    ((kind, text),) = decoded(b"\xff" * 400, packing="opus")
    assert kind == ERROR and text.startswith(b"message 1 is no packet of Opus")


def test_each_channel_for_itself(tmp_path: Path) -> None:
    import soundfile

    left, right = tone(1.0), tone(1.0)[::-1]
    soundfile.write(tmp_path / "a.flac", np.stack([left, right], axis=1), 16_000)
    found = decoded((tmp_path / "a.flac").read_bytes(), channels=2)
    pieces = [np.frombuffer(data, np.int16).reshape(2, -1) for kind, data in found if kind == PCM]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), [to_pcm(left), to_pcm(right)], atol=1)
    (note,) = [text for kind, text in decoded((tmp_path / "a.flac").read_bytes(), channels=1) if kind == NOTE]
    assert note == b"there are 2 channels, of which the first 1 are heard"
    ((kind, text),) = decoded((tmp_path / "a.flac").read_bytes(), channels=3)
    assert kind == ERROR and b"there is no channel 3: there are 2" in text


@pytest.mark.parametrize(
    "data", [b"no audio at all " * 9, bytes(300_000), b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n" * 9]
)
def test_what_is_no_audio_is_said(data: bytes) -> None:
    ((kind, text),) = decoded(data)
    assert kind == ERROR and b"can't decode audio" in text and b"expected WAV, FLAC" in text


def test_what_is_cut_off_is_said_and_heard_as_far_as_it_goes(streams: dict[str, bytes]) -> None:
    found = decoded(streams["ogg"][: len(streams["ogg"]) // 2])
    assert 8000 < len(samples(found)) < 24_000
    assert [text for kind, text in found if kind == NOTE] == [b"its last page is missing"]
    assert decoded() == [] and decoded(b"") == [(MARK, b"")]


def test_a_format_that_is_none() -> None:
    with pytest.raises(AudioError, match="encoding is 'mp5'; it must be one of container, opus"):
        Compressed("mp5")  # type: ignore[arg-type]


# ---- as a process


def run(format: Compressed, data: bytes) -> tuple[int, list[tuple[bytes, bytes]]]:
    done = subprocess.run(format.command, env=environment(), input=data, stdout=subprocess.PIPE, check=False)
    return done.returncode, messages(done.stdout)


def test_the_process_hears_what_open_file_does(streams: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "a.ogg").write_bytes(streams["ogg"])
    status, found = run(Compressed(), message(DATA, streams["ogg"]))
    assert status == 0
    np.testing.assert_array_equal(samples(found), np.concatenate(list(open_file(tmp_path / "a.ogg"))))


def run_confined(script: str) -> subprocess.CompletedProcess[str]:
    """Runs a script in a process that is as confined as that of a decoder, with little time."""
    start = "from earshot_asr.engine.sources import confined\nconfined.CPU_SECONDS = 1\nconfined.confine()\n"
    return subprocess.run([sys.executable, "-c", start + script], capture_output=True, text=True, check=False)


@linux
def test_the_process_is_confined() -> None:
    assert run_confined("while True: pass").returncode == -signal.SIGXCPU
    assert "MemoryError" in run_confined(f"bytearray({confined.MEMORY_BYTES})").stderr
    assert run_confined("import tempfile\nwith tempfile.TemporaryFile() as f: f.write(b'x')").returncode != 0
    assert run_confined("confined.allow_cpu()").returncode == 0


@linux
def test_who_decodes_without_being_confined_keeps_its_time() -> None:
    """As these tests do."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_CPU)
    decoded(b"no audio at all " * 9)
    assert resource.getrlimit(resource.RLIMIT_CPU) == before
