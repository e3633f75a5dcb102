"""The interface of a decoder: log-probabilities in, words out. Its settings, and the table of decoders there are.

A further decoder is one file with a class like GreedyDecoder, and one line in DECODERS.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Protocol, Self

from earshot_asr.engine.audio import LogProbs
from earshot_asr.engine.errors import ConfigError, shown
from earshot_asr.engine.lm import Lexicon
from earshot_asr.engine.vocabulary import Vocabulary

DECODERS = {
    "greedy": "earshot_asr.engine.greedy.GreedyDecoder",
    "beam": "earshot_asr.engine.beam.decoder.BeamDecoder",
}
"""Name in DecodeConfig -> class, made of a vocabulary, a DecodeConfig and a Lexicon or None; loaded when used."""
AUTO = "auto"
MOST_HOTWORDS = 1000
MOST_HOTWORD_CHARACTERS = 100
MOST_WEIGHT = 20.0
MOST_ALTERNATIVES = 10


@dataclass(frozen=True, slots=True)
class DecodedWord:
    """A word made of the frames [start, end), counted from the decoder's first.

    confidence    the geometric mean of its symbols' posteriors, over the frames that are not blank, in [0, 1]
    before        what stands between the word before it and it: a space, or nothing in scripts without spaces
    log_odds      how much more probable its symbols are than blanks in their place, a natural logarithm
    """

    text: str
    start: int
    end: int
    confidence: float
    before: str = " "
    log_odds: float = math.inf


def joined(words: Sequence[DecodedWord], vocabulary: Vocabulary) -> str:
    """The text of an utterance, or of the beginning of one."""
    text = "".join(word.before + word.text for word in words)
    return vocabulary.cleaned(text[len(words[0].before) :]) if words else ""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One of several readings of an utterance, and the natural logarithm of its probability among them."""

    words: list[DecodedWord]
    log_prob: float


@dataclass(frozen=True, slots=True)
class Hotword:
    """A word that is expected, or several with spaces between them.

    weight    what each of its words is worth, in powers of ten of probability; 0: nothing

    Raises ConfigError for no word, one that is too long, or a weight out of range.
    """

    text: str
    weight: float = 3.0

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ConfigError("a hotword is empty; it must be a word, or several with spaces between them")
        if len(self.text) > MOST_HOTWORD_CHARACTERS:
            raise ConfigError(
                f"the hotword {shown(self.text)} has {len(self.text)} characters; "
                f"at most {MOST_HOTWORD_CHARACTERS} are allowed"
            )
        if not 0 <= self.weight <= MOST_WEIGHT:
            raise ConfigError(
                f"the hotword {shown(self.text)} has a weight of {self.weight:g}; "
                f"it must be between 0 and {MOST_WEIGHT:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeConfig:
    """How words are made of log-probabilities. Part of a stream's configuration.

    decoder         a name in DECODERS; auto: greedy, unless there is something that only a beam search can heed
    hotwords        words that are expected
    alternatives    how many readings of an utterance are wanted, the best one included

    Raises ConfigError for what is not there or out of range.
    """

    decoder: str = AUTO
    hotwords: tuple[Hotword, ...] = ()
    alternatives: int = 1

    def __post_init__(self) -> None:
        if self.decoder not in (AUTO, *DECODERS):
            raise ConfigError(f"decoder is {self.decoder!r}; it must be one of {', '.join((AUTO, *DECODERS))}")
        if len(self.hotwords) > MOST_HOTWORDS:
            raise ConfigError(f"there are {len(self.hotwords)} hotwords; at most {MOST_HOTWORDS} are allowed")
        if not 1 <= self.alternatives <= MOST_ALTERNATIVES:
            raise ConfigError(f"alternatives is {self.alternatives}; it must be between 1 and {MOST_ALTERNATIVES}")


class Decoder(Protocol):
    """Decodes one utterance. It is fed frames once, in order, and can be asked for its words at any time.

    Deterministic: the same frames give the same words, however they were cut into feeds, and whatever was asked.
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

    def alternatives(self) -> list[Hypothesis]:
        """The likeliest readings, best first: the first one has words(). At most as many as the DecodeConfig says."""
        ...


NewDecoder = Callable[[], Decoder]
"""Makes a decoder for an utterance that begins."""


def decoder_factory(config: DecodeConfig, vocabulary: Vocabulary, lexicon: Lexicon | None = None) -> NewDecoder:
    """What makes the decoders of a stream with this configuration, of a model with this vocabulary.

    lexicon    the words of a language model
    """
    name = config.decoder
    if name == AUTO:
        name = "beam" if lexicon or config.hotwords or config.alternatives > 1 else "greedy"
    module, _, kind = DECODERS[name].rpartition(".")
    return partial(getattr(import_module(module), kind), vocabulary, config, lexicon)
