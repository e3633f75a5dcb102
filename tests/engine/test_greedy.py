"""Greedy decoding: frame by frame equals all at once, and equals the definition."""

import math
from itertools import groupby

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
    decoder = GreedyDecoder(vocabulary, DecodeConfig())
    decoder.feed(log_probs)
    return decoder


texts = st.text("_|ABC", max_size=40)


@given(texts)
def test_equals_the_definition(text: str) -> None:
    collapsed = "".join(char for char, _ in groupby(text) if char != "_")
    assert [word.text for word in decode(rows(text)).words()] == collapsed.replace("|", " ").split()


@given(texts, st.lists(st.integers(0, 40), max_size=8).map(sorted))
def test_frames_may_come_in_any_pieces(text: str, cuts: list[int]) -> None:
    decoder, log_probs = GreedyDecoder(VOCABULARY, DecodeConfig()), rows(text)
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
