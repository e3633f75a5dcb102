"""Writes tries as KenLM's `build_binary trie` does, which pip does not have; KenLM reads them. No torch."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.lm.kenlm import FIXED, SANE, SANITY, by_hash, murmur
from earshot_asr.engine.lm.kenlm_trie import PACKED, QUANTIZED
from earshot_asr.engine.lm.trie import Level

Numbers = npt.NDArray[Any]
Values = npt.NDArray[np.float32]
PROB_BITS, BACKOFF_BITS, MOST_CHOPPED = 8, 7, 22
SPACIOUS = 1.5
ZEROS = np.array([-0.0, 0.0], np.float32)
"""The first backoffs: no longer n-gram begins so, and one does."""


def written(words: Sequence[str], levels: Sequence[Level], kind: int) -> bytes:
    """A file of a kind of trie; words: by id, in the order that by_hash gives them."""
    assert list(words) == by_hash(words[1:])
    header = head(kind, [len(level.words) for level in levels])
    return header + _trie(len(header), words, levels, kind) + tail(words)


def head(kind: int, counts: Sequence[int]) -> bytes:
    """What any binary file begins with; counts: of n-grams, by length."""
    header = SANITY.pack(*SANE) + FIXED.pack(len(counts), SPACIOUS, kind, True, min(kind, 1))
    header += struct.pack(f"<{len(counts)}Q", *counts)
    return header + bytes(-len(header) % 8)


def tail(words: Sequence[str]) -> bytes:
    """What any binary file ends with."""
    return b"".join(word.encode() + b"\0" for word in words)


@dataclass(frozen=True, eq=False)
class _Codes:
    """Values in so many bits: a table, and for each value its place in it."""

    table: Values
    places: Numbers

    @classmethod
    def of(cls, values: Values, bits: int, first: Values) -> "_Codes":
        """Values that are in `first` keep their place in it; the others have the mean of as many, or are exact."""
        other = ~np.isin(values, first)
        unique = np.unique(values[other])
        room = (1 << bits) - len(first)
        if len(unique) > room:
            parts = np.array_split(np.sort(values[other]), room)
            unique = np.unique(np.array([part.mean(dtype=np.float64) for part in parts], np.float32))
        table = np.concatenate([first, unique, np.zeros(room - len(unique), np.float32)])
        middles = (unique[1:] + unique[:-1]) / 2
        places = np.searchsorted(middles, values) + len(first)
        for place, value in enumerate(first):
            places[values.view(np.uint32) == value.view(np.uint32)] = place
        return cls(table, places)


def _trie(at: int, words: Sequence[str], levels: Sequence[Level], kind: int) -> bytes:
    """All that is between the header, which ends at that byte, and the words."""
    hashes = [murmur(word.encode()) for word in words[1:]]
    body = struct.pack(f"<Q{len(hashes)}QQ", len(hashes), *hashes, 0)
    coded = [_coded(level) for level in levels[1:]] if kind in QUANTIZED else []
    if coded:
        body += bytes([2, PROB_BITS, BACKOFF_BITS]) + bytes(5)
        body += b"".join(each.table.tobytes() for codes in coded for each in reversed(codes))
    body += _unigrams(levels[0])
    for n, level in enumerate(levels[1:]):
        fields = [(level.words, len(words).bit_length())]
        if coded:
            bits = [BACKOFF_BITS, PROB_BITS][-len(coded[n]) :]
            fields += [(codes.places, width) for codes, width in zip(coded[n], bits, strict=True)]
        else:
            fields += [(level.prob.view(np.uint32), 31)]
            fields += [(level.backoff.view(np.uint32), 32)] if level.backoff is not None else []
        if level.begin is not None:
            width = int(level.begin[-1]).bit_length()
            if kind in PACKED:
                width, high = _high_bits(at + len(body), level.begin)
                body += high
            fields += [(level.begin, width)]
        body += _packed(fields, len(level.words))
    return body


def _coded(level: Level) -> list[_Codes]:
    """A level's backoffs, if it has any, and probabilities."""
    probs = _Codes.of(level.prob, PROB_BITS, ZEROS[:0])
    return [probs] if level.backoff is None else [_Codes.of(level.backoff, BACKOFF_BITS, ZEROS), probs]


def _unigrams(level: Level) -> bytes:
    nodes = np.zeros(len(level.words) + 2, np.dtype([("prob", "<f4"), ("backoff", "<f4"), ("begin", "<u8")]))
    nodes["prob"][:-2], nodes["backoff"][:-2] = level.prob, level.backoff
    nodes["begin"][:-1] = level.begin
    return nodes.tobytes()


def _high_bits(at: int, begin: Numbers) -> tuple[int, bytes]:
    """How many bits of a pointer stay with its node; and where the others change, a part that begins at that byte."""
    bits = int(begin[-1]).bit_length()
    chopped = min(
        range(min(bits, MOST_CHOPPED) + 1), key=lambda n: (int(begin[-1]) >> (bits - n)) * 64 - len(begin) * n
    )
    low = bits - chopped
    firsts = np.searchsorted(begin >> low, np.arange((int(begin[-1]) >> low) + 1)).astype("<u8").tobytes()
    padding = -at % 8
    return low, bytes([0, MOST_CHOPPED]) + bytes(6 + padding) + firsts + bytes(7 - padding)


def _packed(fields: Sequence[tuple[Numbers, int]], count: int) -> bytes:
    """Numbers of so many bits, one after the other, for each node and for one more."""
    columns = []
    for values, width in fields:
        whole = np.zeros(count + 1, np.uint64)
        whole[: len(values)] = values
        columns.append((whole[:, None] >> np.arange(width, dtype=np.uint64) & np.uint64(1)).astype(np.uint8))
    return np.packbits(np.hstack(columns).ravel(), bitorder="little").tobytes() + bytes(8)
