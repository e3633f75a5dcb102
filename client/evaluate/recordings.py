"""The audio of clips, and the noise floor that is played after each."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from earshot_asr.client.evaluate.take import Clip
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds, to_float, to_pcm
from earshot_asr.engine.sources import open_file

TAIL_SECONDS: Seconds = 2.0
"""Length of the noise floor after a clip, so that an endpoint, a pause of the speaker, ends the last utterance, and not
the end of the stream."""
QUIETEST_SHARE = 0.02
"""Share of a recording's frames, the quietest, that count as its noise floor; at least two frames. It is small because
many recordings are cut tightly around the speech."""
FRAME_SAMPLES = 512

Progressed = Callable[[float], None]
"""Called with the share of a clip that has been played, from 0 to 1."""


def no_progress(share: float) -> None:
    """Ignores the progress."""


def recording(clip: Clip) -> Pcm:
    """The audio of a clip as it is played: 16 kHz mono int16 (S,), rotated and amplified. Raises AudioError."""
    parts: list[Pcm] = []
    for path in clip.audio:
        with open_file(path) as audio:
            parts += audio
    pcm = np.concatenate([np.zeros(0, np.int16), *parts])
    pcm = np.roll(pcm, -round(clip.begin * len(pcm)))
    return to_pcm(to_float(pcm) * np.float32(10 ** (clip.gain / 20))) if clip.gain else pcm


def recordings(clip: Clip) -> list[Pcm]:
    """The audio of each of a clip's files. Raises AudioError."""
    return [recording(replace(clip, audio=(path,))) for path in clip.audio]


def damage(clip: Clip) -> list[str]:
    """A line for each of a clip's files that is cut off or damaged. Reads all of them. Raises AudioError."""
    lines = []
    for path in clip.audio:
        with open_file(path) as audio:
            for _ in audio:
                pass
        lines += [f"{path}: {audio.damage}"] if audio.damage else []
    return lines


def noise_floor(pcm: Pcm, samples: int) -> Pcm:
    """Stationary noise (samples,) with the level and spectrum of the quietest parts of `pcm`.

    It is the same every time, so that evaluations can be repeated.
    """
    frames = pcm[: len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES).astype(np.float64)
    if not len(frames):
        return np.zeros(samples, np.int16)
    window = np.hanning(FRAME_SAMPLES + 1)[:-1]
    quietest = np.argsort((frames**2).sum(axis=1), kind="stable")[: max(2, round(QUIETEST_SHARE * len(frames)))]
    power = (np.abs(np.fft.rfft(frames[quietest] * window)) ** 2).mean(axis=0) / (window**2).sum()
    power[0] = 0.0  # no constant offset
    white = np.random.default_rng(0).standard_normal(max(samples, FRAME_SAMPLES))
    length = len(white)
    gain = np.interp(np.fft.rfftfreq(length), np.fft.rfftfreq(FRAME_SAMPLES), np.sqrt(power))
    coloured = np.fft.irfft(np.fft.rfft(white) * gain, length)[:samples]
    return np.rint(coloured).clip(-32768, 32767).astype(np.int16)


def timed_blocks(pcm: Pcm, size: int) -> Iterator[tuple[Seconds, Pcm]]:
    """Blocks of `size` samples, each with the time in seconds at which its last sample is due."""
    for first in range(0, len(pcm), size):
        block = pcm[first : first + size]
        yield (first + len(block)) / SAMPLE_RATE, block
