"""Chained Ogg streams, cut apart."""

from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.sources.ogg import FIRST_PAGE, LAST_PAGE, ogg_streams


def page(serial: int, flags: int, size: int) -> bytes:
    """A page with the body's bytes all alike. Its checksum is left out: FFmpeg looks at it."""
    segments = bytes([255] * (size // 255) + [size % 255])
    head = b"OggS\x00" + bytes([flags]) + bytes(8) + serial.to_bytes(4, "little") + bytes(8) + bytes([len(segments)])
    return head + segments + bytes([serial]) * size


def stream(serial: int, *sizes: int, last: bool = True) -> bytes:
    middle = b"".join(page(serial, 0, size) for size in sizes)
    return page(serial, FIRST_PAGE, 30) + middle + (page(serial, LAST_PAGE, 100) if last else b"")


def parted(data: bytes, size: int) -> list[tuple[bytes, bool]]:
    """Each stream's bytes, read `size` at a time, and whether it is cut off."""
    rest = memoryview(data)

    def read(count: int) -> bytes:
        nonlocal rest
        got, rest = bytes(rest[: min(count, size)]), rest[min(count, size) :]
        return got

    found = []
    for one in ogg_streams(read):
        whole = b"".join(iter(lambda: one.read(size), b""))  # noqa: B023
        found.append((whole, one.cut_off))
    return found


sizes = st.lists(st.integers(0, 3000), max_size=5)


@given(st.lists(st.tuples(sizes, st.booleans()), min_size=1, max_size=4), st.integers(1, 5000))
def test_a_chain_is_cut_where_streams_begin(chain: list[tuple[list[int], bool]], size: int) -> None:
    streams = [stream(serial, *each, 9, last=last) for serial, (each, last) in enumerate(chain)]
    assert parted(b"".join(streams), size) == [(one, not last) for one, (_, last) in zip(streams, chain, strict=True)]


def test_the_tracks_of_a_video_are_one_stream() -> None:
    both = page(1, FIRST_PAGE, 30) + page(2, FIRST_PAGE, 30) + page(1, 0, 9) + page(2, 0, 9)
    assert parted(both + page(1, LAST_PAGE, 0), 999) == [(both + page(1, LAST_PAGE, 0), True)]
    both += page(1, LAST_PAGE, 0) + page(2, LAST_PAGE, 0)
    assert parted(both, 999) == [(both, False)]


@given(st.binary(max_size=3000), st.integers(1, 100))
def test_no_byte_is_lost_whatever_it_is(data: bytes, size: int) -> None:
    for whole in (data, stream(1, 40, last=False) + data, data + stream(1, 40)):
        assert b"".join(part for part, _ in parted(whole, size)) == whole


def test_a_page_that_ends_early_is_no_last_page() -> None:
    assert parted(stream(1, 50)[:-1], 999) == [(stream(1, 50)[:-1], True)]
