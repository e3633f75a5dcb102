"""What passes between one client and the engine, in no protocol's words; a dialect translates.

    conversation.receive(size, interpret)           # unless conversation.blocked; interpret() calls open, feed, ...
    conversation.update()                           # the engine has made progress
    for notice in conversation.outbox.take(): ...   # to be told to the client, in order
    if conversation.ended: ...                      # when all that is told

No socket and no clock. What goes wrong becomes a Refusal, the last notice; only open, feed, flush and finish raise, and
they are to be called within receive() or attempt(), which turn what is raised into that notice.
"""

from collections.abc import Callable
from dataclasses import replace
from enum import Enum, auto
from typing import Protocol

from earshot_asr.engine.audio import SAMPLE_RATE
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import AudioError, ConfigError, EarshotError, ProtocolError
from earshot_asr.engine.events import Final, Flushed, Partial
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.recognizer import StartPoint, Stream
from earshot_asr.engine.sources import AudioSource
from earshot_asr.engine.sources.compressed import Compressed
from earshot_asr.server.admission import StreamRequest, fingerprint, resume_point
from earshot_asr.server.capacity import Full
from earshot_asr.server.decoding import Decoder
from earshot_asr.server.intake import CompressedIntake, Intake, RawIntake
from earshot_asr.server.lanes import Lanes
from earshot_asr.server.logs import FieldLogger
from earshot_asr.server.notices import Admitted, Finished, FlushAnswered, Progress, Refusal
from earshot_asr.server.outbox import Outbox
from earshot_asr.server.refusals import Refused
from earshot_asr.server.settings import Limits

PROGRESS_SAMPLES = SAMPLE_RATE // 2
"""Progress is told at least this often: with messages of half a second or less, once a second."""
TICK_SECONDS = 1
"""How often tick() is to be called."""


class State(Enum):
    """Where a conversation stands. WAITING: no stream yet. FINISHING: the audio has ended, text may still come."""

    WAITING = auto()
    STREAMING = auto()
    FINISHING = auto()
    CLOSED = auto()


WAITING, STREAMING, FINISHING, CLOSED = State

OpenStream = Callable[[StreamConfig, StartPoint | None], Stream]
"""Opens the engine's stream, new or at a point where it is resumed. May raise Full, and ConfigError for the point."""
PrepareLanguage = Callable[[StreamConfig], None]
"""Begins to make the language of a stream ready, and then calls speak() or mute(). May raise Full."""
Decode = Callable[[Compressed, CompressedIntake], Decoder]
"""Begins to decode compressed audio, and tells the intake what comes of it."""


class Publisher(Protocol):
    """Tells others what is said in a stream."""

    def tell(self, event: Partial | Final) -> None:
        """Something was said."""
        ...

    def close(self) -> None:
        """The stream has ended."""
        ...


Publish = Callable[[str, bool, str | None], Publisher]
"""Lets a stream speak in a channel; whether it was resumed; its language, if it is known. May raise Refused."""
Authorize = Callable[[str | None], None]
"""Takes the token that came in a message. Raises Refused (unauthorized) if it is not valid."""


class Conversation:
    """The server's side of one connection: at most one stream, from its start to its end.

    session       its name in the log
    info          the model, in the language that it speaks if a client names none
    latency       preset of the windows, see StreamConfig.preset
    limits        what the client may have
    open_stream   makes the stream
    prepare       is called for a stream that names its language
    authorize     is called with the token of a client that sends it in a message
    decode        decodes compressed audio
    publish       is called for a stream that others may read
    log_text      whether finals are logged
    """

    def __init__(
        self,
        session: str,
        info: ModelInfo,
        latency: str,
        limits: Limits,
        open_stream: OpenStream,
        prepare: PrepareLanguage,
        authorize: Authorize = lambda token: None,
        decode: Decode | None = None,
        publish: Publish | None = None,
        *,
        log_text: bool = False,
    ) -> None:
        self.session = session
        self.authorize = authorize
        self._decode = decode
        self._publish_in = publish
        self._publisher: Publisher | None = None
        self.info = info
        self.latency = latency
        self.limits = limits
        self.log = FieldLogger(__name__, session=session)
        self.outbox = Outbox(limits.unsent_messages)
        """What is to be told to the client."""
        self.stream: Stream | Lanes | None = None
        """The engine's stream, or those of all channels, once it is open."""
        self.ended = False
        """Whether the last notice has been put into the outbox."""
        self.error: str | None = None
        """The code of the refusal that ended it, if one did."""
        self.finals = 0
        """How many finals were told."""
        self._log_text = log_text
        self._open_stream = open_stream
        self._prepare = prepare
        self._request: StreamRequest | None = None  # whose language is being made ready
        self._early: list[Callable[[], None]] = []  # what came with the request, and waits for that
        self._intake: Intake | None = None
        self._closed = False
        self._draining = False
        self._drained_from = 0  # the cut when draining began
        self._resumable = False
        self._progress_told_at = 0  # samples received by then
        self._answered = True  # whether progress was told since the last message came
        self._quiet_ticks = 0  # since the last message
        self._silent_ticks = 0  # since the last audio

    @property
    def state(self) -> State:
        """Where the conversation stands."""
        if self._closed:
            return CLOSED
        if self._intake is None:
            return WAITING
        return FINISHING if self._intake.ended else STREAMING

    # ---- called by the dialect

    def receive(self, message_bytes: int, interpret: Callable[[], None]) -> None:
        """A message of this size came: has it interpreted, hands on what it brought. Not to be called while blocked."""
        self.attempt(lambda: self._receive(message_bytes, interpret))

    def attempt(self, act: Callable[[], None]) -> None:
        """Calls `act`, unless the conversation is closed; what it raises ends the conversation."""
        if self.state is CLOSED:
            return
        try:
            act()
        except Exception as e:
            self._end_by(e)

    def open(self, request: StreamRequest) -> None:
        """Starts or resumes the stream, once its language is ready if it names one. Raises Refused, Full."""
        if self.state is not WAITING or self._request:
            raise Refused("start_repeated", "the stream was started already; a connection has only one")
        if request.config.language is None:
            self._begin(request, self.info)
        else:
            self._request = request
            self._prepare(request.config)

    def feed(self, data: bytes) -> None:
        """Audio, cut anywhere, also within a sample. Raises Refused; what can't be decoded ends the stream.

        A message may both open a stream and bring its first audio, or its end, also if the language is awaited.
        """
        if self._request:
            self._early.append(lambda: self.feed(data))
            return
        self._streaming().feed(data)
        if data:
            self._silent_ticks = 0

    def flush(self) -> None:
        """Makes final what was said so far. Answered by FlushAnswered. Raises Refused."""
        if self._request:
            self._early.append(self.flush)
            return
        self._streaming().flush()

    def finish(self) -> None:
        """The audio ends: makes the rest final, then ends the conversation. Answered by Finished. Raises Refused."""
        if self._request:
            self._early.append(self.finish)
            return
        self._streaming().finish()

    # ---- called by the connection

    @property
    def awaits_language(self) -> bool:
        """Whether the stream will be open once its language is ready."""
        return self._request is not None

    @property
    def blocked(self) -> bool:
        """Whether nothing may be received now: the language is awaited, or the engine is behind, or says its last.

        It takes a speak() or an update().
        """
        if self._closed or self.stream is None or self._intake is None:
            return self._request is not None
        intake, backlog_samples = self._intake, self.limits.backlog_seconds * SAMPLE_RATE
        return intake.full or intake.fault is not None or self.stream.backlog > backlog_samples

    @property
    def hungry(self) -> bool:
        """Whether update() should be called again soon, as a large message is read in parts."""
        return self._intake is not None and self._intake.hungry

    def speak(self, info: ModelInfo) -> None:
        """The model is ready to speak the stream's language, as `info` has it: opens the stream."""

        def act() -> None:
            assert self._request
            request, self._request = self._request, None
            self._begin(replace(request, config=replace(request.config, language=info.language)), info)
            early, self._early = self._early, []
            for bring in early:
                bring()
            self._advance()

        self.attempt(act)

    def mute(self, error: EarshotError) -> None:
        """The model can't speak the stream's language, or can't be made to: refuses the stream."""
        if isinstance(error, ConfigError):
            self.refuse("language_unsupported", str(error))
        else:
            self.refuse("language_unavailable", f"the language can't be loaded: {error}")

    def update(self) -> None:
        """The engine has made progress: tells what it has found, and hands on the audio that waited."""
        self.attempt(self._advance)

    def tick(self) -> None:
        """TICK_SECONDS have passed: tells progress where it is due, and ends a conversation that has gone quiet."""
        self.attempt(self._tick)

    def drain(self) -> None:
        """The server will go down: ends the stream at the next endpoint, or now if nobody is speaking.

        If the next utterance has begun by the time that an endpoint is known, a stream that can be resumed ends all the
        same: the client sends that utterance again elsewhere. Else speakers with short pauses would go on.
        """
        self._draining = True
        self._drained_from = self.stream.cut if self.stream else 0
        self.update()

    def shut_down(self) -> None:
        """The server goes down: ends the stream as it is. Nothing is flushed: such a cut would depend on the clock."""
        self.refuse("shutting_down", "the server is going down; text that is not final is discarded")

    def fail(self) -> None:
        """Something of the server's own broke: ends the stream. Details are for the log, not for the client."""
        self.refuse("internal_error", f"something broke in the server; its log names it by the session, {self.session}")

    def refuse(self, code: str, sentence: str) -> None:
        """Ends the stream with an error; see refusals.py for the code."""
        if self.state is CLOSED:
            return
        self.error = code
        self.log.info("ended", error=code)
        self._conclude(Refusal(code, sentence))

    def give_up(self, mistake: Refused) -> None:
        """What the client sends can't be taken: ends the stream with an error, once what came before is final."""

        def act() -> None:
            self._give_up(mistake)
            self._advance()

        self.attempt(act)

    def abandon(self) -> None:
        """The client has gone: forgets the stream."""
        self._closed = True
        if self._intake:
            self._intake.close()
        if self._publisher:
            self._publisher.close()
        self._intake = self._request = None
        if self.stream:
            self.stream.close()

    # ---- within attempt()

    def _begin(self, request: StreamRequest, info: ModelInfo) -> None:
        """Opens the engine's stream, for a model in its language. Raises Refused, Full."""
        at = resume_point(info, self.latency, request)
        try:
            streams = [self._open_stream(request.config, at) for _ in range(request.lanes)]
        except ConfigError as e:
            raise Refused("resume_invalid", str(e)) from None
        self.stream = stream = Lanes(streams) if request.each else streams[0]
        if request.publish is not None:
            if self._publish_in is None:
                raise Refused("publish_refused", "streams can't be published here")
            self._publisher = self._publish_in(request.publish, at is not None, info.language)
        self._intake = self._take_in(stream, request)
        self._progress_told_at = stream.received
        self._resumable = request.resumable
        self.outbox.put(
            Admitted(
                session=self.session,
                model=info.name,
                language=info.language,
                fingerprint=fingerprint(info, request),
                resumable=request.resumable,
                timing=stream.timing,
            )
        )

    def _take_in(self, stream: Stream | Lanes, request: StreamRequest) -> Intake:
        """What takes in audio of that format. Raises Refused where there is nobody to decode it."""
        audio, longest = request.audio, self.limits.longest_seconds
        if isinstance(audio, Compressed):
            if self._decode is None:
                raise Refused("invalid_audio", "compressed audio can't be decoded here")
            intake = CompressedIntake(stream, longest)
            intake.decoder = self._decode(audio, intake)
            return intake
        source = AudioSource(audio.encoding, audio.sample_rate, audio.channels, each=request.each)
        return RawIntake(stream, longest, source)

    def _receive(self, message_bytes: int, interpret: Callable[[], None]) -> None:
        if self._intake and self._intake.fault:
            return  # nothing that comes behind the fault counts
        assert not self.blocked
        self._quiet_ticks, self._answered = 0, False
        try:
            if message_bytes > (most := self.limits.message_bytes):
                raise Refused("message_too_big", f"a message of {message_bytes} bytes; it may have at most {most}")
            interpret()
        except (ProtocolError, ConfigError, AudioError) as e:
            self._give_up(e)
        self._advance()

    def _give_up(self, mistake: ProtocolError | ConfigError | AudioError) -> None:
        """The client has made one: the stream ends with it, once what came before is final."""
        if self._intake is None or self.outbox.full:
            raise mistake
        self._intake.give_up(mistake)

    def _streaming(self) -> Intake:
        """What takes the client's audio. Raises Refused where none may come."""
        if self._intake is None:
            raise Refused("start_expected", "the stream was not started yet")
        if self._intake.ended:
            raise Refused("after_stop", "the audio was ended already; nothing may follow")
        return self._intake

    def _tick(self) -> None:
        if self._intake and not self._intake.ended:
            self._intake.tick(held=self.blocked)
        self._advance()
        if self.state is CLOSED:
            return
        if self.stream and (self.blocked or self.state is FINISHING or not self._answered):
            self._tell_progress(self.stream)
        elif self._request:
            self.outbox.put(Progress(0, 0, 0))  # the client sees that it is not forgotten
        self._quiet_ticks = 0 if self.blocked else self._quiet_ticks + 1
        self._silent_ticks = 0 if self.blocked else self._silent_ticks + 1
        quiet, silent = self._quiet_ticks * TICK_SECONDS, self._silent_ticks * TICK_SECONDS
        if self.state is WAITING and silent >= (limit := self.limits.handshake_seconds):
            raise Refused("start_timeout", f"no stream was started within {limit:g} s")
        if self.state is STREAMING and quiet >= (limit := self.limits.idle_seconds):
            raise Refused("idle", f"nothing came for {limit:g} s")
        if self.state is STREAMING and silent >= (limit := self.limits.silent_seconds):
            raise Refused("silent", f"no audio came for {limit:g} s")

    def _advance(self) -> None:
        """Hands the stream what it has room for, and tells what has come of it."""
        stream, intake = self.stream, self._intake
        if stream is None or intake is None:
            if self._draining:
                self.shut_down()
            return
        intake.hand_on()
        self._publish(stream, intake)
        while intake.remarks:
            remark = intake.remarks.pop(0)
            self.log.info("remark", code=remark.code, sentence=remark.sentence)
            self.outbox.put(remark)
        if stream.received - self._progress_told_at >= PROGRESS_SAMPLES:
            self._tell_progress(stream)
        if intake.finished and stream.done:
            if intake.fault:
                raise intake.fault
            self._conclude(Finished(stream.received))
        elif self._draining and (stream.resting or self._passed_endpoint(stream, intake)):
            self.shut_down()

    def _passed_endpoint(self, stream: Stream | Lanes, intake: Intake) -> bool:
        """Whether the stream may end at a cut since draining began, though the next utterance has begun."""
        return self._resumable and not intake.ended and stream.cut > self._drained_from

    def _publish(self, stream: Stream | Lanes, intake: Intake) -> None:
        for event in stream.events():
            if self._publisher and not isinstance(event, Flushed):
                self._publisher.tell(event)
            match event:
                case Partial():
                    self.outbox.put(event)
                case Final():
                    self.finals += 1
                    if self._log_text:
                        self.log.info("final", start=event.start, end=event.end, text=event.text)
                    self.outbox.put(event)
                case Flushed():
                    intake.unanswered -= 1
                    self.outbox.put(FlushAnswered(stream.received, event.cut))

    def _tell_progress(self, stream: Stream | Lanes) -> None:
        """To be called after _publish only: a cut is told after the finals before it, never ahead of them."""
        self.outbox.put(Progress(stream.received, stream.committed, stream.cut))
        self._progress_told_at, self._answered = stream.received, True

    # ---- the end

    def _end_by(self, error: Exception) -> None:
        """Ends the conversation with a refusal; only an error that the client has caused says why."""
        match error:
            case Refused():
                self.refuse(error.code, str(error))
            case ProtocolError() | ConfigError():
                self.refuse("invalid_message", str(error))
            case AudioError():
                self.refuse("invalid_audio", str(error))
            case Full():
                self.refuse("full", str(error))
            case _:
                self.log.error("internal error", error)
                self.fail()

    def _conclude(self, last: Finished | Refusal) -> None:
        self.outbox.put(last)
        self.ended = True
        self.abandon()
