"""Language models of words: n-grams in ARPA or KenLM's binary files, also those beside a checkpoint. No torch.

model         what a language model is to its callers
lexicon       what a beam search asks of one: in natural logarithms, of words half spelled too
ngrams        what n-gram models have in common
trie          n-grams in arrays, from their last word back
probing       n-grams in KenLM's hash tables
reading       opens a file by what is in it
arpa, grams   reads ARPA; sorts n-grams into levels of a trie
kenlm, kenlm_trie, bits    read KenLM's binary files
estimate, kenlm_writing    make a trie of a text, and write it as KenLM does
folder        a language model beside a checkpoint: `language_model`, as pyctcdecode writes it
"""

from pathlib import Path

from earshot_asr.engine.lm.folder import read_folder
from earshot_asr.engine.lm.lexicon import Lexicon
from earshot_asr.engine.lm.model import LanguageModel, State, Weights
from earshot_asr.engine.lm.reading import read_file

__all__ = ["BUNDLED", "NO_LM", "LanguageModel", "Lexicon", "State", "Weights", "bundled_lm", "open_lm"]

BUNDLED = Path(__file__).parents[1] / "models" / "lm-en"
"""The folder of the language model that comes with Earshot."""
NO_LM = "none"
"""Stands for no language model, where a file may be given."""


def open_lm(path: str | Path) -> LanguageModel:
    """A language model: a file, a `language_model` folder, or a checkpoint's folder that has one.

    Raises CheckpointError that names the file and what is wrong with it.
    """
    path = Path(path).expanduser()
    return read_folder(path) if path.is_dir() else read_file(path)


def bundled_lm() -> LanguageModel:
    """The English one that comes with Earshot: lower case, words and apostrophes."""
    return read_file(BUNDLED / "en-3gram.trie.bin")
