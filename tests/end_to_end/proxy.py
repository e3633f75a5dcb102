"""A TCP proxy that treats connections as networks do: it cuts them, falls silent, splits and joins what it carries."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from types import TracebackType
from typing import Literal, Self, TypeAlias

How: TypeAlias = Literal["reset", "close", "silence"]
Shape: TypeAlias = Literal["as it comes", "byte by byte", "joined"]

READ_BYTES = 64 * 1024
JOIN_SECONDS = 0.02
SINGLE_BYTES = 5000
"""So much goes byte by byte where that is wanted; then by 7 bytes, which makes no place in a frame special, either."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The end of a connection.

    how       reset: RST; close: FIN; silence: nothing is carried any more, and nobody is told
    after     so many bytes from the client, or, with `down`, from the server; both count from the first byte of HTTP
    finals    or right behind so many finals of the server, before the ack that follows
    """

    how: How
    after: int = 0
    down: bool = False
    finals: int = 0


@dataclass
class Frames:
    """A server's side of a websocket connection, unmasked: finds where finals end."""

    finals: int = 0
    _data: bytearray = field(default_factory=bytearray)
    _at: int = 0
    _http: bool = True

    def feed(self, data: bytes) -> Iterator[int]:
        """Bytes as they pass -> the places, counted from the first of all, behind each final in them."""
        self._data += data
        if self._http:
            head, found, _ = self._data.partition(b"\r\n\r\n")
            if not found:
                return
            self._http = False
            self._skip(len(head) + len(found))
        while (payload := self._frame()) is not None:
            if b'"type":"final"' in payload:
                self.finals += 1
                yield self._at

    def _frame(self) -> bytes | None:
        if len(self._data) < 4:
            return None
        length, head = self._data[1], 2
        assert length < 127, "longer than messages of a server are"
        if length == 126:
            length, head = int.from_bytes(self._data[2:4], "big"), 4
        if len(self._data) < head + length:
            return None
        payload = bytes(self._data[head : head + length])
        self._skip(head + length)
        return payload

    def _skip(self, size: int) -> None:
        del self._data[:size]
        self._at += size


class Proxy:
    """Listens on a free port and carries every connection to one of `ports`, in turn, until its cut.

    Connection n ends with the nth of `cuts`; later ones are carried to their end. `made`: the cuts that were.
    """

    def __init__(self, ports: Sequence[int], cuts: Iterable[Cut] = (), shape: Shape = "as it comes") -> None:
        self.made: list[Cut] = []
        self._ports = cycle(ports)
        self._cuts = iter(cuts)
        self._shape = shape

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self._connections: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where a client connects to."""
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        client = reader, writer
        try:
            server = await asyncio.open_connection("127.0.0.1", next(self._ports))
        except ConnectionRefusedError:
            writer.transport.abort()
            return
        try:
            await self._carry(client, server, next(self._cuts, None))
        except asyncio.CancelledError:  # raised on, it would be a mistake of asyncio's own streams
            pass
        finally:
            for _, end in (client, server):
                end.close()

    async def _carry(self, client: "End", server: "End", cut: Cut | None) -> None:
        """Both directions, until the cut or until either end closes."""
        cut_here = asyncio.Event()
        up = asyncio.create_task(self._pump(client, server, Limit(None if cut is None or cut.down else cut), cut_here))
        down = asyncio.create_task(self._pump(server, client, Limit(cut if cut and cut.down else None), cut_here))
        waiting = asyncio.create_task(cut_here.wait())
        try:
            await asyncio.wait((up, down, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down, waiting):
                task.cancel()
            await asyncio.gather(up, down, waiting, return_exceptions=True)
        if cut is not None and cut_here.is_set():
            self.made.append(cut)
            await end(cut.how, client, server)

    async def _pump(self, source: "End", sink: "End", limit: "Limit", cut_here: asyncio.Event) -> None:
        with suppress(ConnectionError):
            async for data in shaped(source[0], self._shape):
                passed = limit.passes(data)
                sink[1].write(data[:passed])
                await sink[1].drain()
                if passed < len(data) or limit.reached:
                    cut_here.set()
                    return


End: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Limit:
    """How much of one direction passes before the cut."""

    def __init__(self, cut: Cut | None) -> None:
        self.reached = False
        self._cut = cut
        self._passed = 0
        self._frames = Frames()

    def passes(self, data: bytes) -> int:
        """So many bytes of `data` come before the cut."""
        if self._cut is None:
            return len(data)
        before, self._passed = self._passed, self._passed + len(data)
        place = self._cut.after
        if self._cut.finals:
            behind = [at for at in self._frames.feed(data)]
            missing = self._frames.finals - self._cut.finals
            if missing < 0:
                return len(data)
            place = behind[len(behind) - 1 - missing]
        self.reached = place <= self._passed
        return max(0, min(len(data), place - before))


async def shaped(reader: asyncio.StreamReader, shape: Shape) -> AsyncIterator[bytes]:
    """What comes, in other pieces."""
    passed = 0
    while data := await reader.read(READ_BYTES):
        if shape == "byte by byte":
            at = 0
            while at < len(data):
                step = 1 if passed < SINGLE_BYTES else 7
                yield data[at : at + step]
                await asyncio.sleep(0)  # whoever reads it gets it alone
                at, passed = at + step, passed + step
            continue
        if shape == "joined":
            with suppress(TimeoutError):
                async with asyncio.timeout(JOIN_SECONDS):
                    while len(data) < READ_BYTES and (more := await reader.read(READ_BYTES)):
                        data += more
        yield data


async def end(how: How, client: End, server: End) -> None:
    """Ends a connection, each of its ends in the same way."""
    match how:
        case "reset":
            for _, writer in (client, server):
                sock: socket.socket = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
        case "close":
            for _, writer in (client, server):
                writer.close()
        case "silence":  # what the client still sends is lost, until it gives up
            with suppress(ConnectionError):
                while await client[0].read(READ_BYTES):
                    pass
