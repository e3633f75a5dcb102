"""The data of an evaluation: clips, and takes, which hold what the engine sent while a clip was played."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.events import Final, Partial
from earshot_asr.engine.scripts import join
from earshot_asr.engine.text import normalize


class SpokenWord(NamedTuple):
    """A normalized word of the reference with its start and end from the alignment, in seconds."""

    text: str
    start: Seconds
    end: Seconds


@dataclass(frozen=True, slots=True)
class Clip:
    """A stream to evaluate: a recording of a manifest, or several, joined in order.

    name         the recording's name in the manifest; the manifest's name for joined recordings
    reference    the transcript in the manifest; empty for a recording without speech
    words        word timings, in order; None if there is no alignment
    lang         the language in the manifest
    phonemes     the reference in phonemes, separated by spaces, if the manifest has them
    gain         amplification in dB
    begin        rotation: the audio starts at this share of its length, and the part before it is played last
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
        """Whether it has no speech."""
        return not normalize(self.reference)


@dataclass(frozen=True, slots=True)
class PeerResult:
    """The transcript of a clip by another recognizer. `work`: seconds of computing."""

    text: str
    work: Seconds


class TimedEvent(NamedTuple):
    """A message, and the time at which the engine sent it, in seconds since the audio began to arrive."""

    at: Seconds
    event: Partial | Final


@dataclass(slots=True)
class Take:
    """A clip that was played once, and the messages of the engine.

    heard       the messages, in order
    seconds     length of the clip, without the noise floor that is played after it
    block       length of the blocks in which audio arrived, in seconds
    work        seconds of computing; None if a server did the computing
    due         for each segment, the time at which the sample arrived that made its final due
    plain       transcript of one plain pass, a forward pass over the whole recording; None if it was not run
    peers       results of other recognizers, by name
    phonemes    the reference in phonemes, for a model that writes phonemes; None for one that writes letters
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
        """All finals, in order."""
        return [event for _, event in self.heard if isinstance(event, Final)]

    @property
    def text(self) -> str:
        """The transcript: the text of all finals."""
        return join(final.text for final in self.finals)

    @property
    def said(self) -> list[str]:
        """The reference as a list of normalized words, or of phonemes for a model that writes phonemes."""
        return self.units(self.clip.reference if self.phonemes is None else self.phonemes)

    def units(self, text: str) -> list[str]:
        """A text of the model as a list of normalized words, or of phonemes."""
        return (normalize(text) if self.phonemes is None else text).split()
