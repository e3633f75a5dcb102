"""The page's files over HTTP: all there, of the right kind, from this server alone."""

import re
from email.message import Message
from email.parser import BytesHeaderParser

import pytest

from earshot_asr.server import static
from tests.server.loopback import serving
from tests.server.test_http import raw, request

NAMES = sorted(file.name for file in static.FOLDER.iterdir() if file.suffix in static.CONTENT_TYPES)


async def fetched(port: int, path: str, method: str = "GET", more: str = "") -> tuple[int, Message, bytes]:
    head, _, body = (await raw(port, request(method, path, more))).partition(b"\r\n\r\n")
    status, _, headers = head.partition(b"\r\n")
    return int(status.split()[1]), BytesHeaderParser().parsebytes(headers), body


async def test_every_file_is_there_of_its_kind() -> None:
    assert {"client.js", "page.css", "icon.svg"} <= set(NAMES)
    async with serving() as server:
        for name in NAMES:
            path = "/" if name == static.INDEX else f"/page/{name}"
            status, headers, body = await fetched(server.port, path)
            assert status == 200, path
            assert body == (static.FOLDER / name).read_bytes()
            assert headers["Content-Type"] == static.CONTENT_TYPES[f".{name.rpartition('.')[2]}"]
            assert headers.get_all("Content-Length") == [str(len(body))]
            assert headers["X-Content-Type-Options"] == "nosniff"


async def test_the_page_may_load_nothing_from_elsewhere() -> None:
    async with serving() as server:
        _, headers, _ = await fetched(server.port, "/?overlay=1")
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert set(policy.values()) == {"'none'", "'self'"}


def test_no_file_names_another_place() -> None:
    """Works offline: but for the namespaces of SVG, every address is of this server or an example."""
    for name in NAMES:
        text = (static.FOLDER / name).read_text()
        found = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text))
        assert found <= {"http://www.w3.org"}, name


async def test_what_the_browser_has_is_not_sent_again() -> None:
    async with serving() as server:
        _, headers, _ = await fetched(server.port, "/page/client.js")
        assert headers["Cache-Control"] == "no-cache"
        tag = headers["ETag"]
        status, headers, body = await fetched(server.port, "/page/client.js", more=f"If-None-Match: {tag}\r\n")
        assert (status, body, headers["ETag"], headers["Content-Length"]) == (304, b"", tag, None)
        status, _, body = await fetched(server.port, "/page/client.js", more='If-None-Match: "other"\r\n')
        assert status == 200 and body
        assert (await fetched(server.port, "/healthz", more="If-None-Match: None\r\n"))[0] == 200


async def test_head_says_how_long_it_would_be() -> None:
    async with serving() as server:
        status, headers, body = await fetched(server.port, "/page/page.css", "HEAD")
    assert status == 200 and not body
    assert int(headers["Content-Length"]) == (static.FOLDER / "page.css").stat().st_size


@pytest.mark.parametrize(
    "path", ["/page", "/page/", "/page/README.md", "/page/../static.py", "/page/%2e%2e/static.py", "/page/x.js"]
)
async def test_nothing_else_is_there(path: str) -> None:
    async with serving() as server:
        assert (await fetched(server.port, path))[0] == 404


async def test_pages_of_other_places_may_have_the_modules_only_if_they_are_let_in() -> None:
    async with serving(origin=("http://notes.example",)) as server:
        status, headers, _ = await fetched(server.port, "/page/client.js", more="Origin: http://notes.example\r\n")
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, "*")
        assert (await fetched(server.port, "/page/client.js", more="Origin: http://evil.example\r\n"))[0] == 403
