"""Cues: all words, where a viewer can read them, as soon as it is known how long they stay."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.cues import Cue, CueTimer
from earshot_asr.engine.events import Final, Word
from earshot_asr.server import wire


def utterance(text: str, start: float = 0.0, *, each: float = 0.4, tail: float = 0.3, joiner: str = " ") -> Final:
    """A final whose words last `each` seconds, one after the other."""
    texts = text.split()
    words = tuple(
        Word(word, round(start + i * each, 3), round(start + (i + 1) * each, 3), 0.9) for i, word in enumerate(texts)
    )
    end = words[-1].end
    return Final(round(start * 16_000), start, end, joiner.join(texts), 0.9, words, round((end + tail) * 16_000))


def cues(*utterances: Final | wire.FinalMessage, duration: float = 0.0) -> list[Cue]:
    timer = CueTimer()
    return [cue for each in utterances for cue in timer.feed(each)] + list(timer.finish(duration))


def test_an_utterance_that_fits_is_one_cue_of_even_lines() -> None:
    (cue,) = cues(utterance("ABCDE " * 11, each=0.3))
    assert cue.lines == ("ABCDE " * 4 + "ABCDE", "ABCDE " * 5 + "ABCDE")


def test_a_line_ends_with_a_phrase() -> None:
    (cue,) = cues(utterance("IT MAKES ME FEEL GOOD ABOUT THE WHOLE BUSINESS OF THE DAY", each=0.3))
    assert cue.lines == ("IT MAKES ME FEEL GOOD", "ABOUT THE WHOLE BUSINESS OF THE DAY")


PHRASES = {
    "by words that begin one": (
        "THE BOOKS OF THAT TIME WERE PRINTED IN BLACK LETTER",
        "AND THE MASTERS WHO CUT IT CAME FROM SMALL TOWNS ON THE RHINE",
    ),
    "by punctuation": (
        "Nobody saw the old printer that day.",
        "Everybody knew why: he had sold all his lead type last week, every letter twice.",
    ),
}


@pytest.mark.parametrize("known", PHRASES)
def test_a_cue_ends_with_a_phrase(known: str) -> None:
    said = cues(utterance(" ".join(PHRASES[known]), each=0.36))
    assert tuple(" ".join(cue.lines) for cue in said) == PHRASES[known]


def test_a_longer_one_is_divided_evenly() -> None:
    said = cues(utterance("ABCDE " * 16, each=0.25))  # 95 characters, where 85 fit
    assert [len(" ".join(cue.lines)) for cue in said] == [47, 47]


def test_cues_end_where_the_speaker_pauses() -> None:
    first = [Word("ABCDE", 0.25 * i, 0.25 * i + 0.25, 1.0) for i in range(6)]
    second = [Word("ABCDE", 2.2 + 0.25 * i, 2.45 + 0.25 * i, 1.0) for i in range(10)]
    words = (*first, *second)
    said = cues(Final(0, 0.0, words[-1].end, " ".join(w.text for w in words), 1.0, words, 16_000 * 9))
    assert [cue.start_ms for cue in said] == [0, 2200]


def test_no_cue_lasts_through_a_long_pause() -> None:
    words = (Word("YES", 1.0, 1.2, 1.0), Word("NO", 2.3, 2.5, 1.0))
    said = cues(Final(0, 1.0, 2.5, "YES NO", 1.0, words, 16_000 * 9))
    assert said == [Cue(("YES",), 1000, 2000), Cue(("NO",), 2300, 3300)]


# ---- how long they stay


def test_a_short_cue_stays_a_second_if_there_is_time() -> None:
    assert cues(utterance("YES", 1.0, each=0.2), duration=1.5) == [Cue(("YES",), 1000, 1500)]
    assert cues(utterance("YES", 1.0, each=0.2), duration=9.0) == [Cue(("YES",), 1000, 2000)]
    assert cues(utterance("YES", 1.0, each=0.2), utterance("NO", 1.6))[0] == Cue(("YES",), 1000, 1520)


def test_a_cue_stays_until_it_can_be_read() -> None:
    """34 characters in 1.2 s: another 0.8 s of the pause make them 17 a second."""
    fast = utterance("STRENGTH THOUGHTS STRAIGHT LENGTHS", each=0.3)
    assert [cue.end_ms for cue in cues(fast, duration=9.0)] == [2000]
    assert [cue.end_ms for cue in cues(fast, utterance("SO", 3.0), duration=9.0)] == [2000, 4000]
    assert [cue.end_ms for cue in cues(fast, utterance("SO", 1.9), duration=9.0)] == [1820, 2900]


def test_a_cue_is_given_out_as_soon_as_its_end_is_known() -> None:
    timer = CueTimer()
    assert list(timer.feed(utterance("YES", 1.0, each=0.2, tail=0.88))) == [Cue(("YES",), 1000, 2000)]
    assert list(timer.feed(utterance("NO", 3.0, each=0.2, tail=0.87))) == []  # somebody may speak at 4.07
    assert list(timer.feed(utterance("PERHAPS", 9.0, each=0.2, tail=5.0))) == [
        Cue(("NO",), 3000, 4000),
        Cue(("PERHAPS",), 9000, 10_000),
    ]
    assert list(timer.finish(20.0)) == []


def test_there_are_two_frames_between_cues() -> None:
    said = cues(utterance("ABCDE " * 40, each=0.4))
    assert [b.start_ms - a.end_ms for a, b in pairwise(said)] == [80] * (len(said) - 1)


def test_slow_speech_is_divided_by_time() -> None:
    said = cues(utterance("A B C D E F G H I J", each=2.0))
    assert all(cue.end_ms - cue.start_ms <= 7000 for cue in said)
    assert [" ".join(cue.lines) for cue in said] in (
        ["A B", "C D", "E F", "G H", "I J"],
        ["A B C", "D E", "F G H", "I J"],
        ["A B C", "D E F", "G H", "I J"],
        ["A B", "C D", "E F G", "H I J"],
        ["A B C", "D E", "F G", "H I J"],
    )


SCRIPTS = {
    "Chinese": ("語", 16, 9),
    "Japanese": ("語の", 13, 4),
    "Korean": ("말", 16, 12),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_full_width_characters_count_double_and_get_no_spaces(script: str) -> None:
    letters, most, a_second = SCRIPTS[script]
    said = cues(utterance(" ".join(letters * (100 // len(letters))), each=0.2, joiner=""), duration=60)
    assert "".join("".join(cue.lines) for cue in said) == letters * (100 // len(letters))
    assert max(len(line) for cue in said for line in cue.lines) <= most
    assert max(len("".join(cue.lines)) for cue in said) > most
    last = said[-1]
    assert last.end_ms - last.start_ms >= 1000 * len("".join(last.lines)) // a_second


def test_a_short_cue_of_chinese_stays_until_it_is_read() -> None:
    assert cues(utterance("你 好 世 界 你 好 世 界 啊", each=0.1, joiner=""), duration=9) == [
        Cue(("你好世界你好世界啊",), 0, 1000)
    ]
    assert cues(utterance("の " * 8, each=0.1, joiner=""), duration=9) == [Cue(("の" * 8,), 0, 2000)]


def test_spaces_that_were_written_stay_between_full_width_words() -> None:
    words = tuple(Word(text, 0.3 * n, 0.3 * n + 0.3, 1.0) for n, text in enumerate(("你", "好", "iPhone", "手", "机")))
    (cue,) = cues(Final(0, 0.0, 1.5, "你好 iPhone手机", 1.0, words, 16_000 * 3))
    assert cue.lines == ("你好 iPhone手机",)


def test_without_words_chinese_is_divided_all_the_same() -> None:
    final = wire.FinalMessage(0, 0.0, 6.0, "語" * 20, 1.0, 16_000 * 9, None)
    assert list(CueTimer().feed(final)) == [Cue(("語" * 10, "語" * 10), 0, 6000)]


def test_a_word_longer_than_a_line_is_divided() -> None:
    said = cues(utterance("A " + "X" * 100 + " B", each=3.0))
    assert "".join("".join(cue.lines) for cue in said) == "A" + "X" * 100 + " B"
    assert max(len(line) for cue in said for line in cue.lines) <= 42


def test_without_words_their_times_are_spread_over_the_utterance() -> None:
    final = wire.FinalMessage(0, 2.0, 22.0, " ".join(["ABCDE"] * 20), 1.0, 16_000 * 23, None)
    said = list(CueTimer().feed(final))
    assert " ".join(" ".join(cue.lines) for cue in said) == final.text
    assert (said[0].start_ms, said[-1].end_ms) == (2000, 22_000)
    assert all(a.end_ms + 80 == b.start_ms for a, b in pairwise(said))


@st.composite
def recordings(draw: st.DrawFn) -> list[Final]:
    """Utterances one after the other, with words that may be of no duration, touch, or begin before the last cut."""
    finals = []
    now = 0.0
    for _ in range(draw(st.integers(0, 4))):
        words = []
        for text in draw(st.lists(st.text("ab&<>-é", min_size=1, max_size=60), min_size=1, max_size=30)):
            start = now + draw(st.floats(0, 2))
            now = start + draw(st.floats(0, 3))
            words.append(Word(text, round(start, 3), round(now, 3), 1.0))
        cut = round((now + draw(st.floats(-0.06, 2))) * 16_000)
        text = draw(st.sampled_from(["", " "])).join(word.text for word in words)
        finals.append(Final(0, words[0].start, words[-1].end, text, 1.0, tuple(words), max(0, cut)))
    return finals


@given(recordings())
def test_cues_are_apart_and_can_be_read_where_there_is_time(finals: list[Final]) -> None:
    for a, b in pairwise(cues(*finals)):
        assert b.start_ms - a.end_ms >= 80
        reading_ms = sum(map(len, a.lines)) / 17 * 1000  # spaces between lines are not known here
        assert a.end_ms - a.start_ms >= max(1000, reading_ms) or b.start_ms - a.end_ms == 80


@given(recordings())
def test_cues_hold_all_words_are_small_and_never_overlap(finals: list[Final]) -> None:
    said = cues(*finals)
    assert "".join("".join(cue.lines) for cue in said).replace(" ", "") == "".join(
        final.text.replace(" ", "") for final in finals
    )
    for cue in said:
        assert 1 <= len(cue.lines) <= 2
        assert all(1 <= len(line) <= 42 and line == line.strip() for line in cue.lines)
        assert 0 <= cue.start_ms < cue.end_ms
    assert all(a.end_ms <= b.start_ms for a, b in pairwise(said))
