"""Bytes that come from front to back, and can be looked at before they are read."""

from collections.abc import Callable

START_BYTES = 128
"""How much of a file is looked at to tell its kind."""


class Ahead:
    """Bytes that are read forward only, but can be looked at before.

    next    gives up to so many bytes, at least one; none means the end
    """

    def __init__(self, next: Callable[[int], bytes]) -> None:
        self._next = next
        self._waiting = b""
        self.read_bytes = 0
        self.ended = False
        """Whether all was read."""

    def peek(self, size: int) -> bytes:
        """The next bytes: as many as asked for, fewer only at the end."""
        while len(self._waiting) < size and (data := self._next(size - len(self._waiting))):
            self._waiting += data
        return self._waiting[:size]

    def read(self, size: int) -> bytes:
        """Up to so many bytes, at least one; none means the end."""
        data, self._waiting = self._waiting[:size], self._waiting[size:]
        data = data or self._next(size)
        self.read_bytes += len(data)
        self.ended = not data
        return data
