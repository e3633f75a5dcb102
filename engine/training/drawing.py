"""How batches are drawn from recordings: from which corpora, how much, and what is done to the sound."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid, Seconds
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.training.augment import Augmentation
from earshot_asr.engine.training.corpus import Corpus
from earshot_asr.engine.training.labels import Plan
from earshot_asr.engine.training.task import Batch, Source
from earshot_asr.engine.vocabulary import Vocabulary

SPEED = (0.88, 1.14)
"""Recordings are played so many times as fast, pitch and all."""
PAUSE: tuple[Seconds, Seconds] = (0.2, 2.0)
PAUSES = 0.25
"""The chance of a pause where a crop goes over from one recording to the next, and of two utterances in a row."""
ALONE = 0.03
"""The share of crops, and of rows of utterances, in which nothing is said."""


@dataclass(frozen=True)
class Drawing:
    """What batches of crops and of whole utterances have in common.

    corpus              the recordings
    vocabulary, grid    of the model: what is written, and in which frames
    device              where the samples are, and batches are made
    seed, rank          of all that is random, beside the step
    seconds             of audio in a batch, padding included, about
    weights             of corpora, see `shares`
    augment             what is done to the sound; its factor is one on the chances of pauses and of rows without
                        speech, too. None: nothing, at the original speed

    Raises ConfigError for weights of corpora that are not there.
    """

    corpus: Corpus
    vocabulary: Vocabulary
    grid: FrameGrid
    device: torch.device
    seed: int = 0
    rank: int = 0
    seconds: Seconds = 64.0
    weights: Mapping[str, float] | None = None
    augment: Augmentation | None = None

    def __post_init__(self) -> None:
        check(self.weights, self.corpus)

    @property
    def speeds(self) -> tuple[float, float]:
        """The slowest and the fastest, against the original."""
        return SPEED if self.augment else (1.0, 1.0)

    @property
    def chances(self) -> float:
        """A factor on those of pauses and of rows without speech."""
        return self.augment.factor if self.augment else 0.0

    def shared(self, step: int) -> np.random.Generator:
        """For what is the same on all ranks: how long a step's rows are."""
        return np.random.default_rng((self.seed, step))

    def own(self, step: int, *stream: int) -> np.random.Generator:
        """For what this rank draws in a step; other streams of numbers for other things."""
        return np.random.default_rng((self.seed, self.rank, step, *stream))

    def rows(self, samples: int) -> int:
        """How many of so many samples there are in a batch."""
        return max(1, round(self.seconds * SAMPLE_RATE / samples))


def shares(corpus: Corpus, weights: Mapping[str, float] | None) -> dict[str, float]:
    """How often each corpus is drawn from: its weight, or else the square root of its hours; they add up to 1.

    Raises ConfigError if one is negative, and if all are 0. Weights of corpora that are not there say nothing here.
    """
    samples: Counter[str] = Counter()
    for name, length in zip(corpus.corpora, corpus.lengths.tolist(), strict=True):
        samples[name] += length
    weights = weights or {}
    found = {name: weights.get(name, (n / SAMPLE_RATE / 3600) ** 0.5) for name, n in samples.items()}
    total = sum(found.values())
    if min(found.values()) < 0 or total == 0:
        raise ConfigError("weights of corpora must not be negative, and not all 0")
    return {name: weight / total for name, weight in found.items()}


def check(weights: Mapping[str, float] | None, corpus: Corpus) -> None:
    """Raises ConfigError for a weight of a corpus that is not there: of the whole, before any of it is left out."""
    there = set(corpus.corpora)
    if unknown := sorted(set(weights or {}) - there):
        raise ConfigError(f"weights: there is no corpus {', '.join(unknown)}; there are {', '.join(sorted(there))}")


def play(plan: Plan, samples: Tensor, length: int) -> Tensor:
    """A planned batch of the samples (S,) int16 of a file: float32 (B, length) in [-1, 1), where the file is.

    Speed is by linear interpolation: above some kHz it is a low-pass, which other chances make a worse one of.
    """
    rows = plan.gather(samples)
    at = torch.arange(length, device=rows.device) * send(plan.factor.astype(np.float32)[:, None], rows.device)
    whole = at.floor()
    index = whole.long()
    before, after = rows.gather(1, index).float(), rows.gather(1, index.add_(1)).float()
    return before.add_(after.sub_(before).mul_(at.sub_(whole))).mul_(1 / 32768)


def send(array: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """To the device, without waiting for it."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


class Mixed:
    """Batches of several sources, each drawn with its share; a Source."""

    def __init__(self, sources: Sequence[tuple[Source, float]], *, seed: int = 0) -> None:
        total = sum(share for _, share in sources)
        assert total > 0, sources
        self.sources = [source for source, _ in sources]
        self.odds = [share / total for _, share in sources]
        self.seed = seed

    def draw(self, step: int) -> Batch:
        """See Source.draw."""
        which = np.random.default_rng((self.seed, step, 1)).choice(len(self.sources), p=self.odds)
        return self.sources[which].draw(step)
