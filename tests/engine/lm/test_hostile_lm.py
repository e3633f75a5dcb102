"""Files that are no language model, or a damaged one: a sentence that names the file, quickly, whatever is in it."""

import gzip
import lzma
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from earshot_asr.engine.errors import CheckpointError
from earshot_asr.engine.lm import BUNDLED, arpa, kenlm, open_lm
from tests.engine.lm import kenlm_files
from tests.engine.lm.test_formats import GAPS, KINDS, made, scores

COUNTS = kenlm.SANITY.size + kenlm.FIXED.size
"""Where the numbers of n-grams begin."""


def said(path: Path, content: bytes | str) -> str:
    """What is said of a file with that content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointError) as error:
        open_lm(path)
    text = str(error.value)
    assert path.name in text and "\n" not in text
    return text.partition(": ")[2]


ARPA_CASES: dict[str, tuple[Callable[[str], str], str]] = {
    "empty": (lambda text: "", r"it begins with ''; a language model begins with \data\ (ARPA) or is one of KenLM's"),
    "something else": (lambda text: "%PDF-1.7\n" + text, "it begins with '%PDF-1.7'; a language"),
    "no counts": (lambda text: text.replace("ngram", "gram"), "line 3: it is 'gram 1=7'; it must be 'ngram 1=' and a"),
    "counts that are none": (lambda text: text.replace("1=7", "1=many"), "line 3: it is 'ngram 1=many'; it must be"),
    "a count left out": (
        lambda text: text.replace("ngram 2=5\n", ""),
        "line 4: it is 'ngram 3=3'; it must be 'ngram 2=",
    ),
    "too few": (
        lambda text: text.replace("1=7", "1=8"),
        r"line 15: it is ''; it must be a log10 of a probability, of 1",
    ),
    "too many": (
        lambda text: text.replace("1=7", "1=6"),
        r"line 14: it is '-1.75\té\t-0.5'; it must be \2-grams: after",
    ),
    "too many of the last": (
        lambda text: text.replace("3=3", "3=2"),
        r"line 26: it is '-0.5\tb d é'; after 2 3-grams",
    ),
    "more than there can be": (lambda text: text.replace("1=7", f"1={10**15}"), "1,000,000,000,000,008 n-grams, and"),
    "no number": (lambda text: text.replace("-1.25", "x"), "line 11: it is 'x b -0.125'; it must be a log10 of a prob"),
    "not a number": (lambda text: text.replace("-1.25", "nan"), "line 11: it is 'nan b -0.125'; it must be a log10"),
    "minus infinity": (lambda text: text.replace("-1.25", "-inf"), "line 11: it is '-inf b -0.125'; it must be"),
    "above 1": (lambda text: text.replace("-1.25", "0.5"), "line 11: it is '0.5 b -0.125'; it must be a log10"),
    "an odd backoff": (lambda text: text.replace("b\t-0.125", "b\tinf"), "line 11: it is '-1.25 b inf'; it must be"),
    "a word too many": (lambda text: text.replace("b c", "b c d e"), "line 19: it is '-0.25 b c d e -0.5'; it must be"),
    "an unknown word": (lambda text: text.replace("b c\t", "b x\t"), "line 19: 'x' is not among the 1-grams"),
    "a word twice": (lambda text: text.replace("-2\tc", "-2\tb"), "a word that is twice among the 1-grams"),
    "an n-gram twice": (lambda text: text.replace("b c\t", "a b\t"), "a 2-gram that is there twice"),
    "cut off": (lambda text: text[: text.index("-0.5\tc d")], "line 20: it is ''; it must be a log10 of a probability"),
    "no end": (lambda text: text.replace("\\end\\", ""), "line 29: it is ''; after 3 3-grams, as the file's head"),
}


@pytest.mark.parametrize(("change", "what"), ARPA_CASES.values(), ids=ARPA_CASES.keys())
def test_what_is_wrong_with_arpa_is_said_with_its_line(tmp_path: Path, change: Callable[[str], str], what: str) -> None:
    assert said(tmp_path / "lm.arpa", change(GAPS)).startswith(what)


def test_words_of_arpa_are_utf8(tmp_path: Path) -> None:
    assert "UTF-8" in said(tmp_path / "lm.arpa", GAPS.encode("latin-1"))


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_compressed_arpa_that_is_cut_off_or_damaged(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    whole = compress(kenlm_files.arpa(made(3)).encode())
    assert "cut off" in said(tmp_path / "lm", whole[: len(whole) // 2])
    assert "damaged" in said(tmp_path / "lm", whole[:50] + bytes(50) + whole[100:])


def test_a_line_without_an_end_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arpa, "BLOCK_BYTES", 1 << 10)
    bomb = gzip.compress(b"\\data\\\n" + bytes(1 << 20))
    assert "line 2: longer than" in said(tmp_path / "lm.gz", bomb)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_a_binary_file_that_is_cut_off(tmp_path: Path, kind: int) -> None:
    whole = kenlm_files.binary(made(3), kind)
    words = whole.rindex(b"<unk>\0")
    for size in (*range(60, words, 611), words - 1):
        assert "cut off" in said(tmp_path / "lm.bin", whole[:size]) or size < COUNTS
    for size in (words, words + 9, len(whole) - 1):
        assert "words where 43 should be" in said(tmp_path / "lm.bin", whole[:size])


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_counts_that_no_file_has_allocate_nothing(tmp_path: Path, kind: int) -> None:
    whole = bytearray(kenlm_files.binary(made(3), kind))
    for n in range(3):
        for count in (2**64 - 1, 2**63, 2**40, 10**6):
            changed = whole.copy()
            struct.pack_into("<Q", changed, COUNTS + 8 * n, count)
            assert said(tmp_path / "lm.bin", bytes(changed))


def test_a_binary_file_of_another_kind(tmp_path: Path) -> None:
    whole = kenlm_files.binary(made(3), 0)
    fixed = list(kenlm.FIXED.unpack_from(whole, kenlm.SANITY.size))

    def with_(at: int, value: object) -> bytes:
        return whole[: kenlm.SANITY.size] + kenlm.FIXED.pack(*fixed[:at], value, *fixed[at + 1 :]) + whole[COUNTS:]

    path = tmp_path / "lm.bin"
    for at, value in ((0, 0), (0, 200), (1, float("nan")), (1, float("inf")), (1, -1.0), (2, 1), (2, 6), (2, 2**31)):
        assert said(path, with_(at, value)).startswith("neither a trie nor a hash table of KenLM's; make one anew")
    assert said(path, with_(3, False)).startswith("without the words; make it anew from its ARPA file")
    assert "another version" in said(path, whole.replace(b"version 5", b"version 4"))
    assert "another version" in said(path, whole[:57])


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_bytes_changed_at_random_are_refused_or_read(tmp_path: Path, kind: int) -> None:
    whole, draw, path = kenlm_files.binary(made(3), kind), random.Random(kind), tmp_path / "lm.bin"
    refused = 0
    for _ in range(150):
        changed = bytearray(whole)
        for _ in range(draw.choice([1, 10])):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        path.write_bytes(changed)
        try:
            model = open_lm(path)
        except CheckpointError:
            refused += 1
        else:
            scores(model, ["w1", "w2", "w3", "w1", "nowhere", "w5"])
    assert refused


def test_pointers_that_go_back_and_ngrams_out_of_order(tmp_path: Path) -> None:
    whole = kenlm_files.binary(made(2), kenlm_files.TRIE)
    unigrams = COUNTS + 8 * 2 + 4 + 8 + 8 * 43
    path = tmp_path / "lm.bin"

    def with_(n: int, value: int) -> bytes:
        changed = bytearray(whole)
        struct.pack_into("<Q", changed, unigrams + 16 * n + 8, value)
        return bytes(changed)

    path.write_bytes(with_(0, 0))
    open_lm(path)
    for n, value in ((0, 1), (7, 0), (20, 2**63), (43, 5)):
        assert said(path, with_(n, value)).startswith("an n-gram that points outside the n-grams of the next length")
    (first,) = struct.unpack_from("<Q", whole, unigrams + 16 * 20 + 8)
    assert said(path, with_(20, first - 1)).startswith("n-grams that are not in order")
    changed = bytearray(whole)
    struct.pack_into("<f", changed, unigrams + 16 * 5, float("nan"))
    assert said(path, bytes(changed)).startswith("a probability that is not a number")


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no language model .*nothing\.bin"):
        open_lm(tmp_path / "nothing.bin")
    with pytest.raises(CheckpointError, match=r"is a pipe, a device or a socket"):
        open_lm("/dev/zero")


def test_the_bundled_one_cut_off(tmp_path: Path) -> None:
    whole = (BUNDLED / "en-3gram.trie.bin").read_bytes()
    assert said(tmp_path / "lm.bin", whole[:3_000_000]).startswith("cut off: 3,000,000 bytes, of ")


def test_a_hash_table_without_a_free_place(tmp_path: Path) -> None:
    """Whoever looks for what is not in it would look forever."""
    whole = bytearray(kenlm_files.binary(made(2), kenlm_files.PROBING))
    header = kenlm.Header.of(bytes(whole))
    start = header.size + 8 + 12 * header.buckets(header.counts[0]) + 8 * (header.counts[0] + 1)
    for at in range(start, start + 12 * header.buckets(header.counts[1]), 12):
        if not any(whole[at : at + 8]):
            struct.pack_into("<Q", whole, at, at)
    assert f"n-grams in a table of {header.counts[1]:,}" in said(tmp_path / "lm.bin", bytes(whole))
