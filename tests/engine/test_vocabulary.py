"""Text from ids: equal to Wav2Vec2CTCTokenizer's and Wav2Vec2PhonemeCTCTokenizer's, on any settings and any ids."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import ParakeetTokenizer, Wav2Vec2CTCTokenizer, Wav2Vec2PhonemeCTCTokenizer

from earshot_asr.engine.errors import CheckpointError, UnsupportedModel
from earshot_asr.engine.vocabulary import Vocabulary

PLAIN = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "E": 5, "'": 6, "S": 7, ".": 8, "n't": 9}
BRACKETS = {"|": 0, "a": 1, "[UNK]": 2, "b": 3, "[PAD]": 4}
NAMED = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
FOLDERS: dict[str, tuple[dict[str, int], dict[str, dict[str, Any]]]] = {
    "plain": (PLAIN, {"tokenizer_config.json": {"do_lower_case": False}}),
    "no settings at all": (PLAIN, {}),
    "lower case": (PLAIN, {"tokenizer_config.json": {"do_lower_case": True}}),
    "cleaned": (PLAIN, {"tokenizer_config.json": {"do_lower_case": True, "clean_up_tokenization_spaces": True}}),
    "blank at the end": (BRACKETS, {"tokenizer_config.json": NAMED}),
    "no word delimiter": (BRACKETS, {"tokenizer_config.json": {**NAMED, "word_delimiter_token": None}}),
    "delimiter not in the vocabulary": ({"a": 0, "b": 1, "[PAD]": 2}, {"tokenizer_config.json": NAMED}),
    "a space instead of a delimiter": ({"a": 0, " ": 1, "[PAD]": 2, "c": 3}, {"tokenizer_config.json": NAMED}),
    "another replacement": (PLAIN, {"tokenizer_config.json": {"replace_word_delimiter_char": "_"}}),
    "holes": ({"a": 0, "b": 5, "<pad>": 3, "|": 9}, {}),
    "special tokens map": (BRACKETS, {"special_tokens_map.json": NAMED}),
    "the map wins": (BRACKETS, {"tokenizer_config.json": {"pad_token": "a"}, "special_tokens_map.json": NAMED}),
    "tokens as objects": (
        BRACKETS,
        {
            "special_tokens_map.json": {
                "pad_token": {"content": "[PAD]", "lstrip": False, "normalized": True, "rstrip": False},
                "unk_token": "[UNK]",
                "additional_special_tokens": ["<x>"],
            },
            "added_tokens.json": {"<s>": 5, "</s>": 6},
        },
    ),
    "added tokens listed": (
        {"a": 0, "b": 1, "<pad>": 2},
        {
            "tokenizer_config.json": {"added_tokens_decoder": {"3": {"content": "<zz>", "special": False}}},
            "special_tokens_map.json": {"pad_token": "b"},
        },
    ),
    "nested": (
        {"eng": {"a": 0, "<pad>": 1, "|": 2}, "deu": {"ä": 0, "<pad>": 2, "|": 1}},  # type: ignore[dict-item]
        {"tokenizer_config.json": {"target_lang": "deu"}},
    ),
}
PHONES = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "n": 4, "ʌ": 5, "tʃ": 6, "aɪ": 7, "t": 8, "ʃ": 9}
PHONEMES: dict[str, tuple[dict[str, int], dict[str, dict[str, Any]]]] = {
    "phonemes": (PHONES, {"tokenizer_config.json": {"do_phonemize": True, "phonemizer_lang": "en-us"}}),
    "lower case is not for phonemes": ({**PHONES, "X": 10}, {"tokenizer_config.json": {"do_lower_case": True}}),
    "a delimiter of words": ({**PHONES, "|": 10}, {"tokenizer_config.json": {"word_delimiter_token": "|"}}),
    "a delimiter that is not there": (PHONES, {"tokenizer_config.json": {"word_delimiter_token": "|"}}),
    "delimiters as saved": (
        PHONES,
        {"tokenizer_config.json": {"word_delimiter_token": None, "phone_delimiter_token": " "}},
    ),
    "few symbols": ({"a": 0, "[PAD]": 1}, {"tokenizer_config.json": NAMED}),
}


def write(folder: Path, name: str) -> Path:
    vocab, files = FOLDERS[name] if name in FOLDERS else PHONEMES[name]
    if name in PHONEMES:
        config = {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer", **files["tokenizer_config.json"]}
        files = {**files, "tokenizer_config.json": config}
    for file, content in {"vocab.json": vocab, **files}.items():
        (folder / file).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("name", FOLDERS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.lists(st.integers(0, 13), max_size=12), size=st.integers(6, 14))
def test_text_equals_the_tokenizers(tmp_path: Path, name: str, ids: list[int], size: int) -> None:
    theirs = Wav2Vec2CTCTokenizer.from_pretrained(write(tmp_path, name))
    whole = Vocabulary.from_folder(tmp_path)
    assert whole.text(ids) == theirs.decode(ids)
    head = Vocabulary.from_folder(tmp_path, size)
    inside = [id for id in ids if id < size]
    assert head.size == size
    assert head.text(inside) == theirs.decode(inside)


@pytest.mark.parametrize("name", PHONEMES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.lists(st.integers(0, 13), min_size=1, max_size=12), size=st.integers(8, 14))
def test_phonemes_equal_the_tokenizers(tmp_path: Path, name: str, ids: list[int], size: int) -> None:
    theirs = Wav2Vec2PhonemeCTCTokenizer.from_pretrained(write(tmp_path, name))
    assert Vocabulary.from_folder(tmp_path).text(ids) == theirs.decode(ids)
    if inside := [id for id in ids if id < size]:
        assert Vocabulary.from_folder(tmp_path, size).text(inside) == theirs.decode(inside)


def test_phonemes_saved_by_transformers_are_read_the_same(tmp_path: Path) -> None:
    for name in PHONEMES:
        theirs = Wav2Vec2PhonemeCTCTokenizer.from_pretrained(write(tmp_path, name))
        theirs.save_pretrained(tmp_path / "saved")
        assert Vocabulary.from_folder(tmp_path / "saved").text(range(12)) == theirs.decode(list(range(12)))


def test_phonemes_stand_apart(tmp_path: Path) -> None:
    vocabulary = Vocabulary.from_folder(write(tmp_path, "phonemes"))
    assert vocabulary.text([4, 4, 1, 4, 5, 1, 1, 6]) == "n n ʌ tʃ"
    assert (vocabulary.delimiter, vocabulary.separator, vocabulary.blank) == (None, " ", 1)
    worded = Vocabulary.from_folder(write(tmp_path, "a delimiter of words"))
    assert worded.text([4, 10, 4, 5]) == "n n ʌ"
    assert (worded.delimiter, worded.pieces[10]) == (10, (" ", "", ""))


@pytest.mark.parametrize("name", FOLDERS)
def test_pieces_make_the_text(tmp_path: Path, name: str) -> None:
    vocabulary = Vocabulary.from_folder(write(tmp_path, name), 10)
    for id in range(10):
        before, text, after = vocabulary.pieces[id]
        assert vocabulary.lowered(before + text + after).strip() == vocabulary.text([id])
        assert any((before, text, after)) == (id != vocabulary.blank)
    assert vocabulary.spaced == (vocabulary.delimiter is not None)


def test_saved_by_transformers_is_read_the_same(tmp_path: Path) -> None:
    theirs = Wav2Vec2CTCTokenizer.from_pretrained(write(tmp_path, "tokens as objects"))
    theirs.save_pretrained(tmp_path / "saved")
    ids = list(range(10))
    assert Vocabulary.from_folder(tmp_path / "saved").text(ids) == theirs.decode(ids)


def test_a_delimiter_of_ones_own(tmp_path: Path) -> None:
    """The tokenizer honours it in its constructor; from_pretrained of transformers 5 overlooks it."""
    (tmp_path / "vocab.json").write_text(json.dumps({"_": 0, "a": 1, "<pad>": 2}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"word_delimiter_token": "_"}))
    theirs = Wav2Vec2CTCTokenizer(tmp_path / "vocab.json", word_delimiter_token="_")
    vocabulary = Vocabulary.from_folder(tmp_path, 3)
    assert vocabulary.text([1, 0, 1]) == theirs.decode([1, 0, 1]) == "a a"
    assert (vocabulary.delimiter, vocabulary.blank) == (0, 2)


def test_made_directly() -> None:
    vocabulary = Vocabulary(symbols=("<pad>", "|", "A", "B"), blank=0, delimiter=1)
    assert vocabulary.text([2, 2, 0, 2, 3, 1, 1, 0, 3, 1]) == "AAB B"
    assert [before + text for before, text, _ in vocabulary.pieces] == ["", " ", "A", "B"]


def test_what_lies_beyond_the_head_is_dropped(tmp_path: Path) -> None:
    vocabulary = Vocabulary.from_folder(write(tmp_path, "holes"), 6)
    assert vocabulary.symbols == ("a", "<unk>", "<unk>", "<pad>", "<s>", "b")  # <s> at 4: there were 4 symbols
    assert vocabulary.delimiter is None
    assert vocabulary.special == {3, 4}
    with pytest.raises(CheckpointError, match="blank"):
        Vocabulary.from_folder(tmp_path, 3)


@pytest.mark.parametrize(
    ("file", "content", "error", "message"),
    [
        ("vocab.json", None, CheckpointError, "has no vocab.json and no tokenizer.json"),
        ("vocab.json", "{", CheckpointError, "vocab.json is not readable"),
        ("vocab.json", "[]", CheckpointError, "must hold a JSON object"),
        ("vocab.json", '{"a": "b"}', CheckpointError, "must map symbols to ids"),
        ("vocab.json", '{"a": -1}', CheckpointError, "must map symbols to ids"),
        ("vocab.json", '{"<pad>": 1, "a": 1}', CheckpointError, "blank, is not among"),
        ("tokenizer_config.json", '{"pad_token": null}', CheckpointError, "pad_token None"),
        ("tokenizer_config.json", '{"pad_token": 3}', CheckpointError, "pad_token is 3"),
        ("vocab.json", '{"fra": {"a": 0}, "deu": {"a": 0}}', CheckpointError, "target_lang.* must name one"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"x": 1}}', CheckpointError, "added tokens"),
        ("tokenizer_config.json", '{"tokenizer_class": "BertTokenizer"}', UnsupportedModel, "'BertTokenizer'.*Phoneme"),
    ],
)
def test_broken_files_are_named(
    tmp_path: Path, file: str, content: str | None, error: type[CheckpointError], message: str
) -> None:
    write(tmp_path, "no settings at all")
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(content)
    with pytest.raises(error, match=message):
        Vocabulary.from_folder(tmp_path)


WORDS = ["the cat sat on the mat", "a cat is on the other mat", "hello, there it is", "it 's a cat ."] * 3
TRAINED: dict[str, tuple[Any, Any, Any]] = {
    "BPE": (
        models.BPE(unk_token="<unk>"),
        trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>", "<pad>"], show_progress=False),
        decoders.Metaspace(),
    ),
    "Unigram": (
        models.Unigram(),
        trainers.UnigramTrainer(
            vocab_size=40, special_tokens=["<unk>", "<pad>"], unk_token="<unk>", show_progress=False
        ),
        decoders.Metaspace(),
    ),
    "spaces replaced one by one": (
        models.BPE(unk_token="<unk>"),
        trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>", "<pad>"], show_progress=False),
        decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]),
    ),
}


BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


@pytest.fixture(scope="module", params=TRAINED)
def parts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ParakeetTokenizer]:
    """A tokenizer of parts of words, trained on a few, and its folder."""
    model, trainer, decoder = TRAINED[request.param]
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoder
    tokenizer.train_from_iterator(WORDS, trainer)
    folder = tmp_path_factory.mktemp("parts")
    theirs = ParakeetTokenizer(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", add_prefix_space=False)
    theirs.save_pretrained(folder)
    return folder, theirs


@given(ids=st.lists(st.integers(0, 37), max_size=12))
def test_parts_of_words_equal_the_tokenizers(parts: tuple[Path, ParakeetTokenizer], ids: list[int]) -> None:
    folder, theirs = parts
    vocabulary = Vocabulary.from_folder(folder, 40)
    assert vocabulary.size == 40
    assert vocabulary.text(ids) == theirs.decode(ids).strip()
    assert vocabulary.blank == theirs.pad_token_id
    assert vocabulary.spaced


def test_cleaning_is_overlooked_for_bpe(parts: tuple[Path, ParakeetTokenizer], tmp_path: Path) -> None:
    folder, _ = parts
    config = json.loads((folder / "tokenizer_config.json").read_text()) | {"clean_up_tokenization_spaces": True}
    shutil.copy(folder / "tokenizer.json", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    bpe = json.loads((folder / "tokenizer.json").read_text())["model"]["type"] == "BPE"
    assert Vocabulary.from_folder(tmp_path).clean == (not bpe)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ({"decoder": BYTES}, UnsupportedModel, "'ByteLevel'.*symbols one by one"),
        ({"decoder": {"type": "None"}}, CheckpointError, "damaged or too new"),
        ({"model": None, "decoder": {"type": "Fuse"}}, CheckpointError, "damaged or too new"),
        ({"model": {"type": "WordLevel"}}, CheckpointError, r"model\.vocab is None"),
        ({"added_tokens": [1]}, CheckpointError, "added_tokens must each have"),
    ],
)
def test_a_tokenizer_json_that_is_not_understood_is_named(
    tmp_path: Path, content: dict[str, Any], error: type[CheckpointError], message: str
) -> None:
    vocab = {"<pad>": 0, "<unk>": 1, "Ġa": 2, "ä½": 3, "ł": 4}
    model = {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model, **content}))
    with pytest.raises(error, match=message):
        Vocabulary.from_folder(tmp_path)
