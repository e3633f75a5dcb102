"""What KenLM's binary files (`build_binary`) have in common: how they begin, and the words at their end. No torch."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from earshot_asr.engine.errors import CheckpointError
from earshot_asr.engine.lm.ngrams import UNKNOWN

MAGIC = b"mmap lm http://kheafield.com/code format version"
SANITY = struct.Struct("<56sfffIIxxxxQ")
"""Numbers by which KenLM sees that a file was written on a machine like its own."""
SANE = (MAGIC + b" 5\n\0", 0.0, 1.0, -0.5, 1, 0xFFFFFFFF, 1)
FIXED = struct.Struct("<BxxxfIBxxxI")
"""Order, a setting of hash tables, the kind of file, whether it has its words, a version of the kind."""
PROBING, REST_PROBING, *TRIES = range(6)
MASK = (1 << 64) - 1
MOST_ORDER, MOST_SPACIOUS = 20, 1000.0


@dataclass(frozen=True, slots=True)
class Header:
    """What a binary file of KenLM begins with.

    counts      of n-grams, by length
    spacious    how many buckets a hash table has for each entry
    size        of the header itself, in bytes
    """

    kind: int
    counts: tuple[int, ...]
    spacious: float
    size: int

    @classmethod
    def of(cls, data: bytes) -> Self:
        """From the first bytes of a file. Raises CheckpointError."""
        start = SANITY.size + FIXED.size
        if not data.startswith(MAGIC):
            raise CheckpointError("no binary file of KenLM")
        if len(data) < start or SANITY.unpack_from(data) != (SANE[0].ljust(56, b"\0"), *SANE[1:]):
            raise CheckpointError("a binary file of another version of KenLM; make it anew from its ARPA file")
        order, spacious, kind, has_words, _ = FIXED.unpack_from(data, SANITY.size)
        if not 1 <= order <= MOST_ORDER or not 1 < spacious <= MOST_SPACIOUS or kind not in (PROBING, *TRIES):
            raise CheckpointError("neither a trie nor a hash table of KenLM's; make one anew from its ARPA file")
        if not has_words:
            raise CheckpointError("without the words; make it anew from its ARPA file, by `build_binary`")
        size = -(-(start + 8 * order) // 8) * 8
        if len(data) < size:
            raise CheckpointError(f"cut off: {len(data):,} bytes, of {size:,} or more")
        return cls(kind, struct.unpack_from(f"<{order}Q", data, start), spacious, size)

    def buckets(self, count: int) -> int:
        """The buckets of a hash table of so many entries."""
        return max(count + 1, int(np.float32(self.spacious) * np.float32(count)))


def vocabulary(data: bytes, count: int) -> list[str]:
    """The words at the end of a file, by id. Raises CheckpointError if they are not so many."""
    try:
        *words, rest = data.decode().split("\0")
    except UnicodeDecodeError:
        raise CheckpointError("words that are not UTF-8") from None
    if rest or len(words) != count or words[0] != UNKNOWN:
        raise CheckpointError(f"{len(words):,} words where {count:,} should be, {UNKNOWN} the first")
    return words


def by_hash(words: Iterable[str]) -> list[str]:
    """<unk>, and then the words, in the order that their ids have in a trie."""
    return [UNKNOWN, *sorted(words, key=lambda word: murmur(word.encode()))]


def murmur(data: bytes) -> int:
    """MurmurHash64A, by which KenLM finds words."""
    factor, shift = 0xC6A4A7935BD1E995, 47
    whole = len(data) // 8 * 8
    value = len(data) * factor & MASK
    for (part,) in struct.iter_unpack("<Q", data[:whole]):
        part = part * factor & MASK
        value = (value ^ (part ^ part >> shift) * factor) * factor & MASK
    if tail := data[whole:]:
        value = (value ^ int.from_bytes(tail, "little")) * factor & MASK
    value = (value ^ value >> shift) * factor & MASK
    return value ^ value >> shift
