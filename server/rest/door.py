"""The port of the REST API."""

import asyncio
from typing import Any

from aiohttp import web

from earshot_asr.server.door import Handle
from earshot_asr.server.guests import Guests
from earshot_asr.server.listener import Listener, listen
from earshot_asr.server.rest.api import Api
from earshot_asr.server.rest.visitor import RestVisitor
from earshot_asr.server.settings import Limits
from earshot_asr.server.tls import Certificate

KEEPALIVE_SECONDS = 30.0
"""So long a connection stays open between two requests."""
LAST_SECONDS = 2.0
"""So long a client that has its answer may still send its recording."""


class RestDoor:
    """A port for the REST API; see door.Door for the rest."""

    def __init__(self, name: str, host: str, port: int, api: Api, certificate: Certificate | None) -> None:
        self.name, self.host, self.port = name, host, port
        self._api, self._certificate = api, certificate
        self._servers: list[asyncio.Server] = []
        self._runner: web.AppRunner | None = None

    async def open(self, handle: Handle, guests: Guests, limits: Limits) -> None:
        """See door.Door."""
        self._runner = web.AppRunner(self._api.application, handler_cancellation=True, access_log=None)
        await self._runner.setup()
        loop, server, patience = asyncio.get_running_loop(), self._runner.server, limits.handshake_seconds

        def visitor() -> RestVisitor:
            assert server
            return RestVisitor(
                server,
                loop=loop,
                guests=guests,
                patience=patience,
                access_log=None,
                keepalive_timeout=KEEPALIVE_SECONDS,
                lingering_time=LAST_SECONDS,
            )

        async def serve(socket: Listener) -> None:
            security: dict[str, Any] = {}
            if self._certificate:
                socket.ask(guests.knock, guests.knocked)
                security = {"ssl": self._certificate.context, "ssl_handshake_timeout": patience}
            self._servers.append(await loop.create_server(visitor, sock=socket, **security))

        self.port = await listen(self.host, self.port, serve)

    @property
    def is_open(self) -> bool:
        """See door.Door."""
        return any(server.is_serving() for server in self._servers)

    def close(self) -> None:
        """See door.Door."""
        for server in self._servers:
            server.close()

    async def wait_closed(self) -> None:
        """Ends what is being answered."""
        if self._runner:
            if self._runner.server:
                await self._runner.server.shutdown(0)
            await self._runner.cleanup()
