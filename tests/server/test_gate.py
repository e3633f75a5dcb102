"""Who is let in by Host and Origin: programs, pages of this server, pages that were named; nobody else."""

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from earshot_asr.engine.errors import ConfigError
from earshot_asr.server import wire
from earshot_asr.server.gate import Gate
from earshot_asr.server.settings import ServerConfig
from tests.server.loopback import serving


def named(headers: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """The values of Host and of Origin."""
    hosts, origins = ([value for key, value in headers if key == name] for name in ("Host", "Origin"))
    return hosts, origins


GATE = Gate("192.0.2.7", ["captions.example"], ["https://page.example"])


@pytest.mark.parametrize(
    "headers",
    [
        [("Host", "127.0.0.1:8765")],
        [("Host", "127.9.9.9")],
        [("Host", "[::1]:8765")],
        [("Host", "LOCALHOST:8765")],
        [("Host", "x.localhost")],
        [("Host", "192.0.2.7:8765")],
        [("Host", "198.51.100.1")],  # where the request came in
        [("Host", "Captions.Example:80")],
        [("Host", "localhost:8765"), ("Origin", "http://localhost:8765")],
        [("Host", "localhost:8765"), ("Origin", "https://page.example")],
        [("Host", "localhost:8765"), ("Origin", "https://PAGE.example")],
    ],
)
def test_let_in(headers: list[tuple[str, str]]) -> None:
    assert GATE.refusal(*named(headers), "198.51.100.1") is None


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([("Host", "evil.example:8765")], "--allow-host evil.example"),
        ([("Host", "localhost.evil.example")], "not known as"),
        ([("Host", "192.0.2.70")], "not known as"),
        ([], "not known as"),
        ([("Host", "")], "not known as"),
        ([("Host", "[::1")], "not known as"),
        ([("Host", "localhost"), ("Host", "localhost")], "not known as"),
        ([("Host", "localhost:8765"), ("Origin", "https://evil.example")], "--origin https://evil.example"),
        ([("Host", "localhost:8765"), ("Origin", "null")], "may not connect"),
        ([("Host", "localhost:8765"), ("Origin", "http://[")], "may not connect"),
        (
            [("Host", "localhost:8765"), ("Origin", "http://localhost:1234")],
            "may not connect",
        ),  # another program's page
        ([("Host", "localhost:8765"), ("Origin", "https://page.example.evil.example")], "may not connect"),
    ],
)
def test_refused(headers: list[tuple[str, str]], words: str) -> None:
    why = GATE.refusal(*named(headers), "198.51.100.1")
    assert why and words in why


def test_no_host_is_no_host_also_where_the_address_is_not_known() -> None:
    assert GATE.refusal([], [], "")


async def test_a_page_of_another_origin_gets_no_stream_and_no_metrics_unless_it_was_named() -> None:
    evil = "https://evil.example"
    async with serving() as server:
        url = f"ws://127.0.0.1:{server.port}{wire.PATH}"
        with pytest.raises(InvalidStatus) as error:
            await connect(url, origin=evil)  # type: ignore[arg-type]
        assert error.value.response.status_code == 403 and b"--origin https://evil.example" in error.value.response.body
        own = f"http://127.0.0.1:{server.port}"
        async with connect(url, origin=own):  # type: ignore[arg-type]
            pass
        for path, status in (("/metrics", 403), ("/", 403), ("/healthz", 200), ("/readyz", 200)):
            assert await status_for_host(server.port, path, "evil.example") == status
    async with serving(origin=(evil,)) as server, connect(f"ws://127.0.0.1:{server.port}{wire.PATH}", origin=evil):  # type: ignore[arg-type]
        pass


async def status_for_host(port: int, path: str, host: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


def test_an_origin_is_no_path() -> None:
    with pytest.raises(ConfigError, match=r"it must be like https://captions\.example"):
        ServerConfig(origin=("captions.example",))
