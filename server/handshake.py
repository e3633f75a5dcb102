"""The HTTP request that opens a websocket, as a dialect sees it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs


def split_target(target: str) -> tuple[str, str]:
    """The target of a request, /path?query -> path and query."""
    path, _, query = target.partition("?")
    return path, query


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
