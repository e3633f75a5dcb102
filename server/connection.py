"""One client: carries messages between its line and its dialect, and stops reading while the engine is behind."""

import asyncio
import secrets
import time
from contextlib import suppress

from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import EarshotError
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.recognizer import StartPoint, Stream
from earshot_asr.engine.sources.compressed import Compressed
from earshot_asr.server.accounts import Account, Accounts
from earshot_asr.server.channels import Channels, Speaker
from earshot_asr.server.conversation import TICK_SECONDS, Conversation
from earshot_asr.server.decoding import Decoder, ProcessDecoder
from earshot_asr.server.dialects.dialect import Dialect, size_bytes
from earshot_asr.server.engine_loop import EngineLoop
from earshot_asr.server.handshake import Handshake
from earshot_asr.server.intake import CompressedIntake
from earshot_asr.server.line import Gone, Line
from earshot_asr.server.logs import FieldLogger
from earshot_asr.server.refusals import Refused
from earshot_asr.server.settings import Limits
from earshot_asr.server.visitor import SMALL_BYTES

WEBSOCKET_CLOSE_CODES = {1000, 1001, 1002, 1006, 1007}
"""Those that don't come from a dialect: the client's goodbye, mistakes in the framing, a lost connection."""
LAST_WORDS_SECONDS, LAST_WORDS_POLL_SECONDS = 10.0, 0.1
"""How long a stream without a client may take to be finished, and how often that is looked at."""
CLOSE_SECONDS = 60.0
"""How long a client may take to read what is left and to say goodbye; then it is disconnected."""
UNREAD_BYTES = 1024 * 1024
"""Messages wait until the client reads, but pongs of the websocket layer don't: a client that leaves this many bytes
unread is disconnected."""


class Connection:
    """Owns one line with its conversation and its dialect; run() is its life.

    speaks       the dialect
    accounts     whose streams are counted, and who a token that comes later belongs to
    channels     where streams are published
    latency      preset of the windows, see StreamConfig.preset
    log_text     whether finals are logged
    """

    def __init__(
        self,
        line: Line,
        engine_loop: EngineLoop,
        speaks: type[Dialect],
        handshake: Handshake,
        accounts: Accounts,
        channels: Channels,
        latency: str,
        limits: Limits,
        *,
        log_text: bool = False,
    ) -> None:
        self.session = secrets.token_hex(8)
        info = engine_loop.recognizer.runner.info
        self.conversation = Conversation(
            self.session,
            info,
            latency,
            speaks.limits(limits),
            self._open,
            self._prepare,
            self._authorize,
            self._decode,
            self._publish,
            log_text=log_text,
        )
        self.dialect = speaks(self.conversation, handshake)
        self.address = line.address
        """Where the client is."""
        self.stuck = False
        """Whether a message waits for the client to read."""
        self._log = FieldLogger(__name__, session=self.session)
        self._accounts, self._channels = accounts, channels
        self._streams: list[Stream] = []
        self._decoder: ProcessDecoder | None = None
        self._eats = False  # whether the next part of a large message will be taken in
        self._path = handshake.path
        self._line = line
        self._engine_loop = engine_loop
        self._metrics = engine_loop.metrics
        self._heard: Seconds = 0.0  # by streams that are closed
        self._first_sample = 0  # of the stream; not 0 where it was resumed
        self._to_send = asyncio.Event()  # there may be something to send, or the end
        self._may_receive = asyncio.Event()  # the conversation may no longer be blocked
        self._abort_timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Serves the connection until either side has closed it. Raises nothing."""
        began = time.monotonic()
        self._log.info(
            "opened",
            address=self.address,
            account=self._account_name,
            path=self._path[:100],
            protocol=type(self.dialect).__name__.lower(),
        )
        self._line.shrink_send_buffer()
        self.dialect.begin()
        self._line.when_flooded(self._flooded)
        self._changed()
        tasks = [asyncio.create_task(task) for task in (self._read(), self._write(), self._tick())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await self._last_words()
        finally:
            self.conversation.abandon()
            self._close_stream()
            if self._decoder:
                await self._decoder.wait_closed()
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            if self._abort_timer:
                self._abort_timer.cancel()
        faults = [e for e in results if isinstance(e, Exception) and not isinstance(e, Gone)]
        for error in faults:
            self._log.error("internal error", error)
        with suppress(Gone):
            await self._line.end(1011 if faults else 1000)
        self._account(time.monotonic() - began)

    @property
    def account(self) -> Account | None:
        """Whom the client's token stands for; None: it has not come yet."""
        return self._line.account

    @property
    def _account_name(self) -> str:
        return (self.account.name or "-") if self.account else "?"

    # ---- called by the engine loop and the server

    def advanced(self) -> None:
        """The stream got a result."""
        self.conversation.update()
        self._changed()

    def failed(self, error: BaseException) -> None:
        """The stream can't go on."""
        self._log.error("a window failed", error)
        self.conversation.fail()
        self._changed()

    def shut_down(self) -> None:
        """The server goes down now."""
        self.conversation.shut_down()
        self._changed()

    def drain(self) -> None:
        """The server will go down."""
        self.conversation.drain()
        self._changed()

    def refuse(self, code: str, sentence: str) -> None:
        """The client may not have this connection; see refusals.py for the code."""
        self.conversation.refuse(code, sentence)
        self._changed()

    def abort(self) -> None:
        """Disconnects the client, whatever is still to be sent."""
        self._line.abort()

    # ---- three tasks, which run until one of them ends

    async def _read(self) -> None:
        """Socket -> dialect. Reads on after the end: the client's goodbye comes after all that it had sent before."""
        while True:
            message = await self._line.receive()
            while self.conversation.blocked:  # asked only now: the engine may have fallen behind since the last message
                self._may_receive.clear()
                await self._may_receive.wait()
            self._metrics.received.inc(size_bytes(message))
            self.dialect.receive(message)
            self._changed()
            self._engine_loop.wake()
            if self.conversation.outbox:
                await asyncio.sleep(0)  # many messages may have come at once: each is answered before the next is read

    async def _write(self) -> None:
        """Dialect -> socket, as fast as the client reads."""
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            for message in self.dialect.messages():
                self.stuck = True
                await self._line.transmit(message)
                self.stuck = False
                self._metrics.sent.inc(size_bytes(message))
            if not self.conversation.blocked:
                self._may_receive.set()
            if (close := self.dialect.close) and not self._to_send.is_set():
                await self._line.end(*close)
                return

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.dialect.tick()
            self._changed()
            self._engine_loop.wake()  # a dialect may have flushed
            if not self.conversation.ended:
                for stream in self._streams:
                    self._metrics.observe(stream)
            if not self._line.is_open and not self.conversation.ended:
                return  # however long the client takes to see that
            if self._line.unread_bytes > UNREAD_BYTES:
                self.conversation.refuse("slow_reader", "pongs were not read")
                self.abort()

    async def _last_words(self) -> None:
        """The client has gone, maybe; where others are told of its stream, too, that is finished all the same."""
        if self.conversation.ended or not self.dialect.client_gone():
            return
        self._engine_loop.wake()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                while not self.conversation.ended:
                    self.dialect.messages()  # nobody reads them
                    await asyncio.sleep(LAST_WORDS_POLL_SECONDS)

    # ---- between conversation, engine and metrics

    def _open(self, config: StreamConfig, at: StartPoint | None) -> Stream:
        if (account := self.account) is None:
            raise Refused("unauthorized", "a token is needed here, and none came")
        self._accounts.enter(account)
        try:
            stream = self._engine_loop.open(config, self, at)
        except BaseException:
            self._accounts.leave(account)
            raise
        self._streams.append(stream)
        self._first_sample = stream.received
        self._metrics.started.labels("yes" if at else "no").inc()
        return stream

    def _eat(self) -> None:
        """Takes in the next part of a large message."""
        self._eats = False
        self._decoded()

    def _close_stream(self) -> None:
        """Gives back the places of the streams, also those of the account; may be called several times."""
        while self._streams:
            stream = self._streams.pop()
            self._heard += (stream.received - self._first_sample) / SAMPLE_RATE
            self._engine_loop.close(stream)
            assert self.account
            self._accounts.leave(self.account)

    def _authorize(self, token: str | None) -> None:
        """A token has come in a message."""
        if (account := self._accounts.find(token)) is None:
            raise Refused("unauthorized", "the token is not valid here" if token else "a token is needed here")
        self._line.admit(account)
        self._log.info("authorized", account=account.name)

    def _decode(self, audio: Compressed, intake: CompressedIntake) -> Decoder:
        self._decoder = ProcessDecoder(audio, intake, self._decoded)
        return self._decoder

    def _publish(self, channel: str, resumed: bool, language: str | None) -> Speaker:
        account = self.account
        if account is None or not account.may_publish(channel):
            raise Refused("publish_refused", f"this token may not publish to {channel}")
        self._log.info("publishes", channel=channel)
        return self._channels.publish(channel, resumed=resumed, language=language)

    def _decoded(self) -> None:
        """There is more audio, or room for more."""
        self.advanced()
        self._engine_loop.wake()

    def _prepare(self, config: StreamConfig) -> None:
        """Has the stream's language loaded. Other streams go on meanwhile; this one is not read, nor has it a place."""
        assert config.language is not None
        self._engine_loop.require_room(config)
        self._engine_loop.speaking(config.language).add_done_callback(self._prepared)

    def _prepared(self, spoken: asyncio.Future[ModelInfo]) -> None:
        if spoken.cancelled():  # the server goes down
            return
        match spoken.exception():
            case None:
                self.conversation.speak(spoken.result())
            case EarshotError() as error:
                self.conversation.mute(error)
            case error:
                self._log.error("a language could not be loaded", error)
                self.conversation.fail()
        self._changed()
        self._engine_loop.wake()

    def _flooded(self) -> None:
        """More messages have come in a second than may."""
        most = self._line.messages_per_second
        sentence = f"more than {most} messages in a second; audio of {SMALL_BYTES} bytes and more is not counted"
        self.conversation.give_up(Refused("too_many_messages", sentence))
        self._changed()

    def _account(self, seconds: Seconds) -> None:
        """Writes the connection's totals into the log and the metrics."""
        conversation, code = self.conversation, self._line.close_code
        ours = WEBSOCKET_CLOSE_CODES | set(self.dialect.close_codes.values())
        self._metrics.closed.labels(str(code) if code in ours else "other").inc()  # a client may choose any number
        self._metrics.audio.inc(self._heard)
        self._metrics.finals.inc(conversation.finals)
        if conversation.error:
            self._metrics.errors.labels(conversation.error).inc()
        self._log.info(
            "closed",
            address=self.address,
            account=self._account_name,
            code=code,
            error=conversation.error,
            seconds=round(seconds, 3),
            audio=round(self._heard, 3),
            finals=conversation.finals,
        )

    def _changed(self) -> None:
        """The conversation's state may have changed: wakes the tasks that wait for it."""
        self._to_send.set()
        if self.conversation.hungry and not self._eats:
            self._eats = True
            asyncio.get_running_loop().call_soon(self._eat)
        if not self.conversation.blocked:
            self._may_receive.set()
        if self.conversation.ended and not self._abort_timer:
            self._line.expect_end()
            self._close_stream()  # another stream may have its place, however long the goodbye takes
            self._abort_timer = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.abort)
