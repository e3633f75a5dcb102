"""The client library: sends audio to a server and yields its messages; reconnects if the connection is lost.

async with ClientStream("ws://127.0.0.1:8765") as stream:
    stream.play(FileAudio("talk.opus"))
    async for message in stream:
        if isinstance(message, FinalMessage):
            print(message.text)
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from earshot_asr.client.backoff import Backoff
from earshot_asr.client.connection import (
    Access,
    StreamConnection,
    StreamError,
    Timeouts,
    open_connection,
    with_default_path,
)
from earshot_asr.client.continuity import Continuity
from earshot_asr.client.inbox import Inbox
from earshot_asr.client.replay import Replay
from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.errors import AudioError, ConfigError
from earshot_asr.server import wire
from earshot_asr.server.wire import Ack, Done, FinalMessage, PartialMessage, Ready, ServerMessage

__all__ = [
    "Ack",
    "ClientStream",
    "Connected",
    "Done",
    "FinalMessage",
    "Message",
    "PartialMessage",
    "Ready",
    "Reconnecting",
    "Resumed",
    "StreamError",
    "Timeouts",
    "Waiting",
]

T = TypeVar("T")
AudioChunk: TypeAlias = bytes | npt.NDArray[np.int16]
"""Bytes in the encoding of the stream, or int16 samples of shape (S,), or (S, C) with several channels."""

DEFAULT_TIMEOUTS = Timeouts()
RETRY_SECONDS = 300.0
KEEP_SECONDS = 300.0
"""300 s of 16 kHz PCM are 9.6 MB."""
MAX_UNSENT_SECONDS = 10.0
"""Maximum amount of audio that waits to be sent while there is a connection, so that Ctrl-C takes effect soon."""
MIN_KEEP_SECONDS = 60.0
"""Minimum of `keep`: room for the longest utterance, its context, and the audio that a server reads ahead."""


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection is lost, and attempt number `attempt` to reconnect follows.

    reason   a few words for the user
    kept     seconds of audio that have no final text yet and are kept to be sent again
    """

    attempt: int
    reason: str
    kept: Seconds


@dataclass(frozen=True, slots=True)
class Waiting:
    """No server has admitted the stream yet, and attempt number `attempt` follows.

    reason   a sentence for the user
    kept     seconds of audio that wait to be sent
    """

    attempt: int
    reason: str
    kept: Seconds


@dataclass(frozen=True, slots=True)
class Connected:
    """A server has admitted the stream, for which it had to wait."""

    url: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """The stream goes on over a new connection to `url`. `replayed`: seconds of audio that are sent again."""

    url: str
    replayed: Seconds


Message: TypeAlias = ServerMessage | Waiting | Connected | Reconnecting | Resumed


class ClientStream:
    """A stream to a server: `send` audio, iterate over the messages, `stop`.

    url        `ws://HOST:PORT`, with or without a path. If there are several, the next one is tried when one fails
    retry      seconds to try to connect, at the start and after the connection is lost; 0: there is one attempt, and
               the stream ends with its connection
    keep       maximum amount of audio that waits to be sent or for its final text, in seconds of 16 kHz PCM; beyond
               that `send` waits
    wait       whether entering the context waits for the server; otherwise audio may be sent before it is there
    timeouts   see Timeouts
    token      of the server's token file; None: it needs none
    ca_file    certificates (PEM) that are trusted for wss://, as that of a server that signed its own; None: the
               system's
    options    fields of `server.wire.Start`: encoding, sample_rate, channels, partials, words, commit, endpoint_ms, ...

    Entering the context connects and waits until the server admits the stream; `ready` is its first message. Iterating
    yields PartialMessage, FinalMessage, Ack and, at the end, Done. Messages are received in the background, so it is
    safe to send without reading. If there is no server yet, the reader sees a Waiting for each attempt, then Connected.

    If the connection is lost or the server goes down, the stream moves to a new connection: audio without a final text
    is sent again, and no final is lost or repeated. The reader sees a Reconnecting for each attempt, then a Resumed.
    This needs 16 kHz mono PCM; with any other encoding the stream ends with its connection.

    Raises ConfigError for an invalid option or URL. Raises StreamError if the stream fails: with code `lost` when
    `retry` seconds are over; at once if the server refuses it, or runs another model or configuration than before. What
    is wrong at the start is raised when the context is entered, or else by the iteration.
    """

    ready: Ready

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        retry: Seconds = RETRY_SECONDS,
        keep: Seconds = KEEP_SECONDS,
        wait: bool = True,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        token: str | None = None,
        ca_file: str | Path | None = None,
        **options: Any,
    ) -> None:
        self.urls = [with_default_path(each) for each in ([url] if isinstance(url, str) else url)]
        self.start = start(options)
        if not self.urls:
            raise ConfigError("no URL of a server; one looks like ws://127.0.0.1:8765")
        if not retry >= 0:
            raise ConfigError(f"retry is {retry} s; it must be 0 (do not reconnect) or more")
        if not keep >= MIN_KEEP_SECONDS:
            raise ConfigError(f"keep is {keep} s; it must be at least {MIN_KEEP_SECONDS:.0f} s")
        self._keep, self._wait, self._timeouts = keep, wait, timeouts
        self._access = Access(token, ca_file)
        self._backoff = Backoff(retry, timeouts.first_wait, timeouts.longest_wait)
        self._connection: StreamConnection | None = None
        self._connected = False
        self._begun = asyncio.Event()  # a server has admitted the stream, or it is over already
        self._tasks: set[asyncio.Task[None]] = set()
        self._inbox: Inbox[Message] = Inbox()
        self._continuity = Continuity()
        self._replay: Replay | None = None
        self._work = asyncio.Event()  # there is something to send
        self._room = asyncio.Event()  # the send buffer has room, or the stream is over

    async def __aenter__(self) -> Self:
        self._replay = Replay(None, self._keep)
        self._run(self._serve(self._replay))
        try:
            if self._wait:
                await self._begun.wait()
                if self._inbox.failure is not None:
                    raise self._inbox.failure
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    async def _leave(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()

    @property
    def admitted(self) -> bool:
        """Whether a server has admitted the stream."""
        return self._connection is not None

    @property
    def url(self) -> str:
        """The URL of the current connection, or of the last one."""
        return self._connection.url if self._connection is not None else self.urls[0]

    async def send(self, audio: AudioChunk) -> None:
        """Queues audio to be sent in the background; waits while the queue is full.

        Raises AudioError for an array that isn't int16, and StreamError when the stream is over.
        """
        data = memoryview(audio if isinstance(audio, bytes) else self._encode(audio))
        for first in range(0, len(data), wire.MESSAGE_BYTES):
            (await self._buffer_with_room()).audio(data[first : first + wire.MESSAGE_BYTES])
            self._work.set()

    async def flush(self) -> None:
        """Makes all text so far final. The server answers with a FinalMessage, if there are words, and an Ack."""
        (await self._buffer_with_room()).flush()
        self._work.set()

    async def stop(self) -> None:
        """Ends the audio. The remaining finals and Done follow, then the iteration ends."""
        (await self._buffer()).stop()
        self._work.set()

    def play(self, audio: AsyncIterable[AudioChunk]) -> None:
        """Sends all of `audio` in the background, then stops. Its exceptions are raised by the iteration."""
        self._run(self._play(audio))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        return await self._inbox.get()

    # ---- sending

    def _encode(self, audio: npt.NDArray[np.int16]) -> bytes:
        if audio.dtype != np.int16 or self.start.encoding != "pcm_s16le":
            raise AudioError(
                f"can't send an array of {audio.dtype} on a stream of {self.start.encoding}: arrays must be int16 and "
                "the encoding pcm_s16le; send anything else as bytes"
            )
        return audio.astype("<i2", copy=False).tobytes()

    async def _buffer(self) -> Replay:
        """The send buffer. If the stream is over, raises StreamError or the exception that ended it."""
        assert self._replay is not None, "a ClientStream is used with `async with`"
        await asyncio.sleep(0)  # lets the sending task run, however fast the caller adds audio
        if self._inbox.closed:
            raise self._inbox.failure or StreamError("closed", f"the stream to {self.url} is over")
        if self._replay.stopped:
            raise StreamError("after_stop", "nothing may follow stop")
        return self._replay

    async def _buffer_with_room(self) -> Replay:
        """Waits until the send buffer has room. Raises what `_buffer` raises."""
        replay = await self._buffer()
        while replay.full or (self._connected and replay.waiting > MAX_UNSENT_SECONDS):
            self._room.clear()
            await self._room.wait()
            replay = await self._buffer()
        return replay

    async def _play(self, audio: AsyncIterable[AudioChunk]) -> None:
        async with iterating(audio) as parts:
            async for part in parts:
                await self.send(part)
        await self.stop()

    async def _send(self, connection: StreamConnection, replay: Replay) -> None:
        """Sends the messages of the send buffer up to `stop` over one connection, and keepalives in between."""
        message: bytes | wire.ClientMessage | None = None
        with suppress(StreamError):  # the connection is lost: _exchange gets the reason
            while not isinstance(message, wire.Stop):
                self._work.clear()
                if (message := replay.take()) is None:
                    try:
                        async with asyncio.timeout(self._timeouts.keepalive):
                            await self._work.wait()
                        continue
                    except TimeoutError:
                        message = wire.Keepalive()
                self._room.set()
                await connection.send(message)

    # ---- receiving

    async def _serve(self, replay: Replay) -> None:
        """Runs the stream to its end, over as many connections as it takes."""
        connection = self._connection = await self._connect(replay)
        self.ready = connection.ready
        if self.ready.resumable and self._backoff.limit > 0:
            replay.context = self.ready.context
        self._connected = True
        self._begun.set()
        while True:
            try:
                await self._exchange(connection, replay)
                break
            except StreamError as e:
                if not (replay.resumable and e.transient):
                    raise
                connection.abort()
                self._connected = False
                self._room.set()
                connection = self._connection = await self._reconnect(e, replay)
                self._connected = True
        self._end()

    async def _exchange(self, connection: StreamConnection, replay: Replay) -> None:
        """Sends and receives over one connection until Done. Raises StreamError if it ends earlier."""
        sending = self._run(self._send(connection, replay))
        try:
            while True:
                message = await connection.receive()
                for shown in self._continuity.filter(message):
                    self._inbox.put(shown)
                if isinstance(message, Done):
                    return
                if self._continuity.cut > replay.cut:
                    replay.acked(self._continuity.cut)
                    self._backoff.achieved()
                    self._room.set()
        finally:
            sending.cancel()
            await asyncio.wait([sending])

    async def _connect(self, replay: Replay) -> StreamConnection:
        """Connects to the first server that admits the stream. Raises StreamError if none does before time is over."""
        failures: list[StreamError] = []
        for url in self.urls:
            try:
                return await open_connection(url, self.start, self._timeouts, self._access)
            except StreamError as e:
                if not e.transient:
                    raise
                failures.append(e)
        error = StreamError(failures[0].code, "; ".join(e.message for e in failures), transient=True)

        def tell(error: StreamError, attempt: int) -> None:
            self._inbox.put(Waiting(attempt, error.message, replay.kept))

        connection = await self._try_in_turn(error, self.start, -1, tell)
        self._backoff.achieved()
        self._inbox.put(Connected(connection.url))
        return connection

    async def _reconnect(self, error: StreamError, replay: Replay) -> StreamConnection:
        """Opens a connection on which the stream resumes. Raises StreamError if there is none before time is over."""
        replayed = replay.taken
        resuming = msgspec.structs.replace(self.start, resume=replay.rewind(self.ready.fingerprint))

        def tell(error: StreamError, attempt: int) -> None:
            self._inbox.put(Reconnecting(attempt, reason(error), replay.kept))

        try:
            connection = await self._try_in_turn(error, resuming, self.urls.index(self.url), tell)
        except StreamError as e:
            if not e.transient:
                raise
            raise StreamError(
                "lost",
                f"the stream could not be resumed within {self._backoff.limit:g} s, {replay.kept:.1f} s of audio are "
                f"not transcribed: {e.message}",
            ) from None
        self._continuity.resumed()
        self._inbox.put(Resumed(connection.url, replayed))
        return connection

    async def _try_in_turn(
        self, error: StreamError, start: wire.Start, at: int, tell: Callable[[StreamError, int], None]
    ) -> StreamConnection:
        """Tries the servers one after the other, that after number `at` first, until one admits the stream.

        tell   called before each attempt with the error before it, and the number of the attempt

        Raises the last error when time is over, or one that another attempt would not mend.
        """
        backoff = self._backoff
        backoff.lost()
        while backoff.left > 0:
            wait = backoff.wait()
            tell(error, backoff.attempts)
            await asyncio.sleep(wait)
            at = (at + 1) % len(self.urls)
            try:
                async with asyncio.timeout(backoff.left):
                    connection = await open_connection(self.urls[at], start, self._timeouts, self._access)
            except TimeoutError:  # time is over; the error before it says more
                break
            except StreamError as e:
                if not e.transient:
                    what = "can't resume the stream" if start.resume else "refuses the stream"
                    raise StreamError(e.code, f"{self.urls[at]} {what}: {e.message}") from None
                error = e
            else:
                backoff.found()
                return connection
        raise error

    # ---- background tasks

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._end(failure)

    def _end(self, failure: BaseException | None = None) -> None:
        self._inbox.close(failure)
        self._room.set()
        self._begun.set()


@asynccontextmanager
async def iterating(audio: AsyncIterable[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Iterates over `audio`, and closes it at once if the loop is interrupted, so that a microphone is released."""
    parts = aiter(audio)
    try:
        yield parts
    finally:
        if isinstance(parts, AsyncGenerator):
            await parts.aclose()


def start(options: dict[str, Any]) -> wire.Start:
    """The `start` message of a stream with these options. Raises ConfigError for an unknown or invalid option."""
    try:
        return msgspec.convert({"type": "start", **options}, wire.Start)
    except msgspec.ValidationError as e:
        raise ConfigError(f"stream options: {e}") from None


REASON_TEXTS = {
    "lost": "connection lost",
    "unreachable": "server unreachable",
    "timeout": "no answer",
    "full": "server full",
    "shutting_down": "server going down",
    "internal_error": "server failed",
    "language_unavailable": "language not loaded",
}


def reason(error: StreamError) -> str:
    """Why a connection was lost, in a few words for the user."""
    return REASON_TEXTS.get(error.code, error.code.replace("_", " "))
