"""The events of a stream. Times are seconds from its start; `segment` and `cut` are sample numbers."""

from dataclasses import dataclass

from earshot_asr.engine.audio import Seconds


@dataclass(frozen=True, slots=True)
class Word:
    """A word, when it was said, and its confidence in [0, 1]: the geometric mean of its symbols' probabilities."""

    text: str
    start: Seconds
    end: Seconds
    confidence: float


@dataclass(frozen=True, slots=True)
class Partial:
    """The text of the current utterance so far. Its first `stable` characters are not expected to change.

    words      those of the text, if they are wanted; else None
    channel    of several that are recognized each for itself, from 1 on; else None
    """

    segment: int
    start: Seconds
    end: Seconds
    text: str
    stable: int
    words: tuple[Word, ...] | None = None
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """A reading of an utterance, and its share of the probability of all that were weighed, in [0, 1]."""

    text: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Final:
    """An utterance that will not change any more. All audio before sample `cut` is committed with it.

    alternatives    the likeliest readings, best first; empty if they were not asked for
    flushed         a flush, or the end of the stream, ended it, not a pause of the speaker
    split           its length ended it: the speaker goes on
    channel         of several that are recognized each for itself, from 1 on; else None
    """

    segment: int
    start: Seconds
    end: Seconds
    text: str
    confidence: float
    words: tuple[Word, ...]
    cut: int
    flushed: bool = False
    alternatives: tuple[Alternative, ...] = ()
    split: bool = False
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class Flushed:
    """A flush is done: all audio before sample `cut` is committed. Comes after the final that it caused, if any."""

    cut: int


Event = Partial | Final | Flushed
