"""Transcribes files in this process: transcripts in a format, a progress bar, and a line for each file that fails."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import Progress

from earshot_asr.client.folder import JOBS, Folder, targets
from earshot_asr.client.together import Together
from earshot_asr.client.transcript import Channel, Written, complain, progress_bar
from earshot_asr.engine.audio import Pcm, Seconds
from earshot_asr.engine.captions import writer
from earshot_asr.engine.casing import Casing
from earshot_asr.engine.config import Commit, StreamConfig
from earshot_asr.engine.decoder import DecodeConfig, Hotword
from earshot_asr.engine.errors import (
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
    out_dir: Path | None = None,
    jobs: int = JOBS,
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
    out_dir    a folder for a file of each transcript; files may be folders then. None: they go to stdout
    jobs       so many files are transcribed at once, with `out_dir` and without `whole`
    stdout     gets the transcripts
    console    gets a line for each file that failed, and a progress bar if it is a terminal; None: stderr

    Raises ConfigError, CheckpointError and DeviceError before any file is transcribed.
    """
    files, console = list(files), console or Console(stderr=True)
    _check_format(format, files, channel, out_dir)
    found = None if out_dir is None else targets(map(Path, files), out_dir, format)
    decode = DecodeConfig(hotwords=hotwords)
    config = StreamConfig.preset(latency, commit=commit, partials=False, endpoint_ms=endpoint_ms, decode=decode)
    check(model, device, revision, language, lm)
    if any(map(is_readable, files if found is None else found)):
        fetch(model, revision, language, lm)  # before the progress bar of the files is there
    runner = cache(partial(load_runner, model, device, revision, language, lm))
    casing = cache(lambda: Casing(runner().info.language, [each.text for each in hotwords]))
    opened = partial(open_file, raw=raw, track=track, longest_gap=longest_gap)

    def finals(audio: Iterable[Pcm]) -> Iterator[Final]:
        return plain(runner(), audio, decode) if whole else streamed(runner(), config, audio)

    def method(audio: Iterable[Pcm], finals: Method = finals) -> Iterator[Final]:
        return (casing().final(final) if cased else final for final in finals(audio))

    if found is None:
        return transcribe_files(
            sorted(files, key=is_readable),  # what can't be is said before the model is loaded, which takes seconds
            method,
            format=format,
            opened=opened,
            channel=channel,
            stdout=stdout or sys.stdout,
            console=console,
        )
    with Together(runner, config) as together:
        at_once = method if whole else partial(method, finals=together.streamed)
        jobs = 1 if whole else jobs
        folder = Folder(at_once, format=format, opened=opened, channel=channel, jobs=jobs, console=console)
        return folder.transcribe(found)


def _check_format(format: str, files: Sequence[str | Path], channel: Channel, out_dir: Path | None) -> None:
    """Raises ConfigError for what can't be written so."""
    writer(format)
    if format in ("srt", "vtt") and len(files) > 1 and out_dir is None:
        raise ConfigError(
            f"{format} holds the captions of one file, not of {len(files)}; give one file at a time, or --out-dir"
        )
    if format in ("srt", "vtt") and channel == "each":
        raise ConfigError(f"{format} holds the captions of one channel; give --channel 1, then --channel 2")
    if out_dir is not None and "-" in map(str, files):
        raise ConfigError("standard input has no name for a file in --out-dir; leave that out")


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
    status = 0
    with progress_bar(console) as progress:
        for path in files:
            task = progress.add_task(str(path), total=None)
            try:
                written = Written(Path(path), method, format, opened, partial(progress.update, task))
                for text in written.pieces(channel):
                    _print(text, stdout, progress)
                for line in [*written.notes, *written.damage]:
                    complain(console, f"{printable(str(path))}: {line}")
                status = status or int(bool(written.damage))
            except (OutputError, CheckpointError, DeviceError):  # with the other files it would be the same
                raise
            except EarshotError as e:
                complain(console, str(e))
                status = 1
            progress.remove_task(task)
    return status


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
