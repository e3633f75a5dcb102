"""WAV streams of plain samples, read without FFmpeg, which looks at the first 64 KB of them before it gives out any."""

from collections.abc import Callable

from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources.ahead import Ahead
from earshot_asr.engine.sources.headers import UNKNOWN_SIZE, WAV_HEADER_BYTES
from earshot_asr.engine.sources.raw import READ_BYTES, Encoding, RawFile, RawFormat

EXTENSIBLE = 0xFFFE
ENCODINGS: dict[tuple[int, int], Encoding] = {
    (1, 16): "pcm_s16le",
    (1, 24): "pcm_s24le",
    (1, 32): "pcm_s32le",
    (3, 32): "pcm_f32le",
    (6, 8): "alaw",
    (7, 8): "mulaw",
}
"""By format, as WAV files number them, and bits of a sample."""


def plain_wav(ahead: Ahead) -> RawFile | None:
    """The samples of a WAV stream whose first bytes lie ahead; None, and nothing is read, if it holds others."""
    found = _header(ahead)
    if found is None:
        return None
    format, header_bytes, data_bytes = found
    while header_bytes:
        header_bytes -= len(ahead.read(header_bytes))
    return RawFile(_limited(ahead.read, data_bytes), format, data_bytes)


def _header(ahead: Ahead) -> tuple[RawFormat, int, int | None] | None:
    """Format of the samples, the bytes before them, and how many they are; None: not known."""
    start = ahead.peek(12)
    if not start.startswith(b"RIFF") or start[8:] != b"WAVE":
        return None
    at, format = 12, None
    while at + 8 <= WAV_HEADER_BYTES:
        head = ahead.peek(at + 8)[at:]
        if len(head) < 8:
            return None
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if name == b"data":
            known = 0 < size < UNKNOWN_SIZE
            return None if format is None else (format, at + 8, size if known else None)
        if at + 8 + size > WAV_HEADER_BYTES:
            return None
        if name == b"fmt " and (format := _format(ahead.peek(at + 8 + size)[at + 8 :])) is None:
            return None
        at += 8 + size + size % 2
    return None


def _format(chunk: bytes) -> RawFormat | None:
    kind, channels, rate, block, bits = (
        int.from_bytes(chunk[a:b], "little") for a, b in ((0, 2), (2, 4), (4, 8), (12, 14), (14, 16))
    )
    if kind == EXTENSIBLE:
        kind = int.from_bytes(chunk[24:26], "little")
    encoding = ENCODINGS.get((kind, bits))
    if encoding is None or block != channels * bits // 8:
        return None
    try:
        return RawFormat(encoding, rate, channels)
    except AudioError:
        return None


def _limited(read: Callable[[int], bytes], size: int | None) -> Callable[[int], bytes]:
    """Reads so many bytes; what follows is read, too, and forgotten: other chunks, for which a pipe's writer waits."""
    if size is None:
        return read
    left = size

    def limited(wanted: int) -> bytes:
        nonlocal left
        if not left:
            while read(READ_BYTES):
                pass
            return b""
        data = read(min(wanted, left))
        left -= len(data)
        return data

    return limited
