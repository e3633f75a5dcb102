"""What a viewer sees: words that will stay, as they are, until there is a reason to change them."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.config import Calm
from earshot_asr.engine.decoder import DecodedWord
from earshot_asr.engine.display import Display

LOW = Calm(context=0, hysteresis=False, confirmations=2, agreement=0.0)
MEDIUM = Calm(context=10, hysteresis=True, confirmations=2, agreement=0.0)


def said(*words: tuple[str, int, int]) -> list[DecodedWord]:
    """Words, each with its first frame and one past its last."""
    return [DecodedWord(text, start, end, 0.9) for text, start, end in words]


def shown(display: Display, end: int, *words: tuple[str, int, int], settled: int = 0) -> str:
    """The text on the screen after a window that ends there."""
    return " ".join(word.text for word in display.update(said(*words), settled, end))


def test_a_word_is_shown_once_what_follows_it_is_there() -> None:
    display = Display(MEDIUM)
    assert shown(display, 20, ("THE", 2, 8), ("CRI", 14, 20)) == "THE"
    assert shown(display, 29, ("THE", 2, 8), ("CRICKET", 14, 20)) == "THE"
    assert shown(display, 30, ("THE", 2, 8), ("CRICKET", 14, 20)) == "THE CRICKET"


def test_low_shows_everything_at_once() -> None:
    display = Display(LOW)
    assert shown(display, 20, ("THE", 2, 8), ("CRI", 14, 20)) == "THE CRI"
    assert shown(display, 30, ("TEA", 2, 8), ("CRICKET", 14, 27)) == "TEA CRICKET"


def test_a_rival_has_to_be_heard_twice_in_a_row() -> None:
    display = Display(MEDIUM)
    assert shown(display, 30, ("SEE", 2, 8)) == "SEE"
    assert shown(display, 40, ("SEA", 2, 8)) == "SEE"
    assert shown(display, 50, ("SEE", 2, 8)) == "SEE"
    assert shown(display, 60, ("SEA", 2, 8)) == "SEE"
    assert shown(display, 70, ("SEA", 3, 8)) == "SEA"


def test_a_dispute_holds_up_no_other_word() -> None:
    display = Display(MEDIUM)
    assert shown(display, 30, ("SEE", 2, 8), ("ME", 12, 18)) == "SEE ME"
    assert shown(display, 50, ("SEA", 2, 8), ("ME", 12, 18), ("NOW", 22, 30)) == "SEE ME NOW"


def test_a_rival_that_is_cut_off_itself_waits() -> None:
    display = Display(MEDIUM)
    assert shown(display, 30, ("CAT", 10, 20)) == "CAT"
    for _ in range(3):
        assert shown(display, 31, ("CATAL", 10, 30)) == "CAT"


def test_what_is_settled_is_shown_at_once_whatever_was_shown() -> None:
    display = Display(MEDIUM)
    assert shown(display, 30, ("SEE", 2, 8), ("ME", 12, 18)) == "SEE ME"
    assert shown(display, 30, ("SEA", 2, 8), ("BE", 12, 18), settled=1) == "SEA ME"
    assert shown(display, 40, ("SEA", 2, 8), ("BE", 12, 18), settled=2) == "SEA BE"


def test_a_word_whose_place_is_found_a_little_later_is_shown_once() -> None:
    display = Display(MEDIUM)
    assert shown(display, 30, ("SHE", 2, 6)) == "SHE"
    assert shown(display, 40, ("SHE", 6, 10), ("RAN", 14, 20)) == "SHE RAN"


@st.composite
def hearings(draw: st.DrawFn) -> list[tuple[list[DecodedWord], int, int]]:
    """What a decoder hears, window by window: words in order of time; those that are settled stay."""
    settled: list[DecodedWord] = []
    found = []
    for end in range(10, 10 * draw(st.integers(2, 8)), 10):
        words, at = list(settled), settled[-1].end if settled else 0
        while at < end - 2:
            start = at + draw(st.integers(0, 4))
            at = min(end, start + draw(st.integers(1, 6)))
            if start < at:
                words.append(DecodedWord(draw(st.sampled_from("ABC")), start, at, 0.9))
        count = draw(st.integers(len(settled), len(words)))
        settled = words[:count]
        found.append((words, count, end))
    return found


@given(hearings(), st.integers(0, 12), st.booleans())
def test_a_settled_word_stays_and_words_stand_in_order(
    heard: list[tuple[list[DecodedWord], int, int]], context: int, hysteresis: bool
) -> None:
    calm = Calm(context, hysteresis, 2, 0.0)
    display = Display(calm)
    screens = [list(display.update(*each)) for each in heard]
    again = Display(calm)
    assert [list(again.update(*each)) for each in heard] == screens
    for (words, settled, end), screen in zip(heard, screens, strict=True):
        assert screen[:settled] == words[:settled]
        assert all(a.end <= b.start for a, b in pairwise(screen))
        assert all(word.end + context <= end for word in screen[settled:])


@given(hearings())
def test_low_shows_all_that_is_heard(heard: list[tuple[list[DecodedWord], int, int]]) -> None:
    display = Display(LOW)
    for words, settled, end in heard:
        assert display.update(words, settled, end) == words


def test_of_a_word_that_reaches_into_what_is_settled_nothing_stays() -> None:
    display = Display(replace(MEDIUM, context=0))
    assert shown(display, 10, ("ALONE", 2, 10)) == "ALONE"
    assert shown(display, 20, ("A", 2, 3), ("LOAN", 5, 9), settled=1) == "A LOAN"
