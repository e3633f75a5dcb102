"""Languages sampled by n ^ alpha, crops that stay inside of their utterance."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.audio import FrameGrid
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.manifest import Row
from earshot_asr.engine.training.data.corpus import Corpus
from earshot_asr.engine.training.pretrain.languages import UNDETERMINED, Languages, Masks, Places, shares

GRID = FrameGrid(hop=320, field=400)
CPU = torch.device("cpu")
SECONDS = {"big": [9.0, 4.0, 0.4, 7.0], "small": [2.0], None: [3.0]}


def corpus() -> Corpus:
    """Whose samples say which utterance they are of."""
    rows: list[Row] = []
    spans, samples, here = [], [], 0
    for lang, lengths in SECONDS.items():
        for seconds in lengths:
            size = int(seconds * 16_000)
            samples.append(np.full(size, len(rows) + 1, np.int16))
            spans.append((here, here + size))
            rows.append(Row(where="", name="", path=Path(), corpus="c", lang=lang))
            here += size
    return Corpus(np.concatenate(samples), np.array(spans), rows, [""] * len(rows), [None] * len(rows))


def languages(alpha: float = 0.5, seed: int = 0, rank: int = 0, batch: int = 8) -> Languages:
    return Languages(corpus(), GRID, CPU, Masks(), seconds=1.0, batch=batch, alpha=alpha, seed=seed, rank=rank)


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(0.0, [1 / 3, 1 / 3, 1 / 3]), (1.0, [20 / 25, 2 / 25, 3 / 25]), (0.5, [0.58702, 0.18563, 0.22735])],
)
def test_languages_are_drawn_by_their_amount_to_the_power_of_alpha(alpha: float, expected: list[float]) -> None:
    """Of speech that can be used: an utterance shorter than a crop does not count."""
    source = languages(alpha, batch=500)
    assert source.names == ["big", "small", UNDETERMINED]
    np.testing.assert_allclose(source.shares, expected, atol=1e-4)
    drawn = [name for step in range(8) for name in source.draw(step).languages]
    seen = [drawn.count(name) / len(drawn) for name in source.names]
    np.testing.assert_allclose(seen, expected, atol=0.03)


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=60), st.floats(0, 1))
def test_shares_add_up_and_smaller_alphas_are_more_even(samples: list[int], alpha: float) -> None:
    found = shares(samples, alpha)
    assert found.sum() == pytest.approx(1)
    assert np.ptp(found) <= np.ptp(shares(samples, 1.0)) + 1e-9


def test_crops_are_of_one_utterance_of_their_language() -> None:
    source = languages()
    langs = [lang or UNDETERMINED for lang in corpus().langs]
    crops = source.draw(3)
    assert crops.samples.shape == (8, GRID.span(0, source.frames)[1])
    assert crops.mask.shape == (8, source.frames) and crops.distractors.shape == (8, source.frames, 100)
    for row, lang in zip((crops.samples * 32768).int(), crops.languages, strict=True):
        utterance = row.unique().tolist()
        assert len(utterance) == 1 and langs[utterance[0] - 1] == lang


def test_long_utterances_are_drawn_more_often() -> None:
    """So that no part of the speech is heard more often than another."""
    drawn = torch.cat([(languages(1.0, batch=400).draw(step).samples[:, 0] * 32768).int() for step in range(5)])
    count = torch.bincount(drawn, minlength=7)
    assert count[3] == 0  # too short
    assert count[1] / count[4] == pytest.approx(8 / 6, rel=0.2)


def test_a_batch_is_a_function_of_seed_rank_and_step() -> None:
    def same(one: Languages, other: Languages, step: int) -> bool:
        a, b = one.draw(5), other.draw(step)
        return a.samples.equal(b.samples) and a.mask.equal(b.mask) and a.distractors.equal(b.distractors)

    assert same(languages(), languages(), 5)
    assert not same(languages(), languages(), 6)
    assert not same(languages(), languages(seed=1), 5)
    assert not same(languages(), languages(rank=1), 5)
    assert languages().draw(5).step == 5


def test_held_out_crops_are_the_same_each_time() -> None:
    one, other = languages().fixed("big", 3), languages().fixed("big", 3)
    assert one.samples.equal(other.samples) and one.mask.equal(other.mask) and one.languages == ["big"] * 3
    assert len(languages().fixed("small", 9).samples) == 2  # there is no more


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(1, 10))
def test_places_are_all_that_fit(lengths: list[int], size: int) -> None:
    ends = np.cumsum(lengths)
    spans = np.stack([ends - lengths, ends], axis=1)
    there = Places(spans, size)
    expected = [s for first, end in spans.tolist() for s in range(first, end - size + 1)]
    assert [there[k] for k in range(len(there))] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 1.5}, "alpha is 1.5; it must be from 0"),
        ({"seconds": 0.1}, "0.1 s have 4 frames, and masks take 20 at least"),
        ({"seconds": 20.0}, "no recording is 20 s long"),
    ],
)
def test_what_makes_no_sense_is_said(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Languages(corpus(), GRID, CPU, Masks(), **options)  # type: ignore[arg-type]
