"""The client library: audio goes in, messages come out, over one websocket.

async with Stream("ws://127.0.0.1:8765") as stream:
    stream.play(FileAudio("talk.opus"))
    async for message in stream:
        if isinstance(message, Final):
            print(message.text)
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar
from urllib.parse import urlsplit

import msgspec
import numpy as np
import numpy.typing as npt
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidProxy, InvalidStatus, InvalidURI
from websockets.protocol import State

from engine.errors import AudioError, ConfigError, EarshotError, ProtocolError
from server import wire
from server.wire import Done, Final, Ready, ServerMessage

T = TypeVar("T")
Audio: TypeAlias = bytes | npt.NDArray[np.int16]
"""Bytes in the encoding that `start` named, or int16 samples of shape (S,), interleaved (S, C) with more channels."""

READY_SECONDS = 30.0
CLOSE_SECONDS = 2.0
PONG_SECONDS = 120.0
"""A pong stands behind all audio that was sent and that the server, when it is behind, has not read yet."""
INBOX = 1024
"""Messages that may wait to be read; past that, partials and acks that a newer one replaces are dropped."""


class StreamError(EarshotError):
    """The server refused or ended the stream, or the connection to it was lost.

    `code` is the server's word for it, or one of ours: unreachable, timeout, lost, closed.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"


class Stream:
    """One stream to a server: `send` audio, iterate over what comes back, `stop`.

    url       `ws://HOST:PORT`; the path may be left out
    options   the fields of `server.wire.Start`: encoding, sample_rate, channels, partials, words, commit, ...

    Entering connects and waits until the stream is admitted; `ready` is what the server said then. Iterating yields
    Partial, Final, Ack and at last Done. Messages are received in the background, so sending without reading is safe.
    Raises ConfigError for an option or a URL that isn't one, StreamError for what goes wrong between here and there.
    """

    ready: Ready

    def __init__(self, url: str, **options: Any) -> None:
        self.url = complete(url)
        self.start = start(options)
        self._connection: ClientConnection | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._inbox: deque[ServerMessage] = deque()
        self._news = asyncio.Event()
        self._over = False
        self._failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        self._connection = await _connect(self.url)
        try:
            self._run(self._receive(self._connection))
            await self._send(wire.encode(self.start))
            async with asyncio.timeout(READY_SECONDS):
                first = await anext(self, None)
            if not isinstance(first, Ready):
                raise ProtocolError(f"{self.url} began with {first!r}; an Earshot server begins with `ready`")
            self.ready = first
        except TimeoutError:
            await self._close()
            raise StreamError("timeout", f"{self.url} did not admit the stream within {READY_SECONDS:.0f} s") from None
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def send(self, audio: Audio) -> None:
        """Sends audio, in as many messages as it takes; waits while the server has no room.

        Raises AudioError for an array that isn't int16.
        """
        data = memoryview(audio if isinstance(audio, bytes) else self._encode(audio))
        for first in range(0, len(data), wire.MESSAGE_BYTES):
            await self._send(bytes(data[first : first + wire.MESSAGE_BYTES]))

    async def flush(self) -> None:
        """Makes what was said so far final now. The server answers with an Ack, after a Final where there are words."""
        await self._send(wire.encode(wire.Flush()))

    async def keepalive(self) -> None:
        """Tells the server that a stream without audio is still wanted."""
        await self._send(wire.encode(wire.Keepalive()))

    async def stop(self) -> None:
        """Ends the audio: the last words come as finals, then Done, then the iteration ends."""
        await self._send(wire.encode(wire.Stop()))

    def play(self, audio: AsyncIterable[Audio]) -> None:
        """Sends all of `audio` in the background, then stops. What it raises is raised by the iteration."""
        self._run(self._play(audio))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServerMessage:
        while not self._inbox:
            if self._failure is not None:
                raise self._failure
            if self._over:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._inbox.popleft()

    def _encode(self, audio: npt.NDArray[np.int16]) -> bytes:
        if audio.dtype != np.int16 or self.start.encoding != "pcm_s16le":
            raise AudioError(
                f"an array of {audio.dtype} on a stream of {self.start.encoding}; arrays must be int16, "
                "and the encoding pcm_s16le: anything else is sent as bytes"
            )
        return audio.astype("<i2", copy=False).tobytes()

    async def _play(self, audio: AsyncIterable[Audio]) -> None:
        async with iterating(audio) as parts:
            async for part in parts:
                await self.send(part)
        await self.stop()

    async def _send(self, data: str | bytes) -> None:
        assert self._connection is not None, "a Stream is used with `async with`"
        try:
            await self._connection.send(data)
        except (ConnectionClosed, AttributeError):  # asyncio trips over a transport that was closed while it wrote
            if self._connection.state is not State.CLOSED:
                raise
            await asyncio.wait(self._tasks[:1])  # the receiver knows why
            raise self._failure or StreamError("closed", f"the stream to {self.url} is over") from None

    async def _receive(self, connection: ClientConnection) -> None:
        while not self._over:
            try:
                message = wire.decode_server(await connection.recv())
            except ConnectionClosed as e:
                raise StreamError("lost", f"the connection to {self.url} was lost: {e}") from None
            if isinstance(message, wire.Error):
                raise StreamError(message.code, message.message)
            self._over = isinstance(message, Done)
            if len(self._inbox) >= INBOX:
                self._inbox = deque(without_replaced(self._inbox))
            self._inbox.append(message)
            self._news.set()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._failure = self._failure or task.exception()
            self._news.set()

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connection is not None:
            try:
                with suppress(AttributeError):  # see _send
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await self._connection.close()
            except TimeoutError:  # a goodbye stands behind audio that the server doesn't read
                self._connection.transport.abort()


@asynccontextmanager
async def iterating(audio: AsyncIterable[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Iterates, and closes a generator when its reader is interrupted: a microphone is let go at once."""
    parts = aiter(audio)
    try:
        yield parts
    finally:
        if isinstance(parts, AsyncGenerator):
            await parts.aclose()


def start(options: dict[str, Any]) -> wire.Start:
    """Options -> the first message. Raises ConfigError, which names what is unknown or out of its range."""
    try:
        return msgspec.convert({"type": "start", **options}, wire.Start)
    except msgspec.ValidationError as e:
        raise ConfigError(f"stream options: {e}") from None


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


def without_replaced(messages: deque[ServerMessage]) -> list[ServerMessage]:
    """The messages in their order, but of all partials and acks the newest one only."""
    newest: dict[type[ServerMessage], ServerMessage] = {type(m): m for m in messages}
    return [m for m in messages if isinstance(m, Final) or newest[type(m)] is m]


async def _connect(url: str) -> ClientConnection:
    host = urlsplit(url).hostname or ""
    loopback = host in ("localhost", "::1") or host.startswith("127.")
    try:
        # Audio hardly compresses, and a proxy can't reach what listens on this machine only.
        return await connect(
            url,
            compression=None,
            proxy=None if loopback else True,
            ping_timeout=PONG_SECONDS,
            close_timeout=CLOSE_SECONDS / 2,
        )
    except TimeoutError:
        raise StreamError("timeout", f"no answer from {url}") from None
    except ConnectionRefusedError:
        raise StreamError("unreachable", f"no server at {url}: start one with `earshot serve`") from None
    except InvalidStatus as e:
        status = e.response.status_code
        advice = "it is not ready, try again in a moment" if status == 503 else "is that an Earshot server?"
        raise StreamError("unreachable", f"{url} answered with HTTP {status}: {advice}") from None
    except (InvalidHandshake, EOFError) as e:
        raise StreamError("unreachable", f"{url} does not speak websocket: {e}") from None
    except (InvalidURI, UnicodeError) as e:  # UnicodeError: no host can have such a name
        raise ConfigError(f"{url!r} is no address of a server: {e}") from None
    except (InvalidProxy, ImportError) as e:
        raise ConfigError(f"can't use the proxy that the environment names: {e}") from None
    except OSError as e:
        reason = e.strerror or str(e) or "the connection was closed; is it ws://, not wss://?"
        raise StreamError("unreachable", f"can't reach {url}: {reason}") from None
