"""What `earshot evaluate` does: plays clips to the engine, one after another, and judges what came of each."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from earshot_asr.client.evaluate.figures import About, figures
from earshot_asr.client.evaluate.manifest import Choice, load
from earshot_asr.client.evaluate.playback import TAIL, Progressed, check, noise_floor, recording, recordings, unseen
from earshot_asr.client.evaluate.sphinx import pocketsphinx
from earshot_asr.client.evaluate.table import as_json, machine, show
from earshot_asr.client.evaluate.take import Clip, Heard, Peer, Take
from earshot_asr.client.evaluate.virtual import Playback, due
from earshot_asr.client.evaluate.wall import listen
from earshot_asr.client.evaluate.whisper import whisper
from earshot_asr.client.live import local_server
from earshot_asr.client.transcribe import plain
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds, from_ms
from earshot_asr.engine.config import Commit, StreamConfig
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.model import BUNDLED, Runner
from earshot_asr.engine.phonemes import targets

PEERS = ("transformers", "pocketsphinx", "whisper")
"""The plain pass of the same weights by transformers, PocketSphinx with its own English model, and a whole Whisper."""
WARM_UP: Seconds = 5.0
"""So much of the first clip is played before anything is measured."""

Bar = Callable[[str, int, Clip], Progressed]
"""A stage, and a clip and its number -> what is to be told how it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to judge.

    model, revision, device, latency, commit   of the streams, as everywhere
    choice, alignments, join                   which clips, see manifest.load
    wall, url                                  in real time over a socket: to this server, or to one of our own
    against, whisper_model                     others beside ours, see PEERS; and the Whisper to be compared with
    seed                                       of the intervals' draws
    block_ms                                   audio that arrives together
    """

    model: str | None = None
    revision: str | None = None
    device: str = "auto"
    latency: str = "balanced"
    commit: Commit = "utterance"
    choice: Choice = field(default_factory=Choice)
    alignments: Path | None = None
    join: Collection[str] = ()
    wall: bool = False
    url: str | None = None
    against: Collection[str] = ()
    whisper_model: Path | None = None
    seed: int = 0
    block_ms: int = 100

    @property
    def config(self) -> StreamConfig:
        """Of each stream."""
        return StreamConfig.preset(self.latency, commit=self.commit)

    @property
    def block(self) -> int:
        """Samples that arrive together."""
        return from_ms(self.block_ms)


def evaluate(
    manifests: Sequence[Path],
    options: Options,
    *,
    command: str,
    as_data: bool = False,
    report: Path | None = None,
    stdout: Console,
    stderr: Console,
) -> None:
    """Prints the figures of the manifests' clips.

    command    what was typed, to be told with the figures
    as_data    one JSON object instead of a table
    report     a page of HTML is written there, too
    stderr     has a progress bar, if it is a terminal

    Raises ConfigError, CheckpointError, DeviceError, AudioError and, with `wall`, StreamError.
    """
    if report and not report.parent.is_dir():  # said now, not after an hour
        raise ConfigError(f"can't write {report}: there is no folder {report.parent}")
    if report and report.is_dir():
        raise ConfigError(f"can't write {report}: it is a folder; give the name of a file")
    if options.whisper_model and "whisper" not in options.against:
        raise ConfigError("--whisper-model is for --against whisper, which is not given")
    clips = load(manifests, options.choice, alignments=options.alignments, join=options.join)
    for clip in clips:
        check(clip)
    from earshot_asr.engine.runner import load_runner  # torch takes seconds to load

    runner = load_runner(options.model, options.device, options.revision)
    with _progress(stderr, len(clips)) as bar:
        takes = judge(clips, runner, options, bar)
    found = figures(takes, options.seed)
    about = About(
        model=runner.info.name,
        fingerprint=runner.info.fingerprint,
        device=runner.device,
        latency=options.latency,
        commit=options.commit,
        clock="wall" if options.wall else "virtual",
        machine=machine(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
    )
    if as_data:
        print(json.dumps(as_json(found, about), ensure_ascii=False), file=stdout.file)
    else:
        show(found, about, stdout)
    if report:
        from earshot_asr.client.evaluate.report import page

        report.write_text(page(takes, found, about), encoding="utf-8")


def judge(clips: Sequence[Clip], runner: Runner, options: Options, bar: Bar) -> list[Take]:
    """Plays all clips."""
    peers = _peers(runner, options)
    said = phonemes_of(clips, runner)
    heard = asyncio.run(_over_a_socket(clips, runner, options, bar)) if options.wall else None
    _warm_up(clips[0], runner, options)
    takes = []
    for n, clip in enumerate(clips):
        spoken = recording(clip)
        take = play(clip, spoken, runner, options, bar("virtual clock", n, clip))
        take.phonemes = said[n]
        if peers:
            pieces = recordings(clip)
            for name, peer in peers.items():
                progress = bar(name, n, clip)
                progress(0.0)
                take.peers[name] = peer(pieces)
                progress(1.0)
        if heard:
            take.heard, take.work = heard[n], None
        takes.append(take)
    return takes


def play(clip: Clip, spoken: Pcm, runner: Runner, options: Options, progress: Progressed = unseen) -> Take:
    """One clip, whose recording is `spoken` (S,), on the virtual clock; and one plain pass over it."""
    pcm = followed(spoken)
    playback = Playback(runner, options.config, pcm, options.block, progress=progress)
    playback.run()
    return Take(
        clip=clip,
        heard=playback.heard,
        seconds=len(spoken) / SAMPLE_RATE,
        block=options.block / SAMPLE_RATE,
        work=playback.work,
        due=due(runner.info, options.config, pcm, options.block, playback.outputs),
        plain=" ".join(final.text for final in plain(runner, [spoken])),
    )


def followed(spoken: Pcm) -> Pcm:
    """A recording (S,) and what is played behind it."""
    return np.concatenate([spoken, noise_floor(spoken, round(TAIL * SAMPLE_RATE))])


def _warm_up(clip: Clip, runner: Runner, options: Options) -> None:
    Playback(runner, options.config, recording(clip)[: round(WARM_UP * SAMPLE_RATE)], options.block).run()


async def _over_a_socket(clips: Sequence[Clip], runner: Runner, options: Options, bar: Bar) -> list[list[Heard]]:
    """What a server says to each clip, after a warm-up. Its own model does it: `runner` says which it has to be."""

    async def heard(pcm: Pcm, progress: Progressed = unseen) -> list[Heard]:
        return await listen(url, pcm, runner.info, options.config, options.block, progress)

    async with _server(options) as url:
        await heard(recording(clips[0])[: round(WARM_UP * SAMPLE_RATE)])
        return [await heard(followed(recording(clip)), bar("real time", n, clip)) for n, clip in enumerate(clips)]


@asynccontextmanager
async def _server(options: Options) -> AsyncIterator[str]:
    if options.url is not None:
        yield options.url
        return
    own = local_server(
        Console(stderr=True),
        model=options.model,
        revision=options.revision,
        device=options.device,
        latency=options.latency,
    )
    async with own as url:
        yield url


def _peers(runner: Runner, options: Options) -> dict[str, Callable[[Sequence[Pcm]], Peer]]:
    """Those to compare with, loaded."""
    peers: dict[str, Callable[[Sequence[Pcm]], Peer]] = {}
    for name in options.against:
        if name == "transformers":
            from earshot_asr.client.evaluate.against import transformers_plain

            heard = transformers_plain(options.model or BUNDLED, options.revision, runner.device, runner.info.grid)
        elif name == "pocketsphinx":
            heard = pocketsphinx()
        elif name == "whisper":
            from earshot_asr.engine.runner import threads

            heard = whisper(options.whisper_model, threads())
        else:
            raise ConfigError(f"against is {name!r}; it must be one of {', '.join(PEERS)}")
        peers[name] = partial(_timed, heard)
    return peers


def _timed(heard: Callable[[Sequence[Pcm]], str], pieces: Sequence[Pcm]) -> Peer:
    began = time.perf_counter()
    text = heard(pieces)
    return Peer(text, time.perf_counter() - began)


def phonemes_of(clips: Sequence[Clip], runner: Runner) -> list[str | None]:
    """What is said in clips, in phonemes with spaces between them; None for a model that writes letters.

    The manifest's, or else eSpeak NG's of text and language. Raises ConfigError, which names the clip.
    """
    if not runner.info.vocabulary.separator:
        return [None] * len(clips)
    return [targets(clip.reference, clip.lang, clip.phonemes, clip.name) for clip in clips]


@contextmanager
def _progress(console: Console, clips: int) -> Iterator[Bar]:
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
