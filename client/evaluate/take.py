"""What there is to be judged: a recording, and everything that the engine said while it was played."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from engine.audio import Seconds
from engine.events import Final, Partial


class Spoken(NamedTuple):
    """A word of the reference, normalized, and when it was said, from a forced alignment."""

    text: str
    start: Seconds
    end: Seconds


@dataclass(frozen=True, slots=True)
class Clip:
    """One stream to be judged: a recording of a manifest, or several, joined in order.

    name         the recording as the manifest has it; of joined ones, the manifest
    reference    what was said, as the manifest has it
    words        in order; None where there is no alignment
    """

    name: str
    corpus: str
    reference: str
    audio: tuple[Path, ...]
    words: tuple[Spoken, ...] | None = None


class Heard(NamedTuple):
    """A message, and when it left the engine: the second t of the audio is there at time t."""

    at: Seconds
    event: Partial | Final


@dataclass(slots=True)
class Take:
    """A clip, played once.

    heard             in order
    seconds           of the recording; the noise floor that is played behind it is not counted
    work              seconds of computing; None where a server did it
    due               of each segment: when the sample arrived that made its final due
    block             seconds of audio that arrive together
    plain             what one plain pass over the recording says; None if it was not run
    reference_plain   the same, by transformers
    """

    clip: Clip
    heard: list[Heard]
    seconds: Seconds
    block: Seconds = 0.1
    work: Seconds | None = None
    due: dict[int, Seconds] = field(default_factory=dict)
    plain: str | None = None
    reference_plain: str | None = None

    @property
    def finals(self) -> list[Final]:
        """The utterances."""
        return [event for _, event in self.heard if isinstance(event, Final)]

    @property
    def text(self) -> str:
        """The transcript."""
        return " ".join(final.text for final in self.finals)
