"""One connection of the native protocol, without I/O: messages on one side, a stream of the recognizer on the other.

    protocol.receive_text(text); protocol.receive_binary(data)      # unless protocol.blocked
    protocol.update()                                               # the engine has made progress
    for text in protocol.messages(): ...                            # to be sent, in order
    if protocol.close: code, reason = protocol.close                # when all that is sent

No socket, no clock. None of the methods raises: what goes wrong becomes an `error` message and a close code.
PROTOCOL.md is what all this is about.
"""

from collections.abc import Callable
from dataclasses import asdict
from enum import Enum, auto
from functools import wraps
from typing import Concatenate, Final, ParamSpec

import msgspec
import numpy as np

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import AudioError, ConfigError, ProtocolError
from earshot_asr.engine.events import Event, Flushed
from earshot_asr.engine.events import Final as FinalEvent
from earshot_asr.engine.events import Partial as PartialEvent
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.recognizer import Place, Stream
from earshot_asr.engine.sources import AudioSource
from earshot_asr.server import wire
from earshot_asr.server.capacity import Full
from earshot_asr.server.limits import Limits
from earshot_asr.server.logs import Log

ACK_SAMPLES = SAMPLE_RATE // 2
"""An ack comes at least this often: every half second, so that with messages of half a second it is one a second."""
STALE_FROM = 32
"""With so many messages unsent the reader is slow: a newer partial or ack takes the place of an older one."""
UNANSWERED = 32
"""With so many flushes unanswered nothing more is read from the client: they do not pile up."""
TICK_SECONDS = 1

CLOSE_CODES: Final = {
    "invalid_json": 1008,
    "invalid_message": 1008,
    "start_expected": 1008,
    "start_repeated": 1008,
    "after_stop": 1008,
    "language_unsupported": 1008,
    "hotwords_unsupported": 1008,
    "resume_unsupported": 1008,
    "resume_invalid": 1008,
    "fingerprint_mismatch": 1008,
    "start_timeout": 1008,
    "stream_too_long": 1008,
    "invalid_audio": 1003,
    "message_too_big": 1009,
    "internal_error": 1011,
    "shutting_down": 1012,
    "full": 1013,
    "too_many_connections": 1013,
    "slow_reader": 1013,
    "idle": 1013,
}
"""Every code of an `error`, and the close code that follows it. After 1011 and more a client may resume."""


class State(Enum):
    """Where a connection stands. FINISHING: after `stop`, until `done`."""

    START = auto()
    STREAMING = auto()
    FINISHING = auto()
    CLOSED = auto()


START, STREAMING, FINISHING, CLOSED = State


class Refused(ProtocolError):
    """A message that is well-formed, but not allowed here. `code` is one of CLOSE_CODES."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


OpenStream = Callable[[StreamConfig, Place | None], Stream]
"""Settings, and where to go on if it is resumed -> a stream."""

_P = ParamSpec("_P")


def _guarded(method: "Callable[Concatenate[Protocol, _P], None]") -> "Callable[Concatenate[Protocol, _P], None]":
    """What a method raises ends the stream; after the end it does nothing."""

    @wraps(method)
    def guarded(self: "Protocol", /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        if self.state is CLOSED:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as e:
            self._fail_with(e)

    return guarded


class Protocol:
    """The server's side of one connection.

    session       its name in `ready` and in the log
    info          the model
    latency       preset of the windows, see StreamConfig.preset
    limits        what the client may have
    open_stream   makes the stream of the recognizer when `start` has come; may raise Full and ConfigError
    log_text      finals are logged
    """

    def __init__(
        self,
        session: str,
        info: ModelInfo,
        latency: str,
        limits: Limits,
        open_stream: OpenStream,
        *,
        log_text: bool = False,
    ) -> None:
        self.session = session
        self.info = info
        self.latency = latency
        self.limits = limits
        self.log = Log(__name__, session=session)
        self.state = START
        self.stream: Stream | None = None
        self.close: tuple[int, str] | None = None
        """Close code and reason, once there is nothing more to be said; to be acted on after messages()."""
        self.error: str | None = None
        """The code of the error that ended it, if one did."""
        self.finals = 0
        """So many were sent."""
        self._log_text = log_text
        self._open_stream = open_stream
        self._start = wire.Start()
        self._source: AudioSource | None = None
        self._pending: Pcm = np.zeros(0, np.int16)  # decoded, but the ring was full
        self._finished = False  # the stream knows that no more audio comes
        self._fault: AudioError | Refused | None = None  # ends the audio; said once what came before is final
        self._acknowledged = 0
        self._answered = True  # whether an ack was sent since something came
        self._quiet = 0  # ticks without a message
        self._draining = False
        self._flushes = 0  # that are not answered yet
        self._unsent: list[wire.ServerMessage] = []

    # ---- in

    @property
    def blocked(self) -> bool:
        """Nothing may be received now: the engine is behind, or has as many flushes to answer. update() ends it."""
        if self.state is CLOSED or self.stream is None:
            return False
        return (
            len(self._pending) > 0
            or self._flushes >= UNANSWERED
            or self.stream.backlog > self.limits.backlog_seconds * SAMPLE_RATE
        )

    @_guarded
    def receive_text(self, text: str | bytes) -> None:
        """A text message of the client."""
        if self._fault:
            return
        self._came(wire.size(text))
        match wire.decode_client(text):
            case wire.Start() as start:
                self._begin(start)
            case _ if self.state is START:
                raise Refused("start_expected", 'the first message has to be {"type":"start"}')
            case _ if self.state is FINISHING:
                raise Refused("after_stop", "nothing may follow stop")
            case wire.Flush():
                assert self.stream
                self._flushes += 1
                self.stream.flush()
            case wire.Keepalive():
                pass
            case wire.Stop():
                self._end()
        self._advance()

    @_guarded
    def receive_binary(self, data: bytes) -> None:
        """A binary message of the client: audio, cut anywhere, also within a sample."""
        if self._fault:
            return
        self._came(len(data))
        if self.state is START:
            raise Refused("start_expected", 'audio came before {"type":"start"}')
        if self.state is FINISHING:
            raise Refused("after_stop", "nothing may follow stop, audio neither")
        assert self._source
        self._pending = self._within_limit(self._source.feed(data))
        self._advance()

    @_guarded
    def update(self) -> None:
        """Says what the engine has found since, and gives it the audio that waited."""
        self._advance()

    @_guarded
    def tick(self) -> None:
        """Acknowledges what comes in slowly, and ends what has gone quiet. To be called every TICK_SECONDS."""
        self._advance()
        if self.state is CLOSED:
            return
        if self.stream and (self.blocked or self.state is FINISHING or not self._answered):
            self._acknowledge(self.stream)
        self._quiet = 0 if self.blocked else self._quiet + 1
        silent = self._quiet * TICK_SECONDS
        if self.state is START and silent >= (limit := self.limits.handshake_seconds):
            raise Refused("start_timeout", f'{{"type":"start"}} did not come within {limit:g} s')
        if self.state is STREAMING and silent >= (limit := self.limits.idle_seconds):
            raise Refused("idle", f"nothing came for {limit:g} s; a stream that pauses has to send keepalive")

    def fail(self) -> None:
        """Something of ours broke: ends the stream. Details are for the log, not for the client."""
        self._refuse(
            "internal_error", f"something broke in the server; its log names it by the session, {self.session}"
        )

    def shut_down(self) -> None:
        """The server is going down: ends the stream as it is. Nothing is flushed, that would be text of an accident."""
        self._refuse("shutting_down", "the server is going down; what is not final is not committed")

    @_guarded
    def drain(self) -> None:
        """The server is about to go down: ends the stream as soon as nobody is speaking."""
        self._draining = True
        self._advance()

    def refuse(self, code: str, message: str) -> None:
        """Ends the stream with an error, whose code is one of CLOSE_CODES."""
        self._refuse(code, message)

    def abandon(self) -> None:
        """The client has gone: forgets the stream."""
        self.state = CLOSED
        self._pending = self._pending[:0]
        if self.stream:
            self.stream.close()

    # ---- out

    @property
    def unsent(self) -> int:
        """How many messages there are to send."""
        return len(self._unsent)

    def messages(self) -> list[str]:
        """The messages to send, in order; each is handed out once."""
        unsent, self._unsent = self._unsent, []
        return [wire.encode(message) for message in unsent]

    # ---- messages of the client

    def _begin(self, start: wire.Start) -> None:
        if self.state is not START:
            raise Refused("start_repeated", "there can be only one start in a connection")
        if start.language is not None:
            raise Refused(
                "language_unsupported", f"{self.info.name} has no choice of languages; language has to be null"
            )
        if start.hotwords:
            raise Refused("hotwords_unsupported", "hotwords are not supported yet; they have to be []")
        config = StreamConfig.preset(self.latency, commit=start.commit, partials=start.partials)
        self._source = AudioSource(start.encoding, start.sample_rate, start.channels)
        self._start = start
        self.stream = self._open_stream(config, self._place(start, config))
        self._acknowledged = self.stream.received
        self.state = STREAMING
        self._unsent.append(self._ready(start, config, self.stream))

    def _place(self, start: wire.Start, config: StreamConfig) -> Place | None:
        """Where the stream is resumed, if it is."""
        if (resume := start.resume) is None:
            return None
        if not resumable(start):
            raise Refused("resume_unsupported", "only streams of pcm_s16le, 16000 samples a second, 1 channel resume")
        ours = fingerprint(self.info, start, config)
        if resume.fingerprint[: wire.HALF] != ours[: wire.HALF]:
            raise Refused(
                "fingerprint_mismatch",
                f"the stream began on another model than {self.info.name}: "
                f"its fingerprint begins with {resume.fingerprint[: wire.HALF]}, this one's with {ours[: wire.HALF]}",
            )
        if resume.fingerprint != ours:
            raise Refused(
                "fingerprint_mismatch",
                "the stream began with other options of `start`, or on a server with other settings than "
                f"{self.latency}; with these its text would be another",
            )
        return resume.cut, resume.from_sample

    def _ready(self, start: wire.Start, config: StreamConfig, stream: Stream) -> wire.Ready:
        t = stream.timing
        window, hop, lookahead = (
            n * t.grid.hop * 1000 // SAMPLE_RATE for n in (t.left + t.hop + t.right, t.hop, t.right)
        )
        return wire.Ready(
            session=self.session,
            model=self.info.name,
            fingerprint=fingerprint(self.info, start, config),
            resumable=resumable(start),
            context=t.context,
            sample_rate=SAMPLE_RATE,
            window_ms=window,
            hop_ms=hop,
            lookahead_ms=lookahead,
        )

    def _end(self) -> None:
        assert self._source
        self.state = FINISHING
        try:
            self._pending = self._within_limit(self._source.finish())
        except AudioError as e:
            self._fault = e

    def _came(self, size: int) -> None:
        assert not self.blocked
        self._quiet, self._answered = 0, False
        if size > (most := self.limits.message_bytes):
            raise Refused("message_too_big", f"a message of {size} bytes; it may have at most {most}")

    def _within_limit(self, pcm: Pcm) -> Pcm:
        """What of `pcm` the stream may still have; when that is not all, the stream ends there."""
        if (longest := self.limits.longest_seconds) is None:
            return pcm
        assert self.stream
        room = max(0, round(longest * SAMPLE_RATE) - self.stream.received)
        if len(pcm) > room:
            self.state = FINISHING
            self._fault = Refused("stream_too_long", f"a stream may have at most {longest:g} s here; begin a new one")
        return pcm[:room]

    # ---- the stream

    def _advance(self) -> None:
        """Hands on what fits into the ring, and says what has come of it."""
        if (stream := self.stream) is None:
            if self._draining:
                self.shut_down()
            return
        while len(self._pending) and (taken := stream.feed(self._pending)):
            self._pending = self._pending[taken:]
        if self.state is FINISHING and not self._finished and not len(self._pending):
            self._flushes += 1
            stream.finish()
            self._finished = True
        self._publish(stream)
        if stream.received - self._acknowledged >= ACK_SAMPLES:
            self._acknowledge(stream)
        if self._finished and stream.done:
            if self._fault:
                raise self._fault
            self._unsent.append(wire.Done(stream.received, seconds(stream.received)))
            self._close(1000, "")
        elif self._draining and stream.resting:
            self.shut_down()

    def _publish(self, stream: Stream) -> None:
        for event in stream.events():
            self._say(self._message(event, stream))

    def _message(self, event: Event, stream: Stream) -> wire.ServerMessage:
        match event:
            case PartialEvent():
                return wire.Partial(event.segment, event.start, event.end, event.text, event.stable)
            case FinalEvent():
                self.finals += 1
                if self._log_text:
                    self.log.info("final", start=event.start, end=event.end, text=event.text)
                words = [wire.WireWord(w.text, w.start, w.end, w.confidence) for w in event.words]
                return wire.Final(
                    segment=event.segment,
                    start=event.start,
                    end=event.end,
                    text=event.text,
                    confidence=event.confidence,
                    cut=event.cut,
                    words=words if self._start.words else None,
                )
            case Flushed():  # what is committed behind it is not said yet
                self._flushes -= 1
                return wire.Ack(stream.received, event.cut, event.cut)

    def _acknowledge(self, stream: Stream) -> None:
        """An ack of now. Only after what was published: a cut is said after the finals before it, never ahead."""
        if len(self._unsent) >= STALE_FROM:
            self._drop(lambda m: isinstance(m, _Progress))
        self._unsent.append(_Progress(stream.received, stream.committed, stream.cut))
        self._acknowledged, self._answered = stream.received, True

    def _say(self, message: wire.ServerMessage) -> None:
        """Queues a message. A reader that can't keep up misses partials that are out of date, and nothing else."""
        if isinstance(message, wire.Partial) and len(self._unsent) >= STALE_FROM:
            self._drop(lambda m: isinstance(m, wire.Partial) and m.segment == message.segment)
        self._unsent.append(message)
        if len(self._unsent) >= (most := self.limits.unsent_messages):
            raise Refused("slow_reader", f"{most} messages were not read; resume, and read faster")

    def _drop(self, stale: Callable[[wire.ServerMessage], bool]) -> None:
        self._unsent = [message for message in self._unsent if not stale(message)]

    # ---- the end

    def _fail_with(self, error: Exception) -> None:
        """An exception becomes an error message; only those of our own say why."""
        match error:
            case Refused():
                self._refuse(error.code, str(error))
            case wire.NotJson():
                self._refuse("invalid_json", str(error))
            case ProtocolError():
                self._refuse("invalid_message", str(error))
            case AudioError():
                self._refuse("invalid_audio", str(error))
            case Full():
                self._refuse("full", str(error))
            case ConfigError():
                self._refuse("resume_invalid", str(error))
            case _:
                self.log.error("internal error", error)
                self.fail()

    def _refuse(self, code: str, message: str) -> None:
        if self.state is CLOSED:
            return
        self.error = code
        self.log.info("ended", error=code)
        self._unsent.append(wire.Error(code, message))
        self._close(CLOSE_CODES[code], code)

    def _close(self, code: int, reason: str) -> None:
        self.close = (code, reason)
        self.abandon()


class _Progress(wire.Ack, tag_field="type", tag="ack", frozen=True):
    """An ack that answers no flush, so that a newer one may take its place."""


def resumable(start: wire.Start) -> bool:
    """Whether a stream's audio comes sample for sample as it is heard, so that it can be sent again from any sample."""
    return (start.encoding, start.sample_rate, start.channels) == ("pcm_s16le", SAMPLE_RATE, 1)


def fingerprint(info: ModelInfo, start: wire.Start, config: StreamConfig) -> str:
    """The same for the same model and the same options of a stream, whatever it runs on; `resume` is no option."""
    options = {**msgspec.to_builtins(start), **asdict(config), "resume": None}
    return wire.mark(info.fingerprint) + wire.mark(options)
