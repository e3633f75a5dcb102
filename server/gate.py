"""Which requests are let in, by their Host and Origin headers.

A web page may open a websocket to any server that the browser can reach, and a foreign name may be made to point at
this machine ("DNS rebinding"). Browsers say where a page comes from in Origin, and which name they used in Host.
"""

from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

from earshot_asr.server.settings import is_loopback


class Gate:
    """Lets in clients that are no browser, pages of this server itself, and pages that were named.

    bound      the address that the server listens at
    hosts      further names of this machine that a request's Host may have
    origins    origins of other pages that may connect: https://captions.example
    """

    def __init__(self, bound: str, hosts: Collection[str] = (), origins: Collection[str] = ()) -> None:
        self._hosts = {_host(host) for host in (bound, *hosts)}
        self._origins = {origin.lower().rstrip("/") for origin in origins}

    def refusal(self, named: Sequence[str], origins: Sequence[str], local: str) -> str | None:
        """Why a request is refused, in a sentence; None: it is let in.

        named      the values of its Host headers
        origins    those of its Origin headers
        local      the address of this machine at which it came in
        """
        host = _host(named[0])[:100] if len(named) == 1 else ""
        if not host or not (host in self._hosts or host == local or is_loopback(host)):
            return f"this server is not known as {host!r}; start it with --allow-host {host} if it should be"
        for origin in origins:
            if origin.lower() not in self._origins and _authority(origin) != named[0].lower():
                name = origin[:100]
                return f"pages of {name!r} may not connect; start the server with --origin {name} if they may"
        return None


def _authority(origin: str) -> str:
    """HOST or HOST:PORT of an origin, in lower case; empty if there is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _host(authority: str) -> str:
    """The name or address in HOST, HOST:PORT or [ADDRESS]:PORT, in lower case; empty if there is none."""
    try:
        return urlsplit(f"//{authority}").hostname or authority.lower()
    except ValueError:
        return ""
