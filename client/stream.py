"""The client library: audio goes in, messages come out, over one websocket after the other where lines break.

async with ClientStream("ws://127.0.0.1:8765") as stream:
    stream.play(FileAudio("talk.opus"))
    async for message in stream:
        if isinstance(message, Final):
            print(message.text)
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from earshot_asr.client.backoff import Backoff
from earshot_asr.client.connection import StreamConnection, StreamError, Timeouts, complete, dial
from earshot_asr.client.continuity import Continuity
from earshot_asr.client.inbox import Inbox
from earshot_asr.client.replay import Replay
from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.errors import AudioError, ConfigError
from earshot_asr.server import wire
from earshot_asr.server.wire import Ack, Done, Final, Partial, Ready, ServerMessage

__all__ = [
    "Ack",
    "ClientStream",
    "Done",
    "Final",
    "Message",
    "Partial",
    "Ready",
    "Reconnecting",
    "Resumed",
    "StreamError",
    "Timeouts",
]

T = TypeVar("T")
AudioChunk: TypeAlias = bytes | npt.NDArray[np.int16]
"""Bytes in the encoding that `start` named, or int16 samples of shape (S,), interleaved (S, C) with more channels."""

DEFAULT_TIMEOUTS = Timeouts()
RETRY_SECONDS = 300.0
KEEP_SECONDS = 300.0
"""5 minutes are 9.6 MB."""
MAX_UNSENT_SECONDS = 10.0
"""While there is a connection, no more audio waits to be sent; what is interrupted ends soon."""
MIN_KEEP_SECONDS = 60.0
"""The longest utterance with its context, and what a server reads ahead, must have room in what is kept."""


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection is lost, and attempt number `attempt` is under way. `kept`: seconds of audio not committed."""

    attempt: int
    reason: str
    kept: Seconds


@dataclass(frozen=True, slots=True)
class Resumed:
    """The stream goes on at `url`. `replayed`: seconds of audio that are sent again."""

    url: str
    replayed: Seconds


Message: TypeAlias = ServerMessage | Reconnecting | Resumed


class ClientStream:
    """One stream to a server: `send` audio, iterate over what comes back, `stop`.

    url        `ws://HOST:PORT`; the path may be left out. Of several, the next is tried where one fails
    retry      how long a connection that was lost is tried to be replaced, in seconds; 0: it ends the stream
    keep       how much audio may wait here, to be sent or to be committed, in seconds of 16 kHz PCM: `send` waits then
    timeouts   how long is waited for what
    options    the fields of `server.wire.Start`: encoding, sample_rate, channels, partials, words, commit, ...

    Entering connects and waits until the stream is admitted; `ready` is what the server said then. Iterating yields
    Partial, Final, Ack and at last Done. Messages are received in the background, so sending without reading is safe.

    Where the connection is lost, or the server goes down, another one takes over: audio that is not committed is sent
    again, and the messages go on as if nothing had happened, but for a Reconnecting at each attempt and a Resumed.
    That takes 16 kHz mono PCM; a stream of another encoding ends with its connection.

    Raises ConfigError for an option or a URL that isn't one, StreamError for what goes wrong between here and there:
    code `lost` when `retry` is over; at once where the server refuses, or has another model or configuration.
    """

    ready: Ready

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        retry: Seconds = RETRY_SECONDS,
        keep: Seconds = KEEP_SECONDS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        **options: Any,
    ) -> None:
        self.urls = [complete(each) for each in ([url] if isinstance(url, str) else url)]
        self.start = start(options)
        if not self.urls:
            raise ConfigError("no URL of a server; one looks like ws://127.0.0.1:8765")
        if not retry >= 0:
            raise ConfigError(f"retry is {retry} s; it must be 0 (not at all) or more")
        if not keep >= MIN_KEEP_SECONDS:
            raise ConfigError(f"keep is {keep} s; it must be at least {MIN_KEEP_SECONDS:.0f} s")
        self._keep, self._timeouts = keep, timeouts
        self._backoff = Backoff(retry, timeouts.first_wait, timeouts.longest_wait)
        self._line: StreamConnection | None = None
        self._connected = True
        self._tasks: set[asyncio.Task[None]] = set()
        self._inbox: Inbox[Message] = Inbox()
        self._told = Continuity()
        self._replay: Replay | None = None
        self._work = asyncio.Event()  # there is something to be sent
        self._room = asyncio.Event()  # there is room for more, or never will be

    async def __aenter__(self) -> Self:
        self._line = await self._first()
        self.ready = self._line.ready
        resumable = self.ready.resumable and self._backoff.limit > 0
        self._replay = Replay(self.ready.context if resumable else None, self._keep)
        self._run(self._live(self._line, self._replay))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._line is not None:
            await self._line.close()

    @property
    def url(self) -> str:
        """The server that has the stream, or had it last."""
        return self._line.url if self._line is not None else self.urls[0]

    async def send(self, audio: AudioChunk) -> None:
        """Sends audio, or keeps it until it can be sent; waits while too much is kept.

        Raises AudioError for an array that isn't int16, and StreamError when the stream is over.
        """
        data = memoryview(audio if isinstance(audio, bytes) else self._encode(audio))
        for first in range(0, len(data), wire.MESSAGE_BYTES):
            (await self._roomy()).audio(data[first : first + wire.MESSAGE_BYTES])
            self._work.set()

    async def flush(self) -> None:
        """Makes what was said so far final now. The server answers with an Ack, after a Final where there are words."""
        (await self._roomy()).flush()
        self._work.set()

    async def stop(self) -> None:
        """Ends the audio: the last words come as finals, then Done, then the iteration ends."""
        (await self._open()).stop()
        self._work.set()

    def play(self, audio: AsyncIterable[AudioChunk]) -> None:
        """Sends all of `audio` in the background, then stops. What it raises is raised by the iteration."""
        self._run(self._play(audio))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        return await self._inbox.get()

    # ---- out

    def _encode(self, audio: npt.NDArray[np.int16]) -> bytes:
        if audio.dtype != np.int16 or self.start.encoding != "pcm_s16le":
            raise AudioError(
                f"an array of {audio.dtype} on a stream of {self.start.encoding}; arrays must be int16, "
                "and the encoding pcm_s16le: anything else is sent as bytes"
            )
        return audio.astype("<i2", copy=False).tobytes()

    async def _open(self) -> Replay:
        """Where to put what is to be sent. Raises StreamError, or what broke the stream, when it is over."""
        assert self._replay is not None, "a ClientStream is used with `async with`"
        await asyncio.sleep(0)  # however fast audio comes, it is sent meanwhile
        if self._inbox.closed:
            raise self._inbox.failure or StreamError("closed", f"the stream to {self.url} is over")
        if self._replay.stopped:
            raise StreamError("after_stop", "nothing may follow stop")
        return self._replay

    async def _roomy(self) -> Replay:
        """The same, when there is room."""
        replay = await self._open()
        while replay.full or (self._connected and replay.waiting > MAX_UNSENT_SECONDS):
            self._room.clear()
            await self._room.wait()
            replay = await self._open()
        return replay

    async def _play(self, audio: AsyncIterable[AudioChunk]) -> None:
        async with iterating(audio) as parts:
            async for part in parts:
                await self.send(part)
        await self.stop()

    async def _send(self, line: StreamConnection, replay: Replay) -> None:
        """All that there is to be sent, over one connection, and keepalives in between."""
        message: bytes | wire.ClientMessage | None = None
        with suppress(StreamError):  # the line is lost: _talk hears why
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
                await line.say(message)

    # ---- in

    async def _live(self, line: StreamConnection, replay: Replay) -> None:
        """The life of a stream, over one connection after the other."""
        while True:
            try:
                await self._talk(line, replay)
                break
            except StreamError as e:
                if not (replay.resumable and e.transient):
                    raise
                line.abort()
                self._connected = False
                self._room.set()
                line = self._line = await self._reconnect(e, replay)
                self._connected = True
        self._over()

    async def _talk(self, line: StreamConnection, replay: Replay) -> None:
        """Sends and receives over one connection until Done. Raises StreamError where it ends before."""
        sending = self._run(self._send(line, replay))
        try:
            while True:
                message = await line.hear()
                for told in self._told.tell(message):
                    self._inbox.put(told)
                if isinstance(message, Done):
                    return
                if self._told.cut > replay.cut:
                    replay.acked(self._told.cut)
                    self._backoff.achieved()
                    self._room.set()
        finally:
            sending.cancel()
            await asyncio.wait([sending])

    async def _first(self) -> StreamConnection:
        """The first connection, to the first server that admits the stream."""
        failures: list[StreamError] = []
        for url in self.urls:
            try:
                return await dial(url, self.start, self._timeouts)
            except StreamError as e:
                if not e.transient:
                    raise
                failures.append(e)
        raise StreamError(failures[0].code, "; ".join(e.message for e in failures), transient=True)

    async def _reconnect(self, error: StreamError, replay: Replay) -> StreamConnection:
        """The next connection, on which all is to be said again. Raises StreamError where there won't be one."""
        backoff, replayed = self._backoff, replay.taken
        resuming = msgspec.structs.replace(self.start, resume=replay.rewind(self.ready.fingerprint))
        at = self.urls.index(self.url)
        backoff.lost()
        while backoff.left > 0:
            wait = backoff.wait()
            self._inbox.put(Reconnecting(backoff.attempts, reason(error), replay.kept))
            await asyncio.sleep(wait)
            at = (at + 1) % len(self.urls)
            try:
                async with asyncio.timeout(backoff.left):
                    line = await dial(self.urls[at], resuming, self._timeouts)
            except TimeoutError:  # time is over; what went wrong before says more
                break
            except StreamError as e:
                if not e.transient:
                    raise StreamError(e.code, f"{self.urls[at]} can't go on with the stream: {e.message}") from None
                error = e
            else:
                backoff.found()
                self._told.resumed()
                self._inbox.put(Resumed(line.url, replayed))
                return line
        raise StreamError(
            "lost",
            f"the stream could not be resumed within {backoff.limit:g} s, {replay.kept:.1f} s of audio are not "
            f"transcribed: {error.message}",
        )

    # ---- in the background

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._over(failure)

    def _over(self, failure: BaseException | None = None) -> None:
        self._inbox.close(failure)
        self._room.set()


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


REASON_TEXTS = {
    "lost": "connection lost",
    "unreachable": "server unreachable",
    "timeout": "no answer",
    "full": "server full",
    "shutting_down": "server going down",
    "internal_error": "server failed",
}


def reason(error: StreamError) -> str:
    """Why a connection is lost, in a word or two."""
    return REASON_TEXTS.get(error.code, error.code.replace("_", " "))
