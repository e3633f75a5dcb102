"""The protocol of vosk-server: one answer for each message of audio, one for `eof` and for `reset`, none for `config`.

Its clients send a message, then wait for one answer. So an answer leaves at once, with what has been found by then.
"""

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import prod
from typing import Any, ClassVar

from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.decoder import MOST_ALTERNATIVES, DecodeConfig, Hotword
from earshot_asr.engine.errors import ConfigError, shown
from earshot_asr.engine.events import Final, Partial, Word
from earshot_asr.engine.scripts import join
from earshot_asr.engine.sources import RawFormat
from earshot_asr.server.admission import StreamRequest
from earshot_asr.server.conversation import FINISHING, WAITING, Conversation
from earshot_asr.server.dialects.dialect import Dialect, as_reason
from earshot_asr.server.handshake import Handshake
from earshot_asr.server.notices import Finished, FlushAnswered, Notice, Refusal
from earshot_asr.server.refusals import Refused

SAMPLE_RATE = 8000
"""Of a client that does not say: VOSK_SAMPLE_RATE of vosk-server, where nobody sets it."""
UNKNOWN_WORD = "[unk]"
"""In a phrase_list: all other words."""
EXPECTED = '{"config" : {...}}, {"eof" : 1} or {"reset" : 1}'


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client may choose, in `config` or, for those that send none, in the query of the URL."""

    sample_rate: int = SAMPLE_RATE
    words: bool = True
    max_alternatives: int = 0
    phrase_list: tuple[str, ...] = ()
    language: str | None = None

    def changed(self, fields: Mapping[str, Any]) -> "Settings":
        """With these fields of a `config`; what Vosk does not know is ignored. Raises Refused."""
        read: dict[str, Any] = {name: READERS[name](name, fields[name]) for name in READERS.keys() & fields.keys()}
        return replace(self, **{name: value for name, value in read.items() if value is not None})


class Vosk(Dialect):
    """Times count from the start of the connection; text is in lower case, as Vosk's models write it."""

    message_bytes: ClassVar[int | None] = 1 << 20  # as vosk-server's websockets have it
    has_keepalive: ClassVar[bool] = False

    def __init__(self, conversation: Conversation, handshake: Handshake) -> None:
        super().__init__(conversation, handshake)
        self._settings = Settings()
        self._partial = ""
        self._finals: deque[Final] = deque()  # those that were not told yet
        self._owed: deque[bool] = deque()  # answers that wait for a reset, oldest first; True: that to the reset itself

    @classmethod
    def credential(cls, handshake: Handshake) -> str | None:
        """See Dialect. Vosk has no tokens, so most of its clients can be told a URL only."""
        return handshake.authorization or handshake.token_in_query

    def on_handshake(self) -> None:
        """The query may say what `config` may."""
        self._configure({name: v if name == "phrase_list" else v[-1] for name, v in self.handshake.query.items()})

    def on_text(self, text: str) -> None:
        """See Dialect. Nothing counts after `eof`."""
        if self.conversation.state is FINISHING:
            return
        match _message(text):
            case {"config": dict() as fields}:
                self._configure(fields)
                if fields.get("language"):  # Nextcloud's vosk-server answers that, and its client waits for it
                    self.reply(dump({"success": self._speaks(fields["language"])}))
            case {"eof": 1}:
                self._open()
                self.conversation.finish()
            case {"reset": 1}:
                self._open()
                self.conversation.flush()
                self._owed.append(True)
            case _:
                raise Refused("invalid_message", f"can't understand {shown(text)}; a text message must be {EXPECTED}")

    def on_binary(self, data: bytes) -> None:
        """See Dialect. Vosk reads whole samples of each message."""
        if self.conversation.state is FINISHING:
            return
        self._open()
        self.conversation.feed(data[: len(data) & ~1])
        if self._owed:
            self._owed.append(False)
        else:
            self.reply(self._next())

    def say(self, notice: Notice) -> Iterable[str | bytes]:
        """See Dialect. What is found waits for a message to answer."""
        match notice:
            case Partial():
                self._partial = notice.text.lower()
            case Final():
                self._partial = ""
                self._finals.append(notice)
            case FlushAnswered() if self._owed:  # else of the end, which Finished tells
                return self._after_reset()
            case Finished():
                return [self._all()]
            case Refusal():
                return [self._all()] if self._finals else []
        return []

    def close_frame(self, error: str | None) -> tuple[int, str]:
        """See Dialect. Vosk has no message for an error: the reason is all that a client is told."""
        code, _ = super().close_frame(error)
        return code, as_reason(self.why)

    @property
    def hotwords(self) -> tuple[Hotword, ...]:
        """What the phrase_list expects; other words are heard all the same. Raises ConfigError."""
        return tuple(Hotword(phrase) for phrase in self._settings.phrase_list if phrase != UNKNOWN_WORD)

    # ---- what the client wants

    def _configure(self, fields: Mapping[str, Any]) -> None:
        """Vosk heeds a `config` before the first audio only."""
        if self.conversation.state is not WAITING:
            return
        ours = self.conversation.info.name
        if (model := fields.get("model")) not in (None, ours):
            raise Refused(
                "invalid_message", f"there is no model {shown(str(model))} here: leave it out, or name {ours}"
            )
        self._settings = self._settings.changed(fields)

    def _speaks(self, language: object) -> bool:
        """Whether the stream is in this language, or can be."""
        info = self.conversation.info
        try:
            asked = info.named(str(language))
            if self.conversation.state is WAITING:
                return True
            spoken = self._settings.language
            return asked == (info.language if spoken is None else info.named(spoken))
        except ConfigError:
            return False

    def _open(self) -> None:
        """Opens the stream, unless it is open."""
        if self.conversation.state is not WAITING:
            return
        chosen = self._settings
        decode = DecodeConfig(hotwords=self.hotwords, alternatives=max(1, chosen.max_alternatives))
        config = StreamConfig.preset(self.conversation.latency, language=chosen.language, decode=decode)
        self.conversation.open(StreamRequest(config=config, audio=RawFormat("pcm_s16le", chosen.sample_rate)))

    # ---- what it is told

    def _next(self) -> str:
        """The answer to audio: the oldest final that was not told yet, else what is being said."""
        return self._final([self._finals.popleft()]) if self._finals else dump({"partial": self._partial})

    def _all(self) -> str:
        """All finals that were not told yet, as one."""
        finals = list(self._finals)
        self._finals.clear()
        return self._final(finals)

    def _after_reset(self) -> Iterable[str]:
        """The answer to the reset that is done, and those to the audio between it and the next one."""
        self._owed.popleft()
        yield self._all()
        while self._owed and not self._owed[0]:
            self._owed.popleft()
            yield self._next()

    def _final(self, finals: Sequence[Final]) -> str:
        if self._settings.max_alternatives:
            return dump({"alternatives": _alternatives(finals, self._settings)})
        words = [_word(word) | {"conf": word.confidence} for word in _words(finals)] if self._settings.words else []
        return dump(({"result": words} if words else {}) | {"text": _text(finals)})


# ---- what Vosk writes


def dump(value: object, depth: int = 1) -> str:
    """JSON to the letter as Vosk writes it: an entry a line, keys sorted, six decimals."""
    match value:
        case dict():
            pad = "  " * depth
            entries = ",\n".join(f'{pad}"{key}" : {dump(value[key], depth + 1)}' for key in sorted(value))
            return f"{{\n{entries}\n{pad[2:]}}}"
        case list():
            return f"[{', '.join(dump(each, depth + 1) for each in value)}]"
        case float():
            return f"{value:.6f}"
        case _:
            return json.dumps(value, ensure_ascii=False)


def _text(finals: Iterable[Final]) -> str:
    return join(final.text.lower() for final in finals)


def _words(finals: Iterable[Final]) -> list[Word]:
    return list(chain.from_iterable(final.words for final in finals))


def _word(word: Word) -> dict[str, object]:
    return {"word": word.text.lower(), "start": word.start, "end": word.end}


def _alternatives(finals: Sequence[Final], settings: Settings) -> list[dict[str, object]]:
    """Readings of all finals together: they differ in the last one. Only the best has words with times."""
    if not finals:
        return [{"confidence": 1.0, "text": ""}]
    *earlier, last = finals
    before, certainty = [_text([each]) for each in earlier], prod(each.confidence for each in earlier)
    readings = [(each.text, each.confidence) for each in last.alternatives] or [(last.text, last.confidence)]
    told: list[dict[str, object]] = [
        {"confidence": certainty * confidence, "text": join([*before, text.lower()])}
        for text, confidence in readings[: settings.max_alternatives]
    ]
    if settings.words:
        told[0]["result"] = [_word(word) for word in _words(finals)]
    return told


# ---- what a client writes


def _message(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _rate(name: str, value: object) -> int | None:
    """Some clients write 48000.0, some "16000"."""
    rate = _number(name, value)
    if rate is not None and rate != int(rate):
        raise Refused("invalid_message", f"{name} is {rate:g}; it must be a whole number of samples a second")
    return None if rate is None else int(rate)


def _count(name: str, value: object) -> int | None:
    """At most so many are told: it may be fewer."""
    number = _number(name, value)
    return None if number is None else max(0, min(int(number), MOST_ALTERNATIVES))


def _number(name: str, value: object) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]  # what can't be converted is refused
        int(number)
    except (TypeError, ValueError, OverflowError):
        raise Refused("invalid_message", f"{name} is {shown(str(value))}; it must be a number") from None
    return number


def _truth(name: str, value: object) -> bool | None:
    return None if value is None else value not in ("", "0", "false", False)


def _phrases(name: str, value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Refused("invalid_message", f"{name} is {shown(str(value))}; it must be a list of texts")
    return tuple(value)


def _language(name: str, value: object) -> str | None:
    return None if value is None else str(value)[:100]


READERS = {
    "sample_rate": _rate,
    "words": _truth,
    "max_alternatives": _count,
    "phrase_list": _phrases,
    "language": _language,
}
"""Field of a `config` -> what reads its value; None: as before."""
