#!/usr/bin/env python3
"""Makes demo.flac from demo.txt: Kokoro's voice `af_heart` reads each line, over the noise floor of a quiet room.

    python client/data/make_demo.py kokoro-int8.onnx voices.npz

in an environment of its own with `pip install kokoro-onnx soundfile soxr`; README.md here says where the two files are.
"""

import argparse
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

Audio: TypeAlias = npt.NDArray[np.float64]
"""Mono samples in [-1, 1), shape (S,)."""

HERE = Path(__file__).parent
RATE_HZ = 16_000
VOICE, LANGUAGE = "af_heart", "en-us"
LEAD_S, PAUSE_S, TAIL_S = 0.5, 0.9, 1.2  # the pause ends an utterance, so each line is one final
SPEECH_DB, FLOOR_DB = -20.0, -70.0  # RMS, relative to full scale
EDGE_DB, MARGIN_S = -46.0, 0.03  # a line begins and ends where it rises above this part of its peak


def gain(db: float) -> float:
    """Decibels -> factor."""
    return float(10 ** (db / 20))


def silence(duration: float) -> Audio:
    """Zeros for `duration` seconds."""
    return np.zeros(round(duration * RATE_HZ))


def speak(kokoro: Any, line: str) -> Audio:
    """What the voice says, without the silence that is around it."""
    samples, rate = kokoro.create(line, voice=VOICE, lang=LANGUAGE)
    samples = soxr.resample(samples.astype(np.float64), rate, RATE_HZ)
    loud = np.flatnonzero(np.abs(samples) > gain(EDGE_DB) * np.abs(samples).max())
    margin = round(MARGIN_S * RATE_HZ)
    return np.asarray(samples[max(0, loud[0] - margin) : loud[-1] + margin])


def recording(kokoro: Any, lines: list[str]) -> npt.NDArray[np.int16]:
    """All lines, in one level, over one noise floor; int16, shape (S,)."""
    spoken = [speak(kokoro, line) for line in lines]
    level = gain(SPEECH_DB) / np.sqrt(np.mean(np.concatenate(spoken) ** 2))
    parts = [silence(LEAD_S)]
    for part in spoken:
        parts += [part * level, silence(PAUSE_S)]
    parts[-1] = silence(TAIL_S)
    audio = np.concatenate(parts)
    audio += np.random.RandomState(0).normal(0, gain(FLOOR_DB), len(audio))  # the one generator numpy promises to keep
    assert np.abs(audio).max() < 1, "clipped: lower SPEECH_DB"
    return np.rint(audio * 32767).astype(np.int16)


def main() -> None:
    """Write demo.flac beside demo.txt."""
    from kokoro_onnx import Kokoro

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="kokoro-int8.onnx")
    parser.add_argument("voices", help="voices.npz")
    args = parser.parse_args()
    pcm = recording(Kokoro(args.model, args.voices), (HERE / "demo.txt").read_text().splitlines())
    soundfile.write(HERE / "demo.flac", pcm, RATE_HZ, subtype="PCM_16")


if __name__ == "__main__":
    main()
