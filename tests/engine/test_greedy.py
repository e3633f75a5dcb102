"""Greedy decoding: frame by frame equals all at once, and equals the definition."""

import math
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.audio import LogProbs
from earshot_asr.engine.decoder import DecodeConfig, joined
from earshot_asr.engine.greedy import GreedyDecoder
from earshot_asr.engine.vocabulary import Vocabulary
from tests.helpers import VOCABULARY

SYMBOLS = {char: i for i, char in enumerate(("_", "|", *VOCABULARY.symbols[2:]))}


def rows(text: str, certainty: float = 0.9) -> LogProbs:
    """One frame a character, `_` for blank."""
    probs = np.full((len(text), VOCABULARY.size), (1 - certainty) / (VOCABULARY.size - 1), np.float32)
    probs[np.arange(len(text)), [SYMBOLS[char] for char in text]] = certainty
    return np.log(probs)


def decode(log_probs: LogProbs, vocabulary: Vocabulary = VOCABULARY) -> GreedyDecoder:
    decoder = GreedyDecoder(vocabulary, DecodeConfig(), None)
    decoder.feed(log_probs)
    return decoder


texts = st.text("_|ABC", max_size=40)


@given(texts)
def test_equals_the_definition(text: str) -> None:
    collapsed = "".join(char for char, _ in groupby(text) if char != "_")
    assert [word.text for word in decode(rows(text)).words()] == collapsed.replace("|", " ").split()


@given(texts, st.lists(st.integers(0, 40), max_size=8).map(sorted))
def test_frames_may_come_in_any_pieces(text: str, cuts: list[int]) -> None:
    decoder, log_probs = GreedyDecoder(VOCABULARY, DecodeConfig(), None), rows(text)
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        decoder.feed(log_probs[start:end])
    assert decoder.words() == decode(log_probs).words()
    assert decoder.settled() == decode(log_probs).settled()


@given(texts, texts)
def test_peeking_changes_nothing(settled: str, tail: str) -> None:
    decoder = decode(rows(settled))
    before = decoder.words()
    assert decoder.peek(rows(tail)).words() == decode(rows(settled + tail)).words()
    assert decoder.words() == before


@given(texts, texts)
def test_settled_words_stay(text: str, more: str) -> None:
    decoder = decode(rows(text))
    settled, boundary = decoder.settled(), decoder.boundary
    assert decode(rows(text[:boundary])).words()[: len(settled)] == settled
    decoder.feed(rows(more))
    assert decoder.words()[: len(settled)] == settled


def test_times_and_confidence_of_words() -> None:
    log_probs = np.concatenate([rows("__AA"), rows("_B", 0.4), rows("|__C")])
    first, second = decode(log_probs).words()
    assert (first.text, first.start, first.end) == ("AB", 2, 6)
    assert first.confidence == pytest.approx(math.exp((2 * math.log(0.9) + math.log(0.4)) / 3), rel=1e-5)
    assert (second.text, second.start, second.end) == ("C", 9, 10)


def test_without_a_word_delimiter_every_symbol_stands_alone() -> None:
    vocabulary = Vocabulary(symbols=("你", "<pad>", "好"), blank=1, delimiter=None)
    log_probs: npt.NDArray[np.float32] = np.log(np.eye(3, dtype=np.float32)[[0, 0, 1, 2, 0]] * 0.9 + 0.05)
    words = decode(log_probs, vocabulary).words()
    assert [(word.text, word.start, word.end) for word in words] == [("你", 0, 2), ("好", 3, 4), ("你", 4, 5)]
    assert joined(words, vocabulary) == "你好你"


def test_phonemes_stand_apart_within_a_word_and_alone() -> None:
    symbols = ("<pad>", "h", "oʊ", "|")
    log_probs: npt.NDArray[np.float32] = np.log(np.eye(4, dtype=np.float32)[[1, 0, 2, 3, 3, 2, 2]] * 0.9 + 0.05)
    worded = Vocabulary(symbols, 0, 3, space="", separator=" ")
    assert [word.text for word in decode(log_probs, worded).words()] == ["h oʊ", "oʊ"]
    alone = Vocabulary(symbols, 0, None, separator=" ")
    assert [word.text for word in decode(log_probs[[0, 2, 1, 5]], alone).words()] == ["h", "oʊ", "oʊ"]
    for vocabulary, rows in ((worded, log_probs), (alone, log_probs[[0, 2, 1, 5]])):
        heard = joined(decode(rows, vocabulary).words(), vocabulary)
        assert heard == vocabulary.text(rows.argmax(-1).tolist()) == "h oʊ oʊ"


def heard(symbols: tuple[str, ...], spoken: list[str], **settings: Any) -> GreedyDecoder:
    """Decodes a frame for each of the symbols that are spoken; the first is the blank."""
    vocabulary = Vocabulary(symbols, 0, symbols.index("|") if "|" in symbols else None, **settings)
    ids = [symbols.index(symbol) for symbol in spoken]
    certain: npt.NDArray[np.float32] = np.log(np.eye(len(symbols), dtype=np.float32)[ids] * 0.9 + 0.01)
    return decode(certain, vocabulary)


def texts_of(decoder: GreedyDecoder) -> list[str]:
    return [word.text for word in decoder.words()]


MIXED = ("_", "|", "你", "好", "a", "b", "ก", "่", "。")


def test_a_character_of_a_script_without_spaces_is_a_word() -> None:
    decoder = heard(MIXED, list("你你_好ab|a你。|ก่ก"))
    assert [(word.text, word.start, word.end) for word in decoder.words()][:3] == [
        ("你", 0, 2), ("好", 3, 4), ("ab", 4, 6)
    ]  # fmt: skip
    assert texts_of(decoder) == ["你", "好", "ab", "a", "你。", "ก่", "ก"]
    assert joined(decoder.words(), decoder.vocabulary) == "你好ab a你。 ก่ก"


def test_a_character_is_settled_once_the_next_has_begun() -> None:
    decoder = heard(MIXED, list("你_好_"))
    assert [word.text for word in decoder.settled()] == ["你"]
    assert decoder.boundary == 2
    marked = heard(MIXED, list("ก_"))
    assert marked.settled() == []  # a mark may come yet


@given(st.lists(st.sampled_from(MIXED), max_size=30), st.integers(0, 30))
def test_words_joined_are_the_text(spoken: list[str], cut: int) -> None:
    decoder = heard(MIXED, spoken)
    vocabulary = decoder.vocabulary
    theirs = vocabulary.text([MIXED.index(symbol) for symbol in spoken])
    assert joined(decoder.words(), vocabulary) == " ".join(theirs.split())
    first = heard(MIXED, spoken[:cut])
    assert decoder.words()[: len(first.settled())] == first.settled()


def test_a_final_sigma_is_one_of_the_word() -> None:
    decoder = heard(("_", "|", "Σ", "Α"), list("ΣΑΣ|Α_Σ"), lower=True)
    assert texts_of(decoder) == ["σας", "ας"]
    assert decoder.vocabulary.text([2, 3, 2, 1, 3, 0, 2]) == "σας ας"


def test_spaces_are_cleaned_up_between_words() -> None:
    decoder = heard(("_", "|", "a", "'", "s", "."), list("a|'s|.|a|'|a"), clean=True)
    assert texts_of(decoder) == ["a", "'s", ".", "a", "'", "a"]
    assert joined(decoder.words(), decoder.vocabulary) == decoder.vocabulary.text([2, 1, 3, 4, 1, 5, 1, 2, 1, 3, 1, 2])
    assert joined(decoder.words(), decoder.vocabulary) == "a's. a'a"


def test_two_ids_that_mean_nothing_are_a_repeat() -> None:
    vocabulary = Vocabulary(("_", "a", "<unk>", "<unk>"), 0)
    certain: npt.NDArray[np.float32] = np.log(np.eye(4, dtype=np.float32)[[1, 2, 3, 2, 1]] * 0.9 + 0.01)
    assert joined(decode(certain, vocabulary).words(), vocabulary) == vocabulary.text([1, 2, 3, 2, 1]) == "a<unk>a"


def test_parts_of_words_begin_a_word_where_they_write_a_space() -> None:
    decoder = heard(("_", " the", "re", " c", "at", " ", "x "), [" the", "_", "re", " c", "at", " ", "at", "x ", "re"])
    assert [(word.text, word.start, word.end) for word in decoder.words()] == [
        ("there", 0, 3), ("cat", 3, 5), ("atx", 6, 8), ("re", 8, 9)
    ]  # fmt: skip
    assert [word.text for word in decoder.settled()] == ["there", "cat", "atx"]
    assert joined(decoder.words(), decoder.vocabulary) == "there cat atx re"
