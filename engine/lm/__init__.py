"""Language models of words: n-grams in ARPA or KenLM's binary files, and `language_model` folders of Hugging Face. No torch.

model       what a language model is to its callers
lexicon     what a beam search asks of it
"""

from pathlib import Path

from earshot_asr.engine.lm.lexicon import Lexicon
from earshot_asr.engine.lm.model import LanguageModel, State, Weights

__all__ = ["LanguageModel", "Lexicon", "State", "Weights", "bundled_lm", "open_lm"]


def open_lm(path: str | Path) -> LanguageModel:
    """A language model: a file, a `language_model` folder, or a checkpoint's folder that has one.

    Raises CheckpointError that names the file and what is wrong with it.
    """
    raise NotImplementedError


def bundled_lm() -> LanguageModel:
    """The English one that comes with Earshot."""
    raise NotImplementedError
