"""Samples without a header: their formats, and bytes cut anywhere -> 16 kHz mono int16."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, to_float
from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources.container import reason
from earshot_asr.engine.sources.converter import Converter, CutShort, EachChannel, Samples, check_format

Encoding: TypeAlias = Literal["pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "mulaw", "alaw"]
READ_BYTES = 1 << 16
FULL_SCALE_32 = np.float32(1 << 31)


def _mulaw() -> Pcm:
    """G.711 mu-law, table 2a: all 256 codes."""
    code = ~np.arange(256) & 0xFF
    magnitude = (((code & 15) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw() -> Pcm:
    """G.711 A-law, table 1a: all 256 codes."""
    code = np.arange(256) ^ 0x55
    exponent = code >> 4 & 7
    mantissa = ((code & 15) << 4) + 8
    magnitude = np.where(exponent, mantissa + 0x100 << np.maximum(exponent - 1, 0), mantissa)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


_G711 = {"mulaw": _mulaw(), "alaw": _alaw()}
_DTYPES: dict[str, np.dtype[Any]] = {
    "pcm_s16le": np.dtype("<i2"),
    "pcm_s24le": np.dtype("V3"),
    "pcm_s32le": np.dtype("<i4"),
    "pcm_f32le": np.dtype("<f4"),
    "mulaw": np.dtype(np.uint8),
    "alaw": np.dtype(np.uint8),
}


@dataclass(frozen=True, slots=True)
class RawFormat:
    """How to read samples that have no header. Raises AudioError for what isn't understood."""

    encoding: Encoding = "pcm_s16le"
    sample_rate: int = SAMPLE_RATE
    channels: int = 1

    def __post_init__(self) -> None:
        if self.encoding not in get_args(Encoding):
            raise AudioError(f"encoding is {self.encoding!r}; it must be one of {', '.join(get_args(Encoding))}")
        check_format(self.sample_rate, self.channels)

    def __str__(self) -> str:
        channels = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        return f"{self.encoding}, {self.sample_rate} Hz, {channels}"

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return _DTYPES[self.encoding].itemsize * self.channels

    def samples(self, data: bytes) -> Samples:
        """Whole samples as bytes -> (C, S)."""
        match self.encoding:
            case "pcm_f32le":
                flat = np.frombuffer(data, "<f4").astype(np.float32)
            case "pcm_s24le":
                flat = _from_24_bits(data).astype(np.float32) / FULL_SCALE_32
            case "pcm_s32le":
                flat = np.frombuffer(data, "<i4").astype(np.float32) / FULL_SCALE_32
            case _:
                flat = to_float(self.pcm(data))
        return flat.reshape(-1, self.channels).T

    def pcm(self, data: bytes) -> Pcm:
        """Whole samples of at most 16 bits, as bytes -> int16, channels interleaved."""
        codes = np.frombuffer(data, _DTYPES[self.encoding])
        return _G711[self.encoding][codes] if self.encoding in _G711 else codes.astype(np.int16)


def _from_24_bits(data: bytes) -> npt.NDArray[np.int32]:
    """Little-endian samples of three bytes, as the upper three of int32."""
    wide = np.zeros((len(data) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return wide.view("<i4")[:, 0]


class _Whole:
    """Cuts bytes into whole samples of all channels."""

    def __init__(self, format: RawFormat) -> None:
        self._format = format
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        data = self._rest + data
        whole = len(data) // self._format.frame_bytes * self._format.frame_bytes
        self._rest = data[whole:]
        return data[:whole]

    def fault(self) -> str:
        """What is wrong with the audio if it ends here; empty if nothing is."""
        if not self._rest:
            return ""
        return (
            f"audio ends within a sample: {len(self._rest)} byte(s) are left over, but {self._format.encoding} "
            f"with {self._format.channels} channel(s) takes {self._format.frame_bytes} bytes a sample"
        )


class AudioSource:
    """Raw samples as bytes, cut anywhere -> 16 kHz int16: mono, or `each` channel for itself.

    Raises AudioError for a format that isn't understood.
    """

    def __init__(
        self,
        encoding: str = "pcm_s16le",
        sample_rate: int = SAMPLE_RATE,
        channels: int = 1,
        *,
        each: bool = False,
    ) -> None:
        self.format = RawFormat(encoding, sample_rate, channels)  # type: ignore[arg-type]  # it checks
        self._whole = _Whole(self.format)
        self._converter = EachChannel(channels) if each else Converter()
        small = encoding in ("pcm_s16le", "mulaw", "alaw")
        self._as_it_is = small and sample_rate == SAMPLE_RATE and channels == 1 and not each

    def feed(self, data: bytes) -> Pcm:
        """The samples that became certain, (S,), or (C, S). Raises CutShort for a float that is NaN or infinite."""
        data = self._whole.feed(data)
        if self._as_it_is:
            return self.format.pcm(data)
        return self._converter.feed(self.format.samples(data), self.format.sample_rate)

    def flush(self) -> Pcm:
        """What is still held of the samples so far; those that follow are resampled on their own."""
        return self._converter.finish()

    def finish(self) -> Pcm:
        """The rest. Raises CutShort if the last sample isn't whole."""
        pcm = self._converter.finish()
        if fault := self._whole.fault():
            raise CutShort(fault, pcm)
        return pcm


class RawFile:
    """Raw samples that are read from a file. Iterates over samples (C, S) and their rate.

    read    gives up to so many bytes, at least one; none means the end
    size    bytes in all; None: not known
    """

    notes: tuple[str, ...] = ()

    def __init__(self, read: Callable[[int], bytes], format: RawFormat, size: int | None) -> None:
        self.damage = ""
        self.channels = format.channels
        self.duration = None if size is None else size // format.frame_bytes / format.sample_rate
        self.format = format
        self._read = read

    def __iter__(self) -> Iterator[tuple[Samples, int]]:
        whole = _Whole(self.format)
        try:
            while data := self._read(READ_BYTES):
                yield self.format.samples(whole.feed(data)), self.format.sample_rate
        except OSError as e:
            self.damage = f"it can't be read further: {reason(e)}"
            return
        self.damage = whole.fault()

    def close(self) -> None:
        """Does nothing: who opened the file closes it."""
