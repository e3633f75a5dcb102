"""What `earshot transcribe` does: files to transcripts in a format, with a progress bar and a line for each failure."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from earshot_asr.client.captions import writer
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.engine.config import Commit, StreamConfig
from earshot_asr.engine.errors import ConfigError, EarshotError
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
    """What `earshot transcribe` does. Returns its exit status: 0, or 1 if a file could not be transcribed.

    model      a folder or a hub id, of `revision`; None: the bundled model
    latency    low, balanced or accurate; `offline` has no use for it, nor for `commit`
    format     text, json, srt or vtt
    raw        how to read files of samples without a header; None: by their suffix, 16 kHz mono int16
    stdout     the transcripts alone go there
    console    all else goes there: a line for each file that failed, a progress bar if it is a terminal; None: stderr

    Raises ConfigError, CheckpointError and DeviceError, before any file is read.
    """
    config = StreamConfig.preset(latency, commit=commit, partials=False)
    writer(format)  # what is wrong is said before a model is loaded
    files = list(files)
    if format in ("srt", "vtt") and len(files) > 1:
        raise ConfigError(f"{format} holds one file's captions, and there are {len(files)} files; give one at a time")
    from earshot_asr.engine.runner import load_runner  # torch takes seconds to load

    runner = load_runner(model, device, revision)
    method = partial(plain, runner) if offline else partial(streamed, runner, config)
    return transcribe_files(
        files,
        method,
        format=format,
        raw=raw,
        stdout=stdout or sys.stdout,
        console=console or Console(stderr=True),
    )


def transcribe_files(
    files: Iterable[str | Path],
    method: Method,
    *,
    format: str,
    raw: RawFormat | None,
    stdout: TextIO,
    console: Console,
) -> int:
    """Transcribes file after file. Returns 0, or 1 if one failed: it is named on the console, the others go on."""

    def complain(of: str) -> None:
        console.print(f"earshot: {of}", markup=False, highlight=False, soft_wrap=True)

    status = 0
    with _progress(console) as progress:
        for path in files:
            task = progress.add_task(str(path), total=None)
            try:
                for text in _written(Path(path), method, format, raw, partial(progress.update, task), complain):
                    _print(text, stdout, progress)
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
    """A file's transcript, piece by piece; `update` is told how much has been read, `complain` what is missing."""
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
    """To `stdout`, out of the way of the bar if both are on one screen."""
    if not text:
        return
    shared = not progress.disable and stdout.isatty()
    if shared:
        progress.stop()
    stdout.write(text)
    stdout.flush()
    if shared:
        progress.start()
