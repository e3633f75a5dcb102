"""One websocket: carries messages between socket and protocol, and holds the socket back when the engine is behind."""

import asyncio
import logging
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from engine.config import StreamConfig
from engine.recognizer import Stream
from server.protocol import Protocol
from server.worker import Worker

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
CLOSE_SECONDS = 60.0
"""How long a client may take to read what is left and to say goodbye."""
KERNEL_BYTES = 64 * 1024
"""Send buffer of the socket. What lies in there is out of our hands: a slow reader would get minutes of old text."""


class Connection:
    """The listener of one stream; run() is its life."""

    def __init__(self, websocket: ServerConnection, worker: Worker, latency: str) -> None:
        self.session = secrets.token_hex(8)
        self.protocol = Protocol(self.session, worker.runner.info, latency, self._open)
        self.stuck = False
        """Whether what is sent waits for the client to read."""
        self._websocket = websocket
        self._worker = worker
        self._stream: Stream | None = None
        self._something = asyncio.Event()  # to be sent
        self._room = asyncio.Event()  # to receive
        self._doom: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Serves the connection until either side has closed it. Raises nothing."""
        log.info("session %s: opened", self.session)
        _limit_buffer(self._websocket)
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
            log.error("session %s: internal error", self.session, exc_info=error)
        with suppress(ConnectionClosed), _lost_is_closed(self._websocket):
            await self._websocket.close(1011 if broken else 1000)
        log.info("session %s: closed, %s", self.session, self._websocket.close_code)

    # ---- told by the worker and the server

    def advanced(self) -> None:
        """The stream has got a result."""
        self.protocol.update()
        self._moved()

    def failed(self) -> None:
        """The stream can't go on."""
        self.protocol.fail()
        self._moved()

    def shut_down(self) -> None:
        """The server is going down."""
        self.protocol.shut_down()
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
            if isinstance(message, str):
                self.protocol.receive_text(message)
            else:
                self.protocol.receive_binary(message)
            self._moved()
            self._worker.wake()

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

    # ---- joints

    def _open(self, config: StreamConfig) -> Stream:
        self._stream = self._worker.open(config, self)
        return self._stream

    def _moved(self) -> None:
        """The protocol's state may have changed: whoever waits for it has a look."""
        self._something.set()
        if not self.protocol.blocked:
            self._room.set()
        if self.protocol.close and not self._doom:
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


def _limit_buffer(websocket: ServerConnection) -> None:
    sock: socket.socket = websocket.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
