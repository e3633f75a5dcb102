"""Reads KenLM's hash tables (`build_binary probing`, its default). No torch."""

import struct
from typing import Any

import numpy as np

from earshot_asr.engine.errors import CheckpointError
from earshot_asr.engine.lm.kenlm import Header, vocabulary
from earshot_asr.engine.lm.ngrams import Context, NgramModel, extended

MIDDLE, LONGEST, UNIGRAM = struct.Struct("<Qff"), struct.Struct("<Qf"), struct.Struct("<ff")
"""An n-gram in its table: key (0: none is here), log10 of its probability, and of its backoff."""
WORD_BYTES = 12
"""Of an entry of the table of words, which is not needed: their ids follow from the words at the file's end."""
NODE_FACTOR, WORD_FACTOR, MASK = 8978948897894561157, 17894857484156487943, (1 << 64) - 1


class ProbingModel(NgramModel):
    """A language model over hash tables, one for each length of n-grams, that are read where they are in the file."""

    def __init__(self, data: bytes, header: Header, fingerprint: str) -> None:
        """Raises CheckpointError if the file's bytes are not what its header says."""
        self._data, words = data, header.counts[0]
        self._unigrams_at = header.size + 8 + header.buckets(words) * WORD_BYTES
        at = self._unigrams_at + (words + 1) * UNIGRAM.size
        self._tables: list[tuple[struct.Struct, int, int]] = []
        for count in header.counts[1:]:
            entry = LONGEST if len(self._tables) == len(header.counts) - 2 else MIDDLE
            self._tables.append((entry, at, header.buckets(count)))
            at += header.buckets(count) * entry.size
        if at > len(data):
            raise CheckpointError(f"cut off: {len(data):,} bytes, of {at:,} or more")
        super().__init__(vocabulary(data[at:], words), len(header.counts), fingerprint)
        _check(np.frombuffer(data, "<f4", 2 * words, self._unigrams_at))
        for (entry, start, buckets), count in zip(self._tables, header.counts[1:], strict=True):
            keys = np.ndarray(buckets, "<u8", data, start, (entry.size,))
            if np.count_nonzero(keys) != count:
                raise CheckpointError(f"{np.count_nonzero(keys):,} n-grams in a table of {count:,}")
            width = (entry.size - 8) // 4
            _check(np.ndarray((buckets, width), "<f4", data, start + 8, (entry.size, 4)))

    def _step(self, state: Any, id: int) -> tuple[Context, float]:
        """Looks for the word with the words before it, as many as there are n-grams of."""
        context, costs = state
        data = self._data
        prob, backoff = UNIGRAM.unpack_from(data, self._unigrams_at + id * UNIGRAM.size)
        backoffs: tuple[float, ...] = (backoff,)
        node, found = id, 0
        for before in context:
            node = (node * NODE_FACTOR ^ (before + 1) * WORD_FACTOR) & MASK
            entry, start, buckets = self._tables[found]
            bucket = node % buckets
            while (here := entry.unpack_from(data, start + bucket * entry.size))[0] not in (node, 0):
                bucket = (bucket + 1) % buckets
            if here[0] == 0:
                break
            prob = here[1]
            found += 1
            backoffs += here[2:]
        if self.order == 1:
            backoffs = ()
        prob = -abs(prob)  # its sign says whether longer n-grams end so
        for cost in costs[found:]:
            prob += cost
        if backoffs and not backoffs[-1]:
            backoffs = extended(backoffs)
        return ((id, *context[: len(backoffs) - 1]) if backoffs else (), backoffs), prob


def _check(values: Any) -> None:
    """Raises CheckpointError if one of them is no number."""
    if not np.isfinite(values).all():
        raise CheckpointError("a probability that is not a number")
