"""Earshot's own protocol, described in PROTOCOL.md; its messages are defined in wire.py, which the client shares."""

from collections.abc import Iterable, Mapping
from typing import ClassVar
from urllib.parse import unquote

import msgspec

from earshot_asr.engine import events
from earshot_asr.engine.audio import SAMPLE_RATE, seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.decoder import DecodeConfig, Hotword
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.sources import RawFormat
from earshot_asr.engine.sources.compressed import Compressed
from earshot_asr.server import refusals, wire
from earshot_asr.server.admission import ResumePoint, StreamRequest
from earshot_asr.server.conversation import FINISHING, WAITING
from earshot_asr.server.dialects.dialect import Dialect
from earshot_asr.server.handshake import Handshake
from earshot_asr.server.notices import Admitted, Finished, FlushAnswered, Notice, Progress, Refusal, Remark
from earshot_asr.server.refusals import Refused

CLOSE_CODES: Mapping[str, int] = {
    **refusals.CLOSE_CODES,
    "invalid_json": 1008,
    "hotwords_refused": 1008,
}
"""Every code of an `error`, and the close code that follows it."""

_ADVICE = {
    "start_timeout": 'the first message has to be {"type":"start"}',
    "idle": "a stream that pauses has to send keepalive",
    "silent": "resume when there is audio",
    "slow_reader": "resume, and read faster",
}
"""What a client of this protocol can do about an error, where the conversation can't know it."""


class Native(Dialect):
    """One text message of JSON for each notice; binary messages are audio."""

    close_codes: ClassVar[Mapping[str, int]] = CLOSE_CODES

    @classmethod
    def credential(cls, handshake: Handshake) -> str | None:
        """See Dialect. Browsers can't set headers: they offer the token as a sub-protocol, percent-encoded."""
        offered = (each for each in handshake.subprotocols if each.startswith(wire.TOKEN_SUBPROTOCOL))
        token = next((each.removeprefix(wire.TOKEN_SUBPROTOCOL) for each in offered), None)
        return handshake.authorization or (None if token is None else unquote(token))

    @classmethod
    def subprotocol(cls, handshake: Handshake) -> str | None:
        """See Dialect."""
        return wire.SUBPROTOCOL if wire.SUBPROTOCOL in handshake.subprotocols else None

    _words = True  # whether `start` wants finals to have words

    def on_handshake(self) -> None:
        """Nothing: the stream is opened by `start`; path, query and headers say nothing more."""

    def on_text(self, text: str) -> None:
        """See Dialect."""
        try:
            message = wire.decode_client(text)
        except wire.NotJson as e:
            raise Refused("invalid_json", str(e)) from None
        if isinstance(message, wire.Start):
            self._start(message)
            return
        self._require_started('the first message has to be {"type":"start"}', "nothing may follow stop")
        match message:
            case wire.Flush():
                self.conversation.flush()
            case wire.Stop():
                self.conversation.finish()
            case wire.Keepalive():
                pass  # that it came is enough

    def on_binary(self, data: bytes) -> None:
        """See Dialect."""
        self._require_started('audio came before {"type":"start"}', "audio is not allowed after stop")
        self.conversation.feed(data)

    def say(self, notice: Notice) -> Iterable[str | bytes]:
        """See Dialect."""
        return [wire.encode(self._message(notice))]

    def _start(self, start: wire.Start) -> None:
        conversation = self.conversation
        if conversation.state is not WAITING:
            raise Refused("start_repeated", "there can be only one start in a connection")
        self._words = start.words
        conversation.open(stream_request(start, conversation.latency))

    def _require_started(self, before: str, after: str) -> None:
        """Raises Refused, with the sentence for before `start`, or for after `stop`."""
        if self.conversation.state is WAITING:
            raise Refused("start_expected", before)
        if self.conversation.state is FINISHING:
            raise Refused("after_stop", after)

    def _message(self, notice: Notice) -> wire.ServerMessage:
        match notice:
            case Admitted():
                return _ready(notice)
            case events.Partial():
                return partial_message(notice)
            case events.Final():
                return final_message(notice, with_words=self._words)
            case Progress():
                return wire.Ack(notice.received, notice.committed, notice.cut)
            case FlushAnswered():  # text behind the cut is not told yet, so none of it counts as committed
                return wire.Ack(notice.received, notice.cut, notice.cut)
            case Finished():
                return wire.Done(notice.received, seconds(notice.received))
            case Remark():
                return wire.Warning(notice.code, notice.sentence)
            case Refusal():
                advice = _ADVICE.get(notice.code)
                return wire.Error(notice.code, f"{notice.sentence}; {advice}" if advice else notice.sentence)


def stream_request(start: wire.Start, latency: str) -> StreamRequest:
    """What `start` asks for, on a server with that preset of the windows. Raises Refused."""
    resume = start.resume
    return StreamRequest(
        config=StreamConfig.preset(
            latency,
            commit=start.commit,
            partials=start.partials,
            stability=start.stability,
            partial_words=start.partial_words,
            language=start.language,
            endpoint_ms=start.endpoint_ms,
            decode=_decoding(start),
        ),
        audio=_audio(start),
        each=start.channel == "each",
        publish=start.publish,
        options={
            **msgspec.to_builtins(start),
            "resume": None,
            "publish": None,
            "language": None,
            "endpoint_ms": None,
            "hotwords": None,
            "alternatives": None,
        },
        resume=ResumePoint(resume.cut, resume.from_sample, resume.fingerprint) if resume else None,
    )


def _audio(start: wire.Start) -> RawFormat | Compressed:
    each = start.channel == "each"
    if start.encoding == "container" and each and start.channels == 1:
        raise Refused("invalid_message", 'channels: with "channel":"each" it has to say how many the container has')
    if start.encoding == "container" or start.encoding == "opus":
        return Compressed(start.encoding, start.channels if each else None)
    return RawFormat(start.encoding, start.sample_rate, start.channels)


def _decoding(start: wire.Start) -> DecodeConfig:
    expected = (wire.Hotword(each) if isinstance(each, str) else each for each in start.hotwords)
    try:
        hotwords = tuple(Hotword(each.text, each.weight) for each in expected)
        return DecodeConfig(hotwords=hotwords, alternatives=start.alternatives)
    except ConfigError as e:
        raise Refused("hotwords_refused", str(e)) from None


def _ready(notice: Admitted) -> wire.Ready:
    t = notice.timing
    window, hop, lookahead = (
        frames * t.grid.hop * 1000 // SAMPLE_RATE for frames in (t.left + t.hop + t.right, t.hop, t.right)
    )
    return wire.Ready(
        session=notice.session,
        model=notice.model,
        language=notice.language,
        fingerprint=notice.fingerprint,
        resumable=notice.resumable,
        context=t.context,
        sample_rate=SAMPLE_RATE,
        window_ms=window,
        hop_ms=hop,
        lookahead_ms=lookahead,
    )


def partial_message(event: events.Partial) -> wire.PartialMessage:
    """The message that tells of it."""
    words = None if event.words is None else _words(event.words)
    return wire.PartialMessage(event.segment, event.start, event.end, event.text, event.stable, words, event.channel)


def _words(words: Iterable[events.Word]) -> list[wire.WireWord]:
    return [wire.WireWord(word.text, word.start, word.end, word.confidence) for word in words]


def final_message(event: events.Final, *, with_words: bool) -> wire.FinalMessage:
    """The message that tells of it."""
    return wire.FinalMessage(
        segment=event.segment,
        start=event.start,
        end=event.end,
        text=event.text,
        confidence=event.confidence,
        cut=event.cut,
        words=_words(event.words) if with_words else None,
        alternatives=[wire.Alternative(each.text, each.confidence) for each in event.alternatives] or None,
        channel=event.channel,
        flushed=event.flushed,
    )
