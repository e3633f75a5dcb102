"""What a training run asks of what is trained: a batch, a loss, a judgement, a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Text:
    """What could be said, and how: rows of phones without sound; as long as those of a Batch's samples, and as many, or
    a multiple.

    phones, targets, target_lengths, symbols: see Batch
    """

    phones: Tensor
    targets: Tensor
    target_lengths: Tensor
    symbols: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Audio and what is said in it. Letters: B rows, S samples, T frames of the encoder's grid.

    samples         (B, S) float32 in [-1, 1), on the training device; anything behind a row's length
    lengths         (B,) int64 on the CPU; None: all rows have S
    targets         (sum of target_lengths,) int64 on the device: the ids of all rows, one row after another
    target_lengths  (B,) int64 on the CPU; 0 where nothing is said
    symbols         (B, T) int64 on the device, the id said in each frame, blank between; -100: unknown. None: unaligned
    phones          (B, T) int64 on the device, the phone said in each frame, 0 for silence; -100: unknown. None: too
    text            what else is to be read
    """

    samples: Tensor
    lengths: Tensor | None
    targets: Tensor
    target_lengths: Tensor
    symbols: Tensor | None = None
    phones: Tensor | None = None
    text: Text | None = None


class Source(Protocol):
    """Where batches come from."""

    def draw(self, step: int) -> Batch:
        """The batch of a step: a function of seed, rank and step alone, so a run that is killed goes on as it was."""
        ...


class Task(Protocol):
    """What is trained. `module(batch, share)` -> loss (a scalar) and figures to be logged {name: scalar tensor}.

    `share`, 0 to 1, is how much of the schedule is done. The figure called `seconds`, how much audio is in the batch,
    is summed up; of all others the mean over some steps is logged. The caller sets autocast, and seeds torch for each
    step.

    scales    factors on the learning rate of some of the module's parameters, by name
    """

    module: nn.Module
    scales: Mapping[str, float]

    def draw(self, step: int) -> Any:
        """The batch of a step, a function of seed, rank and step alone."""
        ...

    def judge(self) -> Mapping[str, Any]:
        """Figures on what is not trained on, to be logged. Meanwhile `module` evaluates, with the averaged weights.

        The weights of the lowest figure called `score`, if there is one, are kept as the best ones.
        """
        ...

    def save(self, folder: Path) -> None:
        """Writes the weights that are in `module` as a Hugging Face directory."""
        ...
