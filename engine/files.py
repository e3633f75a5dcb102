"""Files of a checkpoint, which anybody may have written: regular files only, and JSON of a bounded size. No torch."""

import json
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from earshot_asr.engine.errors import CheckpointError, listed

SETTINGS = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "feature_extractor_config.json",
    "vocab.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
WEIGHTS = (*SAFETENSORS, *PICKLED)
"""Names of files with weights; the first one that is there is read."""
LANGUAGE_MODEL = "language_model"
"""The folder with a checkpoint's language model, see engine.lm.folder."""
BESIDE_NGRAMS = ("attrs.json", "unigrams.txt")
BINARY_NGRAMS = (".bin", ".binary", ".klm", ".kenlm", ".trie", ".mmap")
ARPA_NGRAMS = (".arpa", ".arpa.gz", ".arpa.xz", ".gz", ".xz", ".lm")
"""Endings of names of files with n-grams. The binary one is read where both are there."""
MOST_SHARDS = 1000
MOST_JSON_BYTES = 16 << 20
"""Most bytes of a JSON file. Those of published checkpoints, indexes of shards included, have a tenth of it."""


def present(path: Path) -> bool:
    """Whether there is a file. Raises CheckpointError for what is no regular file: reading it might never end."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise CheckpointError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a device or a socket"
        raise CheckpointError(f"{path} is {kind}; a checkpoint is made of regular files")
    return True


def has_weights(folder: Path) -> bool:
    """Whether all files with weights are in a folder. Raises CheckpointError for an index that can't be read."""
    first = next((name for name in WEIGHTS if present(folder / name)), None)
    if first is None or not first.endswith(".index.json"):
        return first is not None
    return all(present(folder / name) for name in shards(folder / first))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises CheckpointError that names the file."""
    if not present(path):
        raise CheckpointError(f"{path.parent} has no {path.name}; a checkpoint in Hugging Face format needs one")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_JSON_BYTES + 1)
        if len(content) > MOST_JSON_BYTES:
            raise CheckpointError(f"{path} is larger than {MOST_JSON_BYTES >> 20} MB, the most that is read of JSON")
        value = json.loads(content.decode())
    except RecursionError:
        raise CheckpointError(f"{path} is not readable as JSON: it is nested too deeply") from None
    except (OSError, ValueError) as error:  # ValueError: not JSON, or not UTF-8
        raise CheckpointError(f"{path} is not readable as JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object, not {type(value).__name__}")
    return value


def shards(index: Path) -> list[str]:
    """The names of the files of weights that an index lists. Raises CheckpointError."""
    table = read_json(index).get("weight_map")
    suffix = Path(index.name.removesuffix(".index.json")).suffix
    names = set(table.values()) if isinstance(table, dict) and all(isinstance(n, str) for n in table.values()) else {""}
    if not all(Path(name).name == name and name.endswith(suffix) for name in names):
        raise CheckpointError(f"{index}: weight_map must give a {suffix} file beside it for each tensor")
    if len(names) > MOST_SHARDS:
        raise CheckpointError(f"{index} lists {len(names):,} files; {MOST_SHARDS:,} are the most")
    return sorted(names)


def language_model_files(where: object, names: Iterable[str]) -> list[str]:
    """Of the names of files in a folder with a language model, those that belong to it, the one with n-grams the last.

    where   the folder, as the error calls it. Raises CheckpointError if it is not clear which file has the n-grams
    """
    names = sorted(name for name in names if not name.startswith((".", "_")))
    for endings in (BINARY_NGRAMS, ARPA_NGRAMS):
        if found := [name for name in names if name.lower().endswith(endings)]:
            if len(found) > 1:
                raise CheckpointError(f"{where} has several language models, {listed(found)}; name one of these files")
            return [*(name for name in BESIDE_NGRAMS if name in names), *found]
    raise CheckpointError(f"{where} has no language model: a *.bin of KenLM, or a *.arpa")
