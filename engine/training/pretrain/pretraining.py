"""Pretraining as the loop's task: losses, evaluation, saving, and warnings when the model learns nothing."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.engine.errors import ConfigError, TrainingError
from earshot_asr.engine.training.compiling import compile_encoder
from earshot_asr.engine.training.data.corpus import Corpus
from earshot_asr.engine.training.distributed import World
from earshot_asr.engine.training.pretrain import pretrained
from earshot_asr.engine.training.pretrain.collapse import Watch
from earshot_asr.engine.training.pretrain.contrastive import Contrastive
from earshot_asr.engine.training.pretrain.languages import Languages, PretrainingBatch
from earshot_asr.engine.training.pretrain.usage import perplexity, usage

STEPS_A_LOOK = 25
"""Steps between two looks at whether the model learns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Temperature:
    """The temperature of the Gumbel softmax, which falls geometrically from `high` to `low` and stays there.

    decay  factor per step (0.999995 for the 400,000 steps of wav2vec 2.0); None: such that it is `low` from the share
           `by` of the schedule on
    """

    high: float = 2.0
    low: float = 0.5
    decay: float | None = None
    by: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high:
            raise ConfigError(
                f"the Gumbel temperature can't fall from {self.high:g} to {self.low:g}; 2 to 0.5 is usual"
            )
        if self.decay is not None and not 0 < self.decay <= 1:
            raise ConfigError(f"the decay of the Gumbel temperature is {self.decay:g}; 0.999995 is usual, 1 at most")

    def at(self, step: int, share: float) -> float:
        """The temperature at a step, when `share` of the schedule is done."""
        if self.decay is not None:
            return max(self.low, self.high * math.pow(self.decay, step))
        return max(self.low, self.high * math.pow(self.low / self.high, share / self.by))


class Pretraining(nn.Module):
    """The module of pretraining, see Task.module. Warns on stderr when the model learns nothing."""

    def __init__(
        self,
        contrastive: Contrastive,
        temperature: Temperature,
        *,
        world: World | None = None,
        eager: bool = False,
        stop: bool = False,
    ) -> None:
        """world: None if there is one process. eager: nothing is compiled. stop: an error in place of a warning."""
        super().__init__()
        self._world = world
        self.contrastive, self.temperature, self.stop = contrastive, temperature, stop
        self.watch = Watch(contrastive.dims)
        compile_encoder(contrastive.wav2vec2, eager)
        self._recent: list[Tensor] = []

    def forward(self, batch: PretrainingBatch, share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss per masked frame, and figures for the log. Raises TrainingError if it learns nothing and `stop`."""
        temperature = torch.tensor(self.temperature.at(batch.step, share), device=batch.samples.device)
        outcome = self.contrastive(batch.samples, None, batch.mask, batch.distractors, temperature)
        masked = outcome.masked
        figures = {
            "contrastive": outcome.contrastive / masked,
            "diversity": outcome.diversity / masked,
            "penalty": outcome.penalty,
            "accuracy": outcome.correct / masked,
            "perplexity": outcome.perplexity,
            "temperature": temperature,
            "seconds": torch.tensor(batch.samples.numel() / SAMPLE_RATE),
        }
        self._look(share, torch.stack([figures["accuracy"], figures["perplexity"]]).detach())
        return outcome.loss / masked, figures | {"trouble": torch.tensor(float(self.watch.troubled))}

    def _look(self, share: float, now: Tensor) -> None:
        """Looks at the mean over some steps and all processes, as each look has to wait for the device."""
        self._recent.append(now)
        if len(self._recent) < STEPS_A_LOOK:
            return
        mean = torch.stack(self._recent).mean(0)
        accuracy, perplexity = (mean if self._world is None else self._world.mean(mean)).tolist()
        self._recent.clear()
        if (wrong := self.watch.look(share, accuracy, perplexity)) is not None:
            if self.stop:
                raise TrainingError(wrong)
            if self._world is None or self._world.first:
                print(f"\nwarning: {wrong}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What is evaluated: guesses in `count` crops of each language, and codewords in so many seconds of it."""

    corpus: Corpus
    crops: Languages
    count: int = 1
    seconds: Seconds = 20.0


class PretrainTask:
    """See Task. settings: config.json and preprocessor_config.json, file name -> content."""

    def __init__(
        self,
        module: Pretraining,
        source: Languages,
        held_out: HeldOut | None,
        settings: Mapping[str, Mapping[str, Any]],
        dtype: str = "float32",
    ) -> None:
        self.module: nn.Module = module
        self.scales: Mapping[str, float] = {}
        self._model, self._source, self._held_out = module.contrastive, source, held_out
        self._settings, self._dtype = settings, dtype

    def draw(self, step: int) -> PretrainingBatch:
        """See Task."""
        return self._source.draw(step)

    @torch.no_grad()
    def judge(self) -> dict[str, Any]:
        """Loss and accuracy over all languages; codewords in use, in all languages and in each."""
        if self._held_out is None:
            return {}
        model, crops = self._model, self._held_out.crops
        totals = torch.zeros(3)
        for language in crops.names:
            batch = crops.fixed(language, self._held_out.count)
            outcome = model(batch.samples, None, batch.mask, batch.distractors)
            totals += torch.stack([outcome.contrastive, outcome.correct, outcome.masked]).float().cpu()
        loss, correct, masked = totals.tolist()
        used = usage(model, self._held_out.corpus, most=self._held_out.seconds)
        return {
            "contrastive": loss / masked,
            "accuracy": correct / masked,
            "perplexity": perplexity(sum(used.values(), start=0 * next(iter(used.values())))),
            "languages": {language: perplexity(counts) for language, counts in used.items()},
        }

    def complaint(self) -> str:
        """See Task: none, as the module warns of trouble while it trains."""
        return ""

    def save(self, folder: Path) -> None:
        """See Task; transformers' Wav2Vec2ForPreTraining loads it."""
        pretrained.save(folder, self._model, self._settings, self._dtype)
