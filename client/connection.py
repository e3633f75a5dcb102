"""One connection to a server, from the handshake to the close, and what its failures are called."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
)
from websockets.protocol import State

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.errors import ConfigError, EarshotError, ProtocolError
from earshot_asr.server import wire
from earshot_asr.server.wire import ClientMessage, Ready, ServerMessage

FATAL_CLOSE_CODES = {1002, 1003, 1007, 1008, 1009, 1010}
"""Close codes that say what would be the same the next time."""
NO_CLOSE_FRAME_CODE = 1006
"""The close code of a line that was lost before a close frame came."""
TRANSIENT_ERROR_CODES = {"internal_error", "shutting_down", "full", "too_many_connections", "slow_reader", "idle"}
"""Errors of a server that may be gone the next time."""
BUSY_HTTP_STATUSES = {429, 502, 503, 504}
"""HTTP statuses of a server, or of a proxy before it, that may be better in a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long what is waited for, in seconds.

    connect     a handshake
    silence     a server that says nothing at all, though it was told something, is taken for dead
    keepalive   after so long without audio, a server is told that it is still wanted
    close       a goodbye
    first_wait, longest_wait    between attempts to connect again, see Backoff
    """

    connect: Seconds = 10.0
    silence: Seconds = 20.0
    keepalive: Seconds = 10.0
    close: Seconds = 2.0
    first_wait: Seconds = 0.1
    longest_wait: Seconds = 5.0


class StreamError(EarshotError):
    """The server refused or ended the stream, or the connection to it was lost.

    code        the server's word for it, or one of ours: unreachable, timeout, lost, closed
    transient   it may be better in a moment, or on another server
    """

    def __init__(self, code: str, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.transient = transient

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"


class StreamConnection:
    """An open connection. Made by `dial`, which sets `ready`: what the server said when it admitted the stream."""

    ready: Ready

    def __init__(self, url: str, connection: ClientConnection, timeouts: Timeouts) -> None:
        self.url = url
        self._connection = connection
        self._timeouts = timeouts
        self._silence: asyncio.TimerHandle | None = None  # runs from what was said first after what was heard last
        self._dead = self._stopped = False

    async def say(self, message: bytes | ClientMessage) -> None:
        """Sends a message; waits while the server doesn't read. Raises StreamError: `hear` knows the reason."""
        self._expect()
        self._stopped = self._stopped or isinstance(message, wire.Stop)
        try:
            await self._connection.send(message if isinstance(message, bytes) else wire.encode(message))
        except (ConnectionClosed, AttributeError):  # asyncio trips over a transport that was closed while it wrote
            if self._connection.state is not State.CLOSED:
                raise
            raise StreamError("lost", f"the connection to {self.url} was lost", transient=True) from None

    async def hear(self) -> ServerMessage:
        """The next message. Raises StreamError when there is none any more, ProtocolError for what is no message."""
        try:
            message = wire.decode_server(await self._connection.recv())
        except ConnectionClosed as e:
            raise self._lost(e) from None
        self._heard()
        if isinstance(message, wire.Error):
            code = await self._close_code()
            transient = (
                code not in FATAL_CLOSE_CODES
                if code not in (None, NO_CLOSE_FRAME_CODE)
                else message.code in TRANSIENT_ERROR_CODES
            )
            raise StreamError(message.code, message.message, transient=transient)
        if self._stopped and not isinstance(message, wire.Done):  # nothing more is said, but something is owed
            self._expect()
        return message

    async def close(self) -> None:
        """Says goodbye, but does not wait for long."""
        self._heard()
        try:
            with suppress(AttributeError):  # see say
                async with asyncio.timeout(self._timeouts.close):
                    await self._connection.close()
        except TimeoutError:  # a goodbye stands behind audio that the server doesn't read
            self.abort()

    def abort(self) -> None:
        """Cuts the line."""
        self._heard()
        self._connection.transport.abort()

    def _expect(self) -> None:
        if self._silence is None:
            self._silence = asyncio.get_running_loop().call_later(self._timeouts.silence, self._give_up)

    def _heard(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _give_up(self) -> None:
        self._dead = True
        self.abort()

    def _lost(self, closed: ConnectionClosed) -> StreamError:
        self._heard()
        if self._dead:
            silence = f"{self.url} has said nothing for {self._timeouts.silence:g} s"
            return StreamError("timeout", silence, transient=True)
        transient = self._connection.close_code not in FATAL_CLOSE_CODES
        return StreamError("lost", f"the connection to {self.url} was lost: {closed}", transient=transient)

    async def _close_code(self) -> int | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeouts.close):
                await self._connection.wait_closed()
        return self._connection.close_code


async def dial(url: str, start: wire.Start, timeouts: Timeouts) -> StreamConnection:
    """Connects, and waits until the stream is admitted. Raises StreamError, and ConfigError for what is no URL."""
    line = StreamConnection(url, await _connect(url, timeouts), timeouts)
    try:
        with suppress(StreamError):  # hear tells why
            await line.say(start)
        first = await line.hear()
        if not isinstance(first, Ready):
            raise ProtocolError(f"{url} began with {first!r}; an Earshot server begins with `ready`")
    except BaseException:
        line.abort()
        raise
    line.ready = first
    return line


def complete(url: str) -> str:
    """A server's address with the path of the protocol, where it has none. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ConfigError(f"{url!r} is no address of a server; one looks like ws://127.0.0.1:8765")
    return url if parts.path.strip("/") else parts._replace(path=wire.PATH).geturl()


async def _connect(url: str, timeouts: Timeouts) -> ClientConnection:
    host = urlsplit(url).hostname or ""
    loopback = host in ("localhost", "::1") or host.startswith("127.")
    try:
        # Audio hardly compresses; a proxy can't reach what listens on this machine only; and a pong would wait behind
        # audio that the server, when it is behind, has not read yet: whether it lives, its acks tell.
        return await connect(
            url,
            compression=None,
            proxy=None if loopback else True,
            open_timeout=timeouts.connect,
            ping_interval=None,
            close_timeout=timeouts.close / 2,
        )
    except TimeoutError:
        raise StreamError("timeout", f"no answer from {url}", transient=True) from None
    except ConnectionRefusedError:
        hint = f"no server at {url}: start one with `earshot serve`"
        raise StreamError("unreachable", hint, transient=True) from None
    except InvalidStatus as e:
        status = e.response.status_code
        advice = (
            "it is not ready, try again in a moment" if status in BUSY_HTTP_STATUSES else "is that an Earshot server?"
        )
        said = f"{url} answered with HTTP {status}: {advice}"
        raise StreamError("unreachable", said, transient=status in BUSY_HTTP_STATUSES) from None
    except (InvalidHandshake, EOFError) as e:
        cut_short = isinstance(e, InvalidMessage | EOFError)
        raise StreamError("unreachable", f"{url} does not speak websocket: {e}", transient=cut_short) from None
    except (InvalidURI, UnicodeError) as e:  # UnicodeError: no host can have such a name
        raise ConfigError(f"{url!r} is no address of a server: {e}") from None
    except (InvalidProxy, ImportError) as e:
        raise ConfigError(f"can't use the proxy that the environment names: {e}") from None
    except OSError as e:
        reason = e.strerror or str(e) or "the connection was closed; is it ws://, not wss://?"
        raise StreamError("unreachable", f"can't reach {url}: {reason}", transient=True) from None
