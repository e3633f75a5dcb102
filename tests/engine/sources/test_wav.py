"""WAV streams: the same samples as FFmpeg reads, at once, and to FFmpeg with what is not plain."""

import struct
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.sources.ahead import Ahead
from earshot_asr.engine.sources.converter import Converter
from earshot_asr.engine.sources.media import Media
from earshot_asr.engine.sources.timeline import Timeline
from earshot_asr.engine.sources.wav import plain_wav
from tests.engine.sources.made import tone, written

STEREO = np.stack([tone(0.5, 44_100), tone(0.5, 44_100)[::-1]], axis=1)


def ahead(data: bytes, size: int = 1 << 20) -> Ahead:
    """Bytes that come in pieces of at most that size."""
    parts: Iterator[bytes] = (data[at : at + size] for at in range(0, len(data), size))
    rest = b""

    def read(wanted: int) -> bytes:
        nonlocal rest
        rest = rest or next(parts, b"")
        found, rest = rest[:wanted], rest[wanted:]
        return found

    return Ahead(read)


def header(size: int = 0xFFFFFFFF, kind: int = 1, bits: int = 16, channels: int = 1, before: bytes = b"") -> bytes:
    block = channels * bits // 8
    format = struct.pack("<HHIIHH", kind, channels, 16_000, 16_000 * block, block, bits)
    return (
        b"RIFF\xff\xff\xff\xffWAVE"
        + before
        + b"fmt "
        + struct.pack("<I", 16)
        + format
        + b"data"
        + struct.pack("<I", size)
    )


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "ULAW", "ALAW"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
@pytest.mark.parametrize("samples", [STEREO, STEREO[:, 0]])
def test_samples_are_those_that_ffmpeg_reads(subtype: str, kind: str, samples: np.ndarray) -> None:
    data = written(samples, 44_100, format=kind, subtype=subtype)
    wav = plain_wav(ahead(data, 999))
    assert wav is not None
    found = []
    for source in (wav, Media(ahead(data), Timeline(60))):
        converter = Converter()
        pieces = [converter.feed(piece, rate) for piece, rate in source]
        found.append(np.concatenate([*pieces, converter.finish()]))
    np.testing.assert_array_equal(found[0], found[1])
    assert wav.damage == "" and wav.channels == np.ndim(samples)


def test_it_is_heard_as_it_grows() -> None:
    read: list[int] = []

    def more(size: int) -> bytes:
        """A byte at a time, as long as the header is read; then a block of samples."""
        data = (header() + bytes(range(200)) * 2)[len(read) :][: 1 if len(read) < 44 else 100]
        read.extend(data)
        return data

    wav = plain_wav(Ahead(more))
    assert wav is not None and len(read) == 44 and wav.duration is None
    samples, rate = next(iter(wav))
    assert samples.shape == (1, 50) and rate == 16_000 and len(read) == 144


def test_what_follows_the_samples_is_none() -> None:
    data = header(size=8, before=b"LIST" + struct.pack("<I", 3) + b"abc\0") + bytes(8) + b"LIST\4\0\0\0abcd"
    wav = plain_wav(ahead(data))
    assert wav is not None
    assert sum(samples.shape[1] for samples, _ in wav) == 4
    cut = plain_wav(ahead(data[: len(data) - 17]))
    assert cut is not None and sum(samples.shape[1] for samples, _ in cut) == 1 and "within a sample" in cut.damage


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF",
        *(header()[:size] for size in range(12, 44)),
        header(kind=0x11, bits=4),
        header(bits=8),
        header(channels=0),
        header(channels=99),
        header(before=b"junk" + struct.pack("<I", 5000) + bytes(5000)),
        header().replace(b"WAVE", b"AVI "),
        header().replace(b"fmt ", b"frmt"),
    ],
)
def test_all_else_is_left_alone(data: bytes) -> None:
    bytes_ahead = ahead(data)
    assert plain_wav(bytes_ahead) is None
    assert bytes_ahead.read_bytes == 0 and bytes_ahead.peek(len(data)) == data


@given(st.binary(max_size=80), st.integers(0, 60))
def test_any_header_is_read_or_left(junk: bytes, at: int) -> None:
    data = header()[:at] + junk
    wav = plain_wav(ahead(data, 7))
    if wav is not None:
        assert sum(samples.size for samples, _ in wav) <= len(junk)
