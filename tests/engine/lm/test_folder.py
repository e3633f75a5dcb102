"""Language models beside a checkpoint, as pyctcdecode writes them."""

import json
from pathlib import Path

import pytest

from earshot_asr.engine.errors import CheckpointError
from earshot_asr.engine.lm import Weights, open_lm
from tests.engine.lm import kenlm_files
from tests.engine.lm.test_formats import made, scores

ATTRS = {"alpha": 0.75, "beta": 1, "unk_score_offset": -9.5, "score_boundary": True}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint's folder with what belongs to its language model."""
    folder = tmp_path / "language_model"
    folder.mkdir()
    (folder / "attrs.json").write_text(json.dumps(ATTRS), encoding="utf-8")
    (folder / "unigrams.txt").write_text("w1\nw2\nw3\nelsewhere", encoding="utf-8")
    (folder / "5gram_correct.bin").write_bytes(kenlm_files.binary(made(3), kenlm_files.PROBING))
    (tmp_path / "alphabet.json").write_text('{"labels": ["a"], "is_bpe": false}', encoding="utf-8")
    return tmp_path


def test_weights_and_words_come_with_it(checkpoint: Path) -> None:
    model = open_lm(checkpoint)
    assert model.weights == Weights(alpha=0.75, beta=1.0, unk_offset=-9.5, boundary=True)
    assert set(model.unigrams()) == {"w1", "w2", "w3"}
    assert model.knows("w1") and not model.knows("w4") and not model.knows("elsewhere")
    alone = open_lm(checkpoint / "language_model" / "5gram_correct.bin")
    assert alone.weights is None and alone.knows("w4")
    assert scores(model, ["w1", "w4", "w2"]) == scores(alone, ["w1", "w4", "w2"])


def test_the_folder_itself_is_the_same(checkpoint: Path) -> None:
    model, inner = open_lm(checkpoint), open_lm(str(checkpoint / "language_model"))
    assert inner.fingerprint == model.fingerprint and inner.weights == model.weights


def test_a_fingerprint_changes_with_any_file(checkpoint: Path) -> None:
    folder = checkpoint / "language_model"
    found = {open_lm(checkpoint).fingerprint}
    (folder / "unigrams.txt").write_text("w1\nw2", encoding="utf-8")
    found |= {open_lm(checkpoint).fingerprint}
    (folder / "attrs.json").write_text(json.dumps(ATTRS | {"alpha": 0.5}), encoding="utf-8")
    found |= {open_lm(checkpoint).fingerprint}
    (folder / "5gram_correct.bin").write_bytes(kenlm_files.binary(made(2), kenlm_files.TRIE))
    found |= {open_lm(checkpoint).fingerprint}
    assert len(found) == 4


def test_without_boundaries_sentences_neither_begin_nor_end(checkpoint: Path) -> None:
    (checkpoint / "language_model" / "attrs.json").write_text(json.dumps(ATTRS | {"score_boundary": False}))
    model = open_lm(checkpoint)
    first, *_, last = scores(model, ["w1", "w2"])
    assert first == model.unigrams()["w1"] and last == 0.0
    assert first != scores(open_lm(checkpoint / "language_model" / "5gram_correct.bin"), ["w1"])[0]


def test_attrs_and_unigrams_may_be_missing(checkpoint: Path) -> None:
    folder = checkpoint / "language_model"
    (folder / "attrs.json").unlink()
    (folder / "unigrams.txt").unlink()
    model = open_lm(checkpoint)
    assert model.weights == Weights(0.5, 1.5, -10.0, boundary=True) and model.knows("w4")


def test_what_else_lies_there_is_passed_over(checkpoint: Path) -> None:
    folder = checkpoint / "language_model"
    for name in (".DS_Store", "README.md", "._5gram.bin", "5gram.arpa", "notes.txt"):
        (folder / name).write_text("nothing")
    (folder / "__pycache__").mkdir()
    assert set(open_lm(checkpoint).unigrams()) == {"w1", "w2", "w3"}


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        open_lm(path)
    return str(error.value)


def test_it_is_said_which_file_is_missing_or_one_too_many(checkpoint: Path) -> None:
    folder = checkpoint / "language_model"
    (folder / "4gram.bin").write_bytes(b"")
    assert "has several language models, 4gram.bin, 5gram_correct.bin; name one of these files" in refused(checkpoint)
    for path in folder.glob("*.bin"):
        path.unlink()
    assert "has no language model: a *.bin of KenLM, or a *.arpa" in refused(checkpoint)
    (checkpoint / "nothing").mkdir()
    assert "nothing has no language model" in refused(checkpoint / "nothing")


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("attrs.json", b"[]", "attrs.json must hold a JSON object, not list"),
        ("attrs.json", b"{", "attrs.json is not readable as JSON"),
        ("attrs.json", b'{"alpha": "much"}', "attrs.json: alpha is 'much'; it must be a number"),
        ("attrs.json", b'{"beta": NaN}', "attrs.json: beta is nan; it must be a number"),
        ("attrs.json", b'{"beta": true}', "attrs.json: beta is True; it must be a number"),
        ("attrs.json", b'{"unk_score_offset": -1e300}', "attrs.json: unk_score_offset is -1e+300; it must be a number"),
        ("attrs.json", b'{"score_boundary": 1}', "attrs.json: score_boundary is 1; it must be true or false"),
        ("unigrams.txt", b"\xff\xfe", "unigrams.txt is not UTF-8; it must be a list of words, one a line"),
        (
            "5gram_correct.bin",
            b"version https://git-lfs",
            "5gram_correct.bin: it begins with 'version https://git-lfs'",
        ),
    ],
)
def test_each_file_is_judged(checkpoint: Path, name: str, content: bytes, what: str) -> None:
    (checkpoint / "language_model" / name).write_bytes(content)
    assert what in refused(checkpoint)


def test_a_folder_in_place_of_a_file(checkpoint: Path) -> None:
    (checkpoint / "language_model" / "unigrams.txt").unlink()
    (checkpoint / "language_model" / "unigrams.txt").mkdir()
    assert "unigrams.txt is a folder" in refused(checkpoint)
