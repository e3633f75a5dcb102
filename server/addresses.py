"""Where clients are: their addresses, also behind reverse proxies, and how many connections each address has."""

from collections import Counter
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

SPARE_CONNECTIONS = 8
"""So many connections more than it may have does an address get for health checks, and to be told that it has too many.
Further ones are cut at once."""


class Proxies:
    """Reverse proxies that are trusted to say, in X-Forwarded-For, where a client is.

    trusted    their addresses and networks, as 10.0.0.7 and 10.0.0.0/8. Raises ValueError if one is neither.
    """

    def __init__(self, trusted: Collection[str]) -> None:
        self._networks = [ip_network(each, strict=False) for each in trusted]

    def trusts(self, address: str) -> bool:
        """Whether this is the address of one of them."""
        known = _parsed(address)
        return known is not None and any(known in network for network in self._networks)

    def client(self, peer: str, forwarded: Sequence[str]) -> str:
        """The address of the client whose request came from `peer`.

        forwarded    the values of X-Forwarded-For. Each proxy adds, at the right, whom it had the request from, so they
                     are read from there, and only as long as trusted proxies have said so: a client may write anything.
        """
        address = peer
        said = [each for line in forwarded for each in line.split(",")]
        while said and self.trusts(address):
            named = _parsed(said.pop())
            if named is None:
                break
            address = str(named)
        return address


class Census:
    """Counts the open connections of each address: websockets, handshakes and requests for pages alike.

    most    an address may have so many; None: any number
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self._open: Counter[str] = Counter()

    def add(self, address: str) -> None:
        """One was opened."""
        self._open[address] += 1

    def remove(self, address: str) -> None:
        """One was closed."""
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]

    def exceeds(self, address: str, spare: int = 0) -> bool:
        """Whether an address has more than it may have, and so many to spare."""
        return self.most is not None and self._open[address] > self.most + spare


def canonical(address: str) -> str:
    """The one way in which we write an address; what is none stays as it is."""
    return str(_parsed(address) or address)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """An address, also with a port behind it, as some proxies write it."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address
