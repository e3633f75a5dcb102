"""What the first bytes of a file tell that FFmpeg does not."""

from earshot_asr.engine.sources.ahead import START_BYTES, Ahead

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
WAVE64 = b"riff\x2e\x91\xcf\x11"
MAGIC = {
    b"fLaC": "FLAC",
    b"RF64": "WAV",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    EBML: "Matroska or WebM",
    b"FORM": "AIFF",
    b"caff": "CAF",
    b".snd": "AU",
    b"#!AMR": "AMR",
    b"NIST_1A": "SPHERE",
    WAVE64: "Wave64",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "WMA or WMV",
    b"FLV\x01": "FLV",
}
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
WAV_HEADER_BYTES = 4096
MP4_SEARCH_BYTES, MOST_BOXES = 1 << 20, 100
"""How far into an MP4 its index is searched for before the whole is copied."""
UNKNOWN_SIZE = 0x7FFFF000
"""Sizes from here on, and 0, were to be filled in at the end: programs that write to a pipe put in the largest."""
MOST_ID3_BYTES, FIRST_FRAME_BYTES = 1 << 20, 64
MISREAD_WAV_FORMATS = (0x38, 0x40)
"""NMS ADPCM and G.721, which FFmpeg takes for others."""


def kind_of(start: bytes) -> str | None:
    """What a file is by how it begins, in words; None if that isn't known."""
    if start[4:8] in MP4_BOXES:
        return "MP4"
    if start.startswith(b"RIFF"):
        return {b"WAVE": "WAV", b"AVI ": "AVI"}.get(start[8:12])
    return next((kind for magic, kind in MAGIC.items() if start.startswith(magic)), None)


def promised_bytes(ahead: Ahead) -> int | None:
    """How long a file says it is; None: it is of a kind that doesn't say, or was not finished."""
    start = ahead.peek(START_BYTES)
    if start.startswith((b"RIFF", b"FORM")):
        size = int.from_bytes(start[4:8], "little" if start.startswith(b"RIFF") else "big")
        return None if size == 0 or size >= UNKNOWN_SIZE else size + 8
    if start.startswith(b"RF64") and start[12:16] == b"ds64":
        return int.from_bytes(start[20:28], "little") + 8
    if start.startswith(WAVE64):
        return int.from_bytes(start[16:24], "little")
    if start.startswith(b".snd"):
        size = int.from_bytes(start[8:12])
        return None if size >= UNKNOWN_SIZE else int.from_bytes(start[4:8]) + size
    if start.startswith(EBML):
        at, size = _ebml_size(start, len(EBML))
        if start[at + size :].startswith(SEGMENT):
            at, size = _ebml_size(start, at + size + len(SEGMENT))
            return at + size if size else None
        return None
    return _mp3_bytes(ahead, start)


def _mp3_bytes(ahead: Ahead, start: bytes) -> int | None:
    """What the Xing or Info tag in the first frame of an MP3 says; before it may be an ID3 tag with pictures."""
    if not start.startswith((b"ID3", b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2")):
        return None
    at = 0
    if start.startswith(b"ID3"):
        at = 10 + sum((byte & 127) << shift for byte, shift in zip(start[6:10], (21, 14, 7, 0), strict=False))
    if at > MOST_ID3_BYTES:
        return None
    frame = ahead.peek(at + FIRST_FRAME_BYTES)[at:]
    for tag in (b"Xing", b"Info"):
        if (found := frame.find(tag)) >= 0:
            flags = int.from_bytes(frame[found + 4 : found + 8])
            size = found + (12 if flags & 1 else 8)  # behind the number of frames
            return at + int.from_bytes(frame[size : size + 4]) if flags & 2 else None
    return None


def _ebml_size(data: bytes, at: int) -> tuple[int, int]:
    """A size as Matroska writes it (RFC 8794, section 4): where it ends, and the size, 0 if it is unknown or cut."""
    if at >= len(data):
        return at, 0
    length = 9 - data[at].bit_length()
    most = (1 << 7 * length) - 1
    size = int.from_bytes(data[at : at + length]) & most
    return at + length, 0 if size == most else size


def wav_format(start: bytes) -> int | None:
    """The format of a WAV file, as its header numbers them; None if it is no WAV file."""
    if not start.startswith(b"RIFF") or start[8:12] != b"WAVE":
        return None
    at = 12
    while at + 10 <= len(start):
        if start[at : at + 4] == b"fmt ":
            return int.from_bytes(start[at + 8 : at + 10], "little")
        size = int.from_bytes(start[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return None


def index_comes_last(ahead: Ahead) -> bool:
    """Whether this is an MP4 whose index follows its audio, so that it can't be read forward."""
    at = 0
    boxes = 0
    while at < MP4_SEARCH_BYTES and boxes < MOST_BOXES:
        header = ahead.peek(at + 16)[at : at + 16]
        if header[4:8] == b"moov" or len(header) < 16:
            return False
        if header[4:8] == b"mdat":
            return True
        size = int.from_bytes(header[:4])
        at += max(8, int.from_bytes(header[8:16]) if size == 1 else size)
        boxes += 1
    return True
