"""Reads KenLM's binary tries (`build_binary trie`): quantized or not, pointers packed or not. No torch."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.errors import CheckpointError
from earshot_asr.engine.lm.bits import MOST_BITS, unpacked
from earshot_asr.engine.lm.kenlm import Header, vocabulary
from earshot_asr.engine.lm.trie import Level, TrieModel

QUANTIZED_PACKED = 5
QUANTIZED, PACKED = (3, QUANTIZED_PACKED), (4, QUANTIZED_PACKED)
"""Kinds that have codes for probabilities, and those that store only the low bits of pointers."""


def read_trie(data: bytes, header: Header, fingerprint: str) -> TrieModel:
    """A model of a file's bytes. Raises CheckpointError."""
    layout = _Layout(data, header)
    levels = list(layout.levels())
    return TrieModel(vocabulary(data[layout.at :], header.counts[0]), levels, fingerprint)


class _Layout:
    """Goes through a file, part by part; `at` is the byte where the next one begins."""

    def __init__(self, data: bytes, header: Header) -> None:
        self._data, self._header = data, header
        self._quantized, self._packed = header.kind in QUANTIZED, header.kind in PACKED
        self.at = header.size
        words = header.counts[0]
        self._take(8 + 8 * words)  # hashes of the words
        self._word_bits = words.bit_length()

    def levels(self) -> Iterator[Level]:
        """All n-grams, by length. Raises CheckpointError."""
        counts = self._header.counts
        if len(counts) < 2:
            raise CheckpointError("a trie of single words, which KenLM does not write")
        tables = list(self._tables())
        yield self._unigrams()
        for count, children, (probs, backoffs) in zip(counts[1:-1], counts[2:], tables[:-1], strict=True):
            yield self._middle(count, children, probs, backoffs)
        yield self._longest(counts[-1], tables[-1][0])

    def _take(self, size: int) -> int:
        """The place of the next part, which has that many bytes. Raises CheckpointError if the file ends before."""
        start, self.at = self.at, self.at + size
        if self.at > len(self._data):
            raise CheckpointError(f"cut off: {len(self._data):,} bytes, of {self.at:,} or more")
        return start

    def _floats(self, count: int) -> npt.NDArray[np.float32]:
        return np.frombuffer(self._data, "<f4", count, self._take(4 * count))

    def _tables(self) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
        """Of each length from 2 on, the values of the codes of probabilities and of backoffs; those may be empty."""
        none = np.zeros(0, np.float32)
        longer = len(self._header.counts) - 1
        self._prob_bits, self._backoff_bits = 31, 32
        if not self._quantized:
            yield from [(none, none)] * longer
            return
        version, self._prob_bits, self._backoff_bits = self._data[(start := self._take(8)) : start + 3]
        if version != 2 or not (1 <= self._prob_bits <= 25 and 1 <= self._backoff_bits <= 25):
            raise CheckpointError(
                f"codes of {self._prob_bits} and {self._backoff_bits} bits, which KenLM does not write"
            )
        for _ in range(longer - 1):
            yield self._floats(1 << self._prob_bits), self._floats(1 << self._backoff_bits)
        yield self._floats(1 << self._prob_bits), none

    def _unigrams(self) -> Level:
        count = self._header.counts[0]
        kind = np.dtype([("prob", "<f4"), ("backoff", "<f4"), ("begin", "<u8")])
        nodes = np.frombuffer(self._data, kind, count + 2, self._take(kind.itemsize * (count + 2)))[: count + 1]
        ids = np.arange(count, dtype=np.uint32)
        return Level(ids, nodes["prob"][:count], nodes["backoff"][:count], nodes["begin"])

    def _middle(
        self, count: int, children: int, probs: npt.NDArray[np.float32], backoffs: npt.NDArray[np.float32]
    ) -> Level:
        pointer_bits, high = children.bit_length(), None
        if self._packed:
            pointer_bits, high = self._high_bits(count + 1, children)
        value_bits = self._prob_bits + self._backoff_bits
        entry = _Entries(self, count, self._word_bits + value_bits + pointer_bits)
        words = entry.field(0, self._word_bits)
        if self._quantized:
            backoff = backoffs[entry.field(self._word_bits, self._backoff_bits)]
            prob = probs[entry.field(self._word_bits + self._backoff_bits, self._prob_bits)]
        else:
            prob = _negative(entry.field(self._word_bits, 31))
            backoff = entry.field(self._word_bits + 31, 32).astype(np.uint32).view(np.float32)
        begin = entry.field(self._word_bits + value_bits, pointer_bits, more=1)
        if high is not None:
            nodes = np.arange(count + 1, dtype=np.uint64)
            begin |= (np.searchsorted(high, nodes, "right") - 1).astype(np.uint64) << np.uint64(pointer_bits)
        return Level(words.astype(np.uint32), prob, backoff, begin.astype(np.uint64 if children >> 32 else np.uint32))

    def _longest(self, count: int, probs: npt.NDArray[np.float32]) -> Level:
        entry = _Entries(self, count, self._word_bits + self._prob_bits)
        codes = entry.field(self._word_bits, self._prob_bits)
        return Level(
            entry.field(0, self._word_bits).astype(np.uint32), probs[codes] if self._quantized else _negative(codes)
        )

    def _high_bits(self, nodes: int, children: int) -> tuple[int, npt.NDArray[np.uint64]]:
        """How many low bits of a pointer its node has; and by high bits, the first node whose pointer has them."""
        version, most = self._data[self.at : self.at + 2].ljust(2, b"\0")
        bits = children.bit_length()
        chopped = min(range(min(bits, most) + 1), key=lambda n: (children >> (bits - n)) * 64 - nodes * n)
        count = (children >> (bits - chopped)) + 1
        start = self._take(8 + 8 * count + 7)
        if version != 0:
            raise CheckpointError("pointers packed in a way that KenLM does not write")
        return bits - chopped, np.frombuffer(self._data, "<u8", count, -(-(start + 8) // 8) * 8)


class _Entries:
    """Nodes of a level, each of so many bits, and one more that ends the children of the last."""

    def __init__(self, layout: _Layout, count: int, bits: int) -> None:
        self._data, self._count, self._bits = layout._data, count, bits
        self._at = layout._take(((1 + count) * bits + 7) // 8 + 8)

    def field(self, bit: int, width: int, more: int = 0) -> npt.NDArray[np.uint64]:
        """The numbers of `width` bits, `bit` bits from the beginning of each node."""
        if width > MOST_BITS:
            raise CheckpointError("more n-grams than fit a computer")
        return unpacked(self._data, self._at, self._count + more, self._bits, bit, width)


def _negative(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.float32]:
    """Floats that are stored without their sign."""
    return (bits.astype(np.uint32) | np.uint32(1 << 31)).view(np.float32)
