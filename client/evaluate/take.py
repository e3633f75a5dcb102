"""What there is to be judged: a recording, and everything that the engine said while it was played."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.events import Final, Partial
from earshot_asr.engine.text import normalize


class SpokenWord(NamedTuple):
    """A word of the reference, normalized, and when it was said, from a forced alignment."""

    text: str
    start: Seconds
    end: Seconds


@dataclass(frozen=True, slots=True)
class Clip:
    """One stream to be judged: a recording of a manifest, or several, joined in order.

    name         the recording as the manifest has it; of joined ones, the manifest
    reference    what was said, as the manifest has it; empty: nothing is
    words        in order; None where there is no alignment
    lang         as the manifest has it
    phonemes     of the reference, with spaces between them, where the manifest has them
    gain, begin  dB by which it is louder than recorded; the share of it where it begins, what is before comes last
    """

    name: str
    corpus: str
    reference: str
    audio: tuple[Path, ...]
    words: tuple[SpokenWord, ...] | None = None
    lang: str | None = None
    phonemes: str | None = None
    gain: float = 0.0
    begin: float = 0.0

    @property
    def quiet(self) -> bool:
        """Nothing is said in it."""
        return not normalize(self.reference)


@dataclass(frozen=True, slots=True)
class PeerResult:
    """What another recognizer makes of a recording. `work`: seconds of computing."""

    text: str
    work: Seconds


class TimedEvent(NamedTuple):
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
    peers             what others make of the recording, by their names
    phonemes          what was said, for a model that writes phonemes; None: it writes letters
    """

    clip: Clip
    heard: list[TimedEvent]
    seconds: Seconds
    block: Seconds = 0.1
    work: Seconds | None = None
    due: dict[int, Seconds] = field(default_factory=dict)
    plain: str | None = None
    peers: dict[str, PeerResult] = field(default_factory=dict)
    phonemes: str | None = None

    @property
    def finals(self) -> list[Final]:
        """The utterances."""
        return [event for _, event in self.heard if isinstance(event, Final)]

    @property
    def text(self) -> str:
        """The transcript."""
        return " ".join(final.text for final in self.finals)

    @property
    def said(self) -> list[str]:
        """The units of the reference."""
        return self.units(self.clip.reference if self.phonemes is None else self.phonemes)

    def units(self, text: str) -> list[str]:
        """What a text of the model is made of: words, normalized; or phonemes."""
        return (normalize(text) if self.phonemes is None else text).split()
