"""Texts as ids, and which phone says which letter."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.manifest import read_alignments
from earshot_asr.engine.training.data import spelling
from earshot_asr.engine.training.data.spelling import FARTHEST_PHONES, SHARE, SKIP, Alphabet, Said, spell, times
from earshot_asr.engine.vocabulary import Vocabulary
from tests.engine.training.data.material import VOCABULARY, ids
from tests.helpers import shared

Scores: TypeAlias = npt.NDArray[np.float64]
ALPHABET = Alphabet(VOCABULARY)


def said(word: str, phones: str) -> Said:
    return tuple(ids(word)), tuple(phones.split())


def test_ids_of_a_text() -> None:
    assert ALPHABET.ids("IT'S A") == ids("IT'S|A|")
    assert ALPHABET.ids("ÀB 12 C") == ids("B|C|")
    assert ALPHABET.ids("") == []
    assert ALPHABET.letters("<pad>|</s>") == tuple(ids("PADS"))


def test_ids_in_the_case_of_the_vocabulary() -> None:
    lower = Vocabulary(symbols=("[PAD]", *"abcß"), blank=0)
    assert Alphabet(lower).ids("AB CBA") == [1, 2, 3, 2, 1]
    both = Vocabulary(symbols=("[PAD]", "a", "A"), blank=0)
    assert Alphabet(both).ids("Aa") == [2, 1]


def test_ids_of_phonemes() -> None:
    phonemes = Vocabulary(symbols=("<pad>", "aɪ", "t", "n"), blank=0, separator=" ")
    assert Alphabet(phonemes).ids("n aɪ ʔ t") == [3, 1, 2]


def test_times_within_a_word() -> None:
    assert times((0, 1, 1, 1, 2), (6, 12, 10)) == [3, 8, 12, 16, 23]
    assert times((0, 2), (4, 9, 100)) == [2, 13 + 12.5]  # a drawn-out phone counts with its beginning
    assert times((), (4,)) == []


def test_words_of_a_language() -> None:
    """Enough words that show what is said how; each letter its phone."""
    words = {
        "NET": "N EH T",
        "LET": "L EH T",
        "TEN": "T EH N",
        "LINE": "L AY N",
        "TIN": "T IH N",
        "FOX": "F AA K S",
        "BOX": "B AA K S",
        "SIX": "S IH K S",
        "KISS": "K IH S",
        "TAX": "T AE K S",
        "FOG": "F AA G",
        "BAT": "B AE T",
    }
    found = spell({said(word, phones): 1 for word, phones in words.items()})
    assert found[said("LINE", "L AY N")] == (0, 1, 2, 2)
    assert found[said("TEN", "T EH N")] == (0, 1, 2)
    assert found[said("KISS", "K IH S")] == (0, 1, 2, 2)


def test_nothing_to_spell() -> None:
    assert spell({}) == {}
    assert spell({said("", "AH"): 1, ((5,), ()): 2}) == {}


WORDS = st.dictionaries(
    st.tuples(
        st.lists(st.integers(5, 9), min_size=1, max_size=7).map(tuple),
        st.lists(st.sampled_from(["AA", "B", "D"]), min_size=1, max_size=6).map(tuple),
    ),
    st.integers(1, 50),
    min_size=1,
    max_size=8,
)


@given(WORDS)
def test_every_letter_has_a_phone_and_none_goes_back(words: dict[Said, int]) -> None:
    found = spell(words)
    assert found.keys() == words.keys()
    for (letters, phones), path in found.items():
        assert len(path) == len(letters)
        assert path[0] >= 0 and path[-1] < len(phones)
        assert all(a <= b for a, b in pairwise(path))
        lengths = [7] * len(phones)
        assert all(a < b for a, b in pairwise(times(path, lengths)))
        assert [int(at // 7) for at in times(path, lengths)] == list(path)


def brute(letters: Sequence[int], phones: Sequence[int], scores: Scores) -> float:
    """The best score of all monotone maps."""

    def rest(n: int, phone: int) -> float:
        here = scores[phones[phone], letters[n]]
        if n == len(letters) - 1:
            return float(here + SKIP * (len(phones) - 1 - phone))
        nexts = range(phone, min(len(phones), phone + FARTHEST_PHONES + 1))
        return float(here + max(rest(n + 1, k) + (SHARE if k == phone else SKIP * (k - phone - 1)) for k in nexts))

    return max(rest(0, phone) + SKIP * phone for phone in range(len(phones)))


def value(path: Sequence[int], letters: Sequence[int], phones: Sequence[int], scores: Scores) -> float:
    total = SKIP * (path[0] + len(phones) - 1 - path[-1])
    total += sum(scores[phones[k], letter] for k, letter in zip(path, letters, strict=True))
    return float(total + sum(SHARE if a == b else SKIP * (b - a - 1) for a, b in pairwise(path)))


@given(WORDS, st.integers(0, 2**32 - 1))
def test_a_map_is_the_best_there_is(words: dict[Said, int], seed: int) -> None:
    letters = {letter: n for n, letter in enumerate(range(5, 10))}
    phones = {"AA": 0, "B": 1, "D": 2}
    scores = np.random.default_rng(seed).normal(-2, 2, (3, 5))
    batch = spelling._Batch(list(words), letters, phones)
    batch.place(scores)
    for (spelled, spoken), path in zip(words, batch.spellings(), strict=True):
        numbers = [letters[letter] for letter in spelled], [phones[phone] for phone in spoken]
        assert value(path, *numbers, scores) == pytest.approx(brute(*numbers, scores))


def test_english() -> None:
    words: dict[Said, int] = {}
    for alignment in read_alignments(shared("speech") / "alignments.jsonl.xz").values():
        for word in alignment.words:
            key = ALPHABET.letters(word.text), tuple(part for part, _ in word.parts)
            words[key] = words.get(key, 0) + 1
    found = spell(words)
    assert len(found) > 10_000

    def phones(word: str, spoken: str) -> str:
        key = said(word, spoken)
        return " ".join(key[1][n] for n in found[key])

    assert phones("NIGHT", "N AY T") == "N AY AY AY T"
    assert phones("THOUGH", "DH OW") == "DH DH OW OW OW OW"
    assert phones("QUEEN", "K W IY N") == "K W IY IY N"
    assert phones("HOUSE", "HH AW S") == "HH AW AW S S"
