"""Wyoming, the protocol of Home Assistant's voice services: a line of JSON, then bytes, over plain TCP.

An event is a header, a JSON object in a line of its own, then `data_length` bytes of more JSON, then `payload_length`
bytes of audio. As in wyoming 1.10 (asr.py, audio.py, info.py): `describe` asks for `info`; `transcribe` (optional),
`audio-start`, `audio-chunk`, `audio-stop` are answered by `transcript`, and before it, while the sentence is still
spoken, by `transcript-start`, `transcript-chunk` and `transcript-stop`. There is one transcript in a connection.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.decoder import MOST_HOTWORD_CHARACTERS, MOST_HOTWORDS, DecodeConfig, Hotword
from earshot_asr.engine.errors import ProtocolError
from earshot_asr.engine.events import Final, Partial
from earshot_asr.engine.sources import RawFormat
from earshot_asr.server import refusals
from earshot_asr.server.admission import StreamRequest
from earshot_asr.server.conversation import WAITING
from earshot_asr.server.dialects.dialect import Dialect
from earshot_asr.server.notices import Admitted, Finished, FlushAnswered, Notice, Progress, Refusal
from earshot_asr.server.refusals import Refused
from earshot_asr.server.tcp import Framing

HEADER_BYTES = 64 * 1024
"""Longest line of a header."""
EVENT_BYTES = 1024 * 1024
"""Longest event: 32 s of speech."""
NAME_WEIGHT, TERM_WEIGHT = 3.0, 2.0
"""Weights of `transcript_names` and, "lower priority than names", of `transcript_terms`."""
PROJECT = {"name": "Earshot", "url": ""}
ENCODINGS = {2: "pcm_s16le"}
"""Encoding of samples, by their width in bytes."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event: its type, its data, and the audio in it."""

    type: str
    data: Mapping[str, Any]
    payload: bytes = b""

    def encoded(self) -> bytes:
        """As it is sent."""
        data = msgspec.json.encode(self.data) if self.data else b""
        header = {"type": self.type, "version": "1.10.0", "data_length": len(data), "payload_length": len(self.payload)}
        return msgspec.json.encode({key: value for key, value in header.items() if value}) + b"\n" + data + self.payload

    @classmethod
    def decoded(cls, message: bytes) -> "Event":
        """As it was sent. Raises ProtocolError if it is none, and Refused if it is too big."""
        line, _, rest = message.partition(b"\n")
        header = _object(line, "the header")
        data_bytes, payload_bytes = lengths(header)
        if len(rest) != data_bytes + payload_bytes:
            raise Refused("message_too_big", f"an event of more than {EVENT_BYTES} bytes, or a header without an end")
        data = header.get("data") or {}
        if data_bytes:
            data = {**data, **_object(rest[:data_bytes], "the data")}
        if not isinstance(kind := header.get("type"), str):
            raise ProtocolError("an event has no `type`")
        return cls(kind, data, rest[data_bytes:])


def lengths(header: Mapping[str, Any]) -> tuple[int, int]:
    """Bytes of data and of payload behind a header. Raises ProtocolError."""
    found = tuple(header.get(name) or 0 for name in ("data_length", "payload_length"))
    if not all(isinstance(length, int) and length >= 0 for length in found):
        raise ProtocolError("`data_length` and `payload_length` have to be numbers of bytes")
    return found[0], found[1]


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("data", {}), dict | None):
        raise ProtocolError(f"{what} of an event has to be a JSON object")
    return found


class Events(Framing):
    """Cuts bytes into whole events, which Event.decoded reads."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._size = 0  # of the event that has begun, once its header is there

    def feed(self, data: bytes) -> list[bytes]:
        """See Framing."""
        self._bytes += data
        events = []
        while self._bytes and (size := self._event_bytes()) and size <= len(self._bytes):
            events.append(bytes(self._bytes[:size]))
            del self._bytes[:size]
            self._size = 0
        return events

    def _event_bytes(self) -> int:
        """Size of the next event; 0: not known yet. What can't be an event ends where that is seen."""
        if self._size:
            return self._size
        end = self._bytes.find(b"\n", 0, HEADER_BYTES)
        if end < 0:
            return HEADER_BYTES if len(self._bytes) >= HEADER_BYTES else 0
        try:
            size = end + 1 + sum(lengths(_object(bytes(self._bytes[:end]), "the header")))
        except ProtocolError:
            size = end + 1
        self._size = size if size <= EVENT_BYTES else end + 1
        return self._size


class Wyoming(Dialect):
    """One transcript. Words are sent as soon as they will not change any more, hence `commit: hop`."""

    close_codes: ClassVar[Mapping[str, int]] = refusals.CLOSE_CODES
    message_bytes: ClassVar[int | None] = EVENT_BYTES

    _format: RawFormat | None = None
    _language: str | None = None
    _hotwords: tuple[Hotword, ...] = ()
    _said = ""  # the text of the finals so far
    _open = ""  # what was sent of the open utterance

    def on_handshake(self) -> None:
        """Nothing: the stream is opened when audio comes."""

    def on_text(self, text: str) -> None:
        """See Dialect. Events come as bytes."""
        raise ProtocolError("an event is bytes")

    def on_binary(self, data: bytes) -> None:
        """See Dialect. Events of other services are ignored, as the protocol wants it."""
        event = Event.decoded(data)
        match event.type:
            case "describe":
                self.reply(self._info().encoded())
            case "ping":
                self.reply(Event("pong", event.data).encoded())
            case "transcribe":
                self._transcribe(event.data)
            case "audio-start":
                self._start(event.data)
            case "audio-chunk":
                self._start(event.data)
                self.conversation.feed(event.payload)
            case "audio-stop":
                self.conversation.finish()

    def say(self, notice: Notice) -> Iterable[bytes]:
        """See Dialect."""
        return [event.encoded() for event in self._events(notice)]

    def _events(self, notice: Notice) -> Iterable[Event]:
        match notice:
            case Admitted():
                yield Event("transcript-start", _named(language=notice.language))
                self._language = notice.language
            case Partial():
                yield from self._chunk(notice.text[: notice.stable])
            case Final():
                yield from self._chunk(notice.text)
                self._said, self._open = f"{self._said} {notice.text}".strip(), ""
            case Finished():
                yield Event("transcript-stop", {})
                yield Event("transcript", _named(text=self._said, language=self._language))
            case Refusal():
                yield Event("error", {"text": notice.sentence, "code": notice.code})
            case Progress() | FlushAnswered():
                pass

    def _chunk(self, text: str) -> Iterable[Event]:
        """What is new in the text of the open utterance, of which nothing will change."""
        new = text[len(self._open) :]
        if new:
            apart = " " if self._said and not self._open else ""
            self._open = text
            yield Event("transcript-chunk", {"text": apart + new})

    def _transcribe(self, data: Mapping[str, Any]) -> None:
        if self.conversation.state is not WAITING:
            raise ProtocolError("`transcribe` has to come before the audio")
        language = data.get("language")
        if language is not None and not isinstance(language, str):
            raise ProtocolError("`language` has to be a text")
        self._language = language
        names = _hotwords(data, "transcript_names", NAME_WEIGHT)
        self._hotwords = (names + _hotwords(data, "transcript_terms", TERM_WEIGHT))[:MOST_HOTWORDS]

    def _start(self, data: Mapping[str, Any]) -> None:
        """Opens the stream with the first event that says how the audio is encoded; it has to stay so."""
        rate, width, channels = (data.get(name) for name in ("rate", "width", "channels"))
        if not (isinstance(rate, int) and isinstance(width, int) and isinstance(channels, int)):
            raise ProtocolError("audio needs `rate`, `width` and `channels`")
        if width not in ENCODINGS:
            raise ProtocolError(f"`width` is {width}; it must be one of {', '.join(map(str, ENCODINGS))}, in bytes")
        wanted = RawFormat(ENCODINGS[width], rate, channels)  # type: ignore[arg-type]
        if self._format is None:
            self._format = wanted
            conversation = self.conversation
            config = StreamConfig.preset(
                conversation.latency,
                commit="hop",
                language=self._language if conversation.info.languages else None,
                decode=DecodeConfig(hotwords=self._hotwords),
            )
            conversation.open(StreamRequest(config=config, audio=wanted))
        elif self._format != wanted:
            raise ProtocolError(f"the audio changed from {self._format} to {wanted}; it has to stay as it began")

    def _info(self) -> Event:
        info = self.conversation.info
        about = {"attribution": PROJECT, "installed": True, "version": None}
        model = {
            **about,
            "name": info.name,
            "description": f"{info.name}, a CTC model",
            "languages": list(info.languages or filter(None, [info.language])),
        }
        program = {
            **about,
            "name": "earshot",
            "description": "streaming speech recognition",
            "models": [model],
            "supports_transcript_streaming": True,
            "requires_external_vad": True,
            "prefers_auto_gain_enabled": False,
            "prefers_noise_reduction_enabled": False,
        }
        return Event("info", {"asr": [program]})


def _named(**fields: object) -> dict[str, object]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def _hotwords(data: Mapping[str, Any], name: str, weight: float) -> tuple[Hotword, ...]:
    """The words of a field, which may be missing; names of a home's things, of which some may be no words."""
    found = data.get(name) or []
    if not (isinstance(found, list) and all(isinstance(each, str) for each in found)):
        raise ProtocolError(f"`{name}` has to be a list of texts")
    return tuple(Hotword(each, weight) for each in found if each.strip() and len(each) <= MOST_HOTWORD_CHARACTERS)
