"""One TCP connection: a handshake, then a page or a websocket. Bounds what the websockets library leaves unbounded."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidMessage
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Event, State
from websockets.server import ServerProtocol

from earshot_asr.server.accounts import Account
from earshot_asr.server.addresses import canonical
from earshot_asr.server.guests import Guests
from earshot_asr.server.line import Gone

LAST_BYTES = 1_000_000
LAST_SECONDS = 2.0
"""Who has been told the last is read for so long, and so much, so that it learns of it. Then it is disconnected."""
PAUSE_SECONDS = 1.0
"""Who has not taken the last by then is not read any more, and disconnected as soon as it has; we look so often."""
READ_BYTES = 16 * 1024
"""How much is read of one client at a time. The others wait while the frames in it, maybe tiny ones, are handled."""
SPARE_BYTES = 1024 * 1024
"""Messages that are too big by less than this the conversation refuses, with a reason; longer ones the library."""
SMALL_BYTES = 80
"""Messages of audio are small below this, which is 10 ms of telephone audio."""
KERNEL_BYTES = 64 * 1024
"""Size of the socket's send buffer in the kernel."""
END_OF_HEAD = b"\r\n\r\n"
NOT_UNDERSTOOD = (
    "this is no request that is understood here: GET or HEAD in HTTP/1.1, without a body; "
    "files are posted to --rest-port\n"
)


def shrink_send_buffer(transport: asyncio.BaseTransport) -> None:
    """Keeps little in the kernel, as outdated text in there can't be replaced by newer."""
    sock: socket.socket = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)


def read_little(transport: asyncio.BaseTransport) -> None:
    """Has asyncio's own transports, whose buffers are larger, read READ_BYTES at a time."""
    if secured := getattr(transport, "_ssl_protocol", None):
        secured.max_size = READ_BYTES
        secured._ssl_buffer = bytearray(READ_BYTES)
        secured._ssl_buffer_view = memoryview(secured._ssl_buffer)
    else:
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]


@contextmanager
def _raising_gone(visitor: "Visitor") -> Iterator[None]:
    """Raises Gone for ConnectionClosed, and where asyncio raises AttributeError: a transport was closed in a write."""
    try:
        yield
    except ConnectionClosed:
        raise Gone from None
    except AttributeError:
        if visitor.protocol.state is not State.CLOSED:
            raise
        raise Gone from None


class Visitor(ServerConnection):
    """What the websockets library makes of each TCP connection that it accepts.

    guests                 all of them
    messages_per_second    so many frames may come in a second; audio of SMALL_BYTES and more is not counted
    """

    def __init__(
        self,
        protocol: ServerProtocol,
        server: Server,
        *,
        guests: Guests,
        messages_per_second: int,
        **settings: Any,
    ) -> None:
        super().__init__(protocol, server, **settings)
        self.address = ""
        """Where the client is, in front of our own proxies."""
        self.account: Account | None = None
        """Whom its token stands for; None: that is not known yet."""
        self._on_flood: Callable[[], None] = lambda: None
        self._guests = guests
        self.messages_per_second = messages_per_second
        """So many it may send."""
        self._messages = 0  # in this second
        self._second_began = 0.0
        self._flooded = False
        self._head_end = b""  # the last bytes of the request so far, where its end may have begun
        self._behind_head: bytes | None = None  # what came behind a whole request; held until that is answered
        self._last_timer: asyncio.TimerHandle | None = None  # runs since the end is expected
        self._last_bytes = 0  # read since then
        self._last_was_said = False

    @property
    def is_served(self) -> bool:
        """Whether the handshake went well, and the connection is not closed yet."""
        return self.protocol.state in (State.OPEN, State.CLOSING)

    def admit(self, account: Account | None, message_bytes: int | None = None) -> None:
        """A handshake goes on for this account, with messages up to that size; None: what is known does not change."""
        if account is not None:
            self.account = account
            self.messages_per_second = account.messages_per_second or self.messages_per_second
        if message_bytes is not None:
            self.protocol.max_message_size = message_bytes + min(message_bytes, SPARE_BYTES)
            if message_bytes > SPARE_BYTES:
                self.recv_messages.high = self.recv_messages.low = 0  # one waits while another comes in

    def when_flooded(self, act: Callable[[], None]) -> None:
        """Calls `act` when more messages come than may, or now if they have come. Nothing more is taken in then."""
        self._on_flood = act
        if self._flooded:
            act()

    # ---- called by the connection, see Line

    @property
    def is_open(self) -> bool:
        """See Line."""
        return self.protocol.state is State.OPEN

    @property
    def unread_bytes(self) -> int:
        """See Line."""
        return self.transport.get_write_buffer_size()

    async def receive(self) -> str | bytes:
        """See Line."""
        with _raising_gone(self):
            return await self.recv()

    async def transmit(self, message: str | bytes) -> None:
        """See Line."""
        with _raising_gone(self):
            await self.send(message)

    async def end(self, code: int, reason: str = "") -> None:
        """See Line."""
        with _raising_gone(self):
            await self.close(code, reason)

    def abort(self) -> None:
        """See Line."""
        self.transport.abort()

    def shrink_send_buffer(self) -> None:
        """See Line."""
        shrink_send_buffer(self.transport)

    def expect_end(self) -> None:
        """The last was said, or will be: what is still read of the client is bounded. May be called several times."""
        if self._last_timer is None:
            self._cut_in(LAST_SECONDS)

    # ---- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ServerConnection."""
        super().connection_made(transport)
        read_little(transport)
        self._guests.knocked(transport.get_extra_info("socket").fileno())
        peer = canonical(str((self.remote_address or ("",))[0]))
        if not self._guests.enter(self, peer):
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ServerConnection."""
        self._guests.leave(self)
        if self._last_timer:
            self._last_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See ServerConnection. The library's parser never sees anything behind a request that is not answered yet."""
        if self._last_timer:
            self._last_bytes += len(data)
            if self._last_bytes > LAST_BYTES:
                self.transport.pause_reading()  # the timer runs on: who comes again at once gains nothing by it
                return
        if self._flooded:
            return
        if self._behind_head is not None:
            self._behind_head += data
            return
        if not self.is_served and not self._last_timer:
            data = self._up_to_end_of_head(data)
        super().data_received(data)

    # ---- called by the library

    def process_event(self, event: Event) -> None:
        """See ServerConnection."""
        if isinstance(event, Request) and not self._guests.identify(self, event.headers.get_all("X-Forwarded-For")):
            self.transport.abort()
            return
        if isinstance(event, Frame) and (self._flooded or self._is_one_too_many(event)):
            return
        super().process_event(event)

    def send_data(self) -> None:
        """See ServerConnection."""
        misread = isinstance(self.protocol.handshake_exc, InvalidMessage) and not self.protocol.reader.eof
        if misread and not self._last_timer:
            self.transport.write(self.respond(HTTPStatus.BAD_REQUEST, NOT_UNDERSTOOD).serialize())
        super().send_data()
        if self.protocol.close_expected() and not self._last_was_said:
            self._last_was_said = True
            self._cut_in(LAST_SECONDS)
        if self._behind_head is not None and (self.is_served or self._last_timer):
            self.loop.call_soon(self._go_on)

    # ----

    def _go_on(self) -> None:
        """The request is answered: takes what came behind it, if that may mean something, and reads on."""
        if (data := self._behind_head) is None:
            return
        self._behind_head = None
        self.transport.resume_reading()
        if data and self.protocol.state is State.OPEN:
            self.data_received(data)

    def _up_to_end_of_head(self, data: bytes) -> bytes:
        """Holds back what comes behind the end of the request's head, if that is in the data."""
        before = self._head_end
        at = (before + data).find(END_OF_HEAD)
        if at < 0:
            self._head_end = (before + data)[1 - len(END_OF_HEAD) :]
            return data
        end = at + len(END_OF_HEAD) - len(before)
        self._behind_head = data[end:]
        self.transport.pause_reading()
        return data[:end]

    def _is_one_too_many(self, frame: Frame) -> bool:
        if frame.opcode in (Opcode.BINARY, Opcode.CONT) and len(frame.data) >= SMALL_BYTES:
            return False
        if (now := self.loop.time()) - self._second_began >= 1:
            self._second_began, self._messages = now, 0
        self._messages += 1
        if self._messages <= self.messages_per_second:
            return False
        self._flooded = True
        self.expect_end()
        self.loop.call_soon(self._on_flood)  # what came before is taken in first
        return True

    def _cut(self) -> None:
        """Reads no more; disconnects the client as soon as it has been told the last."""
        self.transport.pause_reading()
        if self._last_was_said and not self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self._cut_in(PAUSE_SECONDS)

    def _cut_in(self, seconds: float) -> None:
        if self._last_timer:
            self._last_timer.cancel()
        self._last_timer = self.loop.call_later(seconds, self._cut)
