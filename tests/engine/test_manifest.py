"""Manifests and alignments. What is wrong in them is tested where they are evaluated, in client/evaluate."""

import json
import lzma
from pathlib import Path

import pytest

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.manifest import AlignedWord, Alignment, alignment_beside, read, read_alignments


def test_what_a_line_may_have(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    full = {"audio": "a.wav", "text": "A", "corpus": "c", "speaker": "s", "lang": "en", "fold": 2, "split": "train"}
    manifest = tmp_path / "some.jsonl"
    manifest.write_text(json.dumps(full | {"kind": "rir", "license": 3}) + '\n\n{"audio": "a.wav"}\n')
    first, second = read(manifest, required=())
    assert (first.name, first.path, first.text, first.corpus) == ("a.wav", tmp_path / "a.wav", "A", "c")
    assert (first.speaker, first.lang, first.fold, first.split, first.kind) == ("s", "en", 2, "train", "rir")
    assert (second.text, second.corpus, second.lang) == (None, "some", None)
    assert second.where == f"{manifest}, line 3"


def test_an_alignment_beside_a_manifest(tmp_path: Path) -> None:
    manifest, plain, packed = (tmp_path / name for name in ("some.jsonl", "alignments.jsonl", "alignments.jsonl.xz"))
    assert alignment_beside(manifest) is None
    plain.touch()
    assert alignment_beside(manifest) == plain
    packed.touch()
    assert alignment_beside(manifest) == packed


def test_what_is_required(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    manifest = tmp_path / "some.jsonl"
    manifest.write_text('{"audio": "a.wav", "text": null}')
    assert [row.text for row in read(manifest, required=())] == [None]
    with pytest.raises(ConfigError, match=r"some.jsonl, line 1: text is None; it must be a text"):
        list(read(manifest))
    with pytest.raises(ConfigError, match=r"line 1: lang is missing; it must be a text"):
        list(read(manifest, required=("lang",)))
    manifest.write_text('{"audio": "a.wav", "fold": true}')
    with pytest.raises(ConfigError, match=r"line 1: fold is True; it must be a number"):
        list(read(manifest, required=()))


@pytest.mark.parametrize("suffix", ["", ".xz"])
def test_alignments(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    words = [["ONE", 20, -9, [["W", 10], ["AH", 5], ["N", 5]]], ["UP", 50, -19, [["AH", 10], ["P", 5]]]]
    lines = [{"audio": "1.wav", "words": words}, {"audio": "2.wav", "units": "letters", "words": []}]
    with lzma.open(path, "wt") if suffix else path.open("w") as file:
        file.write("\n".join(map(json.dumps, lines)))
    found = read_alignments(path)
    one, up = found["1.wav"].words
    assert one == AlignedWord("ONE", 20, -9.0, (("W", 10), ("AH", 5), ("N", 5)))
    assert (one.length, one.span, up.span) == (20, (0.2, 0.4), (0.5, 0.65))
    assert (found["1.wav"].score, found["1.wav"].letters) == (-14.0, False)
    assert found["2.wav"] == Alignment((), letters=True)
    assert found["2.wav"].score == 0


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        '{"audio": "a", "words": [["ONE", 20]]}',
        '{"audio": "a", "words": 3}',
        '{"audio": "a", "words": [["ONE", -1, -9, [["W", 10]]]]}',
        '{"audio": "a", "words": [["ONE", 1, -9, [["W", -2]]]]}',
        '{"audio": "a", "words": [["ONE", Infinity, -9, []]]}',
    ],
)
def test_no_alignment(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"audio": "b", "words": []}\n' + line)
    with pytest.raises(ConfigError, match=r"a.jsonl, line 2: not an alignment; one looks like \{"):
        read_alignments(path)
