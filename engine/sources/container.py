"""What FFmpeg decodes, through PyAV: every container and codec that it knows, packet by packet."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources.converter import Samples
from earshot_asr.engine.sources.timeline import ROUNDING_SECONDS
from earshot_asr.engine.text import printable

DEMUXERS = "wav,w64,aiff,caf,au,flac,ogg,mp3,aac,ac3,eac3,amr,mov,matroska,avi,mpegts,mpeg,flv,asf,nistsphere"
"""Only these: FFmpeg also opens playlists, which name other files and hosts."""
EXPECTED = "expected WAV, FLAC, OGG, Opus, MP3, M4A, WebM or another file with an audio track"
NO_SAMPLES = "there are no samples in it"

LIVE_BUFFER_BYTES = 4096
"""How many bytes FFmpeg asks a live stream for at once: it shall not wait for many."""
LIVE_OPTIONS = {"analyzeduration": "200000", "max_probe_packets": "2"}
"""FFmpeg looks at 5 s of a stream before it gives out the first sample; at 0.2 s with these."""
FILE_BUFFER_BYTES = 1 << 16
LIVE_BATCH_SECONDS, FILE_BATCH_SECONDS = 0.1, 0.5
"""Frames that follow one another are given out in pieces of about this length: a frame may have 20 ms."""
TIME_ZERO = ("mov", "matroska")
"""Containers whose time 0 is where a player begins, though the first packet may be later."""
PROMISING = ("flac", "mov")
"""Containers whose header says how long the audio is; elsewhere FFmpeg may have estimated it."""
DECODERS = {"amrnb": "libopencore_amrnb", "amrwb": "libopencore_amrwb"}
"""Used instead of FFmpeg's own, which don't know AMR's silence frames."""
UNSIZED = ("wav", "w64")
"""Containers that are read to the end of the file where no length was filled in: the last packet is short then."""
SHORT_SECONDS = 0.2
"""Audio that ends this much before its header says is cut off."""
LATEST_START_SECONDS = 60.0
"""What begins later than this by its own clock was cut out of a longer recording: its time begins with it."""
MP3_TAGS = (b"ID3", b"TAG", b"Xing", b"Info")
"""What MP3 files have between packets where two were joined."""
MOST_PLANES = 8
SILENT = 1e-4
"""A track is silent as long as no sample is beyond this."""

_KINDS: dict[str, npt.DTypeLike] = {
    "u8": np.uint8,
    "s16": np.int16,
    "s32": np.int32,
    "s64": np.int64,
    "flt": np.float32,
    "dbl": np.float64,
}


class NotOpened(AudioError):
    """Bytes that FFmpeg doesn't understand."""

    def __init__(self, reason: str, kind: str | None = None, *, piped: bool = False) -> None:
        what = f"this {kind} file is not whole, or damaged" if kind else "it is in no known format, or not whole"
        what += ", or can't be read from a pipe" if piped else ""
        super().__init__(f"can't decode audio: {what} ({reason}); {EXPECTED}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples (C, S) at a rate, and when the container plays the first of them, in seconds since it began."""

    samples: Samples
    rate: int
    at: Seconds | None


class Container:
    """An open container with an audio track. Iterates over pieces.

    file     has `read`, and `seek` and `tell` if it can go back
    live     its bytes may be made just now: little is waited for
    track    the audio track to read, from 1 on; None: the one that players choose

    Raises AudioError for what can't be decoded, and for a track that isn't there.
    """

    def __init__(
        self, file: Any, *, live: bool = False, track: int | None = None, batch: Seconds | None = None
    ) -> None:
        import av  # takes a while to load, and raw streams do without

        self.damage = ""
        """What was wrong with what has been read, in the decoder's words."""
        self.end: Seconds = 0.0
        """When the container ended to play what has been read, in seconds since it began."""
        self._errors = (av.error.FFmpegError, ValueError)
        size = LIVE_BUFFER_BYTES if live else FILE_BUFFER_BYTES
        self._batch_seconds = (LIVE_BATCH_SECONDS if live else FILE_BATCH_SECONDS) if batch is None else batch
        options = {"format_whitelist": DEMUXERS, "protocol_whitelist": "", **(LIVE_OPTIONS if live else {})}
        self._file = _Guarded(file)
        try:
            self._container: Any = av.open(self._file, metadata_errors="ignore", buffer_size=size, options=options)
        except self._errors as e:
            self._raise_failure()
            raise NotOpened(reason(e)) from None
        self._raise_failure()
        self._name = self._container.format.name.split(",")[0]
        try:
            self._stream = self._chosen(track)
            self._decoder = _decoder(self._stream.codec_context)
        except AudioError:
            self.close()
            raise
        self._others = _Others(self._stream, track)
        self._origin = self._began()
        self._promised = self._promise()

    @property
    def channels(self) -> int:
        """Of the track."""
        count: int = self._stream.codec_context.layout.nb_channels
        return count

    @property
    def duration(self) -> Seconds | None:
        """As far as it is known, or estimated."""
        return None if self._container.duration is None else self._container.duration / 1_000_000

    @property
    def notes(self) -> list[str]:
        """What a listener should know, once all has been read."""
        return self._others.notes()

    def __iter__(self) -> Iterator[Piece]:
        """All that can be decoded. Raises AudioError if that is nothing, and what reading the file raised."""
        batch, given = _Batch(self._batch_seconds), False
        for packet in chain(self._packets(), [None]):
            for piece in self._decoded(packet, batch):
                given = True
                yield self._placed(piece)
        self._raise_failure()
        if not given:
            raise AudioError(f"can't decode audio: {self.damage or NO_SAMPLES}; {EXPECTED}")
        if self._promised is not None and self.end < self._promised - SHORT_SECONDS:
            self.damage = f"of its {self._promised:.1f} s, {self.end:.1f} s could be decoded"

    def close(self) -> None:
        """Lets go of the file."""
        self._container.close()

    def _raise_failure(self) -> None:
        if (failure := self._file.failed) is not None:
            self._file.failed = None
            raise failure

    def _packets(self) -> Iterator[Any]:
        """Those of the track. An empty one in mid-file would end the decoder."""
        try:
            for packet in self._container.demux(self._others.streams):
                if packet.stream.index != self._stream.index:
                    self._others.listen(packet, self._errors)
                elif packet.size:
                    yield packet
        except self._errors as e:  # it ends too early
            self.damage = reason(e)

    def _decoded(self, packet: Any, batch: "_Batch") -> list[Piece]:
        """The pieces that are complete with a packet; after the last one, with None, what is left."""
        pieces: list[Piece] = []
        if packet is not None and packet.is_corrupt and self._name not in UNSIZED:
            self.damage = "a packet is incomplete"
        try:
            for frame in self._decoder.decode(packet):
                pieces += batch.add(frame)
        except self._errors as e:  # damaged: what comes behind may be whole
            if packet is None or self._name != "mp3" or not any(tag in bytes(packet) for tag in MP3_TAGS):
                self.damage = reason(e)
        if packet is None:
            try:
                pieces += batch.finish()
            except self._errors as e:
                self.damage = reason(e)
        return pieces

    def _placed(self, piece: Piece) -> Piece:
        """The piece, by the container's own clock until now, since the container began."""
        if self._origin is None:
            self._origin = piece.at
        at = None if piece.at is None else piece.at - (self._origin or 0.0)
        self.end = max(self.end, (self.end if at is None else at) + piece.samples.shape[1] / piece.rate)
        self._others.heard = self._others.heard or bool(piece.samples.max(initial=0) > SILENT)
        return Piece(piece.samples, piece.rate, at)

    # ---- what the container says

    def _chosen(self, track: int | None) -> Any:
        tracks = self._container.streams.audio
        if not tracks:
            raise AudioError(f"can't decode audio: there is no audio track in it; {EXPECTED}")
        if track is None:
            return self._container.streams.best("audio") or tracks[0]
        if not 1 <= track <= len(tracks):
            raise AudioError(f"there is no audio track {track}: {listed(tracks)}")
        return tracks[track - 1]

    def _began(self) -> Seconds | None:
        """The time of the container's clock at which a player begins; None: that of the first samples."""
        start = self._container.start_time
        if start is None:
            return None
        seconds: Seconds = start / 1_000_000
        return 0.0 if self._name in TIME_ZERO and 0 < seconds < LATEST_START_SECONDS else seconds

    def _promise(self) -> Seconds | None:
        """When the audio ends by the header, in seconds since the container began; None: it doesn't say."""
        stream = self._stream
        if self._name == "matroska":
            return self.duration if len(self._container.streams) == 1 and not self._origin else None
        if stream.duration is None or self._name not in PROMISING:
            return None
        end = float((stream.start_time or 0) + stream.duration) * float(stream.time_base)
        return end - (self._origin or 0.0)


class _Others:
    """The audio tracks that are not read: decoded only to tell if one is audible while the one that is read is not."""

    def __init__(self, chosen: Any, track: int | None) -> None:
        self.heard = False
        """Whether the chosen track is not silent."""
        self._chosen = chosen
        self._tracks = list(chosen.container.streams.audio) if track is None else [chosen]
        self._audible: Any = None

    @property
    def streams(self) -> list[Any]:
        """Those that need to be read."""
        return self._tracks

    def listen(self, packet: Any, errors: tuple[type[Exception], ...]) -> None:
        """Decodes a packet of another track, as long as nothing has been heard."""
        if self.heard or self._audible is not None or packet.stream.codec_context is None:
            return
        with suppress(*errors):
            if any(np.abs(_samples(frame)).max(initial=0) > SILENT for frame in packet.decode()):
                self._audible = packet.stream

    def notes(self) -> list[str]:
        """Which of several tracks was read, and whether that was wrong."""
        if len(self._tracks) == 1:
            return []
        number = _number(self._tracks, self._chosen)
        if self._audible is not None and not self.heard:
            other = _number(self._tracks, self._audible)
            return [f"audio track {number} is silent, but track {other} is not: choose it with --track {other}"]
        return [f"{listed(self._tracks)}; track {number} is read: choose another with --track"]


def _number(tracks: list[Any], stream: Any) -> int:
    return 1 + [track.index for track in tracks].index(stream.index)


def listed(tracks: Any) -> str:
    """The audio tracks of a container, in words."""
    if len(tracks) == 1:
        return "there is but one"
    named = [f"{number} {name}".strip() for number, name in enumerate(map(_name, tracks), 1)]
    return f"there are {len(tracks)} audio tracks ({', '.join(named)})"


def _name(track: Any) -> str:
    return printable(track.metadata.get("title") or track.metadata.get("language") or "")


def _decoder(context: Any) -> Any:
    """FFmpeg's decoder for a track, or a better one."""
    import av

    if context is None:
        raise AudioError("can't decode audio: there is no decoder for its codec here")
    if (name := DECODERS.get(context.name)) is None or name not in av.codecs_available:
        return context
    decoder: Any = av.CodecContext.create(name, "r")
    decoder.sample_rate, decoder.layout = context.sample_rate, context.layout
    return decoder


class _Batch:
    """Frames that follow one another in time, put together: a codec's frames are short, and each costs a while."""

    def __init__(self, seconds: Seconds) -> None:
        import av

        self._new_fifo = av.AudioFifo
        self._seconds = seconds
        self._fifo: Any = self._new_fifo()
        self._format: tuple[str, int, int] = ("", 0, 0)
        self._written = 0
        self._at: Seconds | None = None

    def add(self, frame: Any) -> list[Piece]:
        """Pieces that are complete. Raises ValueError for samples that are not supported."""
        at: Seconds | None = frame.time
        format = (frame.format.name, frame.layout.nb_channels, frame.sample_rate)  # PyAV's FIFO looks at two of them
        done = self.finish() if self._written and not (format == self._format and self._follows(at)) else []
        if not self._written:
            self._format, self._at = format, at
        frame.pts = None  # else the FIFO insists on times without a gap
        self._fifo.write(frame)
        self._written += frame.samples
        return done + self.finish() if self._written >= self._seconds * frame.sample_rate else done

    def finish(self) -> list[Piece]:
        """What has been put together."""
        frame, self._fifo, self._written = self._fifo.read(), self._new_fifo(), 0
        return [] if frame is None else [Piece(_samples(frame), self._format[-1], self._at)]

    def _follows(self, at: Seconds | None) -> bool:
        """Whether a frame that begins then begins where the last one ended."""
        if at is None or self._at is None:
            return at is self._at
        return abs(at - self._at - self._written / self._format[-1]) < ROUNDING_SECONDS


class _Guarded:
    """A file for PyAV, which loses what its methods raise: it is kept, and the file ends there."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.failed: BaseException | None = None
        if hasattr(file, "seek"):
            self.seek, self.tell = self._seek, file.tell

    def read(self, size: int) -> bytes:
        try:
            data: bytes = b"" if self.failed else self._file.read(size)
        except BaseException as e:  # Ctrl-C, too
            self.failed = e
            return b""
        return data

    def _seek(self, offset: int, whence: int = 0) -> int:
        try:
            position: int = self._file.seek(offset, whence)
        except OSError:  # FFmpeg asks for impossible places in damaged files
            return -1
        return position


def reason(error: Exception) -> str:
    """What an error of the system or of FFmpeg says."""
    return (getattr(error, "strerror", None) or str(error)).strip().lower()


def _samples(frame: Any) -> Samples:
    """A PyAV audio frame -> samples (C, S). Raises ValueError for what damaged files and few others have."""
    kind = frame.format.name.removesuffix("p")
    channels = frame.layout.nb_channels
    if kind not in _KINDS or (frame.format.is_planar and channels > MOST_PLANES):
        raise ValueError(f"{channels} channels of {frame.format.name} samples are not supported")
    # not frame.to_ndarray(): from eight planes on, PyAV 18 takes what lies behind the last for one more
    planes = frame.planes[: channels if frame.format.is_planar else 1]
    count = frame.samples * channels // len(planes)
    parts = [np.frombuffer(plane, _KINDS[kind], count) for plane in planes]
    data = np.stack(parts) if len(parts) > 1 else parts[0].reshape(-1, channels).T
    if kind == "u8":
        return (data.astype(np.float32) - np.float32(128)) / np.float32(128)
    if data.dtype.kind == "i":
        scaled: Samples = np.empty(data.shape, np.float32)
        np.multiply(data, np.float32(2.0 ** (1 - 8 * data.dtype.itemsize)), out=scaled, casting="unsafe")
        return scaled
    return data.astype(np.float32, copy=False)
