"""The folder of a language model beside a checkpoint, as pyctcdecode writes it. No torch.

    language_model/attrs.json      {"alpha", "beta", "unk_score_offset", "score_boundary"}
    language_model/unigrams.txt    a word a line: those that the model is to know
    language_model/*.bin, *.arpa   the n-grams

alphabet.json beside the folder is not needed: it says again what the checkpoint's vocabulary says.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from earshot_asr.engine.errors import CheckpointError, shown
from earshot_asr.engine.files import BESIDE_NGRAMS, LANGUAGE_MODEL, language_model_files, present, read_json
from earshot_asr.engine.fingerprint import sha256
from earshot_asr.engine.lm.model import Weights
from earshot_asr.engine.lm.ngrams import NgramModel
from earshot_asr.engine.lm.reading import read_file

MOST_UNIGRAMS_BYTES = 256 << 20
FIELDS = {"alpha": "alpha", "beta": "beta", "unk_score_offset": "unk_offset"}


def read_folder(folder: Path) -> NgramModel:
    """The language model in a folder, or in its folder language_model. Raises CheckpointError."""
    if (folder / LANGUAGE_MODEL).is_dir():
        folder = folder / LANGUAGE_MODEL
    try:
        names = [path.name for path in folder.iterdir() if path.is_file() or path.name in BESIDE_NGRAMS]
    except OSError as error:
        raise CheckpointError(f"{folder} can't be read: {error.strerror or error}") from None
    names = language_model_files(folder, names)
    attrs, unigrams = BESIDE_NGRAMS
    weights, words = _weights(folder / attrs), _unigrams(folder / unigrams)
    model = read_file(folder / names[-1])
    digest = hashlib.sha256()
    for name in names:
        digest.update(json.dumps([name, sha256(folder / name)]).encode())
    return model.with_files(digest.hexdigest()[:16], weights, words)


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
