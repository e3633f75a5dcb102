"""Bytes of any encoding, rate and container -> 16 kHz mono int16, as they come.

    AudioSource       raw samples, fed as bytes
    ContainerSource   an OGG, WebM, ... stream, fed as bytes
    open_file         a file, drawn from

What comes out never depends on how the bytes were cut. Everything is float32 up to the last step: channels are mixed
by their mean, then resampled, then rounded to int16. Only 16 kHz mono integer samples go straight through.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import soxr

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds, to_float, to_pcm
from earshot_asr.engine.errors import AudioError

Encoding: TypeAlias = Literal["pcm_s16le", "pcm_f32le", "mulaw", "alaw"]
Samples: TypeAlias = npt.NDArray[np.float32]
"""Samples of any rate, shape (S, C), full scale at 1."""

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 8_000, 192_000
MOST_CHANNELS = 64
MOST_PLANES = 8
CHUNK_SAMPLES = SAMPLE_RATE // 2
"""A file is given out in chunks of at least as many samples."""
PIPE_BYTES = 64 * 1024
"""How far a ContainerSource's caller may be ahead of its decoder."""
RAW_SUFFIXES = (".raw", ".pcm", ".s16")

SHORT_SHARE = 0.97
"""A file that gives less than this share of the seconds that it promises lacks some."""
EXPECTED = "expected WAV, FLAC, OGG, Opus, MP3, M4A, WebM or another file with an audio track"
NO_SAMPLES = "there are no samples in it"
DEMUXERS = "wav,w64,aiff,caf,au,flac,ogg,mp3,aac,ac3,eac3,amr,mov,matroska,avi,mpegts,mpeg,flv,asf"
"""Only these: FFmpeg also opens playlists, which can name other files and hosts."""
BY_SOUNDFILE = (b"RIFF", b"RF64", b"FORM", b"OggS", b"caff", b".snd")
"""How files begin that libsndfile reads best: it knows their length to the sample, and decodes Opus at the rate it was
recorded at. MP3 and FLAC are left to PyAV, which gives all that a damaged file still holds."""


# ---- raw samples


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
        _check_format(self.sample_rate, self.channels)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return _DTYPES[self.encoding].itemsize * self.channels


def _check_format(sample_rate: int, channels: int) -> None:
    if not LOWEST_RATE_HZ <= sample_rate <= HIGHEST_RATE_HZ:
        raise AudioError(f"sample rate is {sample_rate} Hz; it must be between {LOWEST_RATE_HZ} and {HIGHEST_RATE_HZ}")
    if not 1 <= channels <= MOST_CHANNELS:
        raise AudioError(f"there are {channels} channels; there must be between 1 and {MOST_CHANNELS}")


class Converter:
    """Float samples of any rate, which may change, -> 16 kHz mono int16."""

    def __init__(self) -> None:
        self._rate = SAMPLE_RATE
        self._resampler: soxr.ResampleStream | None = None

    def feed(self, samples: Samples, rate: int) -> Pcm:
        """Samples (S, C) at `rate` -> what is certain of them, (S',). Raises AudioError for NaN and infinity."""
        _check_format(rate, samples.shape[1])
        rest = self._change(rate)
        mono = _mix(samples)
        return _joined([rest, to_pcm(mono if self._resampler is None else self._resampler.resample_chunk(mono))])

    def finish(self) -> Pcm:
        """The rest."""
        if self._resampler is None:
            return _EMPTY
        rest = self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        self._resampler, self._rate = None, SAMPLE_RATE
        return to_pcm(rest)

    def _change(self, rate: int) -> Pcm:
        if rate == self._rate:
            return _EMPTY
        rest = self.finish()
        if rate != SAMPLE_RATE:  # soxr's float32 stream does not depend on how it was cut, its int16 stream does
            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        self._rate = rate
        return rest


def _mix(samples: Samples) -> Samples:
    """The mean of the channels, (S, C) -> (S,), added one after the other: numpy's own sum may depend on S."""
    if not np.isfinite(samples).all():
        raise AudioError("there are float samples that are NaN or infinite; they must be numbers, full scale is 1.0")
    clipped = np.clip(samples, -1, 1)  # no sum can overflow
    mono = clipped[:, 0].copy()
    for channel in range(1, samples.shape[1]):
        mono += clipped[:, channel]
    return mono / np.float32(samples.shape[1])


_EMPTY: Pcm = np.zeros(0, np.int16)


def _joined(pieces: list[Pcm]) -> Pcm:
    filled = [piece for piece in pieces if len(piece)]
    return filled[0] if len(filled) == 1 else np.concatenate([_EMPTY, *filled])


class AudioSource:
    """Raw samples as bytes, cut anywhere -> 16 kHz mono int16. Raises AudioError for a format that isn't understood."""

    def __init__(self, encoding: str = "pcm_s16le", sample_rate: int = SAMPLE_RATE, channels: int = 1) -> None:
        self.format = RawFormat(encoding, sample_rate, channels)  # type: ignore[arg-type]  # it checks
        self._rest = b""
        self._converter = Converter()

    def feed(self, data: bytes) -> Pcm:
        """The samples (S,) that became certain. Raises AudioError for a float that is NaN or infinite."""
        data = self._rest + data
        whole = len(data) // self.format.frame_bytes * self.format.frame_bytes
        self._rest = data[whole:]
        samples = np.frombuffer(data[:whole], _DTYPES[self.format.encoding])
        if self.format.encoding == "pcm_f32le":
            return self._convert(samples.astype(np.float32))
        pcm: Pcm = _G711[self.format.encoding][samples] if self.format.encoding in _G711 else samples.astype(np.int16)
        if self.format.sample_rate == SAMPLE_RATE and self.format.channels == 1:
            return pcm
        return self._convert(to_float(pcm))

    def finish(self) -> Pcm:
        """The rest, (S,). Raises AudioError if the last sample isn't whole."""
        if self._rest:
            raise AudioError(
                f"audio ends within a sample: {len(self._rest)} byte(s) are left over, but {self.format.encoding} "
                f"with {self.format.channels} channel(s) takes {self.format.frame_bytes} bytes a sample"
            )
        return self._converter.finish()

    def _convert(self, samples: Samples) -> Pcm:
        return self._converter.feed(samples.reshape(-1, self.format.channels), self.format.sample_rate)


# ---- containers


_KINDS: dict[str, np.dtype[Any]] = {
    "u8": np.dtype(np.uint8),
    "s16": np.dtype(np.int16),
    "s32": np.dtype(np.int32),
    "s64": np.dtype(np.int64),
    "flt": np.dtype(np.float32),
    "dbl": np.dtype(np.float64),
}


class _Container:
    """A PyAV container with an audio track, opened from anything with `read`; iterates over samples and their rate."""

    def __init__(self, file: Any) -> None:
        import av  # takes a while to load, and raw streams do without

        self._errors = (av.error.FFmpegError, ValueError)
        options = {"format_whitelist": DEMUXERS, "protocol_whitelist": ""}
        try:
            self._container = av.open(file, metadata_errors="ignore", buffer_size=4096, options=options)
        except self._errors as e:
            raise AudioError(
                f"can't decode audio: it is in no known format, or not whole ({_reason(e)}); {EXPECTED}"
            ) from None
        if not self._container.streams.audio:
            self.close()
            raise AudioError(f"can't decode audio: there is no audio track in it; {EXPECTED}")
        self._stream = self._container.streams.audio[0]
        self.damage = ""  # what was wrong with what has been read, in the decoder's words

    @property
    def duration(self) -> Seconds | None:
        """As far as the container knows."""
        return None if self._container.duration is None else self._container.duration / 1_000_000

    def __iter__(self) -> Iterator[tuple[Samples, int]]:
        """All that can be decoded. Raises AudioError if that is nothing."""
        decoded = False
        for packet in self._packets():
            try:
                pieces = [(_samples(frame), frame.sample_rate) for frame in packet.decode()]
            except self._errors as e:  # damaged: what comes behind may be whole
                self.damage = _reason(e)
                continue
            decoded = decoded or bool(pieces)
            yield from pieces
        if not decoded:
            raise AudioError(f"can't decode audio: {self.damage or NO_SAMPLES}; {EXPECTED}")

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self._stream)
        except self._errors as e:  # it ends too early
            self.damage = _reason(e)

    def close(self) -> None:
        """Lets go of the file."""
        self._container.close()


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).strip().lower()


def _samples(frame: Any) -> Samples:
    """A PyAV audio frame -> samples (S, C). Raises ValueError for what damaged files and few others have."""
    kind = frame.format.name.removesuffix("p")
    channels = frame.layout.nb_channels
    if kind not in _KINDS or (frame.format.is_planar and channels > MOST_PLANES):
        raise ValueError(f"{channels} channels of {frame.format.name} samples are not supported")
    # not frame.to_ndarray(): from eight planes on, PyAV 18 takes what lies behind the last for one more
    planes = frame.planes[: channels if frame.format.is_planar else 1]
    count = frame.samples * channels // len(planes)
    data = np.stack([np.frombuffer(plane, _KINDS[kind], count) for plane in planes], axis=1)
    data = data.reshape(frame.samples, channels)
    if kind == "u8":
        return (data.astype(np.float32) - np.float32(128)) / np.float32(128)
    if data.dtype.kind == "i":
        return (data * 2.0 ** (1 - 8 * data.dtype.itemsize)).astype(np.float32)
    return data.astype(np.float32)


class ContainerSource:
    """A container fed as bytes, cut anywhere -> 16 kHz mono int16. Close it, or use it in a `with`.

    PyAV pulls, so it runs in a thread of its own that reads from a pipe; `feed` fills the pipe and gives out what has
    been decoded by then. How the output is split between calls varies; all of it together is always the same.
    `feed` waits while the decoder is PIPE_BYTES behind, so keep it off an event loop.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards all of these
        self._bytes = bytearray()
        self._complete = False
        self._decoded: list[Pcm] = []
        self._ended = False
        self._error: Exception | None = None
        self._received = 0
        self._thread = threading.Thread(target=self._pump, name="container-source", daemon=True)
        self._thread.start()

    def feed(self, data: bytes) -> Pcm:
        """What has been decoded, (S,). Raises AudioError if it can't be. Bytes behind the last sample do nothing."""
        rest = memoryview(data)
        self._received += len(data)
        with self._changed:
            while len(rest) and not self._ended:
                room = PIPE_BYTES - len(self._bytes)
                self._bytes += rest[:room]
                rest = rest[room:]
                self._changed.notify_all()
                if len(rest):
                    self._changed.wait()
            return self._take()

    def finish(self) -> Pcm:
        """Waits for the rest, (S,). Raises AudioError if it can't be decoded."""
        self._complete_input()
        self._thread.join()
        with self._changed:
            return self._take()

    def close(self) -> None:
        """Ends the thread; what wasn't taken is lost."""
        with self._changed:
            self._bytes.clear()
        self._complete_input()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _take(self) -> Pcm:
        if self._error is not None and self._received:
            raise self._error
        decoded, self._decoded = self._decoded, []
        return _joined(decoded)

    def _complete_input(self) -> None:
        with self._changed:
            self._complete = True
            self._changed.notify_all()

    # ---- in the thread

    def read(self, size: int) -> bytes:
        """For PyAV: waits for at least one byte; none means the end."""
        with self._changed:
            while not self._bytes and not self._complete:
                self._changed.wait()
            data = bytes(self._bytes[:size])
            del self._bytes[:size]
            self._changed.notify_all()
            return data

    def _pump(self) -> None:
        try:
            with closing(_Container(_Pull(self))) as container:
                for pcm in _converted(container):
                    with self._changed:
                        self._decoded.append(pcm)
        except Exception as e:  # raised where it can be heard
            self._error = e
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class _Pull:
    """The one method by which PyAV knows a stream that can't seek."""

    source: ContainerSource

    def read(self, size: int) -> bytes:
        return self.source.read(size)


def _converted(pieces: Iterable[tuple[Samples, int]]) -> Iterator[Pcm]:
    converter = Converter()
    for samples, rate in pieces:
        yield converter.feed(samples, rate)
    yield converter.finish()


# ---- files


@dataclass(slots=True)
class FileSource:
    """A file's audio, in chunks of about half a second; a context manager.

    duration    seconds, as far as that is known before it is decoded
    damage      once all of it was given: what is missing, and where; empty if nothing is
    """

    path: Path
    duration: Seconds | None
    _pieces: Iterator[Pcm]
    _file: Any = field(repr=False)
    damage: str = ""

    def __iter__(self) -> Iterator[Pcm]:
        """16 kHz mono, (S,). Raises AudioError, which names the file."""
        waiting = _EMPTY
        given = 0
        try:
            for piece in self._pieces:
                waiting = _joined([waiting, piece])
                if len(waiting) >= CHUNK_SAMPLES:
                    yield waiting
                    given += len(waiting)
                    waiting = _EMPTY
            if given + len(waiting) == 0:
                raise AudioError(NO_SAMPLES)
        except AudioError as e:
            raise AudioError(f"{self.path}: {e}") from None
        self.damage = self._missing((given + len(waiting)) / SAMPLE_RATE)
        if len(waiting):
            yield waiting

    def _missing(self, given: Seconds) -> str:
        """An MP3's duration may be an estimate: so what is a little short is not cut off."""
        if self.duration is not None and given < min(self.duration - 0.5, SHORT_SHARE * self.duration):
            return f"it is cut off, or damaged: of its {self.duration:.1f} s, {given:.1f} s could be decoded"
        if reason := getattr(self._file, "damage", ""):
            return f"it is damaged: not all of it could be decoded ({reason})"
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()


def open_file(path: str | Path, *, raw: RawFormat | None = None) -> FileSource:
    """Opens an audio file, or the first audio track of a video.

    raw    read samples without a header; files that end in .raw, .pcm and .s16 are read so in any case
    Raises AudioError, which names the file and what is wrong with it.
    """
    path = Path(path)
    if raw is None and path.suffix.lower() in RAW_SUFFIXES:
        raw = RawFormat()
    try:
        return _open(path, raw)
    except FileNotFoundError:
        raise AudioError(f"{path}: there is no such file") from None
    except OSError as e:
        raise AudioError(f"{path}: can't be read: {_reason(e)}") from None
    except AudioError as e:
        raise AudioError(f"{path}: {e}") from None


def _open(path: Path, raw: RawFormat | None) -> FileSource:
    if path.is_dir():
        raise AudioError(f"this is a directory; {EXPECTED}")
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise AudioError(f"the file is empty; {EXPECTED}")
    if raw is not None:
        return _open_raw(path, raw)
    if start.startswith(BY_SOUNDFILE) and (source := _open_soundfile(path)):
        return source
    file = path.open("rb")
    try:
        container = _Container(file)
    except AudioError:
        file.close()
        raise
    return FileSource(path, container.duration, _converted(container), _Both(container, file))


@dataclass(frozen=True, slots=True)
class _Both:
    container: _Container
    file: BinaryIO

    @property
    def damage(self) -> str:
        return self.container.damage

    def close(self) -> None:
        self.container.close()
        self.file.close()


def _open_raw(path: Path, raw: RawFormat) -> FileSource:
    duration = path.stat().st_size // raw.frame_bytes / raw.sample_rate
    file = path.open("rb")

    def pieces() -> Iterator[Pcm]:
        source = AudioSource(raw.encoding, raw.sample_rate, raw.channels)
        while data := file.read(PIPE_BYTES):
            yield source.feed(data)
        yield source.finish()

    return FileSource(path, duration, pieces(), file)


def _open_soundfile(path: Path) -> FileSource | None:
    """None if libsndfile doesn't understand the file."""
    import soundfile

    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError:
        return None
    try:
        _check_format(file.samplerate, file.channels)
    except AudioError:
        file.close()
        raise

    def pieces() -> Iterator[tuple[Samples, int]]:
        file.seek(0)  # else libsndfile 1.2 gives out the 6.5 ms before the start of an Opus file, too
        try:
            for block in file.blocks(file.samplerate // 2, dtype="float32", always_2d=True):
                yield block, file.samplerate
        except soundfile.LibsndfileError as e:
            raise AudioError(f"can't decode audio: {_reason(e)}") from None

    return FileSource(path, file.frames / file.samplerate, _converted(pieces()), file)
