"""Reads n-gram models in ARPA format, compressed by gzip or xz or not. No torch."""

import gzip
import lzma
import re
import zlib
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, NoReturn, cast

import numpy as np

from earshot_asr.engine.errors import CheckpointError, shown
from earshot_asr.engine.lm.grams import Grams, levels_of
from earshot_asr.engine.lm.ngrams import UNKNOWN
from earshot_asr.engine.lm.trie import TrieModel

MOST_ORDER = 20
MOST_NGRAMS = 100_000_000
"""N-grams of a file: more take more than 4 GB of memory, and minutes."""
UNKNOWN_PROB = -100.0
"""log10 P of <unk> where a file has none, as in KenLM."""
BLOCK_BYTES, BLOCK_LINES = 1 << 20, 1 << 12
COUNT = re.compile(rb"ngram\s+(\d{1,3})\s*=\s*(\d{1,18})")
DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


def read_arpa(path: Path, fingerprint: str) -> TrieModel:
    """A model of a file. Raises CheckpointError, OSError."""
    try:
        with path.open("rb") as file, _plain(file) as plain:
            return _Reader(plain).read(fingerprint)
    except DAMAGED as error:
        raise CheckpointError(f"damaged or cut off: {error}") from None


def _plain(file: IO[bytes]) -> IO[bytes]:
    """A file's bytes, whatever it is compressed by: its first bytes say that, not its name."""
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(file))
    return lzma.open(file) if start == b"\xfd7zXZ\0" else file


class _Reader:
    """Goes through a file once, line by line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._number, self._lines = 0, self._read_lines(file)
        self._ids: dict[bytes, int] = {}

    def read(self, fingerprint: str) -> TrieModel:
        """See read_arpa."""
        counts = self._counts()
        grams = [self._section(n, count) for n, count in enumerate(counts, 1)]
        if (line := self._next()) != b"\\end\\":
            self._fail(
                f"it is {_quoted(line)}; after {counts[-1]:,} {len(counts)}-grams, as the file's head counts them, "
                r"\end\ must follow"
            )
        unknown = UNKNOWN.encode()
        if unknown not in self._ids:
            grams[0] = grams[0].with_more(np.array([[len(self._ids)]], np.uint32), UNKNOWN_PROB)
            self._ids[unknown] = len(self._ids)
        try:
            words = [word.decode() for word in self._ids]
        except UnicodeDecodeError:
            raise CheckpointError("words that are not UTF-8") from None
        return TrieModel(words, levels_of(grams), fingerprint)

    def _read_lines(self, file: IO[bytes]) -> Iterator[bytes]:
        """All lines, without the spaces around them."""
        rest = b""
        while block := file.read(BLOCK_BYTES):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                self._number += 1
                yield line.strip()
            if len(rest) > BLOCK_BYTES:
                self._number += 1
                self._fail(f"longer than {BLOCK_BYTES >> 20} MB")
        self._number += 1
        yield rest.strip()

    def _next(self) -> bytes:
        """The next line that is not empty; nothing at the end."""
        return next(filter(None, self._lines), b"")

    def _fail(self, what: str, back: int = 0) -> NoReturn:
        raise CheckpointError(f"line {self._number - back:,}: {what}")

    def _counts(self) -> list[int]:
        """How many n-grams there are of each length, as the file's head says. Reads on to the first of them."""
        if (line := self._next().removeprefix(b"\xef\xbb\xbf")) != b"\\data\\":
            raise CheckpointError(
                rf"it begins with {_quoted(line)}; a language model begins with \data\ (ARPA) or is one of KenLM's"
            )
        counts: list[int] = []
        while (line := self._next()).startswith(b"ngram"):
            match = COUNT.fullmatch(line)
            if match is None or int(match[1]) != len(counts) + 1 or len(counts) == MOST_ORDER:
                self._fail(f"it is {_quoted(line)}; it must be 'ngram {len(counts) + 1}=' and a number")
            counts.append(int(match[2]))
        if line != b"\\1-grams:" or not counts:
            self._fail(rf"it is {_quoted(line)}; it must be 'ngram {len(counts) + 1}=' and a number, or \1-grams:")
        if sum(counts) > MOST_NGRAMS:
            raise CheckpointError(
                f"{sum(counts):,} n-grams, and {MOST_NGRAMS:,} are the most in ARPA format; make a trie by "
                "`build_binary trie`"
            )
        return counts

    def _section(self, n: int, count: int) -> Grams:
        """The n-grams of a length. The line before those of 1 has been read."""
        if n > 1 and (line := self._next()) != rb"\%d-grams:" % n:
            self._fail(
                rf"it is {_quoted(line)}; it must be \{n}-grams: after the {n - 1}-grams that the file's head counts"
            )
        ids, probs, backoffs = array("I"), array("f"), array("f")
        while (left := count - len(probs)) > 0:
            rows = [line.split() for line in islice(self._lines, min(left, BLOCK_LINES))]
            try:
                if not rows or not {len(row) for row in rows} <= {n + 1, n + 2}:
                    raise ValueError
                probs.extend([_log(row[0]) for row in rows])
                backoffs.extend([_log(row[-1], 1e30) if len(row) > n + 1 else 0.0 for row in rows])
                ids.extend(self._ids_of(rows, n))
            except (ValueError, KeyError):
                self._explain(rows, n)
        if n == 1 and len(self._ids) != count:
            raise CheckpointError("a word that is twice among the 1-grams")
        table = np.frombuffer(ids, np.uint32).reshape(-1, n)
        return Grams(table, np.frombuffer(probs, np.float32), np.frombuffer(backoffs, np.float32))

    def _ids_of(self, rows: Sequence[list[bytes]], n: int) -> list[int]:
        """The ids of all words of n-grams, one after the other. Raises KeyError for a word that is no 1-gram."""
        if n == 1:
            return [self._ids.setdefault(row[1], len(self._ids)) for row in rows]
        return [self._ids[word] for row in rows for word in row[1 : n + 1]]

    def _explain(self, rows: Sequence[list[bytes]], n: int) -> NoReturn:
        """Says which of these lines is not an n-gram, the last of which was read last, and what is wrong with it."""
        for back, row in zip(range(len(rows) - 1, -1, -1), rows, strict=True):
            what = f"it is {_quoted(b' '.join(row))}; it must be a log10 of a probability, of {n} word{'s' * (n > 1)}, "
            what += "and the log10 of a backoff if any; or the file's head counts more such lines than there are"
            try:
                if not n + 1 <= len(row) <= n + 2:
                    self._fail(what, back)
                _log(row[0]), _log(row[-1], 1e30) if len(row) > n + 1 else 0
                self._ids_of([row], n)
            except KeyError as error:
                self._fail(f"{_quoted(error.args[0])} is not among the 1-grams", back)
            except ValueError:
                self._fail(what, back)
        self._fail("the file ends before all n-grams that its head counts")


def _log(text: bytes, most: float = 0.0) -> float:
    """A log10 of at most that. Raises ValueError."""
    value = float(text)
    if not -1e30 < value <= most:
        raise ValueError
    return value


def _quoted(line: bytes) -> str:
    return shown(line[:80].decode(errors="replace"))
