"""What a connection needs of the socket below it, whatever is spoken there: messages in, messages out, an end."""

from collections.abc import Callable
from typing import Protocol

from earshot_asr.server.accounts import Account


class Gone(Exception):
    """The client has closed the line, or it broke."""


class Line(Protocol):
    """One client's socket: a websocket (visitor.Visitor), or framed messages over plain TCP (tcp.TcpLine)."""

    address: str
    """Where the client is, in front of our own proxies."""
    account: Account | None
    """Whom its token stands for; None: that is not known yet."""
    messages_per_second: int
    """So many it may send."""

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed it."""
        ...

    @property
    def close_code(self) -> int | None:
        """Why it was closed, as a websocket's close code; None as long as it is open."""
        ...

    @property
    def unread_bytes(self) -> int:
        """What was sent, and waits for the client to read."""
        ...

    async def receive(self) -> str | bytes:
        """The next message. Raises Gone."""
        ...

    async def transmit(self, message: str | bytes) -> None:
        """Sends a message; waits while the client does not read. Raises Gone."""
        ...

    async def end(self, code: int, reason: str = "") -> None:
        """Says goodbye, and waits until the client has, too. Raises Gone."""
        ...

    def abort(self) -> None:
        """Disconnects the client, whatever is still to be sent."""
        ...

    def shrink_send_buffer(self) -> None:
        """Keeps little in the kernel, as outdated text in there can't be replaced by newer."""
        ...

    def admit(self, account: Account | None, message_bytes: int | None = None) -> None:
        """The client may come in for this account, with messages up to that size; None: what is known stays."""
        ...

    def when_flooded(self, act: Callable[[], None]) -> None:
        """Calls `act` when more messages come than may, or now if they have come. Nothing more is taken in then."""
        ...

    def expect_end(self) -> None:
        """The last was said, or will be: what is still read of the client is bounded. May be called several times."""
        ...
