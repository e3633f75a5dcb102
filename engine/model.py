"""What the engine knows of a model, and the interface of a runner, which computes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from earshot_asr.engine.audio import FrameGrid, LogProbs, Pcm
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.vocabulary import Vocabulary

BUNDLED = Path(__file__).parent / "models" / "base-en"
"""The small English model that comes with the engine."""
MOST_DELAY_FRAMES = 50
"""Largest emission delay."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What sessions know of a model.

    fingerprint       equal for models with equal weights and settings, and only for those
    emission_delay    frames by which symbols come after their sound
    language          that it speaks, as the model names it; None: it is not known
    languages         all that the model can speak, see Runner.speaking; empty: it is not known
    """

    name: str
    fingerprint: str
    grid: FrameGrid
    vocabulary: Vocabulary
    emission_delay: int = 0
    language: str | None = None
    languages: tuple[str, ...] = ()

    def named(self, language: str) -> str:
        """The model's own name for one of its languages. Raises ConfigError if it has no such language."""
        from earshot_asr.engine.languages import match  # loads the names of 8,000 languages

        if language in self.languages:
            return language
        if not self.languages:
            raise ConfigError(f"{self.name} does not say which language it speaks; language has to be null")
        return match(language, self.languages, self.name)


@dataclass(frozen=True, slots=True)
class Ladder:
    """The lengths, in frames, to which windows are padded: multiples of `step`, from 8 steps on of 2, then 4, ...."""

    step: int = 16

    def rung(self, frames: int) -> int:
        """The least length of the ladder that is at least `frames`."""
        step = self.step
        while frames > 8 * step:
            step *= 2
        return -(-frames // step) * step


class Runner(Protocol):
    """Computes windows. Pure: log-probabilities depend on a window's samples alone, not on its batch or the order."""

    @property
    def info(self) -> ModelInfo:
        """The model it runs, in the language that it speaks."""
        ...

    def speaking(self, language: str | None) -> "Runner":
        """The same model on the same device in another of its languages, by any of its names; None: as it is.

        For the first time this may take long, as the language's weights may have to be downloaded. It may be called in
        any thread; run() only in the one that computes with the device, whatever the language. Raises ConfigError if
        the model has no such language, CheckpointError if its weights can't be had.
        """
        ...

    @property
    def device(self) -> str:
        """What it runs on: cpu, cuda."""
        ...

    @property
    def ladder(self) -> Ladder:
        """The lengths to which windows of a batch are padded."""
        ...

    @property
    def batch_frames(self) -> int:
        """Most frames in a batch, padding counted; a window that is longer runs alone."""
        ...

    def run(self, windows: Sequence[Pcm]) -> list[LogProbs]:
        """Windows of int16 samples (S,), of any lengths -> log-probabilities (T, V) each, T = grid.frames(S)."""
        ...
