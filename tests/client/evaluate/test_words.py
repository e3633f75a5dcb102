"""Lives of words, from scripts of events whose outcome can be read off."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.client.evaluate.words import WordLife, common, erased, lives, pairs, retractions
from tests.client.evaluate.scripted import clip, final, partial, spoken, take

WORDS = spoken("THE CAT SAT")


def life(found: list[WordLife], text: str) -> WordLife:
    (one,) = [each for each in found if each.text == text]
    return one


def test_a_word_is_shown_from_the_first_message_that_holds_it_for_good() -> None:
    played = take(
        clip("the cat sat", WORDS),
        partial(1.6, "the"),
        partial(2.1, "the bat"),
        partial(2.6, "the cat", "the"),
        final(3.0, WORDS),
    )
    found = lives(played)
    assert [each.text for each in found] == ["THE", "BAT", "CAT", "SAT"]
    the, bat, cat, sat = found
    assert (the.shown, the.stable, the.final, the.gone, the.spoken) == (1.6, 2.6, 3.0, None, WORDS[0])
    assert (bat.shown, bat.stable, bat.final, bat.gone, bat.spoken) == (2.1, None, None, 2.6, None)
    assert (cat.shown, cat.stable, cat.final, cat.gone, cat.spoken) == (2.6, None, 3.0, None, WORDS[1])
    assert (sat.shown, sat.stable, sat.final, sat.gone, sat.spoken) == (3.0, None, 3.0, None, WORDS[2])


def test_a_word_that_comes_back_is_another() -> None:
    played = take(clip("cat"), partial(1, "cat"), partial(2, "bat"), partial(3, "cat"), final(4, spoken("CAT")))
    assert [(each.text, each.shown, each.gone) for each in lives(played)] == [
        ("CAT", 1, 2),
        ("BAT", 2, 3),
        ("CAT", 3, None),
    ]


def test_a_word_stays_where_others_come_before_it() -> None:
    played = take(clip("a cat"), partial(1, "cat"), final(2, spoken("A CAT")))
    assert life(lives(played), "CAT").shown == 1
    assert life(lives(played), "A").shown == 2


def test_what_is_withdrawn_is_gone() -> None:
    found = lives(take(clip(""), partial(1, "uh", "uh"), partial(2, "")))
    assert [(each.text, each.stable, each.gone, each.final) for each in found] == [("UH", 1, 2, None)]


def test_case_and_punctuation_are_no_change() -> None:
    found = lives(take(clip("Hello, world"), partial(1, "hello"), final(2, spoken("Hello, World!"))))
    assert [(each.text, each.shown, each.gone) for each in found] == [("HELLO", 1, None), ("WORLD", 2, None)]


def test_a_word_cut_in_two_by_stable_is_not_stable() -> None:
    (one,) = lives(take(clip("hello"), partial(1, "hello", "hel")))
    assert one.stable is None


def test_segments_are_screens_of_their_own() -> None:
    first, second = spoken("ONE", 1.0), spoken("TWO", 5.0)
    played = take(
        clip("one two", first + second),
        partial(1.5, "one"),
        partial(4.9, "to", segment=4.0),
        final(5.0, first, cut=4.0),  # after the next one has begun
        final(6.0, second, segment=4.0),
    )
    assert [(e.text, e.segment, e.shown, e.gone) for e in lives(played)] == [
        ("ONE", 0, 1.5, None),
        ("TO", 64_000, 4.9, 6.0),
        ("TWO", 64_000, 6.0, None),
    ]


@pytest.mark.parametrize(("shift", "found"), [(0.4, True), (0.6, False), (-0.4, True), (-0.6, False)])
def test_a_word_is_only_the_one_that_was_said_then(shift: float, found: bool) -> None:
    (one,) = lives(take(clip("yes", spoken("YES", 2.0)), final(4, spoken("YES", 2.0 + shift))))
    assert (one.spoken is not None) == found


def test_words_said_outside_the_utterance_are_not_in_it() -> None:
    said = spoken("NO", 1.0, 0.2) + spoken("NO", 1.3, 0.2)
    (one,) = lives(take(clip("no no", said), final(3, [said[1]], segment=1.25)))
    assert one.spoken == said[1]


def test_retractions_are_counted_and_change_nothing() -> None:
    played = take(clip("one"), final(2, spoken("ONE"), cut=3.0))
    more = partial(3, "two"), final(4, spoken("TWO"), cut=3.0), partial(5, "three", segment=2.5)
    retracted = take(clip("one"), *played.heard, *more, partial(6, "four", segment=3.0))
    assert retractions(played) == 0
    assert retractions(retracted) == 3
    assert [each.text for each in lives(retracted)] == ["ONE", "FOUR"]


def test_erased_words_are_all_behind_the_first_that_changed() -> None:
    played = take(clip(""), partial(1, "a b c"), partial(2, "a x c"), partial(3, "a x c d"), final(4, spoken("A X C")))
    assert erased(played) == 2 + 0 + 1


texts = st.lists(st.sampled_from("abc"), max_size=6)


@given(texts, texts)
def test_pairs_are_equal_and_in_order_and_begin_with_what_is_common(a: list[str], b: list[str]) -> None:
    found = list(pairs(a, b))
    assert all(a[i] == b[j] for i, j in found)
    assert all(i < k and j < n for (i, j), (k, n) in pairwise(found))
    assert found[: common(a, b)] == [(n, n) for n in range(common(a, b))]


@given(st.lists(texts, min_size=1, max_size=6))
def test_every_word_that_is_shown_ends_as_gone_or_final(screens: list[list[str]]) -> None:
    *partials, last = (" ".join(words) for words in screens)
    heard = [partial(float(n), text) for n, text in enumerate(partials)]
    found = lives(take(clip(""), *heard, final(9.0, spoken(last.upper()))))
    assert all((each.gone is None) != (each.final is None) for each in found)
    assert [each.text for each in found if each.final] or not last
    assert sorted(each.text for each in found if each.final) == sorted(last.upper().split())
