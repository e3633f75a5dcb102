"""What sources of batches have in common: the shares of corpora, the amount of audio, speed and augmentation."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid, Seconds
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.training.data.augment import Augmentation
from earshot_asr.engine.training.data.corpus import Corpus
from earshot_asr.engine.training.data.labels import Plan
from earshot_asr.engine.training.task import Source, TrainingBatch
from earshot_asr.engine.vocabulary import Vocabulary

SPEEDS = (0.88, 1.14)
"""The slowest and the fastest speed, as factors; the pitch changes with it."""
PAUSE_SECONDS: tuple[Seconds, Seconds] = (0.2, 2.0)
PAUSE_CHANCE = 0.25
"""Chance of a pause between two recordings in a crop, and of a second utterance, after a pause, in a row."""
SILENCE_CHANCE = 0.03
"""Chance that a row has no speech."""


@dataclass(frozen=True)
class Drawing:
    """What batches of crops and of whole utterances have in common.

    corpus              the recordings
    vocabulary, grid    the model's
    device              the device that has the samples and makes the batches
    seed, rank          with the step, the seed of all that is random
    seconds             about how much audio a batch has, padding included
    weights             how often each corpus is drawn from, see `shares`
    augment             changes the sound; its factor is also one on the chances of pauses and of rows without speech.
                        None: the sound stays as it is, at its own speed

    Raises ConfigError if a weight is for a corpus that does not exist.
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
        """The slowest and the fastest speed, as factors on that of the recording."""
        return SPEEDS if self.augment else (1.0, 1.0)

    @property
    def chances(self) -> float:
        """A factor on the chances of pauses and of rows without speech."""
        return self.augment.factor if self.augment else 0.0

    def shared(self, step: int) -> np.random.Generator:
        """Random numbers for what is the same on all ranks: how long the rows of a step are."""
        return np.random.default_rng((self.seed, step))

    def own(self, step: int) -> np.random.Generator:
        """Random numbers for what this rank alone draws in a step."""
        return np.random.default_rng((self.seed, self.rank, step))

    def rows(self, samples: int) -> int:
        """The number of rows of so many samples in a batch."""
        return max(1, round(self.seconds * SAMPLE_RATE / samples))


def shares(corpus: Corpus, weights: Mapping[str, float] | None) -> dict[str, float]:
    """How often each corpus is drawn from, in proportion to its weight, by default the square root of its hours.

    The shares add up to 1. Weights for other corpora are ignored. Raises ConfigError if one is negative or all are 0.
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
    """Raises ConfigError if a weight is for a corpus that does not exist."""
    there = set(corpus.corpora)
    if unknown := sorted(set(weights or {}) - there):
        raise ConfigError(f"weights: there is no corpus {', '.join(unknown)}; there are {', '.join(sorted(there))}")


def play(plan: Plan, samples: Tensor, length: int) -> Tensor:
    """The sound of a planned batch, from the corpus' samples (S,) int16: float32 (B, length) in [-1, 1), same device.

    The speed is changed by linear interpolation, which dampens the highest frequencies; augmentation does worse.
    """
    rows = plan.gather(samples)
    at = torch.arange(length, device=rows.device) * send(plan.factor.astype(np.float32)[:, None], rows.device)
    whole = at.floor()
    index = whole.long()
    before, after = rows.gather(1, index).float(), rows.gather(1, index.add_(1)).float()
    return before.add_(after.sub_(before).mul_(at.sub_(whole))).mul_(1 / 32768)


def send(array: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """The array as a tensor on the device; does not wait for the copy."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


class Mixed:
    """A Source that draws each batch from one of several sources, by their shares."""

    def __init__(self, sources: Sequence[tuple[Source, float]], *, seed: int = 0) -> None:
        total = sum(share for _, share in sources)
        assert total > 0, sources
        self.sources = [source for source, _ in sources]
        self.odds = [share / total for _, share in sources]
        self.seed = seed

    def draw(self, step: int) -> TrainingBatch:
        """See Source.draw."""
        which = np.random.default_rng((self.seed, step, 1)).choice(len(self.sources), p=self.odds)
        return self.sources[which].draw(step)
