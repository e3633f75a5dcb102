"""What the first bytes of a file tell that FFmpeg does not."""

from earshot_asr.engine.sources.reader import Ahead

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
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
    b"riff\x2e\x91\xcf\x11": "Wave64",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "WMA or WMV",
    b"FLV\x01": "FLV",
}
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
WAV_HEADER_BYTES = 4096
MP4_SEARCH_BYTES = 1 << 20
"""How far into an MP4 its index is searched for before the whole is copied."""
UNKNOWN_SIZES = (0, 0xFFFFFFFF)
"""Sizes in RIFF headers that were to be filled in at the end."""
MISREAD_WAV_FORMATS = (0x38, 0x40)
"""NMS ADPCM and G.721, which FFmpeg takes for others."""


def kind_of(start: bytes) -> str | None:
    """What a file is by how it begins, in words; None if that isn't known."""
    if start[4:8] in MP4_BOXES:
        return "MP4"
    if start.startswith(b"RIFF"):
        return {b"WAVE": "WAV", b"AVI ": "AVI"}.get(start[8:12])
    return next((kind for magic, kind in MAGIC.items() if start.startswith(magic)), None)


def promised_bytes(start: bytes) -> int | None:
    """How long a file says it is, if it is WAV, AVI, AIFF, Matroska or WebM and says so."""
    if start.startswith((b"RIFF", b"FORM")):
        size = int.from_bytes(start[4:8], "little" if start.startswith(b"RIFF") else "big")
        return None if size in UNKNOWN_SIZES else size + 8
    if start.startswith(EBML):
        at, size = _ebml_size(start, len(EBML))
        if start[at + size :].startswith(SEGMENT):
            at, size = _ebml_size(start, at + size + len(SEGMENT))
            return at + size if size else None
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


def index_comes_last(reader: Ahead) -> bool:
    """Whether this is an MP4 whose index follows its audio, so that it can't be read forward."""
    at = 0
    while at < MP4_SEARCH_BYTES:
        header = reader.peek(at + 16)[at:]
        if header[4:8] == b"moov" or len(header) < 16:
            return False
        if header[4:8] == b"mdat":
            return True
        size = int.from_bytes(header[:4])
        at += max(8, int.from_bytes(header[8:16]) if size == 1 else size)
    return True
