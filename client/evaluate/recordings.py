"""What is played to the engine: a clip's recording, and the noise floor of the same room behind it."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from earshot_asr.client.evaluate.take import Clip
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds, to_float, to_pcm
from earshot_asr.engine.sources import open_file

TAIL_SECONDS: Seconds = 2.0
"""So much noise floor follows, so that an endpoint and not the end of the stream ends the last utterance."""
QUIETEST_SHARE = 0.02
"""The quietest of a recording's frames, this share and at least two, are its noise floor: many are cut tight."""
FRAME_SAMPLES = 512

Progressed = Callable[[float], None]
"""Told which share of a clip has been played."""


def unseen(share: float) -> None:
    """Nobody looks at the progress."""


def recording(clip: Clip) -> Pcm:
    """All of its audio as it is to be played, 16 kHz mono int16 (S,). Raises AudioError."""
    parts: list[Pcm] = []
    for path in clip.audio:
        with open_file(path) as audio:
            parts += audio
    pcm = np.concatenate([np.zeros(0, np.int16), *parts])
    pcm = np.roll(pcm, -round(clip.begin * len(pcm)))
    return to_pcm(to_float(pcm) * np.float32(10 ** (clip.gain / 20))) if clip.gain else pcm


def recordings(clip: Clip) -> list[Pcm]:
    """The same, each of its files apart."""
    return [recording(replace(clip, audio=(path,))) for path in clip.audio]


def check(clip: Clip) -> None:
    """Raises AudioError for a recording that is none: before an hour of others is played."""
    for path in clip.audio:
        with open_file(path) as audio:
            next(iter(audio), None)


def noise_floor(pcm: Pcm, samples: int) -> Pcm:
    """`samples` of stationary noise, as loud and of the same colour as where `pcm` is quietest; silence if that is.

    The same every time: what is judged twice is judged on the same audio.
    """
    frames = pcm[: len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES).astype(np.float64)
    if not len(frames):
        return np.zeros(samples, np.int16)
    window = np.hanning(FRAME_SAMPLES + 1)[:-1]
    quietest = np.argsort((frames**2).sum(axis=1), kind="stable")[: max(2, round(QUIETEST_SHARE * len(frames)))]
    power = (np.abs(np.fft.rfft(frames[quietest] * window)) ** 2).mean(axis=0) / (window**2).sum()
    power[0] = 0.0  # an offset is no noise
    white = np.random.default_rng(0).standard_normal(max(samples, FRAME_SAMPLES))
    length = len(white)
    gain = np.interp(np.fft.rfftfreq(length), np.fft.rfftfreq(FRAME_SAMPLES), np.sqrt(power))
    coloured = np.fft.irfft(np.fft.rfft(white) * gain, length)[:samples]
    return np.rint(coloured).clip(-32768, 32767).astype(np.int16)


def timed_blocks(pcm: Pcm, size: int) -> Iterator[tuple[Seconds, Pcm]]:
    """Audio as it arrives, `size` samples at a time: when each block has been spoken to its end, and the block."""
    for first in range(0, len(pcm), size):
        block = pcm[first : first + size]
        yield (first + len(block)) / SAMPLE_RATE, block
