"""The beam search: what it finds is what trying all paths finds; and it keeps the contract of a decoder."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earshot_asr.engine.audio import LogProbs
from earshot_asr.engine.beam import decoder as beam
from earshot_asr.engine.beam import search
from earshot_asr.engine.beam.decoder import BeamDecoder
from earshot_asr.engine.beam.scoring import WordScores
from earshot_asr.engine.decoder import DecodeConfig, DecodedWord, Hotword, decoder_factory, joined
from earshot_asr.engine.lm import Lexicon
from earshot_asr.engine.vocabulary import Vocabulary
from tests.engine.beam.lm import LEXICON

LETTERS = Vocabulary(("_", "|", "a", "b"), blank=0, delimiter=1)
LAST = Vocabulary(("a", "|", "b", "_"), blank=3, delimiter=1)
SPACELESS = Vocabulary(("_", "a", "b"), blank=0)
PARTS = Vocabulary((" a", "b", " b", "a", "_"), blank=4)
TWICE = Vocabulary(("_", "|", "a", "b", "a"), blank=0, delimiter=1)
VOCABULARIES = (LETTERS, LAST, SPACELESS, PARTS, TWICE)
HOTWORDS = (Hotword("bb", 2.0), Hotword("a bb", 1.0))
EPSILON = 1e-9


def noise(seed: int, frames: int, vocabulary: Vocabulary, sharpness: float = 1.0) -> LogProbs:
    """Log-probabilities (T, V) of nothing in particular."""
    logits = np.random.default_rng(seed).normal(size=(frames, vocabulary.size)) * sharpness
    log_probs: npt.NDArray[np.float32] = (logits - np.logaddexp.reduce(logits, axis=1)[:, None]).astype(np.float32)
    return log_probs


def everything(
    log_probs: LogProbs, vocabulary: Vocabulary, config: DecodeConfig, lexicon: Lexicon | None
) -> dict[str, float]:
    """Each text that can be read from the frames, and what it is worth: all paths are tried."""
    sums: dict[tuple[int, ...], float] = defaultdict(lambda: -math.inf)
    for path in itertools.product(range(vocabulary.size), repeat=len(log_probs)):
        symbols = [int(vocabulary.merged[id]) for id in path]
        written = tuple(id for id, _ in itertools.groupby(symbols) if id != vocabulary.blank)
        sums[written] = np.logaddexp(sums[written], sum(log_probs[n, id] for n, id in enumerate(path)))
    texts: dict[str, float] = defaultdict(lambda: -math.inf)
    for written, log_prob in sums.items():
        text = vocabulary.text(list(itertools.chain.from_iterable((id, vocabulary.blank) for id in written)))
        words = text.split() if vocabulary.spaced else list(text)
        text = " ".join(words) if vocabulary.spaced else text
        scores = WordScores(config, lexicon)
        score = scores.start()
        for word in words:
            for end in range(1, len(word) + 1):
                score = scores.spell(score, word[:end])
            score = scores.close(score, word)
        texts[text] = np.logaddexp(texts[text], log_prob + scores.rank(score, ""))
    return texts


@pytest.fixture(autouse=True)
def unpruned(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing is dropped in tests that are marked so."""
    if "oracle" not in request.node.name:
        yield
        return
    with (
        patch.object(search, "MOST_HYPOTHESES", 10**6),
        patch.object(search, "MOST_BEHIND", 1e9),
        patch.object(beam, "LEAST_LOG_PROB", -1e9),
    ):
        yield


@pytest.mark.parametrize("vocabulary", VOCABULARIES, ids=lambda v: " ".join(v.symbols))
@pytest.mark.parametrize("lexicon", [None, LEXICON], ids=["no lm", "lm"])
@pytest.mark.parametrize("hotwords", [(), HOTWORDS], ids=["", "hotwords"])
def test_oracle(vocabulary: Vocabulary, lexicon: Lexicon | None, hotwords: tuple[Hotword, ...]) -> None:
    """All readings of a few frames, and how probable each is among them, are those that trying all paths finds."""
    config = DecodeConfig(decoder="beam", hotwords=hotwords, alternatives=10)
    for seed in range(3):
        log_probs = noise(seed, 5 if len(vocabulary.symbols) < 5 else 4, vocabulary, 2.0)
        decoder = BeamDecoder(vocabulary, config, lexicon)
        decoder.feed(log_probs)
        texts = everything(log_probs, vocabulary, config, lexicon)
        every = np.logaddexp.reduce(list(texts.values()))
        expected = sorted(((value - every, text) for text, value in texts.items()), reverse=True)[:10]
        found = {joined(reading.words, vocabulary): reading.log_prob for reading in decoder.alternatives()}
        for value, text in expected:
            assert found.get(text, -99) == pytest.approx(value, abs=1e-4) or value - expected[-1][0] < EPSILON
        assert len(found) == len(expected)


# ---- the contract of a decoder


def babble(seed: int, frames: int, vocabulary: Vocabulary = LETTERS) -> LogProbs:
    """Log-probabilities (T, V) that are now sure, now in doubt, and often blank."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(frames, vocabulary.size)) * rng.choice([1.0, 6.0], size=(frames, 1))
    logits[rng.random(frames) < 0.4, vocabulary.blank] += 12
    log_probs: npt.NDArray[np.float32] = (logits - np.logaddexp.reduce(logits, axis=1)[:, None]).astype(np.float32)
    return log_probs


def decoder_of(vocabulary: Vocabulary, alternatives: int = 1) -> BeamDecoder:
    return BeamDecoder(vocabulary, DecodeConfig(hotwords=HOTWORDS, alternatives=alternatives), LEXICON)


vocabularies = st.sampled_from(VOCABULARIES)


@settings(max_examples=10)
@given(st.integers(0, 10**6), vocabularies, st.lists(st.integers(0, 80), max_size=4), st.integers(1, 3))
def test_neither_pieces_nor_questions_change_anything(
    seed: int, vocabulary: Vocabulary, cuts: list[int], alternatives: int
) -> None:
    log_probs = babble(seed, 80, vocabulary)
    whole, pieces = decoder_of(vocabulary, alternatives), decoder_of(vocabulary, alternatives)
    whole.feed(log_probs)
    for piece in np.split(log_probs, sorted(cuts)):
        pieces.feed(piece)
        pieces.words(), pieces.settled(), pieces.alternatives()
        pieces.peek(log_probs[:40]).words()
    assert pieces.words() == whole.words()
    assert pieces.settled() == whole.settled()
    assert pieces.boundary == whole.boundary
    assert pieces.alternatives() == whole.alternatives()


@settings(max_examples=20)
@given(st.integers(0, 10**6), vocabularies)
def test_what_is_settled_stays(seed: int, vocabulary: Vocabulary) -> None:
    log_probs, decoder = babble(seed, 200, vocabulary), decoder_of(vocabulary)
    settled: list[DecodedWord] = []
    boundary = 0
    for frame in range(0, 200, 12):
        decoder.feed(log_probs[frame : frame + 12])
        now = decoder.settled()
        assert now[: len(settled)] == settled
        assert decoder.boundary >= boundary
        assert decoder.words()[: len(now)] == now
        assert all(word.start < decoder.boundary for word in now)
        settled, boundary = now, decoder.boundary


@settings(max_examples=20)
@given(st.integers(0, 10**6), vocabularies)
def test_a_peek_sees_what_feeding_would(seed: int, vocabulary: Vocabulary) -> None:
    log_probs, decoder = babble(seed, 150, vocabulary), decoder_of(vocabulary)
    decoder.feed(log_probs[:100])
    before = decoder.words()
    ahead = decoder.peek(log_probs[100:])
    assert decoder.words() == before
    decoder.feed(log_probs[100:])
    assert ahead.words() == decoder.words()
    assert ahead.settled() == decoder.settled()


@settings(max_examples=20)
@given(st.integers(0, 10**6), vocabularies)
def test_words_have_times_in_order_and_confidences(seed: int, vocabulary: Vocabulary) -> None:
    decoder = decoder_of(vocabulary)
    decoder.feed(babble(seed, 200, vocabulary))
    words = decoder.words()
    assert all(0 <= word.start <= word.end <= 200 and 0 <= word.confidence <= 1 for word in words)
    assert all(a.end <= b.start for a, b in itertools.pairwise(words))


@pytest.mark.parametrize("sureness", [0.5, 1.0, 2.0])
def test_confidence_is_as_sure_as_the_language_model_says(sureness: float) -> None:
    """The logit of the posterior, times the sureness."""
    lexicon = Lexicon(LEXICON.lm, replace(LEXICON.weights, sureness=sureness))
    decoder = BeamDecoder(LETTERS, DecodeConfig(), lexicon)
    decoder.feed(np.log(np.array([[0.05, 0.05, 0.8, 0.1], [0.97, 0.01, 0.01, 0.01]], np.float32)))
    (word,) = decoder.words()
    assert word.confidence == pytest.approx(1 / (1 + (0.2 / 0.8) ** sureness), rel=1e-4)


def test_words_are_settled_in_time() -> None:
    """However long it goes on, no more than the newest words are open: so neither memory nor work grows."""
    decoder, log_probs = decoder_of(LETTERS), babble(1, 1000)
    for frame in range(0, 1000, 50):
        decoder.feed(log_probs[frame : frame + 50])
        assert frame + 50 - decoder.boundary <= 200
        assert sum(map(len, decoder._kept)) <= 200


def test_nothing_is_said() -> None:
    decoder = decoder_of(LETTERS)
    assert decoder.words() == [] and decoder.alternatives()[0].words == []
    decoder.feed(np.log(np.full((50, 4), [0.999, 0.0004, 0.0003, 0.0003], np.float32)))
    assert decoder.words() == [] and decoder.settled() == []


def spelled(text: str, doubt: dict[int, tuple[str, float]] | None = None) -> LogProbs:
    """Each letter of a text in a frame, with a blank after it; at some places there is another, by its odds."""
    rows = np.full((2 * len(text), LETTERS.size), 1e-4, np.float32)
    rows[1::2, 0] = 1
    for n, letter in enumerate(text):
        rows[2 * n, LETTERS.symbols.index(letter)] = 1
        if doubt and n in doubt:
            other, odds = doubt[n]
            rows[2 * n, LETTERS.symbols.index(other)] = odds
    log_probs: LogProbs = np.log(rows / rows.sum(1, keepdims=True))
    return log_probs


def said(log_probs: LogProbs, config: DecodeConfig, lexicon: Lexicon | None = None) -> str:
    decoder = BeamDecoder(LETTERS, config, lexicon)
    decoder.feed(log_probs)
    return joined(decoder.words(), LETTERS)


def test_the_language_model_decides_where_the_model_is_in_doubt() -> None:
    log_probs = spelled("ab|a", {1: ("a", 1.2)})
    assert said(log_probs, DecodeConfig()) == "aa a"
    assert said(log_probs, DecodeConfig(), LEXICON) == "ab a"


def test_a_word_that_nobody_knows_comes_out_letter_by_letter() -> None:
    assert said(spelled("ab|bbaab|a"), DecodeConfig(), LEXICON) == "ab bbaab a"


def test_hotwords_are_heard() -> None:
    log_probs = spelled("ab|bb", {4: ("a", 3.0)})
    assert said(log_probs, DecodeConfig(), LEXICON) == "ab ba"
    assert said(log_probs, DecodeConfig(hotwords=(Hotword("BB", 3.0),)), LEXICON) == "ab bb"
    assert said(log_probs, DecodeConfig(decoder="beam", hotwords=(Hotword("bb", 3.0),))) == "ab bb"


def test_only_a_whole_phrase_is_rewarded() -> None:
    """The beginning of one is not, once it is clear that the rest does not follow."""
    log_probs = spelled("ba|ab", {1: ("b", 0.6)})
    assert said(log_probs, DecodeConfig(hotwords=(Hotword("bb aa", 3.0),)), LEXICON) == "ba ab"
    assert said(log_probs, DecodeConfig(hotwords=(Hotword("bb ab", 3.0),)), LEXICON) == "bb ab"


def test_the_readings_of_a_phrase() -> None:
    config = DecodeConfig(alternatives=2)
    decoder = BeamDecoder(LETTERS, config, None)
    decoder.feed(spelled("ab", {1: ("a", 0.5)}))
    texts = [
        (joined(reading.words, LETTERS), round(math.exp(reading.log_prob), 2)) for reading in decoder.alternatives()
    ]
    assert texts == [("ab", 0.67), ("aa", 0.33)]


def test_greedy_without_anything_to_search_for() -> None:
    for config, lexicon, name in (
        (DecodeConfig(), None, "GreedyDecoder"),
        (DecodeConfig(), LEXICON, "BeamDecoder"),
        (DecodeConfig(alternatives=2), None, "BeamDecoder"),
        (DecodeConfig(hotwords=HOTWORDS), None, "BeamDecoder"),
        (DecodeConfig(decoder="greedy"), LEXICON, "GreedyDecoder"),
    ):
        assert type(decoder_factory(config, LETTERS, lexicon)()).__name__ == name
