"""The folder of a language model beside a checkpoint, as pyctcdecode writes it. No torch.

    language_model/attrs.json      {"alpha", "beta", "unk_score_offset", "score_boundary"}
    language_model/unigrams.txt    a word a line: those that the model is to know
    language_model/*.bin, *.arpa   the n-grams

alphabet.json beside the folder is not needed: it says again what the checkpoint's vocabulary says.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from earshot_asr.engine.errors import CheckpointError, listed, shown
from earshot_asr.engine.files import present, read_json
from earshot_asr.engine.fingerprint import sha256
from earshot_asr.engine.lm import reading
from earshot_asr.engine.lm.model import Weights
from earshot_asr.engine.lm.ngrams import NgramModel

FOLDER = "language_model"
ATTRS, UNIGRAMS = "attrs.json", "unigrams.txt"
BINARY, TEXT = (".bin", ".binary", ".klm", ".kenlm", ".trie", ".mmap"), (".arpa", ".arpa.gz", ".arpa.xz", ".gz", ".lm")
"""Endings of names of files with n-grams. A binary file is read where both are there."""
MOST_UNIGRAMS_BYTES = 256 << 20
FIELDS = {"alpha": "alpha", "beta": "beta", "unk_score_offset": "unk_offset"}


def read(folder: Path) -> NgramModel:
    """The language model in a folder, or in its folder language_model. Raises CheckpointError."""
    inner = folder / FOLDER if (folder / FOLDER).is_dir() else folder
    path = inner / ngrams_among(inner, (each.name for each in inner.iterdir() if each.is_file()))
    model = reading.read(path)
    weights, words = _weights(inner / ATTRS), _unigrams(inner / UNIGRAMS)
    digest = hashlib.sha256()
    for each in (inner / ATTRS, inner / UNIGRAMS, path):
        if present(each):
            digest.update(json.dumps([each.name, sha256(each)]).encode())
    return model.with_files(digest.hexdigest()[:16], weights, words)


def ngrams_among(folder: Path | str, names: Iterable[str]) -> str:
    """The name of the file with n-grams. Raises CheckpointError if there is none, or it is not clear which it is."""
    names = sorted(name for name in names if not name.startswith("."))
    for endings in (BINARY, TEXT):
        if found := [name for name in names if name.lower().endswith(endings)]:
            if len(found) > 1:
                raise CheckpointError(f"{folder} has several language models, {listed(found)}; name one of these files")
            return found[0]
    raise CheckpointError(
        f"{folder} has no language model: neither a *.bin of KenLM nor a *.arpa, nor {FOLDER}/ with one"
    )


def _weights(path: Path) -> Weights:
    """What attrs.json says; pyctcdecode's own for what it does not say. Raises CheckpointError."""
    if not present(path):
        return Weights()
    content = read_json(path)
    values: dict[str, Any] = {ours: content[name] for name, ours in FIELDS.items() if content.get(name) is not None}
    for name, ours in FIELDS.items():
        value = values.get(ours, 0)
        if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > 1e6:
            raise CheckpointError(f"{path}: {name} is {shown(value)}; it must be a number")
    boundary = content.get("score_boundary", True)
    if type(boundary) is not bool:
        raise CheckpointError(f"{path}: score_boundary is {shown(boundary)}; it must be true or false")
    return Weights(**{name: float(value) for name, value in values.items()}, boundary=boundary)


def _unigrams(path: Path) -> frozenset[str] | None:
    """The words in unigrams.txt; None if there is no such file. Raises CheckpointError."""
    if not present(path):
        return None
    try:
        if path.stat().st_size > MOST_UNIGRAMS_BYTES:
            raise CheckpointError(f"{path} is larger than {MOST_UNIGRAMS_BYTES >> 20} MB, the most that it may have")
        words = frozenset(line.strip() for line in path.read_text(encoding="utf-8").split("\n"))
    except UnicodeDecodeError:
        raise CheckpointError(f"{path} is not UTF-8; it must be a list of words, one a line") from None
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror or error}") from None
    return words - {""} or None
