"""Who is connected: all of them, so that they can be cut, and how many each address may have."""

from typing import Protocol

from earshot_asr.server.addresses import SPARE_CONNECTIONS, Census, Proxies


class Guest(Protocol):
    """One TCP connection, as a door accepts it."""

    address: str
    """Where it comes from, in front of our own proxies."""

    @property
    def is_served(self) -> bool:
        """Whether a Connection has it."""
        ...

    def abort(self) -> None:
        """Cuts it."""
        ...


class Guests:
    """All connections that are open, and how many of each address there may be."""

    def __init__(self, census: Census, proxies: Proxies) -> None:
        self._census = census
        self._proxies = proxies
        self._guests: dict[Guest, str | None] = {}  # with the address that each is counted for

    def enter(self, guest: Guest, peer: str) -> bool:
        """One has come; whether there is room for it. Of our own proxies there may be any number."""
        guest.address = peer
        self._guests[guest] = None
        return self._proxies.trusts(peer) or self._count(guest)

    def identify(self, guest: Guest, forwarded: list[str]) -> bool:
        """Its request is there, and says for whom our proxy has made it; whether there is room for it."""
        if self._guests.get(guest) is not None:
            return True
        guest.address = self._proxies.client(guest.address, forwarded)
        return self._count(guest)

    def release(self, guest: Guest) -> None:
        """It is no longer counted for its address: viewers may be many behind one."""
        if address := self._guests.get(guest):
            self._census.remove(address)
            self._guests[guest] = None

    def leave(self, guest: Guest) -> None:
        """It has gone."""
        if address := self._guests.pop(guest, None):
            self._census.remove(address)

    def all(self) -> list[Guest]:
        """Those that are here."""
        return list(self._guests)

    def _count(self, guest: Guest) -> bool:
        self._guests[guest] = guest.address
        self._census.add(guest.address)
        return not self._census.exceeds(guest.address, SPARE_CONNECTIONS)
