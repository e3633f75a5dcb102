"""Plain HTTP on the port of the stream."""

import asyncio
import threading

import pytest

from earshot_asr.server import wire
from earshot_asr.server.app import Server
from earshot_asr.server.settings import ServerConfig
from tests.helpers import FakeRunner
from tests.server.loopback import get, serving, until


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/healthz", 200, "ok"),
        ("/healthz?verbose=1", 200, "ok"),
        ("/readyz", 200, "ok"),
        ("/", 200, wire.PATH),
        ("/v1", 404, wire.PATH),
        ("/v1/stream/", 404, wire.PATH),
        ("/healthz/x", 404, wire.PATH),
        (wire.PATH, 426, "WebSocket"),
    ],
)
async def test_answers(path: str, status: int, words: str) -> None:
    async with serving() as server:
        got, body = await get(server.port, path)
    assert got == status
    assert words in body


async def test_healthy_but_not_ready_while_the_model_loads() -> None:
    loaded = threading.Event()

    def load() -> FakeRunner:
        loaded.wait()
        return FakeRunner()

    server = Server(ServerConfig(port=0), [load])
    starting = asyncio.create_task(server.start())
    await until(lambda: server.listening)
    assert [(await get(server.port, path))[0] for path in ("/healthz", "/readyz", wire.PATH)] == [200, 503, 503]
    loaded.set()
    await starting
    assert (await get(server.port, "/readyz"))[0] == 200
    await server.stop()
