"""More speech to train on: lines of text, read aloud by flite's voices at many rates and pitches.

Synthesized voices teach spelling: words and their neighbours that a few hours of recordings do not hold. flite is a
program (Debian's package `flite`); it speaks some 70 times faster than real time on one core.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import soundfile

from earshot_asr.engine.audio import SAMPLE_RATE
from earshot_asr.engine.errors import AudioError, ConfigError
from earshot_asr.engine.manifest import text_lines

VOICES = {"slt": (170.0, 1.0), "rms": (95.0, 1.0), "awb": (120.0, 1.0), "kal16": (105.0, 1.3)}
"""flite's voices of 16 kHz: how high each speaks of itself, in Hz, and how much slower it has to, to be no hurry."""
STRETCH = (0.75, 1.3)
"""Of durations, from the fastest to the slowest."""
HIGHER = (0.85, 1.25)
"""Of the pitch."""


@dataclass(frozen=True, slots=True)
class Line:
    """What is read, by whom, how: everything follows from the seed."""

    name: str
    text: str
    voice: str
    stretch: float
    pitch: float


EXAMPLES = """\
example: ten hours, aligned, and trained on beside recordings
  earshot train synthesize sentences.txt --out made --hours 10
  earshot train align made/manifest.jsonl --out made/alignments.jsonl
  earshot train ctc train.jsonl made/manifest.jsonl --out OUT --weight flite=3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `earshot train synthesize`."""
    parser.description, parser.epilog = __doc__, EXAMPLES
    parser.add_argument("text", type=Path, help="sentences, one a line; .xz or not")
    parser.add_argument("--out", type=Path, required=True, help="folder for recordings and OUT/manifest.jsonl")
    parser.add_argument("--hours", type=float, default=10.0, help="how much to make (default: 10)")
    parser.add_argument("--voices", default=",".join(VOICES), help=f"of flite, default: {','.join(VOICES)}")
    parser.add_argument("--words", type=int, nargs=2, default=(3, 18), metavar=("LEAST", "MOST"), help="in a sentence")
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> None:
    """Writes FLAC files and their manifest. Raises ConfigError, AudioError."""
    voices = args.voices.split(",")
    if unknown := sorted(set(voices) - set(VOICES)):
        raise ConfigError(f"--voices: flite has no voice {', '.join(unknown)}; there are {', '.join(VOICES)}")
    if shutil.which("flite") is None:
        raise ConfigError("speech is synthesized by the program flite, which is not there; Debian: apt install flite")
    args.out.mkdir(parents=True, exist_ok=True)
    sentences = read(args.text, *args.words)
    if not sentences:
        raise ConfigError(f"{args.text} has no line of {args.words[0]} to {args.words[1]} words")
    seconds = 0.0
    with (
        (args.out / "manifest.jsonl").open("w", encoding="utf-8") as manifest,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        for first in plan(sentences, voices, args.seed, batch=64):
            for line, duration in zip(first, pool.map(lambda line: speak(line, args.out), first), strict=True):
                seconds += duration
                row = {"audio": f"{line.name}.flac", "text": line.text, "speaker": line.voice, "lang": "en"}
                manifest.write(json.dumps(row | {"corpus": "flite", "duration": duration}) + "\n")
            print(f"\r{seconds / 3600:.2f} of {args.hours} h", end="", file=sys.stderr, flush=True)
            if seconds >= args.hours * 3600:
                break
    short = "" if seconds >= args.hours * 3600 else ", for there are no more sentences"
    print(f"\r{seconds / 3600:.2f} h in {args.out / 'manifest.jsonl'}{short}", file=sys.stderr)


def read(path: Path, least: int, most: int) -> list[str]:
    """Lines of so many words. Raises ConfigError."""
    return [line for _, line in text_lines(path) if least <= line.count(" ") + 1 <= most]


def plan(sentences: list[str], voices: list[str], seed: int, batch: int) -> Iterator[list[Line]]:
    """All sentences in a random order, each with a voice, a rate and a pitch."""
    rng = random.Random(seed)
    order = rng.sample(range(len(sentences)), len(sentences))
    for at in range(0, len(order), batch):
        chosen = []
        for n, which in enumerate(order[at : at + batch], at):
            voice = rng.choice(voices)
            pitch, unhurried = VOICES[voice]
            stretch, pitch = unhurried * rng.uniform(*STRETCH), pitch * rng.uniform(*HIGHER)
            chosen.append(Line(f"{voice}_{n:06}", sentences[which], voice, stretch, pitch))
        yield chosen


def speak(line: Line, folder: Path) -> float:
    """Writes the recording and returns its seconds. Raises AudioError."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as wav:
        options = ["--setf", f"duration_stretch={line.stretch:.3f}", "--setf", f"int_f0_target_mean={line.pitch:.1f}"]
        command = ["flite", "-voice", line.voice, *options, "-t", f" {line.text.lower()} ", "-o", wav.name]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise AudioError(f"flite could not read {line.text!r}: {done.stderr.strip()}")
        samples, rate = soundfile.read(wav.name, dtype="int16")
    if rate != SAMPLE_RATE:
        raise AudioError(f"flite's voice {line.voice} speaks at {rate} Hz; it must be {SAMPLE_RATE}")
    soundfile.write(folder / f"{line.name}.flac", samples, rate)
    return len(samples) / SAMPLE_RATE
