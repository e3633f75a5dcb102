"""What a request for a transcription asks for, read from the fields of its form. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.decoder import DecodeConfig, Hotword
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.model import ModelInfo
from earshot_asr.server.dialects.openai_terms import Mistake, keywords_of, language_of

FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
GRANULARITIES = ("word", "segment")
SPEAKERS = ("known_speaker_names", "known_speaker_references")
_TRUTH = {"true": True, "1": True, "false": False, "0": False, "": False}

Fields = Mapping[str, Sequence[str]]
"""The values of each field, by its name without brackets: `include` of `include[]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A transcription as it is wanted.

    format            one of FORMATS
    stream            whether text is sent as soon as it is known
    words, segments   which of them verbose_json has
    logprobs          whether json has them
    config            the stream that is wanted; partials are not
    """

    format: str
    stream: bool
    words: bool
    segments: bool
    logprobs: bool
    config: StreamConfig


def read(fields: Fields, info: ModelInfo, latency: str) -> Asked:
    """Raises Mistake for what is not possible. Fields that are unknown, or only say how, are passed over."""
    format = _last(fields, "response_format") or "json"
    if format not in FORMATS:
        raise Mistake(f"response_format is {format[:40]!r}; it must be one of {', '.join(FORMATS)}", "response_format")
    for name in SPEAKERS:
        if name in fields:
            raise Mistake("speakers are not told apart here", name)
    _check_temperature(_last(fields, "temperature"))
    granularities = fields.get("timestamp_granularities", ())
    _check_all(granularities, GRANULARITIES, "timestamp_granularities")
    if granularities and format != "verbose_json":
        raise Mistake("timestamp_granularities need response_format verbose_json", "timestamp_granularities")
    include = fields.get("include", ())
    _check_all(include, ("logprobs",), "include")
    if include and format != "json":
        raise Mistake("logprobs need response_format json", "include")
    return Asked(
        format=format,
        stream=_truth(_last(fields, "stream"), "stream"),
        words="word" in granularities,
        segments=not granularities or "segment" in granularities,
        logprobs=bool(include),
        config=_config(fields, info, latency),
    )


def _config(fields: Fields, info: ModelInfo, latency: str) -> StreamConfig:
    languages = [each for name in ("language", "languages") for each in fields.get(name, ()) if each]
    language = language_of(languages[:100], info, "language") if languages else None
    keywords = [*keywords_of(_last(fields, "prompt"), "prompt"), *fields.get("keywords", ())]
    try:
        hotwords = tuple(Hotword(each) for each in keywords)
        decode = DecodeConfig(hotwords=hotwords)
    except ConfigError as e:
        raise Mistake(str(e), "keywords" if "keywords" in fields else "prompt") from None
    return StreamConfig.preset(latency, partials=False, language=language, decode=decode)


def _check_temperature(text: str) -> None:
    """It means nothing here, but OpenAI wants a number."""
    try:
        right = not text or 0 <= float(text) <= 1
    except ValueError:
        right = False
    if not right:
        raise Mistake(f"temperature is {text[:40]!r}; it must be between 0 and 1", "temperature")


def _check_all(values: Sequence[str], allowed: Sequence[str], param: str) -> None:
    for value in values:
        if value not in allowed:
            raise Mistake(f"{param} has {value[:40]!r}; it may have {', '.join(allowed)}", param)


def _truth(text: str, param: str) -> bool:
    if (truth := _TRUTH.get(text.lower())) is None:
        raise Mistake(f"{param} is {text[:40]!r}; it must be true or false", param)
    return truth


def _last(fields: Fields, name: str) -> str:
    values = fields.get(name)
    return values[-1] if values else ""
