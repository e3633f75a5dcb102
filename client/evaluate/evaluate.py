"""Runs `earshot evaluate`: plays clips to the engine one after another, computes the figures and prints them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from earshot_asr.client.connection import with_default_path
from earshot_asr.client.evaluate.figures import RunInfo, figures
from earshot_asr.client.evaluate.manifest import load
from earshot_asr.client.evaluate.options import Options
from earshot_asr.client.evaluate.peers import load_peers
from earshot_asr.client.evaluate.recordings import (
    TAIL_SECONDS,
    Progressed,
    damage,
    no_progress,
    noise_floor,
    recording,
    recordings,
)
from earshot_asr.client.evaluate.table import as_json, machine, show
from earshot_asr.client.evaluate.take import Clip, Take, TimedEvent
from earshot_asr.client.evaluate.virtual import Playback, due
from earshot_asr.client.evaluate.wall import listen
from earshot_asr.client.live import local_server
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import AudioError, ConfigError
from earshot_asr.engine.loading import check as check_model
from earshot_asr.engine.loading import load_runner
from earshot_asr.engine.model import Runner
from earshot_asr.engine.phonemes import targets
from earshot_asr.engine.scripts import join
from earshot_asr.engine.transcription import plain
from earshot_asr.engine.whole import check as check_path
from earshot_asr.engine.whole import write_text

WARM_UP_SECONDS: Seconds = 5.0
"""Length of the part of the first clip that is played once before the measurements begin."""

Bar = Callable[[str, int, Clip], Progressed]
"""Called with the name of a stage, and a clip's number and the clip; returns the function to report progress to."""


def evaluate(
    manifests: Sequence[Path],
    options: Options,
    *,
    command: str,
    as_data: bool = False,
    report: Path | None = None,
    stdout: Console,
    stderr: Console,
) -> int:
    """Evaluates the streams of the manifests' clips and prints the figures. Returns the exit status.

    Recordings that can't be read are named on `stderr` and left out, those that are damaged are named; the exit status
    is 1 then, else 0.

    command    the command line, printed with the figures
    as_data    print one JSON object instead of a table
    report     file to write an HTML report to
    stderr     shows a progress bar if it is a terminal

    Raises ConfigError, CheckpointError, DeviceError, AudioError if no recording can be read, OutputError and, with
    `wall`, StreamError.
    """
    check_options(options, report)
    clips, status = readable(manifests, options, stderr)
    runner = load_runner(options.model, options.device, options.revision, options.language, options.lm)
    with progress_bar(stderr, len(clips)) as bar:
        takes = judge(clips, runner, options, bar)
    found = figures(takes, options.seed)
    about = run_info(runner, options, command)
    if as_data:
        print(json.dumps(as_json(found, about), ensure_ascii=False), file=stdout.file)
    else:
        show(found, about, stdout)
    if report:
        from earshot_asr.client.evaluate.report import page

        write_text(report, page(takes, found, about))
    return status


def readable(manifests: Sequence[Path], options: Options, stderr: Console) -> tuple[list[Clip], int]:
    """The clips that are selected and can be read, and the exit status. Raises AudioError if there is none."""
    good, lines = [], []
    for clip in load(manifests, options.selection, alignments=options.alignments, join=options.join):
        try:
            lines += damage(clip)
            good.append(clip)
        except AudioError as e:
            lines.append(f"{e}; it is left out")
    for line in dict.fromkeys(lines):  # once, however often it is played
        stderr.print(f"earshot: {line}", markup=False, highlight=False, soft_wrap=True)
    if not good:
        raise AudioError("no recording can be read")
    return good, int(bool(lines))


def check_options(options: Options, report: Path | None) -> None:
    """Raises what an evaluation of hours would end with, before anything is read or played."""
    check_model(options.model, options.device, options.revision, options.language)
    if options.url is not None:
        with_default_path(options.url)
    if report:
        check_path(report)
    if options.whisper_model and "whisper" not in options.against:
        raise ConfigError("--whisper-model needs --against whisper")


def run_info(runner: Runner, options: Options, command: str) -> RunInfo:
    """What is printed with the figures."""
    return RunInfo(
        model=runner.info.name,
        fingerprint=runner.info.fingerprint,
        device=runner.device,
        latency=options.latency,
        commit=options.commit,
        stability=options.stability,
        clock="wall" if options.wall else "virtual",
        machine=machine(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
    )


def judge(clips: Sequence[Clip], runner: Runner, options: Options, bar: Bar) -> list[Take]:
    """Plays all clips to the engine, and to the recognizers that it is compared with."""
    peers = load_peers(runner, options)
    phonemes = phonemes_of(clips, runner)
    real_time = asyncio.run(_over_a_socket(clips, runner, options, bar)) if options.wall else None
    warm_up(clips[0], runner, options)
    takes = []
    for n, clip in enumerate(clips):
        spoken = recording(clip)
        take = play(clip, spoken, runner, options.config, options, bar("virtual clock", n, clip))
        take.plain, take.phonemes = plain_text(runner, spoken), phonemes[n]
        if peers:
            pieces = recordings(clip)
            for name, peer in peers.items():
                progress = bar(name, n, clip)
                progress(0.0)
                take.peers[name] = peer(pieces)
                progress(1.0)
        if real_time:
            take.heard, take.work = real_time[n], None
        takes.append(take)
    return takes


def play(
    clip: Clip,
    spoken: Pcm,
    runner: Runner,
    config: StreamConfig,
    options: Options,
    progress: Progressed = no_progress,
    **how: Any,
) -> Take:
    """Plays a clip, whose audio is `spoken` (S,), on the virtual clock. `how`: see Playback."""
    pcm, block = with_tail(spoken), options.block_samples
    playback = Playback(runner, config, pcm, block, progress=progress, **how)
    playback.run()
    return Take(
        clip=clip,
        heard=playback.heard,
        seconds=len(spoken) / SAMPLE_RATE,
        block=block / SAMPLE_RATE,
        work=playback.work,
        due=due(runner.info, config, pcm, block, playback.outputs),
    )


def plain_text(runner: Runner, spoken: Pcm) -> str:
    """The transcript of one plain pass over a recording (S,)."""
    return join(final.text for final in plain(runner, [spoken]))


def with_tail(spoken: Pcm) -> Pcm:
    """A recording (S,), and after it TAIL_SECONDS of its noise floor."""
    return np.concatenate([spoken, noise_floor(spoken, round(TAIL_SECONDS * SAMPLE_RATE))])


def warm_up(clip: Clip, runner: Runner, options: Options) -> None:
    """Plays the beginning of a clip, as what is computed first takes longer."""
    Playback(runner, options.config, _beginning(clip), options.block_samples).run()


def _beginning(clip: Clip) -> Pcm:
    return recording(clip)[: round(WARM_UP_SECONDS * SAMPLE_RATE)]


async def _over_a_socket(clips: Sequence[Clip], runner: Runner, options: Options, bar: Bar) -> list[list[TimedEvent]]:
    """Streams each clip to a server in real time, after a warm-up. The server must run the model of `runner`."""

    async def events(pcm: Pcm, progress: Progressed = no_progress) -> list[TimedEvent]:
        return await listen(url, pcm, runner.info, options.config, options.block_samples, progress)

    async with _server(options) as url:
        await events(_beginning(clips[0]))
        return [await events(with_tail(recording(clip)), bar("real time", n, clip)) for n, clip in enumerate(clips)]


@asynccontextmanager
async def _server(options: Options) -> AsyncIterator[str]:
    if options.url is not None:
        yield options.url
        return
    local = local_server(
        Console(stderr=True),
        model=options.model,
        language=options.language,
        revision=options.revision,
        device=options.device,
        latency=options.latency,
    )
    async with local as url:
        yield url


def phonemes_of(clips: Sequence[Clip], runner: Runner) -> list[str | None]:
    """The reference of each clip in phonemes, separated by spaces; None for a model that writes letters.

    They are the manifest's, or else eSpeak NG's for text and language. Raises ConfigError, which names the clip.
    """
    if not runner.info.vocabulary.separator:
        return [None] * len(clips)
    return [targets(clip.reference, clip.lang, clip.phonemes, clip.name) for clip in clips]


@contextmanager
def progress_bar(console: Console, clips: int) -> Iterator[Bar]:
    """Shows how many of the clips were played, if the console is a terminal."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[clip]}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    tasks: dict[str, TaskID] = {}

    def bar(stage: str, number: int, clip: Clip) -> Progressed:
        if stage not in tasks:
            tasks[stage] = progress.add_task(stage, total=clips, clip="")

        def played(share: float) -> None:
            progress.update(tasks[stage], completed=number + share, clip=clip.name)

        return played

    with progress:
        yield bar
