"""Audio files, the sound of videos, and pipes -> 16 kHz mono int16."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds
from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources.container import EXPECTED, NO_SAMPLES, NotOpened, reason
from earshot_asr.engine.sources.converter import LEVEL_START_SAMPLES, Converter, CutShort, Samples, joined
from earshot_asr.engine.sources.headers import (
    MISREAD_WAV_FORMATS,
    WAV_HEADER_BYTES,
    index_comes_last,
    kind_of,
    wav_format,
)
from earshot_asr.engine.sources.media import Media
from earshot_asr.engine.sources.others import SoundFile
from earshot_asr.engine.sources.raw import RawFile, RawFormat
from earshot_asr.engine.sources.reader import STANDARD_INPUT, Reader
from earshot_asr.engine.sources.timeline import LONGEST_GAP_SECONDS, Timeline
from earshot_asr.engine.sources.wav import plain_wav
from earshot_asr.engine.text import printable

FILE_CHUNK_SAMPLES, PIPE_CHUNK_SAMPLES = SAMPLE_RATE // 2, SAMPLE_RATE // 10
"""Audio is given out in chunks of at least as many samples. What comes through a pipe may be spoken just now."""
MISSING_BYTES = 64
"""A file that lacks more bytes than these of what its header promises is cut off; headers are often a little off."""
RAW_SUFFIXES = (".raw", ".pcm", ".s16")
HEADED_SUFFIXES = {".mp3": "MP3", ".aac": "AAC", ".ac3": "AC-3", ".ts": "MPEG-TS", ".mpg": "MPEG", ".mpeg": "MPEG"}
"""Files whose first bytes don't tell what they are."""
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


class Decoder(Protocol):
    """What decodes an open file: Media, RawFile or SoundFile. Iterates over samples (C, S) and their rate.

    duration    seconds, as far as they are known
    damage      what was wrong with what has been read; empty if nothing was
    notes       what a listener should know of it
    """

    @property
    def duration(self) -> Seconds | None: ...
    @property
    def channels(self) -> int: ...
    @property
    def damage(self) -> str: ...
    @property
    def notes(self) -> Sequence[str]: ...
    def __iter__(self) -> Iterator[tuple[Samples, int]]: ...
    def close(self) -> None: ...


class FileSource:
    """A file's audio, in chunks; a context manager. Made by `open_file`.

    duration    seconds, as far as that is known before it is decoded
    channels    how many it has; 0: not known yet
    again       whether it can be opened once more: it is no pipe

    Known once all of it was given:

    damage      what is missing or wrong, and where; empty if nothing is
    notes       what a listener should know: that one of several tracks was read, that the level was changed
    """

    def __init__(self, name: str, reader: Reader, decoder: Decoder, timeline: Timeline, channel: int | None) -> None:
        if channel is not None and decoder.channels and not 1 <= channel <= decoder.channels:
            raise AudioError(f"there is no channel {channel}: there are {decoder.channels}, counted from 1 on")
        self.duration, self.channels, self.again = decoder.duration, decoder.channels, reader.again
        self.damage = ""
        self.notes: list[str] = []
        self._name = name
        self._reader = reader
        self._decoder = decoder
        self._timeline = timeline
        self._promised_bytes = reader.promised_bytes
        self._converter = Converter(channel=channel, start=LEVEL_START_SAMPLES)

    def __iter__(self) -> Iterator[Pcm]:
        """16 kHz mono, (S,); then the file is closed. Raises AudioError, which names it, if there is nothing."""
        try:
            yield from self._chunks()
        finally:
            self.close()

    def _chunks(self) -> Iterator[Pcm]:
        size = FILE_CHUNK_SAMPLES if self._reader.size is not None else PIPE_CHUNK_SAMPLES
        waiting: list[Pcm] = []
        given = count = 0
        try:
            for pcm in self._converted():
                waiting.append(pcm)
                count += len(pcm)
                if count - given >= size:
                    given = count
                    yield joined(waiting)
                    waiting = []
        except AudioError as e:
            if not count:
                raise AudioError(f"{self._name}: {e}") from None
            self.damage = f"it is damaged: {e}"
        if not count:
            raise AudioError(f"{self._name}: {NO_SAMPLES}")
        self.damage = self.damage or self._missing()
        self.notes = list(self._noted())
        if count > given:
            yield joined(waiting)

    def _converted(self) -> Iterator[Pcm]:
        """16 kHz mono, as it becomes certain. Raises AudioError when something is wrong, after all before it."""
        try:
            for samples, rate in self._decoder:
                yield self._converter.feed(samples, rate)
        except AudioError as e:
            if isinstance(e, CutShort):
                yield e.before
            yield self._converter.finish()
            raise
        yield self._converter.finish()

    def _missing(self) -> str:
        if self._decoder.damage:
            return f"it is cut off, or damaged: {self._decoder.damage}"
        promised, size = self._promised_bytes, self._reader.size
        if size is None and self._reader.ended:
            size = self._reader.read_bytes
        if promised and size and size < promised - MISSING_BYTES:
            return f"it is cut off: its header says {promised:,} bytes, there are {size:,}"
        return ""

    def _noted(self) -> Iterator[str]:
        yield from self._decoder.notes
        if self._converter.cancelled:
            yield "its channels cancel one another out: the loudest was read there, not their mean; see --channel"
        if (gain := self._converter.gain) < 1:
            yield f"its samples are far beyond full scale: they were scaled down by {1 / gain:,.0f}"
        if gain > 1:
            yield f"it is faint: it was amplified by {gain:,.0f}"
        if (seconds := self._timeline.shortened) > 0:
            yield f"{seconds:,.0f} s of silence in its gaps were left out: later times are early; see --longest-gap"

    def stop(self) -> None:
        """A pipe ends here, also for a thread that waits for its next bytes. May be called from any thread."""
        self._reader.stop()

    def close(self) -> None:
        """Lets go of the file."""
        self._decoder.close()
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_file(
    path: str | Path,
    *,
    raw: RawFormat | None = None,
    track: int | None = None,
    channel: int | None = None,
    longest_gap: Seconds = LONGEST_GAP_SECONDS,
) -> FileSource:
    """Opens an audio file, or an audio track of a video.

    path           "-": standard input. A pipe may be named, too; it is read once, from front to back
    raw            read samples without a header; files that end in .raw, .pcm and .s16 are read so in any case
    track          the audio track to read, from 1 on; None: the one that players choose
    channel        the channel to read, from 1 on; None: all are mixed
    longest_gap    seconds of silence that a gap in the file's times may become

    Raises AudioError, which names the file and what is wrong with it.
    """
    name = "standard input" if str(path) == STANDARD_INPUT else printable(str(path))
    try:
        if URL.match(name):
            name = re.sub(":/+", "://", name, count=1)  # a Path has lost one
            raise AudioError("addresses are not read; fetch it first, or pipe it: curl ADDRESS | earshot transcribe -")
        reader = Reader(Path(path))
        try:
            timeline = Timeline(longest_gap)
            return FileSource(name, reader, _decoder(reader, timeline, raw, track), timeline, channel)
        except BaseException:
            reader.close()
            raise
    except FileNotFoundError:
        raise AudioError(f"{name}: there is no such file") from None
    except IsADirectoryError:
        raise AudioError(f"{name}: this is a directory; {EXPECTED}") from None
    except OSError as e:
        raise AudioError(f"{name}: can't be read: {reason(e)}") from None
    except AudioError as e:
        raise AudioError(f"{name}: {e}") from None


def _decoder(reader: Reader, timeline: Timeline, raw: RawFormat | None, track: int | None) -> Decoder:
    kind = kind_of(reader.start)
    if not reader.start:
        raise AudioError(f"the file is empty; {EXPECTED}")
    if raw is not None and (kind := kind or HEADED_SUFFIXES.get(reader.suffix)):
        raise AudioError(f"this is {kind}, whose header says what it holds: leave out the encoding, rate and channels")
    if raw is None and not kind and reader.suffix in RAW_SUFFIXES:
        raw = RawFormat()
    if raw is not None:
        return RawFile(reader.read, raw, reader.size)
    by_soundfile = kind == "WAV" and wav_format(reader.peek(WAV_HEADER_BYTES)) in MISREAD_WAV_FORMATS
    if reader.size is None and (by_soundfile or kind == "CAF" or (kind == "MP4" and index_comes_last(reader))):
        reader.spool()
    if reader.size is None and track is None and (wav := plain_wav(reader)) is not None:
        return wav
    if by_soundfile:
        return SoundFile(reader.rewound())
    try:
        return Media(reader, timeline, whole=None if reader.size is None else reader, track=track)
    except NotOpened as e:
        if reader.size is not None:
            with suppress(AudioError):
                return SoundFile(reader.rewound())
            with suppress(AudioError):
                reader.rewound()
                return Media(reader, timeline, track=track)  # forward: what is behind the audio may be broken
        raise NotOpened(e.reason, kind, piped=reader.size is None) from None
