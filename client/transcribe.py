"""Transcribes files in this process: transcripts in a format, a progress bar, and a line for each file that fails."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from earshot_asr.client.captions import writer
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.engine.config import Commit, StreamConfig
from earshot_asr.engine.errors import CheckpointError, ConfigError, DeviceError, EarshotError, OutputError
from earshot_asr.engine.events import Final
from earshot_asr.engine.loading import check, load_runner
from earshot_asr.engine.sources import RawFormat, open_file
from earshot_asr.engine.transcription import Method, plain, streamed


def transcribe(
    files: Iterable[str | Path],
    *,
    model: str | Path | None = None,
    device: str = "auto",
    latency: str = "balanced",
    commit: Commit = "utterance",
    format: str = "text",
    offline: bool = False,
    revision: str | None = None,
    raw: RawFormat | None = None,
    stdout: TextIO | None = None,
    console: Console | None = None,
) -> int:
    """Runs `earshot transcribe`. Returns its exit status: 0, or 1 if a file could not be transcribed.

    model      a folder or a hub id, of `revision`; None: the bundled model
    latency    low, balanced or accurate; not used with `offline`, nor is `commit`
    format     text, json, srt or vtt
    offline    one forward pass over each file instead of streaming
    raw        format of files without a header; None: only .raw, .pcm and .s16 are read so, as 16 kHz mono int16
    stdout     gets the transcripts
    console    gets a line for each file that failed, and a progress bar if it is a terminal; None: stderr

    Raises ConfigError, CheckpointError and DeviceError before any file is transcribed.
    """
    config = StreamConfig.preset(latency, commit=commit, partials=False)
    writer(format)  # raises ConfigError for an unknown format before the model is loaded
    files = list(files)
    if format in ("srt", "vtt") and len(files) > 1:
        raise ConfigError(f"{format} holds the captions of one file, not of {len(files)}; give one file at a time")
    check(model, device, revision)
    runner = cache(partial(load_runner, model, device, revision))

    def method(audio: Iterable[Pcm]) -> Iterator[Final]:
        return plain(runner(), audio) if offline else streamed(runner(), config, audio)

    return transcribe_files(
        sorted(files, key=is_readable),  # what can't be is said before the model is loaded, which takes seconds
        method,
        format=format,
        raw=raw,
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
    raw: RawFormat | None,
    stdout: TextIO,
    console: Console,
) -> int:
    """Transcribes file after file. Names those that fail on the console, and returns 1 if there are any, else 0."""

    def complain(text: str) -> None:
        console.print(f"earshot: {text}", markup=False, highlight=False, soft_wrap=True)

    status = 0
    with _progress(console) as progress:
        for path in files:
            task = progress.add_task(str(path), total=None)
            try:
                for text in _written(Path(path), method, format, raw, partial(progress.update, task), complain):
                    _print(text, stdout, progress)
            except (OutputError, CheckpointError, DeviceError):  # with the other files it would be the same
                raise
            except EarshotError as e:
                complain(str(e))
                status = 1
            progress.remove_task(task)
    return status


def _written(
    path: Path,
    method: Method,
    format: str,
    raw: RawFormat | None,
    update: Callable[..., None],
    complain: Callable[[str], None],
) -> Iterator[str]:
    """Yields a file's transcript piece by piece.

    update     of the progress bar: called with `total` and `completed` seconds
    complain   called with a line about audio that could not be read
    """
    captions = writer(format, str(path))
    heard = 0

    def audio() -> Iterator[Pcm]:
        nonlocal heard
        for pcm in source:
            yield pcm
            heard += len(pcm)
            update(completed=heard / SAMPLE_RATE)

    with open_file(path, raw=raw) as source:
        update(total=source.duration)
        for final in method(audio()):
            yield captions.feed(final)
        yield captions.finish(heard / SAMPLE_RATE)
        if source.damage:
            complain(f"{path}: {source.damage}")


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
