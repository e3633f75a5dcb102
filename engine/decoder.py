"""The interface of a decoder: log-probabilities in, words out. Its settings, and the table of decoders there are.

A further decoder is one file with a class like GreedyDecoder, and one line in DECODERS.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Protocol, Self

from earshot_asr.engine.audio import LogProbs
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.vocabulary import Vocabulary

DECODERS = {"greedy": "earshot_asr.engine.greedy.GreedyDecoder"}
"""Name in DecodeConfig -> class, which is made of a vocabulary and a DecodeConfig; loaded when it is first used."""


@dataclass(frozen=True, slots=True)
class DecodedWord:
    """A word made of the frames [start, end), counted from the decoder's first.

    confidence    the geometric mean of its symbols' posteriors, over the frames that are not blank, in [0, 1]
    before        what stands between the word before it and it: a space, or nothing in scripts without spaces
    """

    text: str
    start: int
    end: int
    confidence: float
    before: str = " "


def joined(words: Sequence[DecodedWord], vocabulary: Vocabulary) -> str:
    """The text of an utterance, or of the beginning of one."""
    text = "".join(word.before + word.text for word in words)
    return vocabulary.cleaned(text[len(words[0].before) :]) if words else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeConfig:
    """How words are made of log-probabilities. Part of a stream's configuration.

    decoder    a name in DECODERS

    Raises ConfigError for a name that is not there.
    """

    decoder: str = "greedy"

    def __post_init__(self) -> None:
        if self.decoder not in DECODERS:
            raise ConfigError(f"decoder is {self.decoder!r}; it must be one of {', '.join(DECODERS)}")


class Decoder(Protocol):
    """Decodes one utterance. It is fed frames once, in order, and can be asked for its words at any time.

    Deterministic: the same frames give the same words, however they were cut into feeds.
    """

    @property
    def boundary(self) -> int:
        """The frame of the last word boundary: later frames do not change the words before it."""
        ...

    def feed(self, log_probs: LogProbs) -> None:
        """Appends frames (T, V)."""
        ...

    def peek(self, log_probs: LogProbs) -> Self:
        """A decoder that was fed these frames (T, V) as well; this one stays as it is."""
        ...

    def words(self) -> list[DecodedWord]:
        """All words so far, the unfinished one too."""
        ...

    def settled(self) -> list[DecodedWord]:
        """The words before `boundary`."""
        ...


NewDecoder = Callable[[], Decoder]
"""Makes a decoder for an utterance that begins."""


def decoder_factory(config: DecodeConfig, vocabulary: Vocabulary) -> NewDecoder:
    """What makes the decoders of a stream with this configuration, of a model with this vocabulary."""
    module, _, name = DECODERS[config.decoder].rpartition(".")
    return partial(getattr(import_module(module), name), vocabulary, config)
