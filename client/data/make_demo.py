#!/usr/bin/env python3
"""Makes demo.flac from demo.txt: Kokoro's voice `af_heart` reads each line; the noise of a quiet room is added.

    python client/data/make_demo.py kokoro-int8.onnx voices.npz

Run it in a separate environment with `pip install kokoro-onnx soundfile soxr`. README.md describes the two files.
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
LEAD_SECONDS, PAUSE_SECONDS, TAIL_SECONDS = 0.5, 0.9, 1.2
"""Silence before, between and after the lines. The pause is long enough to end an utterance: each line is a final."""
SPEECH_DB, NOISE_DB = -20.0, -70.0
"""RMS levels relative to full scale."""
EDGE_DB, MARGIN_SECONDS = -46.0, 0.03
"""A line is cut this long before and after the samples that exceed EDGE_DB, relative to its peak."""


def gain(db: float) -> float:
    """Converts decibels to a factor."""
    return float(10 ** (db / 20))


def silence(seconds: float) -> Audio:
    """Zeros for so many seconds."""
    return np.zeros(round(seconds * RATE_HZ))


def speak(kokoro: Any, line: str) -> Audio:
    """A line read by the voice, without the silence before and after it."""
    samples, rate = kokoro.create(line, voice=VOICE, lang=LANGUAGE)
    samples = soxr.resample(samples.astype(np.float64), rate, RATE_HZ)
    loud = np.flatnonzero(np.abs(samples) > gain(EDGE_DB) * np.abs(samples).max())
    margin = round(MARGIN_SECONDS * RATE_HZ)
    return np.asarray(samples[max(0, loud[0] - margin) : loud[-1] + margin])


def recording(kokoro: Any, lines: list[str]) -> npt.NDArray[np.int16]:
    """All lines at the same level, with noise; int16, shape (S,)."""
    spoken = [speak(kokoro, line) for line in lines]
    level = gain(SPEECH_DB) / np.sqrt(np.mean(np.concatenate(spoken) ** 2))
    parts = [silence(LEAD_SECONDS)]
    for part in spoken:
        parts += [part * level, silence(PAUSE_SECONDS)]
    parts[-1] = silence(TAIL_SECONDS)
    audio = np.concatenate(parts)
    # numpy guarantees the same numbers from RandomState in all its versions
    audio += np.random.RandomState(0).normal(0, gain(NOISE_DB), len(audio))
    assert np.abs(audio).max() < 1, "clipped: lower SPEECH_DB"
    return np.rint(audio * 32767).astype(np.int16)


def main() -> None:
    """Writes demo.flac beside demo.txt."""
    from kokoro_onnx import Kokoro

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="kokoro-int8.onnx")
    parser.add_argument("voices", help="voices.npz")
    args = parser.parse_args()
    pcm = recording(Kokoro(args.model, args.voices), (HERE / "demo.txt").read_text().splitlines())
    soundfile.write(HERE / "demo.flac", pcm, RATE_HZ, subtype="PCM_16")


if __name__ == "__main__":
    main()
