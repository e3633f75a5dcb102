"""A scripted server: a real websocket that says what the test wants."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

from earshot_asr.server import wire
from earshot_asr.server.wire import FinalMessage, Ready, ServerMessage, Start, Stop

READY = Ready("s", "fake", "f00d", True, 3200, 16_000, 4000, 480, 320)
HELLO = FinalMessage(0, 0.1, 0.9, "HELLO", 0.9, 16_000)
Script = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[str]:
    """A server that admits every stream, then follows the script; its URL."""

    async def handle(socket: ServerConnection) -> None:
        assert isinstance(wire.decode_client(await socket.recv()), Start)
        await say(socket, READY)
        await script(socket)

    async with listening(handle) as url:
        yield url


@asynccontextmanager
async def listening(handle: Script, **settings: Any) -> AsyncIterator[str]:
    """A server that does nothing but what the handler does. `settings`: those of websockets."""
    async with serve(handle, "127.0.0.1", 0, compression=None, close_timeout=1, **settings) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def say(socket: ServerConnection, *messages: ServerMessage) -> None:
    for message in messages:
        await socket.send(wire.encode(message))


async def heard(socket: ServerConnection) -> tuple[list[bytes], list[wire.ClientMessage]]:
    """What a client sends up to `stop`: audio, and messages."""
    audio: list[bytes] = []
    messages: list[wire.ClientMessage] = []
    while Stop() not in messages:
        data = await socket.recv()
        if isinstance(data, bytes):
            audio.append(data)
        else:
            messages.append(wire.decode_client(data))
    return audio, messages
