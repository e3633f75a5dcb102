"""One TCP connection to the REST API: counted like all others, and given up if it says nothing."""

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from earshot_asr.engine.audio import Seconds
from earshot_asr.server.accounts import Account
from earshot_asr.server.addresses import canonical
from earshot_asr.server.guests import Guests
from earshot_asr.server.rest.errors import ApiError

UNREAD_SECONDS = 60.0
"""A client that reads nothing of an answer for so long is disconnected."""


class RestVisitor(RequestHandler):
    """What aiohttp makes of each TCP connection; see Guest.

    patience    so long the head of the first request may take
    """

    is_served = False

    def __init__(self, *arguments: Any, guests: Guests, patience: Seconds, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.address = ""
        self.account: Account | None = None
        """Whom the token of its last request stands for."""
        self._guests, self._patience = guests, patience
        self._peer = ""  # who has connected: the client, or a proxy of ours
        self._silence: asyncio.TimerHandle | None = None  # runs until the first request is there
        self._unread: asyncio.TimerHandle | None = None  # runs while the client does not read

    @property
    def account_name(self) -> str:
        """For the log."""
        return (self.account.name or "-") if self.account else "?"

    def abort(self) -> None:
        """See Guest."""
        if self.transport:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See RequestHandler."""
        super().connection_made(transport)
        self._guests.knocked(transport.get_extra_info("socket").fileno())
        self._peer = canonical(str((transport.get_extra_info("peername") or ("",))[0]))
        if not self._guests.enter(self, self._peer):
            self.abort()
        self._silence = asyncio.get_running_loop().call_later(self._patience, self.abort)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See RequestHandler."""
        self._guests.leave(self)
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See asyncio.Protocol: much of an answer waits for the client."""
        super().pause_writing()
        self._watch(2**63)

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        super().resume_writing()
        self._stop_watching()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """See RequestHandler. What is no request is answered, but neither shown nor logged: a token may be in it."""
        if status >= 500 or request.writer.output_size:
            return super().handle_error(request, status, exc, message)
        response = ApiError(status, "this is no request in HTTP that is understood here").response
        response.headers["Server"] = "earshot"
        response.force_close()
        return response

    def request_came(self, forwarded: list[str]) -> bool:
        """The head of a request is there, with these X-Forwarded-For; whether there is room for its client.

        A proxy may send the requests of several clients through one connection.
        """
        self._stop_waiting()
        self._guests.release(self)
        self.address = self._peer
        return self._guests.identify(self, forwarded)

    def _stop_waiting(self) -> None:
        if self._silence:
            self._silence.cancel()
            self._silence = None

    def _watch(self, waited_bytes: int) -> None:
        """Sees from time to time whether less waits for the client than before."""
        assert self.transport
        if (waiting := self.transport.get_write_buffer_size()) >= waited_bytes:
            self.abort()
            return
        self._unread = asyncio.get_running_loop().call_later(UNREAD_SECONDS, self._watch, waiting)

    def _stop_watching(self) -> None:
        if self._unread:
            self._unread.cancel()
            self._unread = None
