"""What the server says to plain HTTP: health checks, and where the stream is."""

from collections.abc import Callable
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from server.wire import PATH

Hook = Callable[[ServerConnection, Request], Response | None]


def answers(is_ready: Callable[[], bool]) -> Hook:
    """A hook for websockets' `process_request`; None lets the websocket handshake go on.

    /healthz    200 as long as the process lives
    /readyz     200 when streams are admitted; 503 while the model loads and when the server goes down
    """

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        match request.path.partition("?")[0]:
            case "/healthz":
                return connection.respond(HTTPStatus.OK, "ok\n")
            case "/readyz" if is_ready():
                return connection.respond(HTTPStatus.OK, "ok\n")
            case "/readyz":
                return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "not ready\n")
            case "/":
                return connection.respond(HTTPStatus.OK, f"Earshot is here. Streams: a websocket at {PATH}\n")
            case path if path != PATH:
                return connection.respond(HTTPStatus.NOT_FOUND, f"there is nothing here; streams are at {PATH}\n")
            case _ if not is_ready():
                return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "not ready, try again in a while\n")
            case _:
                return None

    return answer
