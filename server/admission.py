"""What a client asks for when it starts a stream, and whether it may resume one there."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from earshot_asr.engine.audio import SAMPLE_RATE
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.recognizer import StartPoint
from earshot_asr.engine.sources import RawFormat
from earshot_asr.engine.sources.compressed import Compressed
from earshot_asr.server.refusals import Refused
from earshot_asr.server.wire import HALF_CHARACTERS, mark

RESUMABLE_AUDIO = RawFormat("pcm_s16le", SAMPLE_RATE, 1)
"""The only format in which a sample that is sent is a sample of the stream, so that it can be sent again."""


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where a broken stream goes on: its cut, the first sample that is sent again, and the stream's fingerprint."""

    cut: int
    from_sample: int
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRequest:
    """A stream that a client wants.

    config     how it is cut into windows and utterances
    audio      format of the bytes
    each       whether each channel is recognized for itself; else they are mixed
    options    all choices of the client that are not in `config`, as JSON could hold them; only part of the fingerprint
    publish    channel in which others may read what is said
    resume     where to go on, if it is not a new one
    """

    config: StreamConfig
    audio: RawFormat | Compressed = RESUMABLE_AUDIO
    each: bool = False
    publish: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    resume: ResumePoint | None = None

    @property
    def lanes(self) -> int:
        """How many streams of the engine it takes."""
        return (self.audio.channels or 1) if self.each else 1

    @property
    def resumable(self) -> bool:
        """Whether this stream can be resumed after a lost connection."""
        return self.audio == RESUMABLE_AUDIO and not self.each


def fingerprint(info: ModelInfo, request: StreamRequest) -> str:
    """Equal for streams of the same model and the same options, on whatever device; `resume` is no option."""
    return mark(info.identity) + mark({**request.options, **asdict(request.config)})


def resume_point(info: ModelInfo, latency: str, request: StreamRequest) -> StartPoint | None:
    """Where the engine has to begin; None for a new stream.

    Raises Refused if the stream can't be resumed, or began on another model or with other options.
    """
    if (resume := request.resume) is None:
        return None
    if not request.resumable:
        raise Refused("resume_unsupported", "only streams of pcm_s16le, 16000 samples a second, 1 channel resume")
    theirs, ours = resume.fingerprint, fingerprint(info, request)
    if theirs[:HALF_CHARACTERS] != ours[:HALF_CHARACTERS]:
        speaking = f", speaking {info.language}" if info.language else ""
        raise Refused(
            "fingerprint_mismatch",
            f"the stream began on another model than {info.name}{speaking}: "
            f"its fingerprint begins with {theirs[:HALF_CHARACTERS]}, this one's with {ours[:HALF_CHARACTERS]}",
        )
    if theirs != ours:
        raise Refused(
            "fingerprint_mismatch",
            f"the stream began with other options, or on a server with other settings than {latency}; "
            "its text could differ, so it cannot be resumed here",
        )
    return StartPoint(resume.cut, resume.from_sample)
