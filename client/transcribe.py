"""Transcribes files in this process: transcripts in a format, a progress bar, and a line for each file that fails."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Literal, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds
from earshot_asr.engine.captions import writer
from earshot_asr.engine.casing import Casing
from earshot_asr.engine.config import Commit, StreamConfig
from earshot_asr.engine.decoder import DecodeConfig, Hotword
from earshot_asr.engine.errors import (
    AudioError,
    CheckpointError,
    ConfigError,
    DeviceError,
    EarshotError,
    OutputError,
)
from earshot_asr.engine.events import Final
from earshot_asr.engine.loading import check, fetch, load_runner
from earshot_asr.engine.sources import LONGEST_GAP_SECONDS, FileSource, RawFormat, open_file
from earshot_asr.engine.text import printable
from earshot_asr.engine.transcription import Method, plain, streamed

Channel = int | Literal["mix", "each"]
"""A channel, from 1 on; all mixed; or each by itself."""


def transcribe(
    files: Iterable[str | Path],
    *,
    model: str | Path | None = None,
    language: str | None = None,
    device: str = "auto",
    latency: str = "balanced",
    lm: str | Path | None = None,
    hotwords: tuple[Hotword, ...] = (),
    commit: Commit = "utterance",
    endpoint_ms: int | None = None,
    format: str = "text",
    cased: bool = False,
    whole: bool = False,
    revision: str | None = None,
    raw: RawFormat | None = None,
    track: int | None = None,
    channel: Channel = "mix",
    longest_gap: Seconds = LONGEST_GAP_SECONDS,
    stdout: TextIO | None = None,
    console: Console | None = None,
) -> int:
    """Runs `earshot transcribe`. Returns its exit status: 0, or 1 if a file could not be transcribed.

    model      a folder, a name of the catalogue or a hub id, of `revision`; None: the one that is recommended for
               `language`, or the bundled model
    latency    low, balanced or accurate; not used with `whole`, nor are `commit` and `endpoint_ms`
    lm         a language model's file or folder, or "none"; None: the one that goes with the model
    hotwords   words and phrases that are expected
    format     text, json, srt or vtt
    cased      text gets the case that people write, and hotwords their spelling
    whole      one forward pass over each file instead of streaming
    files      "-": standard input
    raw        format of files without a header; None: only .raw, .pcm and .s16 are read so, as 16 kHz mono int16
    track, longest_gap    as open_file takes them
    channel    the channel to transcribe, from 1 on; mix: all as one; each: one after the other
    stdout     gets the transcripts
    console    gets a line for each file that failed, and a progress bar if it is a terminal; None: stderr

    Raises ConfigError, CheckpointError and DeviceError before any file is transcribed.
    """
    decode = DecodeConfig(hotwords=hotwords)
    config = StreamConfig.preset(latency, commit=commit, partials=False, endpoint_ms=endpoint_ms, decode=decode)
    writer(format)  # raises ConfigError for an unknown format before the model is loaded
    files = list(files)
    if format in ("srt", "vtt") and len(files) > 1:
        raise ConfigError(f"{format} holds the captions of one file, not of {len(files)}; give one file at a time")
    if format in ("srt", "vtt") and channel == "each":
        raise ConfigError(f"{format} holds the captions of one channel; give --channel 1, then --channel 2")
    check(model, device, revision, language, lm)
    if any(map(is_readable, files)):
        fetch(model, revision, language, lm)  # before the progress bar of the files is there
    runner = cache(partial(load_runner, model, device, revision, language, lm))

    def method(audio: Iterable[Pcm]) -> Iterator[Final]:
        finals = plain(runner(), audio, decode) if whole else streamed(runner(), config, audio)
        if not cased:
            return finals
        return map(Casing(runner().info.language, [each.text for each in hotwords]).final, finals)

    return transcribe_files(
        sorted(files, key=is_readable),  # what can't be is said before the model is loaded, which takes seconds
        method,
        format=format,
        opened=partial(open_file, raw=raw, track=track, longest_gap=longest_gap),
        channel=channel,
        stdout=stdout or sys.stdout,
        console=console or Console(stderr=True),
    )


def is_readable(path: str | Path) -> bool:
    """Whether there is such a file, or it is standard input. Opens nothing, as a pipe can be opened only once."""
    return str(path) == "-" or (os.access(path, os.R_OK) and not os.path.isdir(path))


def transcribe_files(
    files: Iterable[str | Path],
    method: Method,
    *,
    format: str,
    stdout: TextIO,
    console: Console,
    opened: Callable[..., FileSource] = open_file,
    channel: Channel = "mix",
) -> int:
    """Transcribes file after file. Names those that fail or are damaged on the console; returns 1 if any, else 0.

    opened    opens a file, with the `channel` to read
    """

    def complain(text: str) -> None:
        console.print(f"earshot: {text}", markup=False, highlight=False, soft_wrap=True)

    status = 0
    with _progress(console) as progress:
        for path in files:
            task = progress.add_task(str(path), total=None)
            try:
                written = _Written(Path(path), method, format, opened, partial(progress.update, task))
                for text in written.each() if channel == "each" else written.one(None if channel == "mix" else channel):
                    _print(text, stdout, progress)
                for line in [*written.notes, *written.damage]:
                    complain(f"{printable(str(path))}: {line}")
                status = status or int(bool(written.damage))
            except (OutputError, CheckpointError, DeviceError):  # with the other files it would be the same
                raise
            except EarshotError as e:
                complain(str(e))
                status = 1
            progress.remove_task(task)
    return status


class _Written:
    """The transcript of a file, piece by piece.

    update    of the progress bar: called with `total` and `completed` seconds
    """

    def __init__(
        self,
        path: Path,
        method: Method,
        format: str,
        opened: Callable[..., FileSource],
        update: Callable[..., None],
    ) -> None:
        self.damage: list[str] = []
        """What could not be read, once all has been transcribed."""
        self.notes: list[str] = []
        """What a reader of the transcript should know."""
        self._path, self._method, self._format, self._opened, self._update = path, method, format, opened, update

    def one(self, channel: int | None) -> Iterator[str]:
        """The transcript of one channel; None: of all as one."""
        captions = writer(self._format, str(self._path))
        with self._opened(self._path, channel=channel) as source:
            for final in self._method(self._heard(source)):
                yield captions.feed(final)
            yield captions.finish(self._seconds)

    def each(self) -> Iterator[str]:
        """The transcripts of all channels, one after the other, in the order of time where they have lines."""
        with self._opened(self._path) as source:
            if not source.again:
                name = printable(str(self._path))
                raise AudioError(f"{name}: a pipe can be read only once, not for each channel; save it to a file")
            channels = range(1, max(1, source.channels) + 1)
        pieces: list[tuple[Seconds, str]] = []
        for channel in channels:
            captions = writer(self._format, str(self._path), channel)
            with self._opened(self._path, channel=channel) as source:
                pieces += [(final.start, captions.feed(final)) for final in self._method(self._heard(source))]
                pieces.append((self._seconds, captions.finish(self._seconds)))
        yield "".join(text for _, text in sorted(pieces, key=lambda piece: piece[0]))

    def _heard(self, source: FileSource) -> Iterator[Pcm]:
        self._seconds = 0.0
        self._update(total=source.duration)
        for pcm in source:
            yield pcm
            self._seconds += len(pcm) / SAMPLE_RATE
            self._update(completed=self._seconds)
        self.notes += [note for note in source.notes if note not in self.notes]
        self.damage += [source.damage] if source.damage and source.damage not in self.damage else []


# ---- the terminal


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=False,
    )
    with progress:
        yield progress


def _print(text: str, stdout: TextIO, progress: Progress) -> None:
    """Writes to `stdout`; hides the progress bar meanwhile if both are on the same terminal."""
    if not text:
        return
    shared = not progress.disable and stdout.isatty()
    if shared:
        progress.stop()
    stdout.write(text)
    stdout.flush()
    if shared:
        progress.start()
