"""The HTTP request that opens a websocket, as a dialect sees it, and an answer in place of the websocket."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Self
from urllib.parse import parse_qs


def split_target(target: str) -> tuple[str, str]:
    """The target of a request, /path?query -> path and query."""
    path, _, query = target.partition("?")
    return path, query


@dataclass(frozen=True, slots=True)
class Page:
    """The answer to a plain request, or to a handshake that is refused."""

    body: str | bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Handshake:
    """Path, query and headers of the request.

    query      by name: all values, in order, decoded
    headers    by name in lower case; where a name comes several times, its values with commas between them
    """

    path: str
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, target: str, headers: Iterable[tuple[str, str]]) -> Self:
        """Reads a request's target and its headers, as they came."""
        path, query = split_target(target)
        joined: dict[str, str] = {}
        for name, value in headers:
            key = name.lower()
            joined[key] = f"{joined[key]}, {value}" if key in joined else value
        return cls(path, parse_qs(query, keep_blank_values=True), joined)

    @property
    def subprotocols(self) -> list[str]:
        """The sub-protocols that the client offers, in its order."""
        return [each.strip() for each in self.headers.get("sec-websocket-protocol", "").split(",") if each.strip()]

    @property
    def authorization(self) -> str | None:
        """The token in the header Authorization: what follows Bearer, or the password of Basic."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        match scheme.lower():
            case "bearer":
                return value.strip()
            case "basic":
                try:
                    return base64.b64decode(value, validate=True).decode().partition(":")[2]
                except ValueError:  # it is not base64, or not ASCII
                    return None
            case _:
                return None

    @property
    def token_in_query(self) -> str | None:
        """?token=X, for clients that can be told a URL and nothing more."""
        return self.query["token"][-1] if "token" in self.query else None
