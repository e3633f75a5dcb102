"""Listening sockets that rest when file descriptors run out, and how many descriptors there are."""

import errno
import logging
import os
import socket
import sys
import time
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

from earshot_asr.engine.errors import ConfigError
from earshot_asr.server.addresses import canonical

if sys.platform != "win32":
    import resource

log = logging.getLogger(__name__)

REST_SECONDS = 0.5
"""Less than the second after which asyncio tries again."""
NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
DESCRIPTORS = 65_536
"""As many are asked for, if the system lets us have them: a stream takes one."""
SPARED_DESCRIPTORS = 32
"""So many are left for files: streams that are open may need what was not imported yet."""
NOT_OURS = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


Knock = Callable[[int, str], bool]
"""Descriptor and address of a connection that was accepted -> whether it may stay."""


class Accepted(socket.socket):
    """A connection; `closing` is called with its descriptor before that is closed."""

    def __init__(self, accepted: socket.socket, closing: Callable[[int], None]) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        self._before_close = closing

    def close(self) -> None:
        """See socket.socket."""
        if self.fileno() >= 0:
            self._before_close(self.fileno())
        super().close()


class Listener(socket.socket):
    """Accepts connections as long as descriptors are left besides those that are spared.

    When none can be accepted, asyncio logs that and stops accepting for a second: but it asks a hundred times at once,
    and does so for each. Here only the first of them is told so; for the others nobody is waiting.
    """

    _rests_until = 0.0
    _knock: Knock | None = None

    def ask(self, knock: Knock, gone: Callable[[int], None]) -> None:
        """Asks for each connection whether it may stay, and tells when it goes. Asyncio does not tell of a connection
        before its TLS handshake is over, nor ever if that fails."""
        self._knock, self._gone = knock, gone

    def accept(self) -> tuple[socket.socket, Any]:
        """See socket.socket."""
        if time.monotonic() < self._rests_until:
            raise BlockingIOError
        try:
            accepted, address = super().accept()
            if accepted.fileno() >= _descriptor_limit() - SPARED_DESCRIPTORS:  # it has the lowest number that was free
                accepted.close()
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        except OSError as e:
            if e.errno in NO_DESCRIPTORS:
                self._rests_until = time.monotonic() + REST_SECONDS
            raise
        if self._knock:
            accepted = Accepted(accepted, self._gone)
            if not self._knock(accepted.fileno(), canonical(str(address[0]))):
                accepted.close()
                raise ConnectionAbortedError
        return accepted, address


async def bound(host: str, port: int) -> list[Listener]:
    """A socket for each address of the host that this machine has, bound to the port; 0: the same free one for all.

    Raises OSError if there is none, or the port can't be had; UnicodeError if the host can't be a name.
    """
    found = await get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[Listener] = []
    failure: OSError | None = None
    for family, _, _, _, (address, _, *scope) in dict.fromkeys(found):
        try:
            listener = _listener(family, (address, port, *scope))
        except OSError as e:
            failure = e
            if e.errno in NOT_OURS:
                continue
            close(listeners)
            raise
        listeners.append(listener)
        port = listener.getsockname()[1]
    if not listeners:
        raise failure or OSError(errno.EADDRNOTAVAIL, "it has no address")
    return listeners


def _listener(family: int, address: tuple[Any, ...]) -> Listener:
    listener = Listener(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def close(listeners: Iterable[Listener]) -> None:
    """Gives the port back."""
    for listener in listeners:
        listener.close()


async def listen(host: str, port: int, serve: Callable[[Listener], Awaitable[None]]) -> int:
    """Has each socket of a port served, see bound(). Returns the port. Raises ConfigError if that is not possible."""
    sockets: list[Listener] = []
    try:
        sockets = await bound(host, port)
        for each in sockets:
            await serve(each)
    except (OSError, UnicodeError) as e:  # UnicodeError: not a possible host name
        close(sockets)
        raise ConfigError(why_not_listening(e, host, port)) from None
    actual: int = sockets[0].getsockname()[1]
    return actual


def why_not_listening(error: OSError | UnicodeError, host: str, port: int) -> str:
    """Why a port could not be had, in a sentence. UnicodeError: the host is not a possible name."""
    if isinstance(error, UnicodeError):
        return f"can't listen at port {port} of {host!r}: not a host name; host must be an address of this machine"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; choose another one, or 0 for any that is free"
    if error.errno == errno.EACCES:
        return f"port {port} of {host} is not allowed to this user; choose one from 1024 on"
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return f"can't listen at port {port} of {host!r}: {reason}; host must be an address of this machine"


def on_loop_error(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """For asyncio's errors that nobody catches: one line where it could not accept, for want of descriptors."""
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno in NO_DESCRIPTORS and "socket" in context:
        log.warning("no connections are accepted for a second: %s", error.strerror)
    else:
        loop.default_exception_handler(context)


def raise_descriptor_limit() -> None:
    """Lets this process have as many descriptors as the system allows, up to DESCRIPTORS."""
    if sys.platform == "win32":
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if _descriptor_limit() < wanted:
        with suppress(OSError, ValueError):  # the system may have reasons of its own: all goes on with fewer
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _descriptor_limit() -> float:
    if sys.platform == "win32":
        return float("inf")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return float("inf") if soft == resource.RLIM_INFINITY else soft
