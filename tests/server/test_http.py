"""Plain HTTP on the port of the stream."""

import asyncio
import logging
import random
import threading

import pytest
from websockets.frames import Opcode

from earshot_asr.server import wire
from earshot_asr.server.app import Server
from earshot_asr.server.settings import Limits, ServerConfig
from tests.end_to_end.test_bad_input import frame, handshake
from tests.helpers import FakeRunner
from tests.server.loopback import get, serving, until

ROOM = Limits(streams=8)


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


# ---- who asks otherwise


async def raw(port: int, *parts: bytes) -> bytes:
    """What is answered to these bytes, sent one by one; all of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(0.01)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


def request(method: str = "GET", path: str = "/healthz", more: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode()


@pytest.mark.parametrize("path", ["/healthz", "/", "/metrics", "/nowhere", wire.PATH])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "TRACE", "OPTIONS", "CONNECT", "X" * 1000])
async def test_other_methods_are_not_allowed(method: str, path: str) -> None:
    async with serving(limits=ROOM) as server:
        head, _, body = (await raw(server.port, request(method, path))).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 405 ") and b"\r\nAllow: GET, HEAD" in head
    assert body.count(b"\n") == 1 and len(body) < 100


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/nowhere", 404), (wire.PATH, 405)])
async def test_the_answer_to_head_has_no_body(path: str, status: int) -> None:
    async with serving(limits=ROOM) as server:
        head, _, body = (await raw(server.port, request("HEAD", path))).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()) and b"Content-Length: " in head
    assert not body


JUNK = random.Random(5).randbytes(3000)
BEHIND = {
    "another request": request(),
    "noise": JUNK,
    "frames": b"\x81\x80\0\0\0\0" * 100,
    "much": bytes(200_000),
}


@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND.keys())
@pytest.mark.parametrize("apart", [False, True])
async def test_what_comes_behind_a_request_for_a_page_is_not_looked_at(
    caplog: pytest.LogCaptureFixture, behind: bytes, apart: bool
) -> None:
    """With "Content-Length: 0", as some clients have it."""
    asked = request(more="Content-Length: 0\r\n")
    async with serving(limits=ROOM) as server:
        answer = await raw(server.port, asked, behind) if apart else await raw(server.port, asked + behind)
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\nok\n")
    assert no_mistakes(caplog)


@pytest.mark.parametrize("last", [1, 2, 3, 4, 5])
async def test_a_request_may_end_in_another_packet(caplog: pytest.LogCaptureFixture, last: int) -> None:
    asked = request()
    async with serving(limits=ROOM) as server:
        assert (await raw(server.port, asked[:-last], asked[-last:] + JUNK)).endswith(b"\r\n\r\nok\n")
    assert no_mistakes(caplog)


MISREAD = {
    "noise": JUNK + b"\r\n\r\n",
    "a word": b"hello\r\n\r\n",
    "a body": request("POST", more="Content-Length: 3\r\n") + b"abc",
    "a body in chunks": request("POST", more="Transfer-Encoding: chunked\r\n"),
    "a header that is none": request(more="junk\r\n"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("sent", MISREAD.values(), ids=MISREAD.keys())
async def test_what_is_no_request_is_answered_in_a_line(caplog: pytest.LogCaptureFixture, sent: bytes) -> None:
    async with serving(limits=ROOM) as server:
        head, _, body = (await raw(server.port, sent)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert body.count(b"\n") == 1
    assert no_mistakes(caplog)


@pytest.mark.parametrize("path", ["/" + "x" * 8000, "/" + "x" * 9000, "/healthz?" + "&" * 8000])
@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND.keys())
async def test_long_paths_with_noise(caplog: pytest.LogCaptureFixture, path: str, behind: bytes) -> None:
    async with serving(limits=ROOM) as server:
        answer = await raw(server.port, request(path=path) + behind)
    assert int(answer.split()[1]) in (200, 404, 414)
    assert no_mistakes(caplog)


async def test_what_comes_behind_the_request_for_a_websocket_is_its_first_message() -> None:
    async with serving(limits=ROOM) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(handshake() + frame(Opcode.TEXT, b'{"type":"start"}') + frame(Opcode.TEXT, b'{"type":"stop"}'))
        answer = await asyncio.wait_for(reader.readuntil(b'"type":"done"'), 20)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 101 ") and b'"type":"ready"' in answer


def no_mistakes(caplog: pytest.LogCaptureFixture) -> bool:
    """Whether the log has neither a traceback nor an error."""
    return not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]
