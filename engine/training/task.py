"""What the training loop asks of a task: a batch, a loss, an evaluation, a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Audio with what is said in it. Letters: B rows, S samples, T frames of the encoder's grid.

    samples         (B, S) float32 in [-1, 1), on the training device; anything beyond a row's length
    lengths         (B,) int64 on the CPU: valid samples of each row; None: all
    targets         (sum of target_lengths,) int64 on the device: the ids of all rows, one row after the other
    target_lengths  (B,) int64 on the CPU; 0 for a row without speech
    symbols         (B, T) int64 on the device: the id said in each frame, the blank in between, UNKNOWN where that is
                    not known. None: the recordings have no alignment
    phones          (B, T) int64 on the device: the number of the phone said in each frame, 0 for silence, UNKNOWN where
                    that is not known. None: the recordings have no alignment in phones
    """

    samples: Tensor
    lengths: Tensor | None
    targets: Tensor
    target_lengths: Tensor
    symbols: Tensor | None = None
    phones: Tensor | None = None


UNKNOWN = -100
"""The label that losses ignore."""


class Source(Protocol):
    """A source of batches."""

    def draw(self, step: int) -> TrainingBatch:
        """The batch of a step: a function of seed, rank and step only, so that a killed run can go on as it was."""
        ...


class Task(Protocol):
    """What is trained.

    module    called with a batch and the share of the schedule that is done, 0 to 1, returns a scalar loss and figures
              for the log, {name: scalar tensor}. The log has the mean of each figure over some steps, but the sum of
              the one called `seconds`, the amount of audio in the batch. The caller sets autocast, and seeds torch for
              each step
    scales    factors on the learning rate of some of the module's parameters, by name
    """

    module: nn.Module
    scales: Mapping[str, float]

    def draw(self, step: int) -> Any:
        """The batch of a step: a function of seed, rank and step only."""
        ...

    def judge(self) -> Mapping[str, Any]:
        """Evaluates the module on held-out recordings; it has the averaged weights and is in evaluation mode.

        Returns figures for the log. The weights with the lowest figure called `score` are kept as the best.
        """
        ...

    def complaint(self) -> str:
        """What is wrong with the model at the end of its schedule, in a sentence; empty if nothing is.

        Called when judge() has been; the module has the averaged weights and is in evaluation mode.
        """
        ...

    def save(self, folder: Path) -> None:
        """Writes the module's weights as a folder in Hugging Face format."""
        ...
