"""What first bytes tell."""

import pytest

from earshot_asr.engine.sources.ahead import Ahead
from earshot_asr.engine.sources.headers import index_comes_last, kind_of, promised_bytes, wav_format
from tests.engine.sources.made import encoded, tone, written

T = [(0.0, tone(0.5, 48_000))]


def ahead(data: bytes) -> Ahead:
    rest = bytearray(data)

    def read(size: int) -> bytes:
        got = bytes(rest[: min(size, 100)])
        del rest[: len(got)]
        return got

    return Ahead(read)


@pytest.mark.parametrize(
    ("container", "codec", "kind"),
    [
        ("wav", "pcm_s16le", "WAV"),
        ("avi", "pcm_s16le", "AVI"),
        ("flac", "flac", "FLAC"),
        ("ogg", "libopus", "Ogg"),
        ("webm", "libopus", "Matroska or WebM"),
        ("mp4", "aac", "MP4"),
        ("mp3", "libmp3lame", "MP3"),
        ("adts", "aac", None),
    ],
)
def test_kinds(container: str, codec: str, kind: str | None) -> None:
    assert kind_of(encoded(container, codec, T)) == kind


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("wav", "pcm_s16le"),
        ("avi", "pcm_s16le"),
        ("matroska", "flac"),
        ("w64", "pcm_s16le"),
        ("au", "pcm_s16be"),
        ("mp3", "libmp3lame"),
        ("aiff", "pcm_s16be"),
    ],
)
def test_whole_files_are_as_long_as_they_say(container: str, codec: str) -> None:
    data = encoded(container, codec, T)
    assert promised_bytes(ahead(data)) == len(data)


@pytest.mark.parametrize(
    "data", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE", b"\x1a\x45\xdf\xa3", b"\x1a\x45\xdf\xa3\x01", b"fLaC"]
)
def test_what_says_nothing_promises_nothing(data: bytes) -> None:
    assert promised_bytes(ahead(data)) is None


def test_the_format_of_a_wav_file_wherever_it_stands() -> None:
    data = written(tone(0.1, 8000), 8000, format="WAV", subtype="ULAW")
    assert wav_format(data) == 7
    assert wav_format(data[:12] + b"JUNK\x05\0\0\0abcde\0" + data[12:]) == 7
    assert wav_format(b"RIFF\0\0\0\0WAVEfmt ") is None
    assert wav_format(b"fLaC" + data[4:]) is None


def test_where_the_index_of_an_mp4_is() -> None:
    moov, mdat = b"\0\0\0\x10moov" + bytes(8), b"\0\0\0\x20mdat" + bytes(24)
    large = b"\0\0\0\x01free" + (40).to_bytes(8) + bytes(24)
    start = b"\0\0\0\x10ftypisom" + bytes(4)
    for before in (start, start + large):
        assert index_comes_last(ahead(before + mdat + moov))
        assert not index_comes_last(ahead(before + moov + mdat))
    assert not index_comes_last(ahead(start + b"\0\0\0"))
    assert index_comes_last(ahead(encoded("mp4", "aac", T)))
    fragmented = encoded("mp4", "aac", T, options={"movflags": "frag_keyframe+empty_moov"})
    source = ahead(fragmented)
    assert not index_comes_last(source)
    assert b"".join(iter(lambda: source.read(999), b"")) == fragmented
