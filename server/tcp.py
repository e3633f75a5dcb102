"""Framed messages over plain TCP: a port of the server for protocols that are no websockets."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress

from earshot_asr.server.accounts import ANYBODY, Account
from earshot_asr.server.addresses import canonical
from earshot_asr.server.connection import CLOSE_SECONDS
from earshot_asr.server.dialects.dialect import Dialect
from earshot_asr.server.door import Handle
from earshot_asr.server.guests import Guests
from earshot_asr.server.handshake import Handshake
from earshot_asr.server.line import Gone
from earshot_asr.server.listener import Listener, listen
from earshot_asr.server.settings import Limits
from earshot_asr.server.visitor import LAST_SECONDS, READ_BYTES, SMALL_BYTES, shrink_send_buffer


class Framing(ABC):
    """Cuts the bytes of one client into messages. No I/O."""

    @abstractmethod
    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now. What can't be one is given out as it is: the dialect refuses it."""


class TcpLine:
    """One TCP connection; see line.Line.

    messages_per_second    so many messages it may send; those of SMALL_BYTES and more are not counted
    """

    close_code: int | None = None

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        framing: Framing,
        guests: Guests,
        messages_per_second: int,
    ) -> None:
        self.address = ""
        self.account: Account | None = ANYBODY  # nothing that is spoken over plain TCP carries tokens
        self.is_served = False
        self.messages_per_second = messages_per_second
        self._reader, self._writer = reader, writer
        self._framing, self._guests = framing, guests
        self._whole: list[bytes] = []  # messages that were read and not received yet, the newest first
        self._on_flood: Callable[[], None] = lambda: None
        self._flooded = self._ending = False
        self._messages, self._second_began = 0, 0.0
        self._client_ended = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """See Line."""
        return self.close_code is None and not self._writer.is_closing()

    @property
    def unread_bytes(self) -> int:
        """See Line."""
        return self._writer.transport.get_write_buffer_size()

    async def receive(self) -> bytes:
        """See Line. Once the last was said, what still comes is read and forgotten."""
        while self._ending or self._flooded or not self._whole:
            try:
                data = await self._reader.read(READ_BYTES)
            except OSError:
                data = b""
            if not data:
                self._client_ended.set()
                self._lost()
                raise Gone
            if not (self._ending or self._flooded):
                self._whole = self._framing.feed(data)[::-1]
        message = self._whole.pop()
        if self._is_one_too_many(message):
            self._flooded = True
            self.expect_end()
            self._on_flood()
            return await self.receive()
        return message

    async def transmit(self, message: str | bytes) -> None:
        """See Line."""
        if self._writer.is_closing():
            self._lost()
            raise Gone
        self._writer.write(message if isinstance(message, bytes) else message.encode())
        try:
            await self._writer.drain()
        except OSError:
            self._lost()
            raise Gone from None

    async def end(self, code: int, reason: str = "") -> None:
        """See Line. A client that is cut while it sends could lose the last words: it may end first, for a while."""
        if self.close_code is not None:
            raise Gone
        self.close_code = code
        self._ending = True
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._writer.drain()
            self._writer.write_eof()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._client_ended.wait(), LAST_SECONDS)
        self._writer.close()

    def abort(self) -> None:
        """See Line."""
        self._writer.transport.abort()

    def shrink_send_buffer(self) -> None:
        """See Line."""
        shrink_send_buffer(self._writer.transport)

    def admit(self, account: Account | None, message_bytes: int | None = None) -> None:
        """See Line."""
        self.account = account or self.account

    def when_flooded(self, act: Callable[[], None]) -> None:
        """See Line."""
        self._on_flood = act
        if self._flooded:
            act()

    def expect_end(self) -> None:
        """See Line. What still comes is not kept, and read for LAST_SECONDS only."""
        self._ending = True

    def _is_one_too_many(self, message: bytes) -> bool:
        if len(message) >= SMALL_BYTES:
            return False
        if (now := asyncio.get_running_loop().time()) - self._second_began >= 1:
            self._second_began, self._messages = now, 0
        self._messages += 1
        return self._messages > self.messages_per_second

    def _lost(self) -> None:
        self.close_code = 1006 if self.close_code is None else self.close_code


class TcpDoor:
    """A port where one protocol is spoken over plain TCP; see door.Door for the rest."""

    def __init__(self, name: str, host: str, port: int, speaks: type[Dialect], framing: Callable[[], Framing]) -> None:
        self.name, self.host, self.port = name, host, port
        self._speaks, self._framing = speaks, framing
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.Task[None]] = set()

    async def open(self, handle: Handle, guests: Guests, limits: Limits) -> None:
        """Listens. From then on `port` is the actual one. Raises ConfigError if that is not possible."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task
            self._open.add(task)
            line = TcpLine(reader, writer, self._framing(), guests, limits.messages_per_second)
            try:
                if guests.enter(line, canonical(str((writer.get_extra_info("peername") or ("",))[0]))):
                    line.is_served = True
                    await handle(line, self._speaks, Handshake(""))
            finally:
                guests.leave(line)
                line.abort()
                self._open.discard(task)

        async def listening(socket: Listener) -> None:
            self._servers.append(await asyncio.start_server(serve, sock=socket, limit=READ_BYTES))

        self.port = await listen(self.host, self.port, listening)

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return any(server.is_serving() for server in self._servers)

    def close(self) -> None:
        """Accepts nothing more; connections that are open go on."""
        for server in self._servers:
            server.close()

    async def wait_closed(self) -> None:
        """Waits until all its connections are closed."""
        if self._open:
            await asyncio.wait(self._open)
