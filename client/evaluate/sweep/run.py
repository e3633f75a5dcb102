"""Runs `earshot evaluate --sweep`: plays each recording with every setting, and draws the figures."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console

from earshot_asr.client.evaluate.evaluate import (
    Bar,
    check_options,
    phonemes_of,
    plain_text,
    play,
    progress_bar,
    readable,
    run_info,
    warm_up,
)
from earshot_asr.client.evaluate.figures import RunInfo, pooled
from earshot_asr.client.evaluate.options import Options
from earshot_asr.client.evaluate.recordings import recording
from earshot_asr.client.evaluate.sweep.grid import Setting
from earshot_asr.client.evaluate.sweep.memory import Memory, Remembering
from earshot_asr.client.evaluate.sweep.page import page
from earshot_asr.client.evaluate.sweep.points import Point, as_json, show
from earshot_asr.client.evaluate.sweep.results import Results, opened
from earshot_asr.client.evaluate.table import machine
from earshot_asr.client.evaluate.take import Clip
from earshot_asr.client.evaluate.tally import Tally, tally
from earshot_asr.engine.fingerprint import sha256
from earshot_asr.engine.loading import load_runner
from earshot_asr.engine.manifest import alignment_beside
from earshot_asr.engine.model import Runner
from earshot_asr.engine.whole import check as check_path
from earshot_asr.engine.whole import write_text


def sweep(
    manifests: Sequence[Path],
    options: Options,
    settings: Sequence[Setting],
    *,
    out: Path,
    command: str,
    as_data: bool = False,
    report: Path | None = None,
    stdout: Console,
    stderr: Console,
) -> int:
    """Plays all clips with each setting and prints the figures, as evaluate() does for one. Returns the exit status.

    out    file that keeps the results; what is in it of the same model and manifests is not played again

    Raises what evaluate() raises, and ConfigError if `out` is another file.
    """
    check_options(options, report)
    check_path(out)
    clips, status = readable(manifests, options, stderr)
    runner = load_runner(options.model, options.device, options.revision, options.language, options.lm)

    def say(line: str) -> None:
        stderr.print(f"earshot: {line}", markup=False, highlight=False, soft_wrap=True)

    results = opened(out, identity(runner, manifests, options), say)
    with progress_bar(stderr, len(clips)) as bar:
        points = measured(clips, runner, settings, options, results, bar)
    about = _about(runner, settings, options, command)
    if as_data:
        print(json.dumps(as_json(points, about), ensure_ascii=False), file=stdout.file)
    else:
        show(points, about, stdout)
    if report:
        write_text(report, page(points, about))
    return status


def measured(
    clips: Sequence[Clip],
    runner: Runner,
    settings: Sequence[Setting],
    options: Options,
    results: Results,
    bar: Bar,
    memory: Memory | None = None,
) -> list[Point]:
    """The figures of each setting over all clips. What the results lack is played, and added to them."""
    memory = memory or Memory()
    phonemes = phonemes_of(clips, runner)
    marks = [mark(clip) for clip in clips]
    by_mark = {setting.mark(options): setting for setting in settings}
    lacking = [[one for one in by_mark if (clip, one) not in results.tallies] for clip in marks]
    if any(lacking):
        warm_up(clips[0], runner, options)
    for n, clip in enumerate(clips):
        progress = bar("sweep", n, clip)
        chosen = [by_mark[one] for one in lacking[n]]
        done = len(settings) - len(chosen)
        for one, found in zip(lacking[n], tallies(clip, phonemes[n], runner, chosen, options, memory), strict=True):
            results.add(marks[n], one, found)
            done += 1
            progress(done / len(settings))
        progress(1.0)
        memory.clear()
    return [
        Point(setting, setting.config(options), pooled(judged, options.seed))
        for one, setting in by_mark.items()
        if (judged := [(clip, results.tallies[name, one]) for clip, name in zip(clips, marks, strict=True)])
    ]


def tallies(
    clip: Clip, phonemes: str | None, runner: Runner, settings: Sequence[Setting], options: Options, memory: Memory
) -> Iterator[Tally]:
    """Plays a clip with each setting. No window is computed twice, and each is charged as if it were."""
    if not settings:
        return
    spoken, remembering = recording(clip), Remembering(runner, memory)
    text = plain_text(remembering, spoken)
    for setting in settings:
        config = setting.config(options)
        take = play(clip, spoken, remembering, config, options, stopwatch=memory.stopwatch, rest=0.0)
        take.plain, take.phonemes = text, phonemes
        yield tally(take)


def mark(clip: Clip) -> str:
    """Differs where clips do; what a manifest says of them is left out."""
    sound = [sha256(path) for path in clip.audio]
    return hashlib.sha256(json.dumps([clip.corpus, sound, clip.gain, clip.begin]).encode()).hexdigest()[:16]


def identity(runner: Runner, manifests: Sequence[Path], options: Options) -> dict[str, str]:
    """What the results depend on, besides clips and settings; each by its name in words."""
    lexicon = runner.info.lexicon
    alignments = [options.alignments or alignment_beside(manifest) for manifest in manifests]
    return {
        "model": " ".join(filter(None, (runner.info.fingerprint, runner.info.language))),
        "language model": lexicon.fingerprint if lexicon else "none",
        "manifest": " ".join(sha256(path)[:16] for path in [*manifests, *alignments] if path),
        "version of the engine": _sources(),
        "machine": f"{machine()}, {runner.device}",
        "length of blocks": f"{options.block_ms} ms",
    }


def _sources() -> str:
    """Differs where the engine's code does, training left out."""
    folder = Path(str(files("earshot_asr.engine")))
    code = [path for path in sorted(folder.rglob("*.py")) if "training" not in path.relative_to(folder).parts]
    return hashlib.sha256(b"".join(path.read_bytes() for path in code)).hexdigest()[:16]


def _about(runner: Runner, settings: Sequence[Setting], options: Options, command: str) -> RunInfo:
    """What was run: of latency, commit and stability all that the settings have."""
    names: dict[str, Any] = {
        field: ", ".join(dict.fromkeys(getattr(setting, field) for setting in settings))
        for field in ("latency", "commit", "stability")
    }
    return replace(run_info(runner, options, command), **names)
