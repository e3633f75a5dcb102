"""Error rates of a model on whole recordings, decoded greedily, by which training chooses the best weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.families.layers import Encoder
from earshot_asr.engine.text import normalize
from earshot_asr.engine.training.data.corpus import Corpus
from earshot_asr.engine.vocabulary import Vocabulary

T = TypeVar("T")
POOLED = "pooled"
USELESS_PERCENT = 90.0
"""Character errors, or phoneme errors, from which on a model has learned nothing: about what any one letter has."""


@dataclass
class Errors:
    """Counts of edits, of words and characters of the references, and of characters heard. Phonemes count as words."""

    word_edits: int = 0
    words: int = 0
    character_edits: int = 0
    characters: int = 0
    heard: int = 0

    def add(self, said: str, heard: str) -> None:
        """Adds the errors of a recording."""
        self.word_edits += distance(said.split(), heard.split())
        self.words += len(said.split())
        self.character_edits += distance(said, heard)
        self.characters += len(said)
        self.heard += len(heard)

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def rates(self, phonemes: bool = False) -> dict[str, float]:
        """The error rates in percent: wer and cer, or per."""
        wer = 100 * self.word_edits / max(1, self.words)
        if phonemes:
            return {"per": wer}
        return {"wer": wer, "cer": 100 * self.character_edits / max(1, self.characters)}

    def complaint(self, phonemes: bool = False) -> str:
        """What is to be said of a model with these errors that is of no use; empty if it is of some."""
        if not self.characters:
            return ""
        if not self.heard:
            return "the model writes nothing"
        name, rate = list(self.rates(phonemes).items())[-1]
        return f"the model has learned nothing: {rate:.0f} % {name.upper()}" if rate >= USELESS_PERCENT else ""


def distance(a: Sequence[T], b: Sequence[T]) -> int:
    """The fewest insertions, deletions and substitutions that turn a into b (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


class Judge:
    """Evaluates a model on recordings.

    per_corpus    how many recordings of each corpus are used, the first ones; None: all
    seconds       audio in a batch, padding included
    by            the error rate that is the score: wer or cer, or per for phonemes. None: wer or per

    Raises ConfigError if the vocabulary's units do not have the error rate `by`.
    """

    def __init__(
        self,
        corpus: Corpus,
        vocabulary: Vocabulary,
        *,
        per_corpus: int | None,
        seconds: Seconds = 120.0,
        by: str | None = None,
    ) -> None:
        seen: dict[str, int] = {}
        self.chosen = []
        for n, name in enumerate(corpus.corpora):
            seen[name] = seen.get(name, 0) + 1
            if per_corpus is None or seen[name] <= per_corpus:
                self.chosen.append(n)
        self.corpus, self.vocabulary, self.seconds = corpus, vocabulary, seconds
        self.phonemes = bool(vocabulary.separator)
        known = list(Errors().rates(self.phonemes))
        if by is not None and by not in known:
            units = "phonemes" if self.phonemes else "letters"
            raise ConfigError(f"--score {by}: the vocabulary is of {units}; it must be {' or '.join(known)}")
        self.by = by or known[0]
        self.errors = Errors()  # those of the last time, over all corpora

    @torch.no_grad()
    def __call__(self, encoder: Encoder, device: torch.device) -> dict[str, Any]:
        """Corpus -> {"wer", "cer"} or {"per"} in percent, with "pooled" over all corpora; "score": the one of `by`."""
        errors: dict[str, Errors] = {}
        for batch in self._batches():
            lengths = torch.tensor([len(self.corpus.pcm(n)) for n in batch])
            samples = np.zeros((len(batch), max(int(lengths.max()), encoder.grid.field)), np.float32)
            for row, n in enumerate(batch):
                samples[row, : lengths[row]] = self.corpus.pcm(n).astype(np.float32) / 32768
            ids = encoder(torch.from_numpy(samples).to(device), lengths).argmax(-1).cpu()
            for row, n in enumerate(batch):
                frames = encoder.grid.frames(int(lengths[row]))
                heard = self.vocabulary.text(ids[row, :frames].tolist())
                heard = heard if self.phonemes else normalize(heard)
                errors.setdefault(self.corpus.corpora[n], Errors()).add(self.corpus.texts[n], heard)
        self.errors = sum(errors.values(), Errors())
        pooled = self.errors.rates(self.phonemes)
        rates = {name: each.rates(self.phonemes) for name, each in sorted(errors.items())}
        return {**(rates if len(rates) > 1 else {}), POOLED: pooled, "score": pooled[self.by]}

    def _batches(self) -> Iterator[list[int]]:
        """Batches of similar lengths, the longest first, so that one that does not fit into memory shows at once."""
        lengths = self.corpus.lengths
        batch: list[int] = []
        for n in sorted(self.chosen, key=lambda n: -lengths[n]):
            if batch and (len(batch) + 1) * lengths[batch[0]] > self.seconds * SAMPLE_RATE:
                yield batch
                batch = []
            batch.append(n)
        if batch:
            yield batch
