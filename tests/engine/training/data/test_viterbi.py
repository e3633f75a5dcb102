"""Forced alignment against all paths there are."""

from itertools import groupby, pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.audio import LogProbs
from earshot_asr.engine.training.data.viterbi import best_path


def random_log_probs(frames: int, symbols: int, seed: int) -> LogProbs:
    logits = np.random.default_rng(seed).normal(0, 2, (frames, symbols))
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def collapse(path: tuple[int, ...], blank: int) -> list[int]:
    return [symbol for symbol, _ in groupby(path) if symbol != blank]


def exhaustive(log_probs: LogProbs, targets: list[int], blank: int) -> float | None:
    """The score of the best of all sequences of symbols that collapse to the targets."""
    frames, symbols = log_probs.shape
    scores = [
        float(log_probs[np.arange(frames), list(path)].sum())
        for path in product(range(symbols), repeat=frames)
        if collapse(path, blank) == targets
    ]
    return max(scores, default=None)


@given(st.integers(1, 6), st.lists(st.integers(0, 2), max_size=4), st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_no_path_is_better(frames: int, targets: list[int], blank: int, seed: int) -> None:
    targets = [target for target in targets if target != blank]
    log_probs = random_log_probs(frames, 3, seed)
    path, best = best_path(log_probs, targets, blank), exhaustive(log_probs, targets, blank)
    if best is None:
        assert path is None
        return
    assert path is not None
    assert float(path.scores.sum()) == pytest.approx(best, abs=1e-4)
    assert collapse(tuple(path.symbols.tolist()), blank) == targets
    assert path.scores == pytest.approx(log_probs[np.arange(frames), path.symbols])


@given(st.integers(1, 40), st.lists(st.integers(1, 4), max_size=12), st.integers(0, 2**32 - 1))
def test_spans_are_the_path(frames: int, targets: list[int], seed: int) -> None:
    path = best_path(random_log_probs(frames, 5, seed), targets, blank=0)
    needed = len(targets) + sum(a == b for a, b in pairwise(targets))
    assert (path is None) == (frames < needed)
    if path is None:
        return
    written = np.zeros(frames, np.int64)
    for target, (first, end) in zip(targets, path.spans, strict=True):
        assert first < end
        assert (written[first:end] == 0).all()
        written[first:end] = target
    assert np.array_equal(written, path.symbols)
    assert (np.diff(path.spans[:, 0]) > 0).all()


def test_a_path_that_is_known() -> None:
    """HELLO, with the blank between both L that it needs."""
    said = [0, 1, 1, 2, 3, 0, 3, 3, 4, 0]
    log_probs = np.log(np.full((10, 5), 0.05, np.float32))
    log_probs[np.arange(10), said] = np.log(0.8)
    path = best_path(log_probs, [1, 2, 3, 3, 4], blank=0)
    assert path is not None
    assert path.symbols.tolist() == said
    assert path.spans.tolist() == [[1, 3], [3, 4], [4, 5], [6, 8], [8, 9]]


def test_no_text() -> None:
    path = best_path(random_log_probs(4, 3, 0), [], blank=1)
    assert path is not None
    assert path.symbols.tolist() == [1, 1, 1, 1]
    assert path.spans.shape == (0, 2)
    assert best_path(np.zeros((0, 3), np.float32), [], blank=0) is None


def test_what_can_not_be() -> None:
    """A symbol of probability zero."""
    log_probs = random_log_probs(5, 3, 0)
    log_probs[:, 2] = -np.inf
    assert best_path(log_probs, [1, 2], blank=0) is None
