"""Vocabularies made from texts in any script or from a file; transformers reads what is written."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import Wav2Vec2CTCTokenizer

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.text import normalize
from earshot_asr.engine.training.data.spelling import Alphabet
from earshot_asr.engine.training.data.units import characters, check, complaint, from_file, phonemes, tokenizer
from earshot_asr.engine.vocabulary import Vocabulary


def written(vocabulary: Vocabulary, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in tokenizer(vocabulary).items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder


@pytest.mark.parametrize("texts", [["HELLO YOU"], ["ПРИВЕТ МИР"], ["नमस्ते दुनिया"], ["你好世界"], ["A|B <PAD> İ"]])
def test_transformers_and_we_read_what_was_written(texts: list[str], tmp_path: Path) -> None:
    texts = [normalize(text) for text in texts]
    vocabulary = characters(texts)
    folder = written(vocabulary, tmp_path / "model")
    assert Vocabulary.from_folder(folder) == vocabulary
    theirs = Wav2Vec2CTCTokenizer.from_pretrained(folder)
    for text in texts:
        ids = Alphabet(vocabulary).ids(text)
        spread = [id for each in ids for id in (each, vocabulary.blank)]
        assert vocabulary.text(spread) == theirs.decode(spread) == text


@given(st.lists(st.text(max_size=20), max_size=5))
def test_a_vocabulary_made_of_texts_writes_all_of_them(texts: list[str]) -> None:
    texts = [normalize(text) for text in texts]
    if not any(texts):
        with pytest.raises(ConfigError, match="no text has a letter"):
            characters(texts)
        return
    vocabulary = characters(texts)
    assert not check(vocabulary, texts)
    alphabet = Alphabet(vocabulary)
    for text in texts:
        ids = [id for each in alphabet.ids(text) for id in (each, vocabulary.blank)]
        assert vocabulary.text(ids) == text


def test_the_rarest_are_left_out_of_a_large_one() -> None:
    texts = ["".join(map(chr, range(0x4E00, 0x4E00 + 6000))), chr(0x4E00 + 5999)]
    vocabulary = characters(texts)
    assert vocabulary.size == 5000
    assert chr(0x4E00 + 5999) in vocabulary.symbols
    missing = check(vocabulary, texts)
    assert len(missing) == 6000 - 4995
    assert "1005 symbols of the texts, which occur 1005 times" in complaint(missing)
    assert complaint(missing).endswith("and 985 more")


def test_phonemes_are_symbols_without_words(tmp_path: Path) -> None:
    vocabulary = phonemes(["h ə l oʊ", "h aɪ"])
    assert vocabulary.symbols[4] == "h"
    assert (vocabulary.delimiter, vocabulary.separator) == (None, " ")
    assert check(vocabulary, ["h oʊ tʃ"]) == {"tʃ": 1}
    again = Vocabulary.from_folder(written(vocabulary, tmp_path / "model"))
    assert (again.symbols, again.separator, again.delimiter) == (vocabulary.symbols, " ", None)
    with pytest.raises(ConfigError, match="no text has a phoneme"):
        phonemes([" "])


def test_files(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"<pad>": 1, "A": 0, "|": 2}')
    vocabulary = from_file(tmp_path / "vocab.json")
    assert (vocabulary.symbols, vocabulary.blank, vocabulary.delimiter) == (("A", "<pad>", "|"), 1, 2)
    assert check(vocabulary, ["a", "AB"]) == {"B": 1}  # letters have no case
    (tmp_path / "list.txt").write_text("Ä\nÄ\n\nß\n", encoding="utf-8")
    assert from_file(tmp_path / "list.txt").symbols == ("<pad>", "<s>", "</s>", "<unk>", "|", "Ä", "ß")


@pytest.mark.parametrize(
    ("content", "wanted"),
    [('{"A": 0}', "no <pad>"), ('{"<pad>": 0, "A": 2}', "ids 0 to 1"), ("[]", "JSON object"), ("{", "not readable")],
)
def test_bad_files_are_named(tmp_path: Path, content: str, wanted: str) -> None:
    (tmp_path / "vocab.json").write_text(content)
    with pytest.raises(ConfigError, match=wanted):
        from_file(tmp_path / "vocab.json")
    with pytest.raises(ConfigError, match="can't read"):
        from_file(tmp_path / "none.txt")
