"""Crops of speech in many languages, the small ones more often than there is speech of them (Conneau et al. 2020).

Language l, of which there are n hours of N, is drawn with a probability proportional to (n / N) ^ alpha: 1 is as there
is speech, 0 all languages alike. Each crop of a batch is drawn alone, so a batch mixes languages.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.training.contrastive import draw_distractors
from earshot_asr.engine.training.corpus import Corpus
from earshot_asr.engine.training.masking import spans

UNKNOWN = "und"
"""The language of a recording that doesn't say: ISO 639's "undetermined"."""


@dataclass(frozen=True, slots=True)
class Crops:
    """What pretraining learns from at once. Letters: B rows, S samples, T frames, K distractors.

    samples      (B, S) float32 in [-1, 1), on the training device, as the others
    mask         (B, T) bool: what is to be guessed
    distractors  (B, T, K) int64: see Contrastive
    languages    of each row
    step         the number of the batch
    """

    samples: Tensor
    mask: Tensor
    distractors: Tensor
    languages: list[str]
    step: int = 0


@dataclass(frozen=True, slots=True)
class Masks:
    """Entries of config.json that say what is masked, and against how many others it has to be found."""

    mask_time_prob: float = 0.65
    mask_time_length: int = 10
    mask_time_min_masks: int = 2
    num_negatives: int = 100

    def draw(self, rows: int, frames: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mask and distractors of a batch, on the generator's device."""
        rule = self.mask_time_prob, self.mask_time_length, self.mask_time_min_masks
        mask = spans((rows, frames), *rule, device=generator.device, generator=generator)
        return mask, draw_distractors(mask, self.num_negatives, generator)


class Places:
    """Where crops of `size` samples of one language may start: in no utterance that is shorter, across no two."""

    def __init__(self, spans: npt.NDArray[np.int64], size: int) -> None:
        spans = spans[spans[:, 1] - spans[:, 0] >= size]
        self.starts, self.ends = spans[:, 0], np.cumsum(spans[:, 1] - spans[:, 0] - size + 1)
        self.samples = int((spans[:, 1] - spans[:, 0]).sum())

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, index: int) -> int:
        """The first sample of the crop that has this number."""
        utterance = int(np.searchsorted(self.ends, index, side="right"))
        before = int(self.ends[utterance - 1]) if utterance else 0
        return int(self.starts[utterance]) + index - before


def shares(samples: Sequence[int], alpha: float) -> npt.NDArray[np.float64]:
    """How often each language is drawn, of which there are so many samples. They sum to 1."""
    weights = (np.asarray(samples, np.float64) / sum(samples)) ** alpha
    weights /= weights.sum()
    return weights


class Languages:
    """Random crops of a corpus."""

    def __init__(
        self,
        corpus: Corpus,
        grid: FrameGrid,
        device: torch.device,
        masks: Masks,
        *,
        seconds: float = 3.0,
        batch: int = 22,
        alpha: float = 0.5,
        seed: int = 0,
        rank: int = 0,
    ) -> None:
        """seconds: of a crop; utterances that are shorter are not used. batch: crops. Raises ConfigError."""
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha is {alpha:g}; it must be from 0, all alike, to 1, as there is speech")
        frames = grid.frames(round(seconds * SAMPLE_RATE))
        least = masks.mask_time_length * masks.mask_time_min_masks
        if frames < least:
            raise ConfigError(
                f"{seconds:g} s have {frames} frames, and masks take {least} at least; longer crops are needed"
            )
        self.corpus, self.device, self.masks = corpus, device, masks
        self.seed, self.rank, self.batch, self.frames = seed, rank, batch, frames
        self.size = grid.span(0, frames)[1]
        langs = np.array([lang or UNKNOWN for lang in corpus.langs])
        places = {str(lang): Places(corpus.spans[langs == lang], self.size) for lang in sorted(set(langs))}
        self.places = {lang: there for lang, there in places.items() if len(there)}
        if not self.places:
            raise ConfigError(f"no recording is {seconds:g} s long, which crops are to be; give a smaller number")
        self.names = list(self.places)
        self.shares = shares([there.samples for there in self.places.values()], alpha)

    def draw(self, step: int) -> Crops:
        """The batch of a step: a function of seed, rank and step alone."""
        rng = np.random.default_rng((self.seed, self.rank, step))
        languages = [self.names[i] for i in rng.choice(len(self.names), self.batch, p=self.shares)]
        starts = [self.places[lang][int(rng.integers(len(self.places[lang])))] for lang in languages]
        return self._crops(starts, languages, int(rng.integers(1 << 62)), step)

    def fixed(self, language: str, count: int) -> Crops:
        """At most so many crops of a language, the same each time; no more than its speech gives without an overlap."""
        there = self.places[language]
        count = max(1, min(count, there.samples // self.size))
        rng = np.random.default_rng((self.seed, *language.encode()))
        starts = [there[int(k)] for k in np.sort(rng.choice(len(there), count, replace=len(there) < count))]
        return self._crops(starts, [language] * count, int(rng.integers(1 << 62)))

    def _crops(self, starts: list[int], languages: list[str], seed: int, step: int = 0) -> Crops:
        pcm = self.corpus.on(self.device)
        at = torch.tensor(starts, device=pcm.device)[:, None] + torch.arange(self.size, device=pcm.device)
        samples = pcm[at].to(self.device, torch.float32, non_blocking=True) / 32768
        generator = torch.Generator(self.device).manual_seed(seed)
        return Crops(samples, *self.masks.draw(len(starts), self.frames, generator), languages, step)
