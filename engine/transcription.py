"""A recording to its utterances, in this thread: streamed as a live one would be, or by one plain forward pass."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid, Pcm
from earshot_asr.engine.config import DEFAULT_DECODE, StreamConfig
from earshot_asr.engine.decoder import DecodeConfig, Hotword
from earshot_asr.engine.events import Final
from earshot_asr.engine.loading import load_runner
from earshot_asr.engine.model import Runner
from earshot_asr.engine.odds import new_decoders
from earshot_asr.engine.recognizer import Recognizer, Stream
from earshot_asr.engine.segment import Segment
from earshot_asr.engine.session import timing_of
from earshot_asr.engine.sources import RawFormat, open_file
from earshot_asr.engine.times import Meter
from earshot_asr.engine.windows import WindowPlanner

LONGEST_PASS_SAMPLES = 30 * SAMPLE_RATE
"""Longer audio is encoded in several plain passes that overlap."""
OVERLAP_SECONDS = 6
"""How much two passes overlap. Each drops its half of it."""

Method = Callable[[Iterable[Pcm]], Iterator[Final]]
"""Makes the utterances of a recording from its audio."""


def transcribe(
    path: str | Path,
    *,
    model: str | Path | Runner | None = None,
    device: str = "auto",
    revision: str | None = None,
    language: str | None = None,
    latency: str = "balanced",
    endpoint_ms: int | None = None,
    lm: str | Path | None = None,
    hotwords: Iterable[str | Hotword] = (),
    alternatives: int = 1,
    raw: RawFormat | None = None,
    track: int | None = None,
    channel: int | None = None,
) -> Iterator[Final]:
    """The utterances of an audio or video file, each as soon as it is final, in bounded memory.

    model         a folder or a hub id; None: the bundled model. For several files load it once: `load_runner(model)`
    device        auto, cpu, cuda or cuda:N; a runner has one already
    revision      branch, tag or commit of a model on the hub
    language      one of a model of several languages, by any of its names; None: the one that it speaks by itself
    latency       low, balanced or accurate: how long the windows are
    endpoint_ms   silence that ends an utterance; None: as `latency` has it
    lm            a language model's file or folder, or "none"; None: the one that goes with the model, if there is one.
                  A runner has one already
    hotwords      words and phrases that are expected
    alternatives  how many readings of each utterance are wanted, the best one included: Final.alternatives, 1 to 10
    raw           how to read a file of samples without a header
    track         the audio track to read, from 1 on; None: the one that players choose
    channel       the channel to read, from 1 on; None: all are mixed

    `path` may be a pipe, or "-": standard input. Warns (UserWarning) of a file that is cut off, damaged, or not read as
    one might expect, when what can be read of it has been transcribed. Raises
    ConfigError, CheckpointError and DeviceError at once, AudioError for a file that can't be read.
    """
    expected = tuple(Hotword(each) if isinstance(each, str) else each for each in hotwords)
    decode = DecodeConfig(hotwords=expected, alternatives=alternatives)
    config = StreamConfig.preset(latency, partials=False, endpoint_ms=endpoint_ms, decode=decode)
    if model is None or isinstance(model, str | Path):
        runner = load_runner(model, device, revision, language, lm)
    else:
        runner = model.speaking(language)
    return _transcribed(runner, config, path, raw=raw, track=track, channel=channel)


def _transcribed(runner: Runner, config: StreamConfig, path: str | Path, **options: Any) -> Iterator[Final]:
    with open_file(path, **options) as source:
        yield from streamed(runner, config, source)
        for line in filter(None, [*source.notes, source.damage]):
            warnings.warn(f"{path}: {line}", stacklevel=2)


def streamed(runner: Runner, config: StreamConfig, audio: Iterable[Pcm]) -> Iterator[Final]:
    """Transcribes audio as a live stream: in bounded memory, each utterance as it ends."""
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


def plain(runner: Runner, audio: Iterable[Pcm], decode: DecodeConfig = DEFAULT_DECODE) -> Iterator[Final]:
    """Transcribes audio as one utterance: one plain forward pass, or beyond 30 s several that overlap."""
    meter = Meter()
    kept = [runner.run([pcm])[0][keep] for pcm, keep in passes(meter.listen(audio), runner.info.grid)]
    if not kept:
        return
    log_probs = np.concatenate(kept)
    config = StreamConfig(decode=decode)
    timing, new_decoder = timing_of(runner.info, config), new_decoders(runner.info, decode)
    segment, whole = Segment(runner.info, timing, new_decoder, 0, meter), WindowPlanner(timing, 0).last(len(log_probs))
    assert whole is not None
    segment.close(whole.end)
    segment.accept(whole, log_probs)
    if (final := segment.final()) is not None:
        yield final


def passes(audio: Iterable[Pcm], grid: FrameGrid) -> Iterator[tuple[Pcm, slice]]:
    """Cuts audio into overlapping stretches of at most 30 s; with each, the slice of its frames to keep."""
    half = OVERLAP_SECONDS * SAMPLE_RATE // grid.hop // 2
    step = grid.frames(LONGEST_PASS_SAMPLES) - 2 * half
    first = 0
    waiting = np.zeros(0, np.int16)
    for pcm in audio:
        waiting = np.concatenate([waiting, pcm])
        while len(waiting) > LONGEST_PASS_SAMPLES:
            yield waiting[:LONGEST_PASS_SAMPLES], slice(first, half + step)
            first = half
            waiting = waiting[step * grid.hop :]
    if grid.frames(len(waiting)):
        yield waiting, slice(first, None)
