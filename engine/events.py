"""What a session says. Times are seconds from the start of the stream; `segment` and `cut` are sample numbers."""

from dataclasses import dataclass

from earshot_asr.engine.audio import Seconds


@dataclass(frozen=True, slots=True)
class Word:
    """A word, when it was said, and the geometric mean of its symbols' posteriors, in [0, 1]."""

    text: str
    start: Seconds
    end: Seconds
    confidence: float


@dataclass(frozen=True, slots=True)
class Partial:
    """What is understood so far of the open utterance; the first `stable` characters are not expected to change."""

    segment: int
    start: Seconds
    end: Seconds
    text: str
    stable: int


@dataclass(frozen=True, slots=True)
class Final:
    """An utterance, for good. Everything before sample `cut` is committed once this is received."""

    segment: int
    start: Seconds
    end: Seconds
    text: str
    confidence: float
    words: tuple[Word, ...]
    cut: int


@dataclass(frozen=True, slots=True)
class Flushed:
    """A flush was carried out: everything before sample `cut` is committed. Comes after the final it caused, if any."""

    cut: int


Event = Partial | Final | Flushed
