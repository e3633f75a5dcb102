"""A real server on a free port, and the clients that tests talk to it with."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.model import Runner
from earshot_asr.server import wire
from earshot_asr.server.app import Server
from earshot_asr.server.settings import Limits, ServerConfig
from tests.helpers import FakeRunner

CHUNK = 6400
"""Bytes of a message, 0.2 s."""
GIVE_UP_SECONDS = 20
"""What would hang is an error instead."""


@asynccontextmanager
async def serving(
    runner: Runner | None = None, *, limits: Limits | None = None, **settings: Any
) -> AsyncIterator[Server]:
    """A server that is ready. `settings`: those of ServerConfig; one address may have all the room."""
    limits = limits or Limits()
    if limits.per_address is None:
        limits = replace(limits, per_address=0)
    async with Server(ServerConfig(port=0, limits=limits, **settings), [lambda: runner or FakeRunner()]) as server:
        yield server


@asynccontextmanager
async def connected(
    server: Server, start: wire.Start | None = None, *, receive_buffer: int | None = None
) -> AsyncIterator[ClientConnection]:
    """A connection, past `start` if there is one. `receive_buffer`: bytes that the kernel takes in for the client."""
    sock = None
    if receive_buffer is not None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect((server.config.host, server.port))
    websocket = await connect(server.url, sock=sock, compression=None, ping_interval=None, proxy=None)
    try:
        if start is not None:
            await websocket.send(wire.encode(start))
        yield websocket
    finally:
        if websocket.state is not State.CLOSED:  # else asyncio trips over a transport that was closed while it wrote
            await websocket.close()


async def send(websocket: ClientConnection, *messages: bytes | str | wire.ClientMessage) -> None:
    """Sends audio, text or messages, until the other side closes."""
    try:
        for message in messages:
            await websocket.send(message if isinstance(message, bytes | str) else wire.encode(message))
    except ConnectionClosed:
        pass


async def hear(websocket: ClientConnection) -> list[wire.ServerMessage]:
    """All messages up to the close."""
    messages: list[wire.ServerMessage] = []
    try:
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while True:
                messages.append(wire.decode_server(await websocket.recv()))
    except ConnectionClosed:
        return messages


async def talk(
    server: Server, *messages: bytes | str | wire.ClientMessage
) -> tuple[list[wire.ServerMessage], int | None]:
    """Sends all of them while it listens; what was heard, and the close code."""
    async with connected(server) as websocket:
        _, heard = await asyncio.gather(send(websocket, *messages), hear(websocket))
        return heard, websocket.close_code


async def dictate(
    server: Server, pcm: Pcm, start: wire.Start | None = None, size: int = CHUNK
) -> list[wire.FinalMessage]:
    """The finals of a whole stream, which has to end well."""
    heard, code = await talk(server, start or wire.Start(), *cut(pcm.tobytes(), size), wire.Stop())
    assert code == 1000, heard[-1]
    assert isinstance(heard[-1], wire.Done)
    return finals(heard)


def cut(data: bytes, size: int = CHUNK) -> list[bytes]:
    """Bytes in messages of `size`."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def finals(messages: list[wire.ServerMessage]) -> list[wire.FinalMessage]:
    """The finals among them."""
    return [message for message in messages if isinstance(message, wire.FinalMessage)]


def text(messages: list[wire.ServerMessage]) -> str:
    """The transcript in them."""
    return " ".join(final.text for final in finals(messages))


async def until(condition: Callable[[], bool]) -> None:
    """Waits until it is so."""
    async with asyncio.timeout(GIVE_UP_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


async def get(port: int, path: str) -> tuple[int, str]:
    """Status and body of a plain HTTP request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body
