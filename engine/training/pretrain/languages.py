"""Batches of crops in many languages, in which small languages are drawn more often (Conneau et al. 2020).

A language with n of N hours of speech is drawn with a probability proportional to (n / N) ^ alpha: with 1 in proportion
to its hours, with 0 as often as any other. Each crop is drawn by itself, so a batch mixes languages.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.training.data.corpus import Corpus
from earshot_asr.engine.training.masking import spans
from earshot_asr.engine.training.pretrain.contrastive import draw_distractors

UNDETERMINED = "und"
"""The language of a recording whose manifest names none, as ISO 639 calls it."""


@dataclass(frozen=True, slots=True)
class PretrainingBatch:
    """A batch of pretraining, on the training device. Letters: B rows, S samples, T frames, K distractors.

    samples      (B, S) float32 in [-1, 1)
    mask         (B, T) bool: the frames to be guessed
    distractors  (B, T, K) int64: see Contrastive
    languages    the language of each row
    step         the step that it is the batch of
    """

    samples: Tensor
    mask: Tensor
    distractors: Tensor
    languages: list[str]
    step: int = 0


@dataclass(frozen=True, slots=True)
class Masks:
    """Entries of config.json on the masks over frames, and the number of distractors for each masked frame."""

    mask_time_prob: float = 0.65
    mask_time_length: int = 10
    mask_time_min_masks: int = 2
    num_negatives: int = 100

    def draw(self, rows: int, frames: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws mask (B, T) and distractors (B, T, K) of a batch, on the generator's device."""
        rule = self.mask_time_prob, self.mask_time_length, self.mask_time_min_masks
        mask = spans((rows, frames), *rule, device=generator.device, generator=generator)
        return mask, draw_distractors(mask, self.num_negatives, generator)


class Places:
    """The places where crops of `size` samples may start in the utterances of a language, so that each is in one."""

    def __init__(self, spans: npt.NDArray[np.int64], size: int) -> None:
        spans = spans[spans[:, 1] - spans[:, 0] >= size]
        self.starts, self.ends = spans[:, 0], np.cumsum(spans[:, 1] - spans[:, 0] - size + 1)
        self.samples = int((spans[:, 1] - spans[:, 0]).sum())

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, index: int) -> int:
        """The first sample of a crop, by the number of its place."""
        utterance = int(np.searchsorted(self.ends, index, side="right"))
        before = int(self.ends[utterance - 1]) if utterance else 0
        return int(self.starts[utterance]) + index - before


def shares(samples: Sequence[int], alpha: float) -> npt.NDArray[np.float64]:
    """The probability of each language, from the samples that there are of it; they sum to 1."""
    weights = (np.asarray(samples, np.float64) / sum(samples)) ** alpha
    weights /= weights.sum()
    return weights


class Languages:
    """A source of batches of random crops, whose languages are drawn by their shares."""

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
        """seconds: length of a crop; shorter utterances are not used. batch: crops in a batch. Raises ConfigError."""
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
        langs = np.array([lang or UNDETERMINED for lang in corpus.langs])
        places = {str(lang): Places(corpus.spans[langs == lang], self.size) for lang in sorted(set(langs))}
        self.places = {lang: there for lang, there in places.items() if len(there)}
        if not self.places:
            raise ConfigError(f"no recording is {seconds:g} s long, which crops are to be; give a smaller number")
        self.names = list(self.places)
        self.shares = shares([there.samples for there in self.places.values()], alpha)

    def draw(self, step: int) -> PretrainingBatch:
        """The batch of a step: a function of seed, rank and step only."""
        rng = np.random.default_rng((self.seed, self.rank, step))
        languages = [self.names[i] for i in rng.choice(len(self.names), self.batch, p=self.shares)]
        starts = [self.places[lang][int(rng.integers(len(self.places[lang])))] for lang in languages]
        return self._crops(starts, languages, int(rng.integers(1 << 62)), step)

    def fixed(self, language: str, count: int) -> PretrainingBatch:
        """At most `count` crops of a language, the same at each call; no more than fit into its speech side by side."""
        there = self.places[language]
        count = max(1, min(count, there.samples // self.size))
        rng = np.random.default_rng((self.seed, *language.encode()))
        starts = [there[int(k)] for k in np.sort(rng.choice(len(there), count, replace=len(there) < count))]
        return self._crops(starts, [language] * count, int(rng.integers(1 << 62)))

    def _crops(self, starts: list[int], languages: list[str], seed: int, step: int = 0) -> PretrainingBatch:
        pcm = self.corpus.on(self.device)
        at = torch.tensor(starts, device=pcm.device)[:, None] + torch.arange(self.size, device=pcm.device)
        samples = pcm[at].to(self.device, torch.float32, non_blocking=True) / 32768
        generator = torch.Generator(self.device).manual_seed(seed)
        return PretrainingBatch(samples, *self.masks.draw(len(starts), self.frames, generator), languages, step)
