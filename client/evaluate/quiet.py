"""Recordings in which nobody speaks: what the engine writes there is wrong, and is counted by the minute."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from math import ceil

from earshot_asr.client.evaluate.recordings import recording
from earshot_asr.client.evaluate.take import Clip
from earshot_asr.engine.audio import SAMPLE_RATE

SHIFT_SHARE = (5**0.5 - 1) / 2
"""Each round begins this share of a recording later: no two begin at the same place, and all are spread evenly."""


def rounds(clips: Sequence[Clip], gains: Collection[float], minutes: float | None) -> Iterator[Clip]:
    """Clips of which the quiet ones are played at each of the gains (dB), in rounds, until it is so many minutes.

    Every round plays all of them at all gains, from shifted starts, and a round that has begun is played to its end.
    The others stay as they are. None: one round. Raises AudioError.
    """
    quiet = [clip for clip in clips if clip.quiet]
    lengths = [len(recording(clip)) / SAMPLE_RATE for clip in quiet] if minutes is not None else []
    seconds = sum(lengths) * len(gains or (0.0,))
    count = ceil(60 * (minutes or 0) / seconds) if seconds else 1
    yield from (clip for clip in clips if not clip.quiet)
    for n in range(max(1, count)):
        for gain in gains or (0.0,):
            for clip in quiet:
                yield replace(clip, name=_named(clip.name, gain, n), gain=gain, begin=n * SHIFT_SHARE % 1)


def _named(name: str, gain: float, n: int) -> str:
    return name + (f", {gain:+g} dB" if gain else "") + (f", round {n + 1}" if n else "")
