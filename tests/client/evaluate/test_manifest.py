"""Manifests and alignments, right ones and wrong ones."""

import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from earshot_asr.client.evaluate.manifest import Selection, load
from earshot_asr.client.evaluate.recordings import recording, recordings
from earshot_asr.client.evaluate.take import SpokenWord
from earshot_asr.engine.errors import ConfigError
from tests.helpers import shared


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Three recordings of two corpora, 1, 2 and 3 s long, the first two aligned."""
    rows: list[dict[str, Any]] = [
        {"audio": "a/1.wav", "text": "One", "corpus": "x", "fold": 0},
        {"audio": "a/2.wav", "text": "two, too", "corpus": "x", "fold": 1},
        {"audio": "a/3.wav", "text": "three"},
    ]
    (tmp_path / "a").mkdir()
    for seconds, row in enumerate(rows, 1):
        soundfile.write(tmp_path / row["audio"], np.zeros(seconds * 16_000, np.int16), 16_000)
    path = tmp_path / "dev.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    aligned = [
        {"audio": "a/1.wav", "words": [["ONE", 20, -9, [["W", 10], ["AH", 5], ["N", 5]]]]},
        {"audio": "a/2.wav", "words": [["TWO", 30, -9, [["T", 20]]], ["TOO", 60, -9, [["T", 20], ["UW", 20]]]]},
        {"audio": "elsewhere.wav", "words": []},
    ]
    with lzma.open(tmp_path / "alignments.jsonl.xz", "wt") as file:
        file.write("\n".join(map(json.dumps, aligned)))
    return path


def names(manifest: Path, **choice: Any) -> list[str]:
    return [clip.name for clip in load([manifest], Selection(**choice))]


def test_lines_become_clips(manifest: Path) -> None:
    one, two, three = load([manifest])
    assert (one.name, one.corpus, one.reference) == ("a/1.wav", "x", "One")
    assert one.words == (SpokenWord("ONE", 0.2, 0.4),)
    assert two.words is not None
    assert two.words[1] == pytest.approx(SpokenWord("TOO", 0.6, 1.0))
    assert (three.corpus, three.words) == ("dev", None)
    assert len(recording(three)) == 48_000


def test_choosing(manifest: Path) -> None:
    assert names(manifest, limit=1) == ["a/1.wav", "a/3.wav"]
    assert names(manifest, folds=[1]) == ["a/2.wav", "a/3.wav"]
    assert names(manifest, corpora=["dev"]) == ["a/3.wav"]
    assert names(manifest, corpora=["x"], folds=[1], limit=1) == ["a/2.wav"]


def test_joined_clips_are_one_stream_for_each_corpus(manifest: Path) -> None:
    other, joined = load([manifest], join=["x"])
    assert (joined.name, joined.corpus, joined.reference) == ("dev.jsonl", "x", "One two, too")
    assert joined.words is not None
    assert [word.text for word in joined.words] == ["ONE", "TWO", "TOO"]
    assert [word.start for word in joined.words] == pytest.approx([0.2, 1.3, 1.6])
    assert len(recording(joined)) == 48_000
    assert [len(pcm) for pcm in recordings(joined)] == [16_000, 32_000]
    assert (other.name, other.words) == ("a/3.wav", None)
    assert [clip.name for clip in load([manifest], join=["dev", "x"])] == ["dev.jsonl", "dev.jsonl"]
    with pytest.raises(ConfigError, match="no corpus y in the manifests; they have dev, x"):
        load([manifest], join=["y"])
    with pytest.raises(ConfigError, match="nothing to join: no line of dev is selected"):
        load([manifest], Selection(corpora=["x"]), join=["dev"])


def test_joined_clips_have_a_language_if_they_share_one(manifest: Path) -> None:
    def joined(*fields: dict[str, str]) -> tuple[str | None, str | None]:
        rows = [{"audio": "a/1.wav", "text": "a", "corpus": "x"} | more for more in fields]
        manifest.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        (clip,) = load([manifest], join=["x"])
        return clip.lang, clip.phonemes

    assert joined({"lang": "en", "phonemes": "ə b"}, {"lang": "en", "phonemes": "k"}) == ("en", "ə b k")
    assert joined({"lang": "en", "phonemes": "ə b"}, {"lang": "de"}) == (None, None)
    assert joined({"lang": "en", "phonemes": "ə b"}, {"lang": "en", "phonemes": ""}) == ("en", "ə b")
    assert joined({"lang": "en", "phonemes": "ə b"}, {"lang": "en", "text": ""}) == ("en", "ə b")
    assert joined({"lang": "en", "phonemes": "ə b"}, {"lang": "en"}) == ("en", None)


def test_where_nothing_is_said(manifest: Path) -> None:
    noise = {"audio": "a/1.wav", "text": None, "kind": "noise", "corpus": "noise"}
    rows: list[dict[str, Any]] = [
        noise | {"split": "dev"},
        noise | {"split": "dev", "kind": "music", "audio": "a/2.wav"},
        noise | {"split": "dev", "kind": "rir"},
        noise | {"split": "train"},
        {"audio": "a/3.wav", "text": "three"},
    ]
    manifest.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    clips = load([manifest], Selection(splits=["dev"]))
    assert [(clip.name, clip.quiet, clip.words) for clip in clips] == [
        ("a/3.wav", False, None),
        ("a/1.wav", True, ()),
        ("a/2.wav", True, ()),
    ]
    assert len(load([manifest], Selection(splits=["dev"], gains=[-20, 0, 10], minutes=0.5))) == 1 + 4 * 3 * 2
    with pytest.raises(ConfigError, match="no split test in the manifests; they have dev, train"):
        load([manifest], Selection(splits=["test"]))
    with pytest.raises(ConfigError, match="--gain and --minutes are for recordings without speech"):
        load([manifest], Selection(corpora=["dev"], gains=[3]))


def test_an_alignment_elsewhere(manifest: Path, tmp_path: Path) -> None:
    plain = tmp_path / "mine.jsonl"
    plain.write_text('{"audio": "a/3.wav", "words": [["THREE", 100, 0, [["TH", 50]]]]}')
    clips = load([manifest], alignments=plain)
    assert [clip.words for clip in clips] == [None, None, (SpokenWord("THREE", 1.0, 1.5),)]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: not a JSON object"),
        ('{"text": "a"}', "line 2: audio is missing; it must be a text"),
        ('{"audio": "a/1.wav", "text": null}', "line 2: text is missing; it must be a string, empty"),
        ('{"audio": "a/1.wav", "text": 1}', "line 2: text is 1; it must be a text"),
        ('{"audio": "a/1.wav", "text": "a", "fold": "0"}', "line 2: fold is '0'; it must be a number"),
        ('{"audio": "a/9.wav", "text": "a"}', "line 2: there is no file .*9.wav"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(manifest: Path, line: str, complaint: str) -> None:
    first = manifest.read_text(encoding="utf-8").splitlines()[0]
    manifest.write_text(f"{first}\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"dev.jsonl, {complaint}"):
        load([manifest])


def test_a_wrong_alignment_is_named_with_its_line(manifest: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"audio": "a/1.wav", "words": [["ONE", 20]]}')
    with pytest.raises(ConfigError, match=r"wrong.jsonl, line 1: not an alignment; one looks like"):
        load([manifest], alignments=wrong)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"{}"])
def test_files_that_are_none(manifest: Path, data: bytes) -> None:
    damaged = manifest.parent / "alignments.jsonl.xz"
    damaged.write_bytes(data)
    with pytest.raises(ConfigError, match=r"can't read .*alignments.jsonl.xz: it must be UTF-8"):
        load([manifest])
    with pytest.raises(ConfigError, match=r"can't read .*none.jsonl: No such file"):
        load([manifest.parent / "a" / "none.jsonl"])


def test_nothing_chosen(manifest: Path) -> None:
    with pytest.raises(ConfigError, match="no corpus y in the manifests; they have dev, x"):
        names(manifest, corpora=["y"])
    with pytest.raises(ConfigError, match="no fold 7 in the manifests; they have 0, 1"):
        names(manifest, corpora=["x"], folds=[7])
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        names(manifest, limit=0)


@pytest.mark.slow
def test_the_manifests_of_real_speech() -> None:
    clips = load([shared("speech") / "dev.jsonl", shared("speech") / "long.jsonl"], Selection(limit=2))
    assert len(clips) == 8
    for clip in clips:
        assert clip.words
        assert [word.text for word in clip.words] == clip.reference.upper().replace(",", "").rstrip(".!?").split()
        assert 0 < clip.words[-1].end <= len(recording(clip)) / 16_000 + 0.1
