"""What a client of Deepgram's asks for in its URL; what can't be had is refused with the sentence of an HTTP 400."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from earshot_asr.engine.config import LEAST_ENDPOINT_MS, MOST_ENDPOINT_MS
from earshot_asr.engine.decoder import MOST_ALTERNATIVES, MOST_WEIGHT, DecodeConfig, Hotword
from earshot_asr.engine.errors import ConfigError, shown
from earshot_asr.engine.sources import Encoding, RawFormat
from earshot_asr.engine.sources.compressed import Compressed

ENCODINGS: Mapping[str, Encoding] = {
    "linear16": "pcm_s16le",
    "linear32": "pcm_f32le",
    "mulaw": "mulaw",
    "alaw": "alaw",
}
"""Deepgram's name of an encoding without a header -> ours."""
CONTAINERS = ("flac", "opus", "ogg-opus", "amr-nb", "amr-wb", "speex")
"""Encodings whose bytes say what they are, as those do for which a client names none. Opus and Speex come in Ogg."""
MOST_CHANNELS = 8
TELEPHONE_RATE = 8000
REFUSED = ("callback", "detect_entities", "diarize", "diarize_model", "redact", "replace", "search")
"""What would be missing from the results, or, worse, still be in them."""
FORMATS = ("dictation", "numerals", "profanity_filter", "punctuate", "smart_format")
"""How text looks, which is up to the model here: a warning in Metadata says so."""
LEAST_UTTERANCE_END_MS, MOST_UTTERANCE_END_MS = 1000, 5000
USUAL_BOOST, USUAL_WEIGHT = 1.0, 3.0
MULTILINGUAL = "multi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the query asks for.

    audio               format of the bytes
    channels            how many there are, each for itself if `multichannel`; else they are mixed
    multichannel        whether each channel has results of its own
    language            None: the server's
    interim_results     whether text is wanted before it is final
    endpointing         whether pauses are told as speech_final
    endpoint_ms         silence that is a pause; None: the server's
    utterance_end_ms    silence after the last word that is told as UtteranceEnd; None: it is not
    vad_events          whether SpeechStarted is told
    formatted           whether text is wanted with capitals, and with punctuation if the model writes it
    decode              keywords and keyterm, alternatives
    extra               to be repeated in the answers
    unheeded            names of FORMATS that were asked for
    """

    audio: RawFormat | Compressed
    channels: int
    multichannel: bool
    language: str | None
    interim_results: bool
    endpointing: bool
    endpoint_ms: int | None
    utterance_end_ms: int | None
    vad_events: bool
    formatted: bool
    decode: DecodeConfig
    extra: Mapping[str, str]
    unheeded: Sequence[str]

    @classmethod
    def of(cls, query: Mapping[str, Sequence[str]]) -> Self:
        """Reads the query; names that Deepgram does not know are ignored. Raises ConfigError, AudioError."""
        asked = _Query(query)
        for name in REFUSED:
            if name in query and not asked.denies(name):
                raise ConfigError(f"{name} can't be had here: leave it out")
        interim_results = asked.flag("interim_results")
        utterance_end_ms = asked.number("utterance_end_ms", LEAST_UTTERANCE_END_MS, MOST_UTTERANCE_END_MS)
        if utterance_end_ms is not None and not interim_results:
            raise ConfigError("utterance_end_ms needs interim_results=true")
        endpointing, endpoint_ms = asked.endpointing()
        language = asked.last("language")
        return cls(
            audio=_audio(asked),
            channels=asked.number("channels", 1, MOST_CHANNELS) or 1,
            multichannel=asked.flag("multichannel"),
            language=None if language == MULTILINGUAL else language,
            interim_results=interim_results,
            endpointing=endpointing,
            endpoint_ms=endpoint_ms,
            utterance_end_ms=utterance_end_ms,
            vad_events=asked.flag("vad_events"),
            formatted=asked.flag("punctuate") or asked.flag("smart_format"),
            decode=DecodeConfig(
                hotwords=_hotwords(query), alternatives=asked.number("alternatives", 1, MOST_ALTERNATIVES) or 1
            ),
            extra=dict(pair.partition(":")[::2] for pair in query.get("extra", ())),
            unheeded=[name for name in FORMATS if asked.flag(name)],
        )


class _Query:
    """Reads single values. Raises ConfigError that names the parameter."""

    def __init__(self, query: Mapping[str, Sequence[str]]) -> None:
        self._query = query

    def last(self, name: str) -> str | None:
        """The value; None where there is none, or an empty one."""
        return self._query[name][-1] or None if name in self._query else None

    def denies(self, name: str) -> bool:
        """Whether it says false, or nothing."""
        return (self.last(name) or "false").lower() == "false"

    def flag(self, name: str) -> bool:
        """True or false; false if nothing is said."""
        value = (self.last(name) or "false").lower()
        if value not in ("true", "false"):
            raise ConfigError(f"{name} is {shown(value)}; it must be true or false")
        return value == "true"

    def number(self, name: str, least: int, most: int) -> int | None:
        """A number in that range."""
        if (value := self.last(name)) is None:
            return None
        if not (value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= most):
            raise ConfigError(f"{name} is {shown(value)}; it must be a number from {least} to {most}")
        return int(value)

    def endpointing(self) -> tuple[bool, int | None]:
        """Whether pauses are told, and how long they are; Deepgram's 10 ms is less than is possible here."""
        value = (self.last("endpointing") or "true").lower()
        if value in ("true", "false"):
            return value == "true", None
        ms = self.number("endpointing", 0, 10**8)
        assert ms is not None
        return True, min(max(ms, LEAST_ENDPOINT_MS), MOST_ENDPOINT_MS)


def _audio(asked: _Query) -> RawFormat | Compressed:
    """What the bytes are; without a name, they say it themselves."""
    channels = asked.number("channels", 1, MOST_CHANNELS) or 1
    encoding = asked.last("encoding")
    if encoding is None or encoding in CONTAINERS:
        return Compressed(channels=channels if asked.flag("multichannel") else None)
    if encoding not in ENCODINGS:
        raise ConfigError(f"encoding is {shown(encoding)}; it must be one of {_known()} here")
    rate = asked.number("sample_rate", 8000, 192_000)
    if rate is None:
        if encoding not in ("mulaw", "alaw"):
            raise ConfigError("sample_rate is missing: it is needed with encoding")
        rate = TELEPHONE_RATE
    return RawFormat(ENCODINGS[encoding], rate, channels)


def _known() -> str:
    return ", ".join([*ENCODINGS, *CONTAINERS])


def _hotwords(query: Mapping[str, Sequence[str]]) -> tuple[Hotword, ...]:
    """keyterm: as it is. keywords: a word, or word:boost, where 1 is the usual boost and more is more."""
    words = [Hotword(term) for term in query.get("keyterm", ())]
    for keyword in query.get("keywords", ()):
        word, colon, boost = keyword.rpartition(":")
        words.append(Hotword(word, _weight(boost)) if colon else Hotword(keyword))
    return tuple(words)


def _weight(boost: str) -> float:
    """A boost of 1 weighs as much as a hotword usually does here, 0 nothing; each further one is a power of ten."""
    try:
        value = float(boost)
        int(value)
    except (ValueError, OverflowError):
        raise ConfigError(f"the boost of a keyword is {shown(boost)}; it must be a number, as in word:2") from None
    if value < 0:
        raise ConfigError(f"the boost of a keyword is {shown(boost)}; words can't be suppressed here")
    return min(value * USUAL_WEIGHT if value < USUAL_BOOST else value - USUAL_BOOST + USUAL_WEIGHT, MOST_WEIGHT)
