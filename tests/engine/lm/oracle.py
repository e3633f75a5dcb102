"""KenLM itself, as flashlight-text has it: what scores have to be."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

WHY = "flashlight-text is not installed; there is no wheel of it for this Python"


class KenLM:
    """KenLM with a model file. Skips the test where KenLM is not installed."""

    def __init__(self, path: Path, words: Iterable[str]) -> None:
        module: Any = pytest.importorskip("flashlight.lib.text.decoder.kenlm", reason=WHY, exc_type=ImportError)
        dictionaries: Any = pytest.importorskip("flashlight.lib.text.dictionary", reason=WHY, exc_type=ImportError)
        self._dictionary = dictionaries.Dictionary(sorted({*words} | {"<unk>"}))
        self._dictionary.set_default_index(self._dictionary.get_index("<unk>"))
        self._model = module.KenLM(str(path), self._dictionary)

    def scores(self, words: Sequence[str]) -> list[float]:
        """log10 P of each word of a sentence after those before it, and of its end."""
        state, scores = self._model.start(False), []
        for word in words:
            state, score = self._model.score(state, self._dictionary.get_index(word))
            scores.append(score)
        return [*scores, self._model.finish(state)[1]]
