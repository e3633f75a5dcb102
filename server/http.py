"""What the server says to plain HTTP: health checks, metrics, and where the stream is."""

from collections.abc import Callable
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from earshot_asr.server.metrics import CONTENT_TYPE
from earshot_asr.server.wire import PATH

Hook = Callable[[ServerConnection, Request], Response | None]


def answers(is_ready: Callable[[], bool], is_full: Callable[[], bool], metrics: Callable[[], str]) -> Hook:
    """A hook for websockets' `process_request`; None lets the websocket handshake go on.

    /healthz    200 as long as the process lives
    /readyz     200 when streams are admitted; 503 while the model loads, when the server is full or goes down
    /metrics    in Prometheus' text format
    """

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        match request.path.partition("?")[0]:
            case "/healthz":
                return connection.respond(HTTPStatus.OK, "ok\n")
            case "/readyz" if not is_ready():
                return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "not ready\n")
            case "/readyz" if is_full():
                return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "full\n")
            case "/readyz":
                return connection.respond(HTTPStatus.OK, "ok\n")
            case "/metrics":
                response = connection.respond(HTTPStatus.OK, metrics())
                del response.headers["Content-Type"]
                response.headers["Content-Type"] = CONTENT_TYPE
                return response
            case "/":
                return connection.respond(HTTPStatus.OK, f"Earshot is here. Streams: a websocket at {PATH}\n")
            case path if path != PATH:
                return connection.respond(HTTPStatus.NOT_FOUND, f"there is nothing here; streams are at {PATH}\n")
            case _ if not is_ready():
                return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "not ready, try again in a while\n")
            case _:
                return None

    return answer
