"""Twilio's media streams: a telephone call as JSON with audio in base64.

Twilio reads no text, and reports a message that it does not know as an error. So nothing is sent, unless the stream's
parameters ask for it: which a program between Twilio and here may do. Who wants to read along watches the channel that
the parameter `publish` names.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct

from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.decoder import DecodeConfig, Hotword
from earshot_asr.engine.errors import shown
from earshot_asr.engine.events import Final, Partial
from earshot_asr.engine.sources import Encoding, RawFormat
from earshot_asr.server.admission import StreamRequest
from earshot_asr.server.conversation import FINISHING, STREAMING, WAITING, Conversation
from earshot_asr.server.dialects.dialect import Dialect, as_reason
from earshot_asr.server.handshake import Handshake
from earshot_asr.server.notices import Notice, Refusal, Remark
from earshot_asr.server.refusals import Refused

ENCODINGS: Mapping[str, Encoding] = {
    "audio/x-mulaw": "mulaw",
    "audio/x-alaw": "alaw",
    "audio/x-l16": "pcm_s16le",
}
"""Twilio has the first; others that speak as it does have all."""
SID_CHARACTERS = 64


class Format(Struct, frozen=True):
    """What the audio is."""

    encoding: str = "audio/x-mulaw"
    sampleRate: Annotated[int, Meta(ge=8000, le=192_000)] = 8000
    channels: int = 1


class Parameters(Struct, frozen=True):
    """What <Parameter> says, as far as it is meant for this server; the others are the caller's own."""

    token: str | None = None
    language: Annotated[str, Meta(max_length=100)] | None = None
    hotwords: str = ""
    publish: str | None = None
    track: Literal["inbound", "outbound"] = "inbound"
    transcripts: Literal["none", "final", "all"] = "none"


class Start(Struct, frozen=True):
    """What is known of the call."""

    streamSid: str = ""
    callSid: str = ""
    mediaFormat: Format = Format()
    customParameters: Parameters = Parameters()


class Twilio(Dialect):
    """One track of a call is one stream."""

    credential_comes_later: ClassVar[bool] = True

    def __init__(self, conversation: Conversation, handshake: Handshake) -> None:
        super().__init__(conversation, handshake)
        self._start = Start()

    def on_handshake(self) -> None:
        """Nothing: `start` says all."""

    def on_text(self, text: str) -> None:
        """See Dialect. Events that mean nothing here are ignored: connected, mark, dtmf."""
        match _message(text):
            case {"event": "start", "start": dict() as fields}:
                self._open(_read_start(fields))
            case {"event": "media", "media": {"payload": str() as payload, **media}}:
                if self.conversation.state is WAITING:
                    raise Refused("start_expected", "media came before start")
                if self.conversation.state is STREAMING and media.get("track", self._track) == self._track:
                    self.conversation.feed(_audio(payload))
            case {"event": "stop"}:
                self._finish()
            case {"event": str() as event} if event not in ("start", "media"):
                pass
            case _:
                raise Refused("invalid_message", f"can't understand {shown(text)}; it is no message of a media stream")

    def on_binary(self, data: bytes) -> None:
        """See Dialect."""
        raise Refused("invalid_message", "a binary message; audio comes in media messages here, as base64")

    def say(self, notice: Notice) -> Iterable[str | bytes]:
        """See Dialect."""
        return [json.dumps({**each, "streamSid": self._start.streamSid}) for each in self._messages(notice)]

    def close_frame(self, error: str | None) -> tuple[int, str]:
        """See Dialect."""
        code, _ = super().close_frame(error)
        return code, as_reason(self.why)

    def client_gone(self) -> bool:
        """See Dialect. Who hangs up has said something all the same, and the log is told of it."""
        self.conversation.attempt(self._finish)
        return self.conversation.state is FINISHING

    # ----

    @property
    def _track(self) -> str:
        return self._start.customParameters.track

    def _open(self, start: Start) -> None:
        asked, audio = start.customParameters, start.mediaFormat
        self.authorize(asked.token or self.handshake.authorization or self.handshake.token_in_query)
        if audio.encoding not in ENCODINGS or audio.channels != 1:
            known = ", ".join(ENCODINGS)
            raise Refused("invalid_message", f"mediaFormat must be one of {known}, with one channel")
        hotwords = tuple(Hotword(each.strip()) for each in asked.hotwords.split(",") if each.strip())
        config = StreamConfig.preset(
            self.conversation.latency,
            partials=asked.transcripts == "all" or asked.publish is not None,
            language=asked.language,
            decode=DecodeConfig(hotwords=hotwords),
        )
        bytes_are = RawFormat(ENCODINGS[audio.encoding], audio.sampleRate)
        self.conversation.open(StreamRequest(config=config, audio=bytes_are, publish=asked.publish))
        self._start = start
        call, stream = start.callSid[:SID_CHARACTERS], start.streamSid[:SID_CHARACTERS]
        self.conversation.log.info("call", call=call, stream=stream, track=asked.track)

    def _finish(self) -> None:
        if self.conversation.state is STREAMING:
            self.conversation.finish()

    def _messages(self, notice: Notice) -> Iterable[dict[str, Any]]:
        wanted = self._start.customParameters.transcripts
        if wanted == "none":
            return
        match notice:
            case Partial() if wanted == "all":
                yield self._transcript(notice, final=False)
            case Final():
                yield self._transcript(notice, final=True, confidence=notice.confidence)
            case Remark():
                yield {"event": "warning", "warning": {"code": notice.code, "message": notice.sentence}}
            case Refusal():
                yield {"event": "error", "error": {"code": notice.code, "message": notice.sentence}}

    def _transcript(self, said: Partial | Final, **more: Any) -> dict[str, Any]:
        told = {"track": self._track, "start": said.start, "end": said.end, "text": said.text, **more}
        return {"event": "transcript", "transcript": told}


def _message(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _read_start(fields: dict[str, Any]) -> Start:
    try:
        return msgspec.convert(fields, Start)
    except msgspec.ValidationError as e:
        raise Refused("invalid_message", f"start is not understood: {e}") from None


def _audio(payload: str) -> bytes:
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as e:
        raise Refused("invalid_message", f"the payload of a media message is not base64: {e}") from None
