"""The messages of the native protocol, and the one place where they turn into JSON and back.

Text messages are JSON objects with a `type`; binary messages are audio. Shared by server and client, so it loads
neither torch nor the engine's models. The protocol is described in PROTOCOL.md beside this file.
"""

import hashlib
from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta, Struct

from earshot_asr.engine.errors import ProtocolError

PATH = "/v1/stream"
WATCH_PATH = "/v1/watch/"
"""Behind it the name of a channel."""
SUBPROTOCOL, TOKEN_SUBPROTOCOL = "earshot", "earshot.token."
"""Sub-protocols that a browser offers: the name of this one, and behind the second its token."""
MESSAGE_BYTES = 64 * 1024
"""Longest message that every server takes, text or binary."""

LEAST_ENDPOINT_MS, MOST_ENDPOINT_MS = 100, 5000
"""Range of `endpoint_ms`; the same as in engine.config, which this module does not load."""
HALF_CHARACTERS = 16
"""The first half of a stream's fingerprint, this many characters, is the model's; the second is the options'."""

Encoding: TypeAlias = Literal["pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "mulaw", "alaw", "opus", "container"]
Commit: TypeAlias = Literal["utterance", "hop"]
Stability: TypeAlias = Literal["low", "medium", "high"]
Samples: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]


class Hotword(Struct, frozen=True, forbid_unknown_fields=True):
    """A word or phrase to listen for."""

    text: str
    weight: float = 3.0


class Resume(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a broken stream goes on."""

    cut: Samples
    from_sample: Samples
    fingerprint: str


# ---- from the client


class Start(Struct, tag_field="type", tag="start", frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The first message of a stream. Every field is optional."""

    encoding: Encoding = "pcm_s16le"
    sample_rate: Annotated[int, Meta(ge=8000, le=192_000)] = 16_000
    channels: Annotated[int, Meta(ge=1, le=8)] = 1
    channel: Literal["mix", "each"] = "mix"
    language: Annotated[str, Meta(max_length=100)] | None = None
    hotwords: list[str | Hotword] = []
    partials: bool = True
    words: bool = True
    commit: Commit = "utterance"
    alternatives: Annotated[int, Meta(ge=1, le=10)] = 1
    endpoint_ms: Annotated[int, Meta(ge=LEAST_ENDPOINT_MS, le=MOST_ENDPOINT_MS)] | None = None
    stability: Stability = "medium"
    partial_words: bool = False
    publish: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")] | None = None
    resume: Resume | None = None


class Flush(Struct, tag_field="type", tag="flush", frozen=True, forbid_unknown_fields=True):
    """Finalize now, and go on."""


class Keepalive(Struct, tag_field="type", tag="keepalive", frozen=True, forbid_unknown_fields=True):
    """The client sends no audio now, but still wants the stream."""


class Stop(Struct, tag_field="type", tag="stop", frozen=True, forbid_unknown_fields=True):
    """Finalize, send `done`, close."""


# ---- from the server


class Ready(Struct, tag_field="type", tag="ready", frozen=True):
    """The stream is admitted."""

    session: str
    model: str
    fingerprint: str
    resumable: bool
    context: int
    sample_rate: int
    window_ms: int
    hop_ms: int
    lookahead_ms: int
    language: str | None = None


class WireWord(Struct, frozen=True):
    """A word of a final, or of a partial; times in seconds."""

    text: str
    start: float
    end: float
    confidence: float


class Alternative(Struct, frozen=True):
    """A reading of an utterance, and its share of the probability of all that were weighed."""

    text: str
    confidence: float


class PartialMessage(Struct, tag_field="type", tag="partial", frozen=True, omit_defaults=True):
    """The open utterance so far; the first `stable` characters are stable. `words` is there if `start` said so."""

    segment: int
    start: float
    end: float
    text: str
    stable: int
    words: list[WireWord] | None = None
    channel: int | None = None


class FinalMessage(Struct, tag_field="type", tag="final", frozen=True, omit_defaults=True):
    """An utterance, for good; `flushed`: not a pause ended it. `words` is left out where `start` said so."""

    segment: int
    start: float
    end: float
    text: str
    confidence: float
    cut: int
    words: list[WireWord] | None = None
    alternatives: list[Alternative] | None = None
    channel: int | None = None
    flushed: bool = msgspec.field(default_factory=bool)  # false, but other than a `default` it is not left out


class Ack(Struct, tag_field="type", tag="ack", frozen=True):
    """How far the stream has come, in samples at 16 kHz."""

    received: int
    committed: int
    cut: int


class Warning(Struct, tag_field="type", tag="warning", frozen=True):
    """Something about the audio that its sender should know. The stream goes on."""

    code: str
    message: str


class Watching(Struct, tag_field="type", tag="watching", frozen=True):
    """To a viewer, at first and whenever it changes: whether somebody speaks in the channel, and in which language."""

    channel: str
    live: bool
    language: str | None = None


class Error(Struct, tag_field="type", tag="error", frozen=True):
    """Why the connection is about to be closed."""

    code: str
    message: str


class Done(Struct, tag_field="type", tag="done", frozen=True):
    """The last message of a stream that was stopped."""

    received: int
    duration: float


ClientMessage: TypeAlias = Start | Flush | Keepalive | Stop
ServerMessage: TypeAlias = Ready | PartialMessage | FinalMessage | Ack | Warning | Watching | Error | Done

_encoder = msgspec.json.Encoder()
_from_client = msgspec.json.Decoder(ClientMessage)
_from_server = msgspec.json.Decoder(ServerMessage)


def mark(part: object) -> str:
    """Half of a stream's fingerprint: a hash of the model's own fingerprint, or of the stream's options."""
    return hashlib.sha256(msgspec.json.encode(part, order="sorted")).hexdigest()[:HALF_CHARACTERS]


def encode(message: ClientMessage | ServerMessage) -> str:
    """Message -> JSON text."""
    return _encoder.encode(message).decode()


_LONGEST_COMPLAINT = 300
_ALLOWED = {
    "type": "one of start, flush, keepalive, stop",
    "encoding": "one of " + ", ".join(get_args(Encoding)),
    "channel": "one of mix, each",
    "commit": "one of " + ", ".join(get_args(Commit)),
    "endpoint_ms": f"between {LEAST_ENDPOINT_MS} and {MOST_ENDPOINT_MS}, or null",
    "publish": "1 to 64 letters, digits, - and _, or null",
    "stability": "one of " + ", ".join(get_args(Stability)),
}


class NotJson(ProtocolError):
    """A text message that isn't JSON."""


def _complaint(text: str, from_client: bool) -> str:
    """msgspec's message, with the field before it and, where it says too little, what is allowed after it."""
    complaint, _, path = text.rpartition(" - at `$.")
    if not complaint:
        return text[:_LONGEST_COMPLAINT]
    field = path.removesuffix("`")
    allowed = _ALLOWED.get(field) if from_client else None
    return f"{field}: {complaint[:_LONGEST_COMPLAINT]}" + (f"; it must be {allowed}" if allowed else "")


def _decode(decoder: "msgspec.json.Decoder[Any]", text: str | bytes) -> Any:
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as e:
        raise ProtocolError(_complaint(str(e), decoder is _from_client)) from None
    except (msgspec.DecodeError, UnicodeError) as e:
        raise NotJson(f"not a JSON object: {e}") from None
    except RecursionError:
        raise NotJson("JSON is nested too deeply") from None


def decode_client(text: str | bytes) -> ClientMessage:
    """JSON text of a client -> message. Raises ProtocolError, which names the field that was wrong, or NotJson."""
    message: ClientMessage = _decode(_from_client, text)
    return message


def decode_server(text: str | bytes) -> ServerMessage:
    """JSON text of a server -> message. Raises ProtocolError."""
    message: ServerMessage = _decode(_from_server, text)
    return message
