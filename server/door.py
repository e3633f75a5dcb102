"""A port of the server for websockets and pages: listens there, and hands on the websockets that are opened."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from websockets.asyncio import server as websockets
from websockets.typing import Subprotocol

from earshot_asr.server.channels import Channels
from earshot_asr.server.connection import CLOSE_SECONDS
from earshot_asr.server.dialects.dialect import Dialect
from earshot_asr.server.dialects.native import Native
from earshot_asr.server.guests import Guests
from earshot_asr.server.handshake import Handshake
from earshot_asr.server.http import Router
from earshot_asr.server.line import Line
from earshot_asr.server.listener import Listener, listen
from earshot_asr.server.settings import Limits
from earshot_asr.server.tls import Certificate
from earshot_asr.server.visitor import Visitor

Handle = Callable[[Line, type[Dialect], Handshake], Awaitable[None]]
"""Serves a client, in the dialect that it speaks, until it has gone."""


class Port(Protocol):
    """What the server needs of each of its ports, whatever is spoken there; see Door."""

    name: str
    port: int

    @property
    def is_open(self) -> bool: ...
    async def open(self, handle: Handle, guests: Guests, limits: Limits) -> None: ...
    def close(self) -> None: ...
    async def wait_closed(self) -> None: ...


class Door:
    """A port, at all addresses of a host.

    name           of the setting that says the port, for messages
    port           0: any that is free
    router         what is to be found there
    certificate    None: no TLS
    channels       that may be watched here; None: none
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        router: Router,
        certificate: Certificate | None,
        channels: Channels | None = None,
    ) -> None:
        self.name, self.host, self.port = name, host, port
        self._router = router
        self._certificate, self._channels = certificate, channels
        self._servers: list[websockets.Server] = []

    async def open(self, handle: Handle, guests: Guests, limits: Limits) -> None:
        """Listens. From then on `port` is the actual one. Raises ConfigError if that is not possible."""

        async def serve(socket: Listener) -> None:
            self._servers.append(await self._serve(socket, handle, guests, limits))

        self.port = await listen(self.host, self.port, serve)

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return any(server.is_serving() for server in self._servers)

    def close(self) -> None:
        """Accepts nothing more; websockets that are open go on."""
        for server in self._servers:
            server.close(close_connections=False)

    async def wait_closed(self) -> None:
        """Waits until it is closed, and all its websockets are."""
        await asyncio.gather(*(server.wait_closed() for server in self._servers))

    async def _serve(self, socket: Listener, handle: Handle, guests: Guests, limits: Limits) -> websockets.Server:
        secured = self._certificate is not None
        if secured:
            socket.ask(guests.knock, guests.knocked)

        async def serve(websocket: websockets.ServerConnection) -> None:
            assert isinstance(websocket, Visitor)
            assert websocket.request
            handshake = Handshake.of(websocket.request.path, websocket.request.headers.raw_items())
            if speaks := self._router.dialect(handshake):
                await handle(websocket, speaks, handshake)
            elif (channel := self._router.watched(handshake)) and self._channels:
                guests.release(websocket)
                await self._channels.watch(channel, websocket)

        return await websockets.serve(
            serve,
            sock=socket,
            create_connection=partial(  # type: ignore[arg-type]  # "a wrapper or a subclass", says its documentation
                Visitor, guests=guests, messages_per_second=limits.messages_per_second
            ),
            process_request=self._router,
            select_subprotocol=self._subprotocol,
            server_header=None,
            compression=None,  # audio doesn't get smaller
            max_size=2 * limits.message_bytes,  # what is up to twice too big the conversation refuses, with a reason
            max_queue=4,
            open_timeout=limits.handshake_seconds,
            ping_timeout=None,  # pongs come after audio, which is not read while the engine is behind
            close_timeout=CLOSE_SECONDS,
            ssl=self._certificate.context if self._certificate else None,
            ssl_handshake_timeout=limits.handshake_seconds if secured else None,
        )

    def _subprotocol(self, websocket: websockets.ServerConnection, offered: object) -> Subprotocol | None:
        assert websocket.request
        handshake = Handshake.of(websocket.request.path, websocket.request.headers.raw_items())
        dialect = self._router.dialect(handshake)
        if self._router.watched(handshake):
            dialect = Native
        spoken = dialect.subprotocol(handshake) if dialect else None
        return Subprotocol(spoken) if spoken else None
