"""Ogg streams one after the other in one file (RFC 3533, section 4: chaining), as `cat a.ogg b.ogg` makes them.

FFmpeg reads on with the decoder of the first. So the file is cut where a new one begins.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

CAPTURE = b"OggS"
HEADER_BYTES = 27
FIRST_PAGE, LAST_PAGE = 2, 4
"""Flags of the first and the last page of a logical stream."""
READ_BYTES = 4096

Read = Callable[[int], bytes]
"""Gives up to so many bytes, at least one; none means the end."""


class OggStream:
    """One stream of a chain, to be read to its end before the next: audio, and a video's other tracks."""

    def __init__(self, pages: "_Pages") -> None:
        self.cut_off = False
        """Whether it ended without the last page of each of its tracks. Known at its end."""
        self._pages = pages
        self._data = b""
        self._open: set[bytes] = set()
        self._begun = False  # beyond the first pages, which stand together

    def read(self, size: int) -> bytes:
        """Up to so many bytes; none means the end."""
        if not self._data:
            page = self._pages.next
            if page is None or (page.flags & FIRST_PAGE and self._begun):
                self.cut_off = bool(self._open)
                return b""
            self._pages.advance()
            self._data = page.data
            self._begun |= not page.flags & FIRST_PAGE
            if page.flags & LAST_PAGE:
                self._open.discard(page.serial)
            elif page.flags & FIRST_PAGE:
                self._open.add(page.serial)
        data, self._data = self._data[:size], self._data[size:]
        return data

    def drain(self) -> None:
        """Reads what its decoder left."""
        while self.read(READ_BYTES):
            pass


def ogg_streams(read: Read) -> Iterator[OggStream]:
    """The streams of a chain, in order."""
    pages = _Pages(read)
    while pages.next is not None:
        stream = OggStream(pages)
        yield stream
        stream.drain()


class _Page(NamedTuple):
    data: bytes
    flags: int
    serial: bytes


class _Pages:
    """The pages of a file, one ahead. Bytes between pages, which a damaged file has, go out as a page without flags."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._bytes = bytearray()
        self.next: _Page | None = self._parsed()

    def advance(self) -> None:
        self.next = self._parsed()

    def _parsed(self) -> _Page | None:
        if not self._fill(HEADER_BYTES):
            return self._taken(len(self._bytes), 0)
        if self._bytes[:4] != CAPTURE:
            found = self._bytes.find(CAPTURE, 1)
            return self._taken(found if found > 0 else len(self._bytes) - 3, 0)
        segments = HEADER_BYTES + self._bytes[26]
        self._fill(segments)
        length = segments + sum(self._bytes[HEADER_BYTES:segments])
        whole = self._fill(length)
        return self._taken(length, self._bytes[5] if whole else 0)

    def _taken(self, length: int, flags: int) -> _Page | None:
        data = bytes(self._bytes[:length])
        del self._bytes[:length]
        return _Page(data, flags, data[14:18]) if data else None

    def _fill(self, length: int) -> bool:
        while len(self._bytes) < length:
            if not (data := self._read(max(length - len(self._bytes), READ_BYTES))):
                return False
            self._bytes += data
        return True
