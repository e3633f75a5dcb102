"""Addresses that are listened at; what happens when file descriptors run out."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from earshot_asr.server import wire
from earshot_asr.server.listener import bound, close
from tests.end_to_end.test_bad_input import SPEECH, TEXTS
from tests.server.loopback import cut, finals, get, hear, send

DESCRIPTORS = 80
"""Enough for a few connections, and those that are spared."""
SERVER = """
import asyncio, resource
from earshot_asr.server.app import Server, serve
from earshot_asr.server.logs import configure
from earshot_asr.server.settings import Limits, ServerConfig
from tests.helpers import FakeRunner
resource.setrlimit(resource.RLIMIT_NOFILE, ({descriptors}, {descriptors}))
configure(as_json=False)
config = ServerConfig(port=0, limits=Limits(streams=8, per_address=0))
asyncio.run(serve(Server(config, [FakeRunner]), lambda server: print(server.port, flush=True)))
"""


@pytest.fixture
def server() -> Iterator["subprocess.Popen[str]"]:
    """In a process of its own, that may have few descriptors."""
    pytest.importorskip("resource")
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER.format(descriptors=DESCRIPTORS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with process:
        yield process
        process.kill()


async def test_without_descriptors_accepting_pauses_and_open_streams_live_on(server: "subprocess.Popen[str]") -> None:
    assert server.stdout and server.stderr
    port = int(server.stdout.readline())
    began = time.monotonic()
    async with connect(f"ws://127.0.0.1:{port}{wire.PATH}", compression=None, proxy=None) as websocket:
        held = [socket.create_connection(("127.0.0.1", port)) for _ in range(DESCRIPTORS)]
        await asyncio.sleep(2.5)
        listening = asyncio.create_task(hear(websocket))
        await send(websocket, wire.Start(), *cut(SPEECH.tobytes()), wire.Stop())  # it may need files that are not open
        assert [final.text for final in finals(await listening)] == TEXTS
        for sock in held:
            sock.close()
    async with asyncio.timeout(20):
        while True:
            with suppress(ConnectionError):
                assert (await get(port, "/healthz"))[0] == 200
                break
    seconds = time.monotonic() - began
    server.terminate()
    log = server.stderr.read()
    assert 1 <= log.count("no connections are accepted for a second: Too many open files") <= seconds + 1
    assert "Traceback" not in log and " ERROR " not in log
    assert server.wait() == 0


async def test_all_addresses_of_a_host_have_the_same_port() -> None:
    listeners = await bound("localhost", 0)
    assert len({listener.getsockname()[1] for listener in listeners}) == 1
    close(listeners)
