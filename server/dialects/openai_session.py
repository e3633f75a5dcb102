"""The settings of an OpenAI transcription session: how a client asks for them, what is possible, how they are told.

Two generations ask for the same: the newer one in `session.audio.input`, the beta in fields beside one another. Here
both are read. A session tells what is in effect: a field that is not honoured is null or missing there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from earshot_asr.engine.config import LEAST_ENDPOINT_MS, MOST_ENDPOINT_MS, StreamConfig
from earshot_asr.engine.decoder import DecodeConfig, Hotword
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.sources import Encoding, RawFormat
from earshot_asr.server.admission import StreamRequest
from earshot_asr.server.dialects.openai_terms import Mistake, keywords_of, language_of

PCM_RATE = 24_000
TELEPHONE_RATE = 8000
_TRANSCRIPTION = "session.audio.input.transcription"
LOGPROBS = "item.input_audio_transcription.logprobs"
EAGERNESS_MS = {"low": 2000, "medium": 1000, "auto": 1000, "high": 500}
"""Silence that ends a turn with `semantic_vad`: this engine has no model of when a thought is complete."""

Eagerness: TypeAlias = Literal["low", "medium", "high", "auto"]
Language: TypeAlias = Annotated[str, Meta(max_length=100)]
Turns: TypeAlias = Literal["server_vad", "semantic_vad"]

_FORMATS: dict[str, tuple[Encoding, int]] = {
    "audio/pcm": ("pcm_s16le", PCM_RATE),
    "audio/pcmu": ("mulaw", TELEPHONE_RATE),
    "audio/pcma": ("alaw", TELEPHONE_RATE),
}
_BETA_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}


# ---- what a client asks for; fields that are unknown, or only say how something else would be done, are passed over


class Format(Struct, frozen=True):
    """`audio.input.format`."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: int | None = None


class Transcription(Struct, frozen=True):
    """`audio.input.transcription`. Any model is taken for the one that is loaded."""

    language: Language | UnsetType | None = UNSET
    languages: Annotated[list[Language], Meta(max_length=100)] | UnsetType | None = UNSET
    keywords: list[str] | UnsetType | None = UNSET
    prompt: str | UnsetType | None = UNSET


class TurnDetection(Struct, frozen=True):
    """`audio.input.turn_detection`."""

    type: Turns = "server_vad"
    silence_duration_ms: int | None = None
    eagerness: Eagerness | None = None


class Input(Struct, frozen=True):
    """`audio.input`."""

    format: Format | UnsetType = UNSET
    transcription: Transcription | UnsetType = UNSET
    turn_detection: TurnDetection | UnsetType | None = UNSET


class Audio(Struct, frozen=True):
    """`audio`."""

    input: Input = Input()


class Wish(Struct, frozen=True):
    """`session` of an update, of either generation."""

    type: str = "transcription"
    audio: Audio = Audio()
    include: list[str] | UnsetType | None = UNSET
    input_audio_format: Literal["pcm16", "g711_ulaw", "g711_alaw"] | UnsetType = UNSET
    input_audio_transcription: Transcription | UnsetType = UNSET
    turn_detection: TurnDetection | UnsetType | None = UNSET

    @property
    def merged(self) -> Input:
        """What it asks for, as the newer generation has it."""
        asked = self.audio.input
        beta = self.input_audio_format
        return Input(
            Format(_BETA_FORMATS[beta]) if isinstance(beta, str) else asked.format,  # type: ignore[arg-type]
            asked.transcription if self.input_audio_transcription is UNSET else self.input_audio_transcription,
            asked.turn_detection if self.turn_detection is UNSET else self.turn_detection,
        )


# ---- what is in effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a session.

    format        of the audio
    turns         what ends an item; None: only a commit does
    silence_ms    silence that ends an utterance; None: as the server has it
    eagerness     that was asked for with `semantic_vad`
    language      that is spoken; None: the server's
    keywords      words that are expected
    prompt        from which keywords were taken
    logprobs      whether they are wanted
    """

    format: str = "audio/pcm"
    turns: Turns | None = "server_vad"
    silence_ms: int | None = None
    eagerness: Eagerness = "auto"
    language: str | None = None
    keywords: tuple[str, ...] = ()
    prompt: str | None = None
    logprobs: bool = False

    @property
    def audio(self) -> RawFormat:
        """How the bytes are to be read."""
        return RawFormat(*_FORMATS[self.format])

    def request(self, latency: str) -> StreamRequest:
        """The stream for it: its text is only ever appended to. Raises Mistake."""
        try:
            config = StreamConfig.preset(
                latency,
                commit="hop",
                partial_words=True,
                language=self.language,
                endpoint_ms=self.silence_ms,
                decode=DecodeConfig(hotwords=tuple(Hotword(each) for each in self.keywords)),
            )
        except ConfigError as e:
            raise Mistake(str(e), f"{_TRANSCRIPTION}.keywords") from None
        return StreamRequest(config=config, audio=self.audio)

    def updated(self, wish: Wish, info: ModelInfo) -> "Settings":
        """These, with what an update changes. Raises Mistake for what this server can't do."""
        if wish.type != "transcription":
            raise Mistake(f"a session here can only be of type 'transcription', not {wish.type[:40]!r}", "session.type")
        asked, new = wish.merged, self
        if isinstance(asked.format, Format):
            new = replace(new, format=_format(asked.format))
        if isinstance(asked.transcription, Transcription):
            new = _transcription(new, asked.transcription, info)
        if not isinstance(asked.turn_detection, UnsetType):
            new = _turns(new, asked.turn_detection)
        if not isinstance(wish.include, UnsetType):
            new = replace(new, logprobs=_logprobs(wish.include or []))
        return new

    def told(self, name: str, info: ModelInfo, latency: str) -> dict[str, Any]:
        """The session, as the newer generation describes it."""
        rate = {"rate": PCM_RATE} if self.format == "audio/pcm" else {}
        audio_input = {
            "format": {"type": self.format, **rate},
            "noise_reduction": None,
            "transcription": self._transcription_told(info),
            "turn_detection": self._turns_told(latency),
        }
        return {
            "type": "transcription",
            "id": f"sess_{name}",
            "object": "realtime.transcription_session",
            "audio": {"input": audio_input},
            "include": [LOGPROBS] if self.logprobs else None,
        }

    def told_in_beta(self, name: str, info: ModelInfo, latency: str) -> dict[str, Any]:
        """The session, as the beta describes it."""
        (format,) = (old for old, new in _BETA_FORMATS.items() if new == self.format)
        return {
            "id": f"sess_{name}",
            "object": "realtime.transcription_session",
            "input_audio_format": format,
            "input_audio_noise_reduction": None,
            "input_audio_transcription": self._transcription_told(info),
            "turn_detection": self._turns_told(latency),
            "include": [LOGPROBS] if self.logprobs else None,
        }

    def _transcription_told(self, info: ModelInfo) -> dict[str, Any]:
        language = self.language or info.language
        return {"model": info.name, "language": language, "prompt": self.prompt, "keywords": list(self.keywords)}

    def _turns_told(self, latency: str) -> dict[str, Any] | None:
        if self.turns is None:
            return None
        config = StreamConfig.preset(latency, endpoint_ms=self.silence_ms)
        silence = {"silence_duration_ms": config.silence_ms}
        if self.turns == "semantic_vad":
            return {"type": self.turns, "eagerness": self.eagerness, **silence}
        return {"type": self.turns, "prefix_padding_ms": config.preroll_ms, **silence}


def _format(asked: Format) -> str:
    if asked.type == "audio/pcm" and asked.rate not in (None, PCM_RATE):
        raise Mistake(
            f"audio/pcm is read at {PCM_RATE} samples a second, not at {asked.rate}", "session.audio.input.format.rate"
        )
    return asked.type


def _transcription(settings: Settings, asked: Transcription, info: ModelInfo) -> Settings:
    if isinstance(asked.language, str):
        settings = replace(settings, language=language_of([asked.language], info, f"{_TRANSCRIPTION}.language"))
    elif asked.languages:
        settings = replace(settings, language=language_of(asked.languages, info, f"{_TRANSCRIPTION}.languages"))
    elif asked.language is None or asked.languages is None:
        settings = replace(settings, language=None)
    if asked.prompt is not UNSET:
        settings = replace(
            settings, prompt=asked.prompt or None, keywords=keywords_of(asked.prompt or "", f"{_TRANSCRIPTION}.prompt")
        )
    if asked.keywords is not UNSET:
        settings = replace(settings, keywords=tuple(asked.keywords or ()))
    return settings


def _turns(settings: Settings, asked: TurnDetection | None) -> Settings:
    if asked is None:
        return replace(settings, turns=None)
    if asked.type == "semantic_vad":
        eagerness = asked.eagerness or "auto"
        return replace(settings, turns=asked.type, eagerness=eagerness, silence_ms=EAGERNESS_MS[eagerness])
    silence = asked.silence_duration_ms
    if silence is not None and not LEAST_ENDPOINT_MS <= silence <= MOST_ENDPOINT_MS:
        raise Mistake(
            f"silence_duration_ms is {silence}; it must be between {LEAST_ENDPOINT_MS} and {MOST_ENDPOINT_MS}",
            "session.audio.input.turn_detection.silence_duration_ms",
        )
    return replace(settings, turns=asked.type, silence_ms=silence)


def _logprobs(include: Sequence[str]) -> bool:
    if unknown := [each for each in include if each != LOGPROBS]:
        raise Mistake(f"{unknown[0][:80]!r} can't be included; {LOGPROBS!r} can", "session.include")
    return LOGPROBS in include
