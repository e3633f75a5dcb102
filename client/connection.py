"""One websocket connection of a stream, from the handshake to the close, and the errors that it raises."""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
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
from earshot_asr.engine.text import printable
from earshot_asr.server import wire
from earshot_asr.server.wire import Ack, ClientMessage, Ready, ServerMessage

FATAL_CLOSE_CODES = {1002, 1003, 1007, 1008, 1009, 1010}
"""Websocket close codes after which a new attempt would fail the same way."""
NO_CLOSE_FRAME_CODE = 1006
"""The websocket close code of a connection that was lost without a close frame."""
TRANSIENT_ERROR_CODES = {
    "internal_error",
    "shutting_down",
    "full",
    "language_unavailable",
    "too_many_connections",
    "too_many_streams",
    "channel_taken",
    "slow_reader",
    "idle",
    "silent",
}
"""Codes of `error` messages after which a new attempt may succeed."""
BUSY_HTTP_STATUSES = {429, 502, 503, 504}
"""HTTP statuses of a server or proxy after which a new attempt may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Timeouts of a connection, in seconds.

    connect     for the handshake
    silence     for any message from the server after the client sent one; then the connection counts as lost
    keepalive   without audio to send, after which a keepalive message is sent
    close       for the closing handshake
    first_wait, longest_wait    between attempts to reconnect, see Backoff
    """

    connect: Seconds = 10.0
    silence: Seconds = 20.0
    keepalive: Seconds = 10.0
    close: Seconds = 2.0
    first_wait: Seconds = 0.1
    longest_wait: Seconds = 5.0


@dataclass(frozen=True, slots=True)
class Access:
    """What a server may want to see, and how it is known to be the right one.

    token      of the server's token file; None: it needs none
    ca_file    certificates (PEM) that are trusted, as that of a server that signed its own; None: the system's
    """

    token: str | None = None
    ca_file: str | Path | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the handshake."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    @property
    def context(self) -> ssl.SSLContext:
        """What checks the server's certificate. Raises ConfigError if `ca_file` can't be used."""
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as e:
            why = "it holds no certificate in PEM format" if isinstance(e, ssl.SSLError) else e.strerror
            raise ConfigError(f"can't use the certificates in {self.ca_file}: {why}") from None


LONGEST_MESSAGE = 300
"""Characters of a message from a server that are kept."""


class StreamError(EarshotError):
    """The server refused or ended the stream, or the connection was lost.

    code        the code of the server's `error` message; or unreachable, timeout, lost, closed, after_stop
    transient   a new attempt, or another server, may succeed

    Text from the server is stripped of control characters, which could control a terminal, and cut off.
    """

    def __init__(self, code: str, message: str, *, transient: bool = False) -> None:
        self.code = printable(code, LONGEST_MESSAGE)
        self.message = printable(message, LONGEST_MESSAGE)
        super().__init__(self.message)
        self.transient = transient

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"


class StreamConnection:
    """An open connection. Made by `open_connection`, which sets `ready`, the server's first message."""

    ready: Ready

    def __init__(self, url: str, connection: ClientConnection, timeouts: Timeouts) -> None:
        self.url = url
        self._connection = connection
        self._timeouts = timeouts
        self._silence_timer: asyncio.TimerHandle | None = None  # runs while an answer is expected
        self._timed_out = self._admitted = self._stopped = False

    async def send(self, message: bytes | ClientMessage) -> None:
        """Sends a message; waits while the server doesn't read.

        Raises StreamError if the connection is lost; `receive` then raises one that names the reason.
        """
        self._start_silence_timer()
        self._stopped = self._stopped or isinstance(message, wire.Stop)
        try:
            await self._connection.send(message if isinstance(message, bytes) else wire.encode(message))
        except (ConnectionClosed, AttributeError):  # asyncio raises AttributeError if the transport closes meanwhile
            if self._connection.state is not State.CLOSED:
                raise
            raise StreamError("lost", f"the connection to {self.url} was lost", transient=True) from None

    async def receive(self) -> ServerMessage:
        """Returns the next message. Raises StreamError at an `error` message and when the connection has ended,
        ProtocolError for an invalid message.
        """
        try:
            message = wire.decode_server(await self._connection.recv())
        except ConnectionClosed as e:
            raise self._lost(e) from None
        self._stop_silence_timer()
        if isinstance(message, wire.Error):
            code = await self._close_code()
            if code in (None, NO_CLOSE_FRAME_CODE):
                transient = message.code in TRANSIENT_ERROR_CODES
            else:
                transient = code not in FATAL_CLOSE_CODES
            raise StreamError(message.code, message.message, transient=transient)
        self._admitted = self._admitted or isinstance(message, Ready)
        if (self._stopped or not self._admitted) and not isinstance(message, wire.Done):
            self._start_silence_timer()  # more messages must come without being asked for
        return message

    async def close(self) -> None:
        """Closes the connection; aborts it if the server doesn't answer within `timeouts.close`."""
        self._stop_silence_timer()
        try:
            with suppress(AttributeError):  # see send
                async with asyncio.timeout(self._timeouts.close):
                    await self._connection.close()
        except TimeoutError:  # the close frame is queued behind audio that the server doesn't read
            self.abort()

    def abort(self) -> None:
        """Closes the socket at once, without a closing handshake."""
        self._stop_silence_timer()
        self._connection.transport.abort()

    def _start_silence_timer(self) -> None:
        if self._silence_timer is None:
            self._silence_timer = asyncio.get_running_loop().call_later(self._timeouts.silence, self._time_out)

    def _stop_silence_timer(self) -> None:
        if self._silence_timer is not None:
            self._silence_timer.cancel()
            self._silence_timer = None

    def _time_out(self) -> None:
        self._timed_out = True
        self.abort()

    def _lost(self, closed: ConnectionClosed) -> StreamError:
        self._stop_silence_timer()
        if self._timed_out:
            text = f"{self.url} has sent nothing for {self._timeouts.silence:g} s"
            return StreamError("timeout", text, transient=True)
        transient = self._connection.close_code not in FATAL_CLOSE_CODES
        return StreamError("lost", f"the connection to {self.url} was lost: {closed}", transient=transient)

    async def _close_code(self) -> int | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeouts.close):
                await self._connection.wait_closed()
        return self._connection.close_code


async def open_connection(
    url: str, start: wire.Start, timeouts: Timeouts, access: Access = Access()
) -> StreamConnection:
    """Connects, sends `start` and waits for `ready`. Raises StreamError, and ConfigError for an invalid URL.

    While a server loads the language that `start` names, it sends acks.
    """
    connection = StreamConnection(url, await _connect(url, timeouts, access), timeouts)
    try:
        with suppress(StreamError):  # receive raises one that names the reason
            await connection.send(start)
        while isinstance(first := await connection.receive(), Ack):
            pass
        if not isinstance(first, Ready):
            raise ProtocolError(f"the first message from {url} is {first!r}; an Earshot server sends `ready`")
    except BaseException:
        connection.abort()
        raise
    connection.ready = first
    return connection


def with_default_path(url: str) -> str:
    """Adds the protocol's path to a URL that has none. Raises ConfigError for an invalid URL."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ConfigError(f"{url!r} is not the URL of a server; one looks like ws://127.0.0.1:8765")
    return url if parts.path.strip("/") else parts._replace(path=wire.PATH).geturl()


async def _connect(url: str, timeouts: Timeouts, access: Access) -> ClientConnection:
    host = urlsplit(url).hostname or ""
    loopback = host in ("localhost", "::1") or host.startswith("127.")
    try:
        # No compression: audio hardly compresses. No proxy for this machine: it could not reach a loopback address.
        # No pings: a pong would wait behind audio that a busy server has not read yet; acks show that it is alive.
        return await connect(
            url,
            additional_headers=access.headers,
            ssl=access.context if url.startswith("wss:") else None,
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
        if status == HTTPStatus.UNAUTHORIZED:
            why = "does not know this token" if access.token else "wants a token: --token, or EARSHOT_TOKEN"
            raise StreamError("unauthorized", f"{url} {why}") from None
        busy = status in BUSY_HTTP_STATUSES
        advice = "it is not ready, try again in a moment" if busy else "is that an Earshot server?"
        raise StreamError("unreachable", f"{url} answered with HTTP {status}: {advice}", transient=busy) from None
    except (InvalidHandshake, EOFError) as e:
        cut_short = isinstance(e, InvalidMessage | EOFError)
        hint = "" if url.startswith("wss:") else "; is it wss://?"
        raise StreamError("unreachable", f"{url} does not speak websocket: {e}{hint}", transient=cut_short) from None
    except (InvalidURI, UnicodeError) as e:  # UnicodeError: an invalid host name
        raise ConfigError(f"{url!r} is not the URL of a server: {e}") from None
    except (InvalidProxy, ImportError) as e:
        raise ConfigError(f"can't use the proxy from the environment variables: {e}") from None
    except ssl.SSLCertVerificationError as e:
        why = e.verify_message.rstrip(".")
        hint = f"the certificate of {url} is not trusted: {why}; --tls-ca names a file of certificates that are"
        raise StreamError("untrusted", hint) from None
    except OSError as e:
        reason = e.strerror or str(e) or "the connection was closed; is it ws://, not wss://?"
        raise StreamError("unreachable", f"can't reach {url}: {reason}", transient=True) from None
