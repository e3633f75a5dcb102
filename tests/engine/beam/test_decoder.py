"""The beam search: what it finds is what trying all paths finds; and it keeps the contract of a decoder."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator
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
from earshot_asr.engine.lm import Lexicon, Weights
from earshot_asr.engine.vocabulary import Vocabulary
from tests.engine.beam.lm import Bigrams

LETTERS = Vocabulary(("_", "|", "a", "b"), blank=0, delimiter=1)
LAST = Vocabulary(("a", "|", "b", "_"), blank=3, delimiter=1)
SPACELESS = Vocabulary(("_", "a", "b"), blank=0)
PARTS = Vocabulary((" a", "b", " b", "a", "_"), blank=4)
TWICE = Vocabulary(("_", "|", "a", "b", "a"), blank=0, delimiter=1)
VOCABULARIES = (LETTERS, LAST, SPACELESS, PARTS, TWICE)
WORDS = {"a": -0.7, "ab": -0.5, "ba": -1.5, "b": -2.0}
PAIRS = {("<s>", "ba"): -0.2, ("ab", "a"): -0.1, ("a", "b"): -2.5}
LEXICON = Lexicon(Bigrams(WORDS, PAIRS), Weights(alpha=0.8, beta=0.3, unk_offset=-1.0))
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
    """All readings of five frames, and how probable each is among them, are those that trying all paths finds."""
    config = DecodeConfig(decoder="beam", hotwords=hotwords, alternatives=10)
    for seed in range(3):
        log_probs = noise(seed, 5, vocabulary, 2.0)
        decoder = BeamDecoder(vocabulary, config, lexicon)
        decoder.feed(log_probs)
        texts = everything(log_probs, vocabulary, config, lexicon)
        every = np.logaddexp.reduce(list(texts.values()))
        expected = sorted(((value - every, text) for text, value in texts.items()), reverse=True)[:10]
        found = {joined(reading.words, vocabulary): reading.log_prob for reading in decoder.alternatives()}
        for value, text in expected[1:]:
            assert found.get(text, -99) == pytest.approx(value, abs=1e-4) or value - expected[-1][0] < EPSILON
        assert len(found) == len(expected)
