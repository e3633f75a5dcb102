"""Languages of one model, as MMS has them (Pratap et al. 2023): each with adapters in the layers and a head of its own.

adapter.fra.safetensors beside the model's weights holds those of French, and vocab.json the symbols of each language.
The weights in the model's own files are those of one language, which tokenizer_config.json names as its target_lang.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from earshot_asr.engine.errors import CheckpointError, listed, shown
from earshot_asr.engine.families.layers import Encoder
from earshot_asr.engine.files import present, read_json
from earshot_asr.engine.hub import Origin
from earshot_asr.engine.weights import read_tensors

NAME = re.compile(r"[A-Za-z0-9][\w-]{0,99}", re.ASCII)
"""A language that a file can be named after."""
FILES = ("adapter.{}.safetensors", "adapter.{}.bin")
"""Where the weights of a language are; the first file that is there is read."""
MOST_KEPT = 32
"""Languages whose weights stay on the device, the most recently used; MMS has 2.3 million for each."""


def own_language(folder: Path, config: Mapping[str, Any]) -> str | None:
    """The language that a checkpoint says its own weights are for; None if it says none. Raises CheckpointError."""
    path = folder / "tokenizer_config.json"
    target = read_json(path).get("target_lang") if present(path) else None
    if target is not None and not (isinstance(target, str) and NAME.fullmatch(target)):
        raise CheckpointError(
            f"tokenizer_config.json: target_lang is {shown(target)}; it must be the name of a language, as 'fra'"
        )
    if target is not None:
        return target
    said = config.get("language")  # a field of our own, in which others may have put anything
    if isinstance(said, str) and NAME.fullmatch(said):
        return said
    tables = _tables(folder)
    return tables[0] if len(tables) == 1 else None


def languages(origin: Origin, own: str | None, *, adapted: bool) -> tuple[str, ...]:
    """All languages that a checkpoint can speak, as it names them; none if it does not say.

    adapted   whether its layers have adapters, so that it may have more languages than its own
    """
    named = _tables(origin.folder) if adapted else []
    if not origin.hub_id:  # one may have only some of the files
        named = [name for name in named if any(present(origin.folder / file.format(name)) for file in FILES)]
    return tuple(sorted({*named, own} if own else named))


def _tables(folder: Path) -> list[str]:
    """The languages for which vocab.json has a vocabulary."""
    path = folder / "vocab.json"
    tables = read_json(path) if present(path) else {}
    return [name for name, table in tables.items() if isinstance(table, dict) and NAME.fullmatch(name)]


@dataclass(frozen=True, slots=True)
class Adapter:
    """The file with the weights of one language; `digest` changes with any byte of it."""

    path: Path
    digest: str

    @classmethod
    def find(cls, origin: Origin, language: str) -> Self | None:
        """That of a language, downloaded if need be; None if there is none. Raises CheckpointError."""
        failure: CheckpointError | None = None
        for name in FILES if NAME.fullmatch(language) else ():
            try:
                path = origin.file(name.format(language))
            except CheckpointError as error:
                failure = failure or error
                continue
            if path is not None:
                return cls(path, _digest(path))
        if failure is not None:
            raise failure
        return None

    def read(self, encoder: Encoder) -> dict[str, Tensor]:
        """The weights by the names of the encoder's parameters. Only the size of the head may vary.

        They are copied: what is only mapped into memory would change with the file, and end the process with its end.
        Raises CheckpointError for a file that is not of this model, or not what it was.
        """
        tensors = read_tensors([self.path])
        recipes = {name: encoder.recipe(name) for name in encoder.adapted}
        wanted = {part for recipe in recipes.values() for part in recipe.names}
        missing, unexpected = sorted(wanted - tensors.keys()), sorted(tensors.keys() - wanted)
        self._refuse({"missing": missing, "unexpected": unexpected})
        weights = {
            name: recipe.make(*(tensors[part].clone() for part in recipe.names)) for name, recipe in recipes.items()
        }
        odd = [name for name, weight in weights.items() if not _fits(name, weight, encoder, weights["lm_head.bias"])]
        self._refuse({"of another shape": [f"{name} {tuple(weights[name].shape)}" for name in odd]})
        if _digest(self.path) != self.digest:
            raise CheckpointError(f"{self.path} has changed since it was read first; load the model again")
        return weights

    def fingerprint(self, model: str) -> str:
        """16 hex digits for the model with this fingerprint in this language."""
        return hashlib.sha256(f"{model} {self.path.name} {self.digest}".encode()).hexdigest()[:16]

    def _refuse(self, tensors: Mapping[str, list[str]]) -> None:
        if said := "; ".join(f"{what}: {listed(names)}" for what, names in tensors.items() if names):
            raise CheckpointError(f"{self.path.name} does not fit the model. Tensors {said}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fits(name: str, weight: Tensor, encoder: Encoder, bias: Tensor) -> bool:
    """Whether a weight has the encoder's shape or, of a head, as many symbols as its `bias`."""
    shape = encoder.get_parameter(name).shape
    return weight.shape == ((*bias.shape[:1], *shape[1:]) if name.startswith("lm_head.") else shape)


def are_own(weights: Mapping[str, Tensor], encoder: Encoder) -> bool:
    """Whether these weights of a language are those that the encoder has by itself."""
    return all(
        (own := encoder.get_parameter(name)).shape == weight.shape and torch.equal(weight.to(own.dtype), own.cpu())
        for name, weight in weights.items()
    )


class Adapters:
    """The weights of languages on the encoder's device, moved there when they are first asked for.

    Only the thread that computes may call it.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._kept: OrderedDict[Adapter, dict[str, Tensor]] = OrderedDict()  # the least recently used first

    def __len__(self) -> int:
        return len(self._kept)

    def weights(self, adapter: Adapter) -> dict[str, Tensor]:
        """A language's weights by the names of the encoder's parameters. Raises CheckpointError, see Adapter.read."""
        if adapter not in self._kept:
            read, own = adapter.read(self._encoder), self._encoder.lm_head.weight
            while len(self._kept) >= MOST_KEPT:
                self._kept.popitem(last=False)
            self._kept[adapter] = {name: weight.to(own.device, own.dtype) for name, weight in read.items()}
        self._kept.move_to_end(adapter)
        return self._kept[adapter]
