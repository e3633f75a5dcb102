"""Recordings without speech. All words that the engine writes there are false; they are counted per minute."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from math import ceil

from earshot_asr.client.evaluate.recordings import recording
from earshot_asr.client.evaluate.take import Clip
from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.engine.errors import AudioError

SHIFT_SHARE = (5**0.5 - 1) / 2
"""Share of a recording by which each round starts later than the one before. This is the golden ratio's inverse: it
spreads any number of starts evenly, and none is repeated."""


def rounds(clips: Sequence[Clip], gains: Collection[float], minutes: float | None) -> Iterator[Clip]:
    """Multiplies the clips without speech; the other clips come first and stay as they are.

    gains      in dB; a round plays each clip once with each gain, from a start that differs between rounds
    minutes    minimum total length of all rounds, in minutes; None: one round

    What can't be read counts as nothing here.
    """
    quiet = [clip for clip in clips if clip.quiet]
    lengths = [_seconds(clip) for clip in quiet] if minutes is not None else []
    seconds = sum(lengths) * len(gains or (0.0,))
    count = ceil(60 * (minutes or 0) / seconds) if seconds else 1
    yield from (clip for clip in clips if not clip.quiet)
    for n in range(max(1, count)):
        for gain in gains or (0.0,):
            for clip in quiet:
                yield replace(clip, name=_named(clip.name, gain, n), gain=gain, begin=n * SHIFT_SHARE % 1)


def _seconds(clip: Clip) -> Seconds:
    try:
        return len(recording(clip)) / SAMPLE_RATE
    except AudioError:
        return 0.0


def _named(name: str, gain: float, n: int) -> str:
    return name + (f", {gain:+g} dB" if gain else "") + (f", round {n + 1}" if n else "")
