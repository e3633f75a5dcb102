"""Language models of words: n-grams in ARPA or KenLM's binary files, and `language_model` folders of Hugging Face. No torch.

model       what a language model is to its callers
lexicon     what a beam search asks of it
"""

from pathlib import Path

from earshot_asr.engine.lm.lexicon import Lexicon
from earshot_asr.engine.lm.model import LanguageModel, State, Weights

__all__ = ["NO_LM", "LanguageModel", "Lexicon", "State", "Weights", "bundled_lm", "has_lm", "open_lm"]

NO_LM = "none"
"""Stands for no language model, where a file may be given."""


def open_lm(path: str | Path) -> LanguageModel:
    """A language model: a file, a `language_model` folder, or a checkpoint's folder that has one.

    Raises CheckpointError that names the file and what is wrong with it.
    """
    raise NotImplementedError


def has_lm(folder: Path) -> bool:
    """Whether a checkpoint's folder has a language model."""
    return (folder / "language_model").is_dir()


def bundled_lm() -> LanguageModel:
    """The English one that comes with Earshot."""
    raise NotImplementedError
