"""What the engine knows of a model, and the interface of a runner, which computes it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol

from earshot_asr.engine.audio import FrameGrid, LogProbs, Pcm
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.lm import NO_LM, Lexicon, Weights, bundled_lm, open_lm
from earshot_asr.engine.vocabulary import Vocabulary

BUNDLED = Path(__file__).parent / "models" / "base-en"
"""The small English model that comes with the engine."""
BUNDLED_WEIGHTS = Weights(alpha=0.5, beta=0.0, unk_offset=-8.0, sureness=0.8)
"""Of the bundled language model beside the bundled model, chosen on fold 0 of the dev recordings."""
BUNDLED_LEAST_LOG_ODDS = 6.0
"""Of the bundled model: no word of fold 0 is lost, nor of single words, and next to nothing is heard in noise."""
MOST_DELAY_FRAMES = 50
"""Largest emission delay."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What sessions know of a model.

    fingerprint       equal for models with equal weights and settings, and only for those
    emission_delay    frames by which symbols come after their sound
    language          that it speaks, as the model names it; None: it is not known
    languages         all that the model can speak, see Runner.speaking; empty: it is not known
    lexicon           words of the language model that goes with it; None: there is none
    least_log_odds    what the log_odds of an utterance's words come to at least, or it is noise; 0: all words count
    """

    name: str
    fingerprint: str
    grid: FrameGrid
    vocabulary: Vocabulary
    emission_delay: int = 0
    language: str | None = None
    languages: tuple[str, ...] = ()
    lexicon: Lexicon | None = None
    least_log_odds: float = 0.0

    @property
    def identity(self) -> str:
        """The fingerprint of the model, and of what goes with it."""
        others = [self.lexicon.fingerprint] if self.lexicon else []
        return " ".join([self.fingerprint, *others, *([f"{self.least_log_odds:g}"] if self.least_log_odds else [])])

    def named(self, language: str) -> str:
        """The model's own name for one of its languages. Raises ConfigError if it has no such language."""
        from earshot_asr.engine.languages import match  # loads the names of 8,000 languages

        if language in self.languages:
            return language
        if not self.languages:
            raise ConfigError(f"{self.name} does not say which language it speaks; language has to be null")
        return match(language, self.languages, self.name)


def least_log_odds_for(folder: Path) -> float:
    """ModelInfo.least_log_odds of the checkpoint in a folder: it is known of the bundled model only."""
    return BUNDLED_LEAST_LOG_ODDS if folder.resolve() == BUNDLED.resolve() else 0.0


def lexicon_for(folder: Path, own: Path | None, lm: str | Path | None = None) -> Lexicon | None:
    """The language model that goes with a checkpoint in a folder; None if there is none.

    own    the folder of the checkpoint's own language model, if it has one
    lm     a file or folder in its place; NO_LM: none; None: the bundled one for the bundled model, else `own`

    Raises CheckpointError.
    """
    if lm == NO_LM:
        return None
    if lm is None and folder.resolve() == BUNDLED.resolve():
        return _bundled()
    chosen = own if lm is None else Path(lm).expanduser()
    return None if chosen is None else _opened(chosen)


@cache
def _bundled() -> Lexicon:
    return Lexicon(bundled_lm(), BUNDLED_WEIGHTS)


@cache
def _opened(path: Path) -> Lexicon:
    return Lexicon(open_lm(path), replace(BUNDLED_WEIGHTS, sureness=1.0))  # not calibrated with whatever model it is


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
