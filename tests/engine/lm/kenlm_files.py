"""Small language models in ARPA and in KenLM's binary formats; KenLM itself reads them."""

import struct
from collections.abc import Mapping, Sequence

import numpy as np

from earshot_asr.engine.lm.grams import Grams, levels_of
from earshot_asr.engine.lm.kenlm import MASK, by_hash, murmur
from earshot_asr.engine.lm.kenlm_writing import SPACIOUS, head, tail, written

Ngrams = Mapping[tuple[str, ...], tuple[float, float]]
"""Words -> log10 of probability and of backoff; <unk> first, and with an n-gram all parts of it."""
PROBING, TRIE, QUANTIZED, PACKED, QUANTIZED_PACKED = 0, 2, 3, 4, 5


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
    order = max(map(len, ngrams))
    if kind == PROBING:
        counts = [sum(len(each) == n for each in ngrams) for n in range(1, order + 1)]
        return head(kind, counts) + _probing(words, ngrams) + tail(words)
    words = by_hash(words[1:])
    return written(words, levels_of([_grams(ngrams, words, n) for n in range(1, order + 1)]), kind)


def _grams(ngrams: Ngrams, words: Sequence[str], n: int) -> Grams:
    ids = {word: id for id, word in enumerate(words)}
    those = [each for each in ngrams if len(each) == n]
    values = np.array([ngrams[each] for each in those], np.float32)
    rows = np.array([[ids[word] for word in each] for each in those], np.uint32)
    return Grams(rows, values[:, 0].copy(), values[:, 1].copy())


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
