"""Routes of the server's port: plain HTTP pages by path, and the paths at which a websocket may be opened."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from earshot_asr.server.gate import Gate
from earshot_asr.server.handshake import split_target
from earshot_asr.server.metrics import CONTENT_TYPE

Hook = Callable[[ServerConnection, Request], Response | None]
"""What websockets calls with each request, as `process_request`; None lets the handshake go on."""


@dataclass(frozen=True, slots=True)
class Page:
    """The answer to a plain request."""

    text: str
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"


HEALTH_CHECKS = ("/healthz", "/readyz")
METHODS = ("GET", "HEAD")
NOT_ALLOWED = HTTPStatus.METHOD_NOT_ALLOWED

Routes = Mapping[str, Callable[[], Page]]
"""Path -> what makes the page there."""


def pages(
    is_ready: Callable[[], bool], is_full: Callable[[], bool], metrics: Callable[[], str], streams: str
) -> Routes:
    """The pages of a server. `streams`: the paths of its websockets, as a person would list them.

    /healthz    200 as long as the process lives
    /readyz     200 while streams are admitted; 503 while the model loads, when the server is full or goes down
    /metrics    in Prometheus' text format
    """

    def readiness() -> Page:
        if not is_ready():
            return Page("not ready\n", HTTPStatus.SERVICE_UNAVAILABLE)
        if is_full():
            return Page("full\n", HTTPStatus.SERVICE_UNAVAILABLE)
        return Page("ok\n")

    return {
        "/": lambda: Page(f"Earshot is here. Streams: a websocket at {streams}\n"),
        "/healthz": lambda: Page("ok\n"),
        "/readyz": readiness,
        "/metrics": lambda: Page(metrics(), content_type=CONTENT_TYPE),
    }


def router(routes: Routes, websocket_paths: Collection[str], gate: Gate, is_ready: Callable[[], bool]) -> Hook:
    """Answers what asks for a page, and lets a handshake go on where a websocket may be opened.

    A path may have both a page and a websocket: the request's Upgrade header decides. What the gate refuses is answered
    with 403, except for health checks; what neither reads nor opens anything with 405.
    """
    missing = Page(f"there is nothing here; streams are at {', '.join(websocket_paths)}\n", HTTPStatus.NOT_FOUND)
    not_ready = Page("not ready, try again in a while\n", HTTPStatus.SERVICE_UNAVAILABLE)

    def page(request: Request, local: str) -> Page | None:
        path, _ = split_target(request.path)
        if request.method not in METHODS:
            return Page(f"{request.method[:20]} is not possible here, {' and '.join(METHODS)} are\n", NOT_ALLOWED)
        if path not in HEALTH_CHECKS and (why := gate.refusal(request.headers, local)):
            return Page(f"{why}\n", HTTPStatus.FORBIDDEN)
        if path in websocket_paths and (path not in routes or "Upgrade" in request.headers):
            if request.method != "GET":
                return Page("a websocket is opened by GET\n", NOT_ALLOWED)
            return None if is_ready() else not_ready
        return routes[path]() if path in routes else missing

    def route(connection: ServerConnection, request: Request) -> Response | None:
        found = page(request, connection.local_address[0] if connection.local_address else "")
        return None if found is None else _response(connection, request, found)

    return route


def _response(connection: ServerConnection, request: Request, page: Page) -> Response:
    response = connection.respond(page.status, page.text)
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = page.content_type
    if page.status == NOT_ALLOWED:
        response.headers["Allow"] = ", ".join(METHODS)
    if request.method == "HEAD":
        response.body = b""
    return response
