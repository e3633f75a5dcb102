"""What a conversation has to tell its client, in no protocol's words: a dialect turns each notice into messages.

Partial and Final are the engine's own events. Samples are at 16 kHz and count from the start of the stream.
"""

from dataclasses import dataclass

from earshot_asr.engine.config import Timing
from earshot_asr.engine.events import Final, Partial


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The stream is open. Comes once, before all other notices but replies and, while it is awaited, progress.

    session        its name in the log
    model          name of the model
    language       that it speaks; None: it is not known
    fingerprint    of the model and the stream's options, see admission.fingerprint
    resumable      whether the client may resume the stream after a lost connection
    timing         lengths of windows and hops, in frames
    """

    session: str
    model: str
    language: str | None
    fingerprint: str
    resumable: bool
    timing: Timing


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the stream has come: samples received, samples whose text is final, and the newest cut."""

    received: int
    committed: int
    cut: int


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about the audio that its sender should know; the stream goes on. `code` is for programs."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class FlushAnswered:
    """A flush, or the end of the audio, was carried out: all text before sample `cut` has been told."""

    received: int
    cut: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The stream ended as the client wished, with all its text told. The last notice; `received` is in samples."""

    received: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server ends the stream. The last notice; see refusals.py for the code."""

    code: str
    sentence: str


Notice = Admitted | Partial | Final | Progress | Remark | FlushAnswered | Finished | Refusal


@dataclass(frozen=True, slots=True)
class Reply:
    """A message of the dialect's own, which is sent as it is, in its place among the notices."""

    message: str | bytes
