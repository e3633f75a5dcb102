"""One websocket: carries messages between socket and protocol, and holds the socket back when the engine is behind."""

import asyncio
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.recognizer import Place, Stream
from earshot_asr.server import wire
from earshot_asr.server.limits import Limits
from earshot_asr.server.logs import Log
from earshot_asr.server.protocol import CLOSE_CODES, TICK_SECONDS, Protocol
from earshot_asr.server.worker import Worker

CODES = {1000, 1001, 1002, 1006, 1007, *CLOSE_CODES.values()}
CLOSE_SECONDS = 60.0
"""How long a client may take to read what is left and to say goodbye."""
KERNEL_BYTES = 64 * 1024
"""Send buffer of the socket. What lies in there is out of our hands: a slow reader would get minutes of old text."""
READ_BYTES = 16 * 1024
"""Read of a client at once. A flood of tiny frames holds up the others for as long as these take."""
UNREAD_BYTES = 1024 * 1024
"""Messages wait for their reader, but not the pongs of the websocket layer: who lets so many lie is cut off."""


class Connection:
    """The listener of one stream; run() is its life."""

    def __init__(
        self, websocket: ServerConnection, worker: Worker, latency: str, limits: Limits, *, log_text: bool = False
    ) -> None:
        self.session = secrets.token_hex(8)
        self.protocol = Protocol(self.session, worker.runner.info, latency, limits, self._open, log_text=log_text)
        self.address = str((websocket.remote_address or ("",))[0])
        """Where the client is."""
        self.stuck = False
        """Whether what is sent waits for the client to read."""
        self._log = Log(__name__, session=self.session)
        self._websocket = websocket
        self._worker = worker
        self._metrics = worker.metrics
        self._stream: Stream | None = None
        self._began_at = 0
        self._something = asyncio.Event()  # to be sent
        self._room = asyncio.Event()  # to receive
        self._doom: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Serves the connection until either side has closed it. Raises nothing."""
        began = time.monotonic()
        self._log.info("opened", address=self.address)
        _limit_buffers(self._websocket)
        parts = [asyncio.create_task(part) for part in (self._read(), self._write(), self._tick())]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.protocol.abandon()
            if self._stream:
                self._worker.close(self._stream)
            for part in parts:
                part.cancel()
            results = await asyncio.gather(*parts, return_exceptions=True)
            if self._doom:
                self._doom.cancel()
        broken = [e for e in results if isinstance(e, Exception) and not isinstance(e, ConnectionClosed)]
        for error in broken:
            self._log.error("internal error", error)
        with suppress(ConnectionClosed), _lost_is_closed(self._websocket):
            await self._websocket.close(1011 if broken else 1000)
        self._account(time.monotonic() - began)

    # ---- told by the worker and the server

    def advanced(self) -> None:
        """The stream has got a result."""
        self.protocol.update()
        self._moved()

    def failed(self, error: BaseException) -> None:
        """The stream can't go on."""
        self._log.error("a window failed", error)
        self.protocol.fail()
        self._moved()

    def shut_down(self) -> None:
        """The server is going down."""
        self.protocol.shut_down()
        self._moved()

    def drain(self) -> None:
        """The server is about to go down."""
        self.protocol.drain()
        self._moved()

    def refuse(self, code: str, message: str) -> None:
        """The client may not have this connection."""
        self.protocol.refuse(code, message)
        self._moved()

    def abort(self) -> None:
        """Cuts the line."""
        self._websocket.transport.abort()

    # ---- the three things that go on at once

    async def _read(self) -> None:
        """Socket -> protocol. Goes on behind the end, as the client's goodbye stands behind what it had sent before."""
        while True:
            message = await self._websocket.recv()
            while self.protocol.blocked:  # only now: while nothing came, the engine may have had much to say
                self._room.clear()
                await self._room.wait()
            self._metrics.received.inc(wire.size(message))
            if isinstance(message, str):
                self.protocol.receive_text(message)
            else:
                self.protocol.receive_binary(message)
            self._moved()
            self._worker.wake()
            if self.protocol.unsent:
                await asyncio.sleep(0)  # many messages may have come at once: each is answered before the next is read

    async def _write(self) -> None:
        """Protocol -> socket, at the pace of the reader."""
        while True:
            await self._something.wait()
            self._something.clear()
            for message in self.protocol.messages():
                self.stuck = True
                with _lost_is_closed(self._websocket):
                    await self._websocket.send(message)
                self.stuck = False
                self._metrics.sent.inc(wire.size(message))
            if not self.protocol.blocked:
                self._room.set()
            if self.protocol.close and not self._something.is_set():
                with _lost_is_closed(self._websocket):
                    await self._websocket.close(*self.protocol.close)
                return

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.protocol.tick()
            self._moved()
            if (stream := self._stream) is not None and not self.protocol.close:
                self._metrics.observe(stream)
            if self._websocket.state is not State.OPEN and not self.protocol.close:
                return  # the websocket layer has closed it, however long the client takes to see that
            if self._websocket.transport.get_write_buffer_size() > UNREAD_BYTES:
                self.protocol.refuse("slow_reader", "pongs were not read")
                self.abort()

    # ---- joints

    def _open(self, config: StreamConfig, place: Place | None) -> Stream:
        self._stream = self._worker.open(config, self, place)
        self._began_at = self._stream.received
        self._metrics.started.labels("yes" if place else "no").inc()
        return self._stream

    def _account(self, seconds: Seconds) -> None:
        """What became of it, for log and metrics."""
        protocol, code = self.protocol, self._websocket.close_code
        audio = (self._stream.received - self._began_at) / SAMPLE_RATE if self._stream else 0.0
        self._metrics.closed.labels(str(code) if code in CODES else "other").inc()  # clients may close with any
        self._metrics.audio.inc(audio)
        self._metrics.finals.inc(protocol.finals)
        if protocol.error:
            self._metrics.errors.labels(protocol.error).inc()
        self._log.info(
            "closed",
            code=code,
            error=protocol.error,
            seconds=round(seconds, 3),
            audio=round(audio, 3),
            finals=protocol.finals,
        )

    def _moved(self) -> None:
        """The protocol's state may have changed: whoever waits for it has a look."""
        self._something.set()
        if not self.protocol.blocked:
            self._room.set()
        if self.protocol.close and not self._doom:
            if self._stream:  # its room is another's, however long the goodbye takes
                self._worker.close(self._stream)
            self._doom = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.abort)


@contextmanager
def _lost_is_closed(websocket: ServerConnection) -> Iterator[None]:
    """Raises ConnectionClosed where asyncio trips over aborting a transport that was closed while it still wrote."""
    try:
        yield
    except AttributeError:
        if websocket.state is not State.CLOSED:
            raise
        raise websocket.protocol.close_exc from None


def _limit_buffers(websocket: ServerConnection) -> None:
    sock: socket.socket = websocket.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
    websocket.transport.max_size = READ_BYTES  # type: ignore[attr-defined]  # of asyncio's own transport
