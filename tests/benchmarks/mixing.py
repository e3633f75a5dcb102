"""Recordings of speech with their words, and noise to mix in, for the benchmarks of voices and conditions."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from earshot_asr.client.evaluate.quiet import SHIFT_SHARE
from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.manifest import UNIT_SAMPLES, alignment_beside, read, read_alignments
from earshot_asr.engine.sources import open_file

WORST_SCORE = -45.0
"""An alignment that scores less says another text than is heard."""
SHORTEST_NOISE_SAMPLES = 80_000
"""Shorter noises are single sounds, which would be repeated again and again."""


@dataclass(frozen=True)
class Spoken:
    """A recording: its audio, text, first and last sample of each word, and the mean square of its words."""

    name: str
    text: str
    pcm: Pcm
    words: list[tuple[int, int]]

    @property
    def power(self) -> float:
        """The mean square of the samples of its words."""
        return power(np.concatenate([self.pcm[start:end] for start, end in self.words]))


def audio(path: Path) -> Pcm:
    """All of a recording."""
    with open_file(path) as source:
        return np.concatenate([np.zeros(0, np.int16), *source])


def power(pcm: Pcm) -> float:
    """The mean square of samples."""
    return float(np.square(pcm.astype(np.float64)).mean())


def spoken(manifest: Path, folds: Collection[int | None]) -> list[Spoken]:
    """The recordings of these folds that have a good alignment."""
    beside = alignment_beside(manifest)
    aligned = read_alignments(beside) if beside else {}
    chosen = []
    for row in read(manifest):
        alignment = aligned.get(row.name)
        if row.fold in folds and alignment and alignment.words and alignment.score > WORST_SCORE:
            words = [(w.start * UNIT_SAMPLES, (w.start + w.length) * UNIT_SAMPLES) for w in alignment.words]
            chosen.append(Spoken(row.name, row.text or "", audio(row.path), words))
    return chosen


def noises(manifest: Path, split: str = "dev") -> dict[str, list[Pcm]]:
    """The noises of a split, by kind: noise and music."""
    found: dict[str, list[Pcm]] = {"noise": [], "music": []}
    for row in read(manifest, required=()):
        if row.split == split and row.kind in found and len(pcm := audio(row.path)) >= SHORTEST_NOISE_SAMPLES:
            found[row.kind].append(pcm)
    return found


def mixed(pcm: Pcm, noise: Pcm, ratio_db: float, loud: float, shift: int = 0) -> Pcm:
    """Speech of a mean square of `loud`, with noise so many dB below it, which begins elsewhere for each `shift`."""
    begun = np.roll(noise, -round(shift * SHIFT_SHARE % 1 * len(noise)))
    long = np.resize(begun, len(pcm)).astype(np.float64)
    gain = np.sqrt(loud / 10 ** (ratio_db / 10) / max(power(noise), 1e-9))
    both: Pcm = np.rint(pcm + gain * long).clip(-32768, 32767).astype(np.int16)
    return both
