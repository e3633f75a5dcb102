"""Routes of the server's ports: plain HTTP pages by path, and the paths at which a websocket may be opened."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from earshot_asr.server import wire
from earshot_asr.server.accounts import Account, Accounts
from earshot_asr.server.channels import NAME, Channels
from earshot_asr.server.dialects.dialect import Dialect
from earshot_asr.server.dialects.native import Native
from earshot_asr.server.gate import Gate
from earshot_asr.server.handshake import Handshake, Page
from earshot_asr.server.logs import FieldLogger
from earshot_asr.server.metrics import CONTENT_TYPE
from earshot_asr.server.visitor import Visitor

log = logging.getLogger(__name__)

Hook = Callable[[ServerConnection, Request], Response | None]
"""What websockets calls with each request, as `process_request`; None lets the handshake go on."""
Routes = Mapping[str, Callable[[], Page]]
"""Path -> what makes the page there."""

HEALTH_CHECKS = ("/healthz", "/readyz")
METRICS = "/metrics"
METHODS = ("GET", "HEAD")
NOT_ALLOWED = HTTPStatus.METHOD_NOT_ALLOWED
NO_TOKEN = "a token is needed here, and none came: send it as `Authorization: Bearer TOKEN`"
WRONG_TOKEN = "the token is not valid here"


def health(is_ready: Callable[[], bool], is_full: Callable[[], bool]) -> Routes:
    """The health checks, which every port answers.

    /healthz    200 as long as the process lives
    /readyz     200 while streams are admitted; 503 while the model loads, when the server is full or goes down
    """

    def readiness() -> Page:
        if not is_ready():
            return Page("not ready\n", HTTPStatus.SERVICE_UNAVAILABLE)
        if is_full():
            return Page("full\n", HTTPStatus.SERVICE_UNAVAILABLE)
        return Page("ok\n")

    return {"/healthz": lambda: Page("ok\n"), "/readyz": readiness}


def metrics(text: Callable[[], str]) -> Routes:
    """The metrics, in Prometheus' text format."""
    return {METRICS: lambda: Page(text(), content_type=CONTENT_TYPE)}


class Router:
    """Answers what asks for a page, and lets a handshake go on where a websocket may be opened.

    routes           pages by path
    dialects         path -> the protocol of a websocket there
    everywhere       the protocol of websockets at every other path; None: there are none
    gate             which hosts and origins are let in
    accounts         which tokens are valid
    channels         that may be watched; None: none here
    is_ready         whether streams are admitted
    open_metrics     whether the metrics are shown without a token

    A path may have both a page and a websocket: the request's Upgrade header decides. What the gate refuses is answered
    with 403, except for health checks; what neither reads nor opens anything with 405; who has no valid token with 401.
    """

    def __init__(
        self,
        routes: Routes,
        dialects: Mapping[str, type[Dialect]],
        everywhere: type[Dialect] | None,
        gate: Gate,
        accounts: Accounts,
        is_ready: Callable[[], bool],
        *,
        channels: Channels | None = None,
        open_metrics: bool = False,
    ) -> None:
        self._routes, self._dialects, self._everywhere = routes, dialects, everywhere
        self._gate, self._accounts, self._is_ready = gate, accounts, is_ready
        self._open_metrics, self._channels = open_metrics, channels
        paths = "a websocket at any path" if everywhere else ", ".join(dialects)
        streams = f"; streams are at {paths}" if paths else f"; {METRICS} is"
        self._missing = Page(f"there is nothing here{streams}\n", HTTPStatus.NOT_FOUND)

    def __call__(self, connection: ServerConnection, request: Request) -> Response | None:
        """See Hook."""
        assert isinstance(connection, Visitor)
        handshake = Handshake.of(request.path, request.headers.raw_items())
        found = self._page(connection, request, handshake)
        if found is None:
            return None
        if found.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            line = FieldLogger(__name__, address=connection.address, path=handshake.path[:100])
            line.info("refused", status=found.status.value, why=_sentence(found))
        return response(connection, request, found)

    def dialect(self, handshake: Handshake, *, upgrade: bool = True) -> type[Dialect] | None:
        """The protocol of a websocket at this path; None if there is none, or a page was asked for."""
        if handshake.path in self._routes and not upgrade:
            return None
        return self._dialects.get(handshake.path, self._everywhere)

    def watched(self, handshake: Handshake) -> str | None:
        """The channel that a websocket at this path wants to watch; None if it does not."""
        name = handshake.path.removeprefix(wire.WATCH_PATH)
        return name if self._channels and handshake.path != name and NAME.fullmatch(name) else None

    def _page(self, visitor: Visitor, request: Request, handshake: Handshake) -> Page | None:
        if request.method not in METHODS:
            return Page(f"{request.method[:20]} is not possible here, {' and '.join(METHODS)} are\n", NOT_ALLOWED)
        local = visitor.local_address[0] if visitor.local_address else ""
        named, origins = (request.headers.get_all(name) for name in ("Host", "Origin"))
        if handshake.path not in HEALTH_CHECKS and (why := self._gate.refusal(named, origins, local)):
            return Page(f"{why}\n", HTTPStatus.FORBIDDEN)
        if dialect := self.dialect(handshake, upgrade="upgrade" in handshake.headers):
            if request.method != "GET":
                return Page("a websocket is opened by GET\n", NOT_ALLOWED)
            return self._admit(visitor, dialect, handshake)
        if self.watched(handshake):
            return self._let_watch(visitor, handshake)
        if handshake.path not in self._routes:
            return self._missing
        guarded = handshake.path == METRICS and not self._open_metrics
        if guarded and self._accounts.find(handshake.authorization) is None:
            return _unauthorized(handshake.authorization)
        return self._routes[handshake.path]()

    def _admit(self, visitor: Visitor, dialect: type[Dialect], handshake: Handshake) -> Page | None:
        """Lets a handshake go on, or says why not."""
        account: Account | None = None
        if not (dialect.credential_comes_later and self._accounts.required):
            token = dialect.credential(handshake)
            if (account := self._accounts.find(token)) is None:
                page = _unauthorized(token)
                return dialect.unauthorized(_sentence(page)) or page
        if refusal := dialect.refusal(handshake):
            return refusal
        if not self._is_ready():
            return Page("not ready, try again in a while\n", HTTPStatus.SERVICE_UNAVAILABLE)
        visitor.admit(account, dialect.message_bytes)
        return None

    def _let_watch(self, visitor: Visitor, handshake: Handshake) -> Page | None:
        """Lets a viewer in, or says why not."""
        token = Native.credential(handshake)
        if (account := self._accounts.find(token)) is None:
            return _unauthorized(token)
        if not self._is_ready():
            return Page("not ready, try again in a while\n", HTTPStatus.SERVICE_UNAVAILABLE)
        if self._channels and self._channels.full:
            return Page("there is no room for more viewers\n", HTTPStatus.SERVICE_UNAVAILABLE)
        visitor.admit(account)
        return None


def _unauthorized(token: str | None) -> Page:
    sentence = WRONG_TOKEN if token else NO_TOKEN
    return Page(f"{sentence}\n", HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": 'Bearer realm="earshot"'})


def _sentence(page: Page) -> str:
    return (page.body if isinstance(page.body, str) else page.body.decode(errors="replace")).strip()[:300]


def response(connection: ServerConnection, request: Request, page: Page) -> Response:
    """A page, as websockets sends it; only that it is the same as before, if the client has that."""
    body = page.body.encode() if isinstance(page.body, str) else page.body
    headers = {"Content-Type": page.content_type, "Content-Length": str(len(body)), **page.headers}
    if page.headers.get("ETag") in request.headers.get_all("If-None-Match"):
        page, body = replace(page, status=HTTPStatus.NOT_MODIFIED), b""
        del headers["Content-Length"]
    answer = connection.respond(page.status, "")
    for name in ("Content-Type", "Content-Length"):
        del answer.headers[name]
    for name, value in headers.items():
        answer.headers[name] = value
    if page.status == NOT_ALLOWED:
        answer.headers["Allow"] = ", ".join(METHODS)
    answer.body = b"" if request.method == "HEAD" else body
    return answer
