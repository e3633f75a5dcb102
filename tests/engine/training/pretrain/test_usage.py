"""How languages use codewords, and the figure of it."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.training.pretrain.codes import figure, listing, order
from earshot_asr.engine.training.pretrain.usage import Counts, count, perplexity, places, similarities, similarity


def counts(*groups: list[int]) -> Counts:
    return np.array(groups, np.int64)


@st.composite
def usages(draw: st.DrawFn) -> Counts:
    row = st.lists(st.integers(0, 50), min_size=6, max_size=6).filter(any)
    return counts(draw(row), draw(row))


def test_codes_are_counted_by_group() -> None:
    assert count(np.array([[0, 2], [0, 1], [1, 2]]), 3).tolist() == [[2, 1, 0], [0, 1, 2]]


def test_perplexity_is_the_number_of_codewords_in_even_use() -> None:
    assert perplexity(counts([5, 5, 0, 0], [1, 1, 1, 1])) == pytest.approx(6)
    assert perplexity(counts([9, 0], [7, 0])) == pytest.approx(2)
    assert perplexity(counts([0, 0])) == 0


@given(usages(), usages(), st.integers(2, 9))
def test_similarity_is_of_usage_not_of_amount(one: Counts, other: Counts, more: int) -> None:
    assert similarity(one, one * more) == pytest.approx(1)
    assert similarity(one, other) == pytest.approx(similarity(other, one))
    assert -1e-9 <= similarity(one, other) <= 1 + 1e-9


def test_nothing_in_common_is_no_similarity() -> None:
    assert similarity(counts([3, 0]), counts([0, 8])) == pytest.approx(0)
    assert similarity(counts([3, 0], [1, 1]), counts([0, 8], [1, 1])) == pytest.approx(0.5)


def test_languages_that_share_codewords_lie_together() -> None:
    rng = np.random.default_rng(1)
    families = [rng.dirichlet(np.full(40, 0.3)) for _ in range(2)]
    drawn = [counts(rng.multinomial(5000, families[k % 2]).tolist()) for k in range(6)]
    where, part = places(drawn)
    one, other = where[0::2, 0], where[1::2, 0]
    assert max(one) < min(other) or max(other) < min(one)
    assert 0.5 < part[0] <= 1 and part.sum() <= 1 + 1e-9
    ranks = [k % 2 for k in order(similarities(drawn))]
    assert ranks in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])


def test_the_figure_has_all_languages_and_pairs() -> None:
    used = {"fr": counts([5, 1, 0]), "<&": counts([4, 2, 0]), "zh": counts([0, 1, 9])}
    root = ET.fromstring(figure(used))
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert all(texts.count(name) == 2 for name in used)  # on the map, in the matrix
    titles = [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}title")]
    assert sum(", " in title for title in titles) == 9
    assert "fr:" in " ".join(titles)


def test_two_languages_are_enough() -> None:
    ET.fromstring(figure({"a": counts([1, 2]), "b": counts([1, 2])}))  # in one place, too
    assert listing({"a": counts([1, 1]), "b": counts([1, 1])}).splitlines()[1].split() == ["a", "2", "b", "1.00"]
