"""Deepgram's live transcription, /v1/listen: settings in the URL, text as slices of the time line.

A slice begins where the last one ended: final slices tile the stream without a gap, and interim results repeat the
start of the slice that is open. What is silent for long is a slice without text.
"""

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from http import HTTPStatus
from math import prod
from typing import Any, ClassVar

from earshot_asr.engine.audio import SAMPLE_RATE, from_ms, seconds
from earshot_asr.engine.casing import Casing
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import AudioError, ConfigError
from earshot_asr.engine.events import Final, Partial, Word
from earshot_asr.server import refusals
from earshot_asr.server.admission import StreamRequest
from earshot_asr.server.conversation import STREAMING, Conversation
from earshot_asr.server.dialects.deepgram_query import Options
from earshot_asr.server.dialects.dialect import Dialect, as_reason
from earshot_asr.server.handshake import Handshake, Page
from earshot_asr.server.notices import Admitted, Finished, FlushAnswered, Notice, Progress, Refusal, Remark
from earshot_asr.server.settings import Limits

IDLE_SECONDS = 10.0
"""Without audio or KeepAlive for so long, Deepgram closes."""
QUIET_SAMPLES = 5 * SAMPLE_RATE
"""So much silence is a slice without text."""
GAP_SAMPLES = SAMPLE_RATE
"""So much silence before an utterance is a slice of its own, so that the next one begins with its text."""
CODES = {"invalid_audio": "DATA-0000", "idle": "NET-0001", "silent": "NET-0001", "internal_error": "NET-0000"}
"""Our code of a refusal -> Deepgram's, if it has one."""
SUBPROTOCOLS = ("token", "bearer")
"""What a browser offers, with its token behind it."""


class _Channel:
    """How far the results of one channel of the audio have come."""

    def __init__(self, number: int, of: int) -> None:
        self.index = [number, of]
        self.told = 0  # samples that final slices have told of
        self.confirmed = False  # whether the oldest Finalize has had its text
        self.last_word: float | None = None  # when it ended, while no UtteranceEnd has told that


class Deepgram(Dialect):
    """Text is in lower case unless punctuate or smart_format ask for sentences as people write them."""

    close_codes: ClassVar[Mapping[str, int]] = {
        **refusals.CLOSE_CODES,
        "invalid_audio": 1008,
        "idle": 1011,
        "silent": 1011,
    }
    message_bytes: ClassVar[int | None] = 1 << 20

    def __init__(self, conversation: Conversation, handshake: Handshake) -> None:
        super().__init__(conversation, handshake)
        self._options: Options | None = None
        self._channels: list[_Channel] = []
        self._finalizing = 0  # how many Finalize are not answered yet
        self._speaking = False  # whether SpeechStarted was told
        self._sha256 = hashlib.sha256()
        self._warnings: list[dict[str, str]] = []
        self._casing: Casing | None = None  # of text with capitals, where that is wanted

    # ---- the handshake

    @classmethod
    def credential(cls, handshake: Handshake) -> str | None:
        """See Dialect. `Authorization: Token KEY`, or the sub-protocols `token, KEY` of a browser."""
        scheme, _, value = handshake.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "token":
            return value.strip()
        offered = handshake.subprotocols
        if len(offered) == 2 and offered[0].lower() in SUBPROTOCOLS:
            return offered[1]
        return handshake.authorization

    @classmethod
    def subprotocol(cls, handshake: Handshake) -> str | None:
        """See Dialect."""
        return next((each for each in handshake.subprotocols[:1] if each.lower() in SUBPROTOCOLS), None)

    @classmethod
    def refusal(cls, handshake: Handshake) -> Page | None:
        """See Dialect."""
        try:
            Options.of(handshake.query)
        except (ConfigError, AudioError) as e:
            return _page(HTTPStatus.BAD_REQUEST, "INVALID_QUERY_PARAMETER", str(e))
        return None

    @classmethod
    def unauthorized(cls, sentence: str) -> Page | None:
        """See Dialect."""
        return _page(HTTPStatus.UNAUTHORIZED, "INVALID_AUTH", sentence)

    @classmethod
    def limits(cls, limits: Limits) -> Limits:
        """See Dialect."""
        return replace(super().limits(limits), idle_seconds=min(IDLE_SECONDS, limits.idle_seconds))

    def on_handshake(self) -> None:
        """The query says all."""
        options = self._options = Options.of(self.handshake.query)
        count = options.channels if options.multichannel else 1
        self._channels = [_Channel(number, count) for number in range(count)]
        languages = self.conversation.info.languages  # where the model does not say which it has, it has the right one
        self.conversation.open(
            StreamRequest(
                config=StreamConfig.preset(
                    self.conversation.latency,
                    partials=options.interim_results,
                    partial_words=options.interim_results,
                    endpoint_ms=options.endpoint_ms,
                    language=options.language if languages else None,
                    decode=options.decode,
                ),
                audio=options.audio,
                each=options.multichannel,
            )
        )

    # ---- messages of the client

    def receive(self, message: str | bytes) -> None:
        """See Dialect. Voice is found in the audio at once, whatever the engine is doing."""
        super().receive(message)
        self.conversation.attempt(self._listen)

    def on_text(self, text: str) -> None:
        """See Dialect. What is not understood is answered, and changes nothing."""
        if self.conversation.state is not STREAMING:
            return
        match _message(text):
            case {"type": "KeepAlive"}:
                pass  # that it came is enough
            case {"type": "Finalize"}:
                self._finalizing += 1
                self.conversation.flush()
            case {"type": "CloseStream"}:
                self.conversation.finish()
            case {"type": "Configure", **fields}:
                self._configure(fields)
            case _:
                known = "KeepAlive, Finalize, CloseStream or Configure"
                sentence = f"a text message must be a JSON object whose type is {known}"
                self._reply(type="Error", variant="SchemaError", description=sentence, message=text[:300])

    def on_binary(self, data: bytes) -> None:
        """See Dialect. An empty message is how older clients close."""
        if self.conversation.state is not STREAMING:
            return
        if not data:
            self.conversation.finish()
            return
        self._sha256.update(data)
        self.conversation.feed(data)

    def _configure(self, fields: Mapping[Any, Any]) -> None:
        features = fields.get("features")
        if fields.get("keyterms") is not None:
            code, why = "CONFIGURE_KEYTERMS_NOT_SUPPORTED", "keyterms can't be changed while a stream is open"
        elif isinstance(features, dict) and any(features.values()):
            code, why = "CONFIGURE_INTERNAL_ERROR", f"no feature can be turned on here, nor can {', '.join(features)}"
        else:
            self._reply(type="ConfigureSuccess", request_id=self.conversation.session)
            return
        self._reply(type="ConfigureFailure", request_id=self.conversation.session, code=code, description=why)

    def _listen(self) -> None:
        """Tells when somebody begins to speak, and when nobody has for long."""
        stream, options = self.conversation.stream, self._options
        if stream is None or options is None or self.conversation.state is not STREAMING:
            return
        began = not stream.resting and not self._speaking
        self._speaking = not stream.resting
        if began and options.vad_events:
            self._reply(type="SpeechStarted", channel=self._channels[0].index, timestamp=seconds(stream.received))
        if not self._speaking and not self.conversation.outbox:  # what is not told yet may have later words
            for channel in self._channels:
                for message in self._utterance_end(channel, stream.received):
                    self._reply(**message)

    def _reply(self, **message: Any) -> None:
        self.reply(json.dumps(message))

    # ---- messages of the server

    def say(self, notice: Notice) -> Iterable[str | bytes]:
        """See Dialect."""
        return [json.dumps(message) for message in self._messages(notice)]

    def _messages(self, notice: Notice) -> Iterable[dict[str, Any]]:
        match notice:
            case Admitted() if self._options and self._options.formatted:
                names = [hotword.text for hotword in self._options.decode.hotwords]
                self._casing = Casing(notice.language, names)
            case Partial():
                yield from self._interim(self._of(notice), notice)
            case Final():
                yield from self._final(self._of(notice), notice)
            case Progress():  # its cut is not behind the start of what is being said
                for channel in self._channels:
                    yield from self._utterance_end(channel, notice.cut)
                    if notice.cut - channel.told >= QUIET_SAMPLES:
                        yield self._slice(channel, notice.cut)
            case FlushAnswered() if self._finalizing:
                for channel in self._channels:
                    if not channel.confirmed:
                        yield self._slice(channel, max(notice.cut, channel.told), from_finalize=True)
                    channel.confirmed = False
                self._finalizing -= 1
            case Finished():
                for channel in self._channels:
                    if notice.received > channel.told:
                        yield self._slice(channel, notice.received)
                    yield from self._utterance_end(channel, notice.received)
                yield self._metadata(notice.received)
            case Remark():
                self._warnings.append({"parameter": "encoding", "type": notice.code, "message": notice.sentence})
            case Refusal():
                code = CODES.get(notice.code, notice.code)
                yield {"type": "Error", "variant": code, "description": notice.sentence, "message": notice.sentence}

    def close_frame(self, error: str | None) -> tuple[int, str]:
        """See Dialect."""
        code, _ = super().close_frame(error)
        return code, as_reason(f"{CODES.get(error, error)}: {self.why}" if error else "")

    def _of(self, event: Partial | Final) -> _Channel:
        return self._channels[(event.channel or 1) - 1]

    def _interim(self, channel: _Channel, partial: Partial) -> Iterable[dict[str, Any]]:
        yield from self._silence_before(channel, partial.segment)
        words = partial.words or ()
        sure = prod(word.confidence for word in words) ** (1 / len(words)) if words else 0.0
        end = max(from_ms(partial.end * 1000), channel.told)
        yield self._results(channel, end, [self._reading(partial.text, round(sure, 4), words)], {})

    def _final(self, channel: _Channel, final: Final) -> Iterable[dict[str, Any]]:
        assert self._options and self.conversation.stream
        yield from self._silence_before(channel, final.segment)
        channel.last_word = final.end
        asked = final.flushed and self._finalizing > 0
        channel.confirmed = channel.confirmed or asked
        last = final.flushed and not asked  # of the stream
        others = [self._reading(each.text, each.confidence, ()) for each in final.alternatives[1:]]
        yield self._slice(
            channel,
            self.conversation.stream.received if last else final.cut,
            [self._reading(final.text, final.confidence, final.words), *others],
            speech_final=self._options.endpointing and not final.flushed and not final.split,
            from_finalize=asked,
        )

    def _silence_before(self, channel: _Channel, segment: int) -> Iterable[dict[str, Any]]:
        """What is to be told of the silence before an utterance, if nothing has been."""
        yield from self._utterance_end(channel, segment)
        if segment - channel.told >= GAP_SAMPLES:
            yield self._slice(channel, segment)

    def _utterance_end(self, channel: _Channel, sample: int) -> Iterable[dict[str, Any]]:
        """Nobody has spoken from the last word that was told to a sample: says so, once, if that is long enough."""
        assert self._options
        if channel.last_word is None or (gap := self._options.utterance_end_ms) is None:
            return
        if (seconds(sample) - channel.last_word) * 1000 >= gap:
            yield {"type": "UtteranceEnd", "channel": channel.index, "last_word_end": channel.last_word}
            channel.last_word = None

    def _slice(
        self,
        channel: _Channel,
        end: int,
        readings: Sequence[dict[str, Any]] = (),
        *,
        speech_final: bool = False,
        from_finalize: bool = False,
    ) -> dict[str, Any]:
        """The final results up to a sample, where the next slice begins."""
        flags = {"is_final": True, "speech_final": speech_final, "from_finalize": from_finalize}
        results = self._results(channel, end, readings or [self._reading("", 0.0, ())], flags)
        channel.told = end
        return results

    def _results(
        self, channel: _Channel, end: int, readings: Sequence[dict[str, Any]], flags: Mapping[str, bool]
    ) -> dict[str, Any]:
        start = seconds(channel.told)
        return {
            "type": "Results",
            "channel_index": channel.index,
            "duration": round(seconds(end) - start, 3),
            "start": start,
            "is_final": False,
            "speech_final": False,
            "from_finalize": False,
            **flags,
            "channel": {"alternatives": list(readings)},
            "metadata": {
                "request_id": self.conversation.session,
                "model_info": self._model_info,
                "model_uuid": self._model_uuid,
                **self._extra,
            },
        }

    def _reading(self, text: str, confidence: float, words: Sequence[Word]) -> dict[str, Any]:
        told: list[dict[str, Any]] = [
            {"word": each.text.lower(), "start": each.start, "end": each.end, "confidence": each.confidence}
            for each in words
        ]
        if self._casing:
            spelled = self._casing.words(text, [word.text for word in words])
            told = [{**word, "punctuated_word": spelling} for word, spelling in zip(told, spelled, strict=True)]
        transcript = self._casing.text(text) if self._casing else text.lower()
        return {"transcript": transcript, "confidence": confidence, "words": told}

    def _metadata(self, received: int) -> dict[str, Any]:
        assert self._options
        told = "this server does not do that: text has no more than its model writes, but for capitals"
        unheeded = [{"parameter": name, "type": "unsupported", "message": told} for name in self._options.unheeded]
        warnings = unheeded + self._warnings
        return {
            "type": "Metadata",
            "transaction_key": "deprecated",
            "request_id": self.conversation.session,
            "sha256": self._sha256.hexdigest(),
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "duration": seconds(received),
            "channels": self._options.channels,
            "models": [self._model_uuid],
            "model_info": {self._model_uuid: self._model_info},
            **({"warnings": warnings} if warnings else {}),
            **self._extra,
        }

    @property
    def _extra(self) -> dict[str, Any]:
        return {"extra": self._options.extra} if self._options and self._options.extra else {}

    @cached_property
    def _model_uuid(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, self.conversation.info.fingerprint))

    @cached_property
    def _model_info(self) -> dict[str, str]:
        info = self.conversation.info
        return {"name": info.name, "version": info.fingerprint[:16], "arch": "ctc"}


def _message(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _page(status: HTTPStatus, code: str, sentence: str) -> Page:
    """A refusal as Deepgram words it; many clients see nothing but the headers."""
    request_id = str(uuid.uuid4())
    body = json.dumps({"err_code": code, "err_msg": sentence, "request_id": request_id})
    headers = {"dg-error": sentence.encode("ascii", "backslashreplace").decode(), "dg-request-id": request_id}
    return Page(body, status, "application/json", headers)
