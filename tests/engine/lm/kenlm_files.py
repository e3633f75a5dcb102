"""Writes small language models as KenLM's build_binary does, which pip does not have; KenLM itself reads them."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.lm.grams import Grams, levels_of
from earshot_asr.engine.lm.kenlm import FIXED, SANE, SANITY
from earshot_asr.engine.lm.trie import Level

Ngrams = Mapping[tuple[str, ...], tuple[float, float]]
"""Words -> log10 of probability and of backoff; <unk> first, and with an n-gram all parts of it."""
PROBING, TRIE, QUANTIZED, PACKED, QUANTIZED_PACKED = 0, 2, 3, 4, 5
BITS, MOST_CHOPPED, SPACIOUS = 6, 22, 1.5
MASK = (1 << 64) - 1
Numbers = npt.NDArray[Any]


def arpa(ngrams: Ngrams) -> str:
    """The same in ARPA format."""
    order = max(map(len, ngrams))
    sections = [[(words, *values) for words, values in ngrams.items() if len(words) == n + 1] for n in range(order)]
    lines = ["\\data\\", *(f"ngram {n}={len(section)}" for n, section in enumerate(sections, 1)), ""]
    for n, section in enumerate(sections, 1):
        lines += [f"\\{n}-grams:"]
        for words, prob, backoff in section:
            lines += [f"{prob}\t{' '.join(words)}" + (f"\t{backoff}" if n < order else "")]
        lines += [""]
    return "\n".join([*lines, "\\end\\", ""])


def binary(ngrams: Ngrams, kind: int) -> bytes:
    """The same as a binary file of that kind."""
    words = [words[0] for words in ngrams if len(words) == 1]
    assert words[0] == "<unk>"
    if kind != PROBING:  # ids are in the order of hashes
        words = words[:1] + sorted(words[1:], key=lambda word: murmur(word.encode()))
    order = max(map(len, ngrams))
    counts = [sum(len(each) == n for each in ngrams) for n in range(1, order + 1)]
    header = SANITY.pack(*SANE) + FIXED.pack(order, SPACIOUS, kind, True, 0 if kind == PROBING else 1)
    header += struct.pack(f"<{order}Q", *counts)
    header += bytes(-len(header) % 8)
    levels = levels_of([_grams(ngrams, words, n) for n in range(1, order + 1)])
    assert [len(level.words) for level in levels] == counts
    body = _probing(words, ngrams) if kind == PROBING else _trie(len(header), words, levels, kind)
    return header + body + b"".join(word.encode() + b"\0" for word in words)


def murmur(data: bytes) -> int:
    """MurmurHash64A."""
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


def _grams(ngrams: Ngrams, words: Sequence[str], n: int) -> Grams:
    ids = {word: id for id, word in enumerate(words)}
    those = [each for each in ngrams if len(each) == n]
    values = np.array([ngrams[each] for each in those], np.float32)
    rows = np.array([[ids[word] for word in each] for each in those], np.uint32)
    return Grams(rows, values[:, 0].copy(), values[:, 1].copy())


def _trie(at: int, words: Sequence[str], levels: Sequence[Level], kind: int) -> bytes:
    """All that is between the header, which ends at that byte, and the words."""
    hashes = sorted(murmur(word.encode()) for word in words[1:])
    body = struct.pack(f"<Q{len(hashes)}QQ", len(hashes), *hashes, 0)
    coded = kind in (QUANTIZED, QUANTIZED_PACKED)
    probs = [_table(level.prob, []) for level in levels[1:]]
    backoffs = [_table(level.backoff, [-0.0, 0.0]) for level in levels[1:-1]]
    if coded:
        body += bytes([2, BITS, BITS]) + bytes(5)
        body += b"".join(p.tobytes() + b.tobytes() for p, b in zip(probs, backoffs, strict=False)) + probs[-1].tobytes()
    body += _unigrams(levels[0])
    for level, prob, backoff in zip(levels[1:], probs, [*backoffs, probs[-1]], strict=True):
        fields = [(level.words, len(words).bit_length())]
        if level.backoff is not None and coded:
            fields += [(_codes(level.backoff, backoff), BITS)]
        fields += [(_codes(level.prob, prob), BITS) if coded else (level.prob.view(np.uint32), 31)]
        if level.backoff is not None and not coded:
            fields += [(level.backoff.view(np.uint32), 32)]
        if level.begin is not None:
            bits = int(level.begin[-1]).bit_length()
            if kind in (PACKED, QUANTIZED_PACKED):
                bits, head = _bhiksha(at + len(body), level.begin)
                body += head
            fields += [(level.begin, bits)]
        body += _packed(fields, len(level.words))
    return body


def _unigrams(level: Level) -> bytes:
    nodes = np.zeros(len(level.words) + 2, np.dtype([("prob", "<f4"), ("backoff", "<f4"), ("begin", "<u8")]))
    nodes["prob"][:-2], nodes["backoff"][:-2] = level.prob, level.backoff
    nodes["begin"][:-1] = level.begin
    return nodes.tobytes()


def _table(values: npt.NDArray[np.float32] | None, first: list[float]) -> npt.NDArray[np.float32]:
    """The values of codes: all that there are, and 0 where codes are left."""
    table = np.zeros(1 << BITS, np.float32)
    if values is not None:
        found = np.array(first + sorted({float(v) for v in values} - {0.0}), np.float32)
        table[: len(found)] = found
    return table


def _codes(values: npt.NDArray[np.float32], table: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    codes: npt.NDArray[np.intp] = (values.view(np.uint32)[:, None] == table.view(np.uint32)).argmax(axis=1)
    return codes


def _bhiksha(at: int, begin: Numbers) -> tuple[int, bytes]:
    """How many bits of a pointer stay with its node; and where the others change. It begins at that byte of a file."""
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


def _probing(words: Sequence[str], ngrams: Ngrams) -> bytes:
    """All that is between the header and the words."""
    ids = {word: id for id, word in enumerate(words)}
    body = struct.pack("<II", 0, len(words))
    body += _table_of({murmur(word.encode()): struct.pack("<I", ids[word]) for word in words[1:]}, len(words))
    ends = {each[1:] for each in ngrams}
    order = max(map(len, ngrams))
    for n in range(1, order + 1):
        entries = {}
        for each in (each for each in ngrams if len(each) == n):
            prob, backoff = ngrams[each]
            key = ids[each[-1]]
            for word in each[-2::-1]:
                key = (key * 8978948897894561157 ^ (ids[word] + 1) * 17894857484156487943) & MASK
            begins = any(longer[:n] == each for longer in ngrams if len(longer) == n + 1)
            backoff = backoff or (0.0 if begins else -0.0)
            prob = -prob if each in ends else prob  # the sign says whether a longer one ends so
            entries[key] = struct.pack("<ff", prob, backoff)[: 8 if n < order else 4]
        body += b"".join(entries.values()) + bytes(8) if n == 1 else _table_of(entries, len(entries))
    return body


def _table_of(entries: Mapping[int, bytes], count: int) -> bytes:
    buckets = max(count + 1, int(SPACIOUS * count))
    table: list[bytes] = [b""] * buckets
    for key, value in entries.items():
        at = key % buckets
        while table[at]:
            at = (at + 1) % buckets
        table[at] = struct.pack("<Q", key) + value
    size = max(map(len, table))
    return b"".join(entry.ljust(size, b"\0") for entry in table)
