"""The worst clips."""

from dataclasses import replace

from earshot_asr.client.evaluate.worst import MAX_CLIP_COUNT, diff, error_rate, worst
from earshot_asr.engine.text import normalize
from tests.client.evaluate.clips import take


def of(reference: str, text: str) -> str:
    return diff(normalize(reference).split(), normalize(text).split())


def test_diff() -> None:
    assert of("the cat sat, down", "THE HAT SAT") == "THE <del>CAT</del> <ins>HAT</ins> SAT <del>DOWN</del>"
    assert of("one", "one two") == "ONE <ins>TWO</ins>"
    assert of("One.", "ONE") == "ONE"


def test_diff_of_nothing() -> None:
    assert of("", "") == ""
    assert of("one two", "") == "<del>ONE TWO</del>"
    assert of("", "one two") == "<ins>ONE TWO</ins>"


def test_phonemes_are_compared_as_they_are() -> None:
    heard = take(text="aɪə ˈt")
    heard.phonemes = "aɪə t"
    assert error_rate(heard) == 0.5
    assert "aɪə <del>t</del> <ins>ˈt</ins>" in worst([heard])


def test_the_worst_come_first_and_the_right_ones_not_at_all() -> None:
    takes = [take("one", "ONE TWO FOUR"), take("right"), take("three", "NO"), take("two", "ONE MORE")]
    assert [round(3 * error_rate(one)) for one in takes] == [1, 0, 3, 2]
    page = worst(takes)
    assert page.index(">three<") < page.index(">two<") < page.index(">one<") and "right" not in page
    assert "<b>100%</b>" in page


def test_where_nothing_is_said_words_are_counted() -> None:
    quiet = take("noise", "I AM")
    quiet.clip = replace(quiet.clip, reference="")
    assert "<b>2 false words</b>" in worst([quiet])


def test_there_is_an_end_to_them() -> None:
    assert worst([take(f"clip{n}", "NO") for n in range(MAX_CLIP_COUNT + 5)]).count("<code>clip") == MAX_CLIP_COUNT


def test_all_is_right() -> None:
    assert worst([take()]) == worst([]) == ""


def test_the_plain_pass_is_told_where_it_says_something_else() -> None:
    wrong = take(text="ONE")
    assert "plain pass" not in worst([wrong])
    wrong.plain = "ONE TWO"
    assert "plain pass: ONE TWO <del>THREE</del>" in worst([wrong])
