"""Files -> transcripts: the streaming engine in this process, or one plain forward pass a file."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from earshot_asr.client.captions import writer
from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid, Pcm
from earshot_asr.engine.config import Commit, StreamConfig, Timing
from earshot_asr.engine.errors import ConfigError, EarshotError
from earshot_asr.engine.events import Final
from earshot_asr.engine.model import Runner
from earshot_asr.engine.recognizer import Recognizer, Stream
from earshot_asr.engine.segment import Segment
from earshot_asr.engine.sources import RawFormat, open_file
from earshot_asr.engine.windows import WindowPlanner

LONGEST_PASS = 30 * SAMPLE_RATE
"""What is longer than this is not encoded in one plain pass, but in several that overlap."""
OVERLAP_SECONDS = 6
"""By so much. Half of it is dropped on either side."""

Method = Callable[[Iterable[Pcm]], Iterator[Final]]
"""A recording's audio -> its utterances."""


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


# ---- methods


def streamed(runner: Runner, config: StreamConfig, audio: Iterable[Pcm]) -> Iterator[Final]:
    """As a stream, just like a live one: in bounded memory, each utterance as it ends."""
    recognizer = Recognizer(runner)
    stream = recognizer.open(config)
    for pcm in audio:
        while len(pcm := pcm[stream.feed(pcm) :]):
            stepped = recognizer.step()
            assert stepped, (stream.room, len(pcm))
        yield from _finals(recognizer, stream)
    stream.finish()
    yield from _finals(recognizer, stream)
    assert stream.done, (stream.received, stream.committed)


def _finals(recognizer: Recognizer, stream: Stream) -> Iterator[Final]:
    while recognizer.step():
        pass
    return (event for event in stream.events() if isinstance(event, Final))


def plain(runner: Runner, audio: Iterable[Pcm]) -> Iterator[Final]:
    """As a whole, decoded greedily to one utterance: one plain forward pass, or over 30 s several that overlap."""
    kept = [runner.run([pcm])[0][keep] for pcm, keep in passes(audio, runner.info.grid)]
    if not kept:
        return
    log_probs = np.concatenate(kept)
    timing = Timing.of(StreamConfig(), runner.info.grid)
    segment, whole = Segment(runner.info, timing, 0), WindowPlanner(timing, 0).last(len(log_probs))
    assert whole is not None
    segment.close(whole.end)
    segment.accept(whole, log_probs)
    if (final := segment.final()) is not None:
        yield final


def passes(audio: Iterable[Pcm], grid: FrameGrid) -> Iterator[tuple[Pcm, slice]]:
    """Cuts audio into overlapping stretches of at most 30 s, each with those of its frames that are to be kept."""
    half = OVERLAP_SECONDS * SAMPLE_RATE // grid.hop // 2
    step = grid.frames(LONGEST_PASS) - 2 * half
    first = 0
    waiting = np.zeros(0, np.int16)
    for pcm in audio:
        waiting = np.concatenate([waiting, pcm])
        while len(waiting) > LONGEST_PASS:
            yield waiting[:LONGEST_PASS], slice(first, half + step)
            first = half
            waiting = waiting[step * grid.hop :]
    if grid.frames(len(waiting)):
        yield waiting, slice(first, None)


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
