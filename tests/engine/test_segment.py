"""Stitching: what is settled, what is peeked at, what a final says."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from earshot_asr.engine.audio import LogProbs
from earshot_asr.engine.config import StreamConfig, Timing
from earshot_asr.engine.decoder import DecodeConfig, decoder_factory
from earshot_asr.engine.events import Final, Partial
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.segment import Segment
from earshot_asr.engine.vocabulary import Vocabulary
from earshot_asr.engine.windows import Window
from tests.helpers import GRID, VOCABULARY

INFO = ModelInfo("fake", "", GRID, VOCABULARY, emission_delay=3)
ALL = {"low", "medium", "high"}
NEW_DECODER = decoder_factory(DecodeConfig(), VOCABULARY)


def segment(start: int = 0, **settings: Any) -> Segment:
    """A segment that shows all that it hears, unless another stability is given."""
    config = StreamConfig(**{"stability": "low", **settings})
    return Segment(INFO, Timing.of(config, GRID, 0, 0), NEW_DECODER, start)


def rows(text: str) -> LogProbs:
    ids = [VOCABULARY.symbols.index({"_": "<pad>"}.get(char, char)) for char in text]
    probs = np.full((len(text), VOCABULARY.size), 0.001, np.float32)
    probs[np.arange(len(text)), ids] = 0.9
    return np.log(probs)


def hop(start: int, emit_from: int, emit_to: int, end: int, segment: int = 0) -> Window:
    return Window(start, end - start, emit_from, emit_to, False, True, segment)


def test_the_newest_frames_are_only_peeked_at() -> None:
    s = segment()
    s.accept(hop(0, 0, 4, 8), rows("AB|CXXXX"))
    s.accept(hop(2, 4, 8, 10), rows("__D|_EYY"))
    texts = [(p.text, p.stable) for p in s.partials()]
    assert texts == [("AB CX", 0), ("AB CD EY", 2)]  # no later window will hear AB
    assert s.settled == 8


def stable(*windows: str) -> list[int]:
    """`stable` after each hop window of ten frames, all from frame 0 on, with no right context."""
    s = segment()
    for n, heard in enumerate(windows):
        s.accept(hop(0, 10 * n, 10 * n + 10, 10 * n + 10), rows(heard))
    return [p.stable for p in s.partials()]


def test_a_word_is_stable_once_two_newer_windows_spell_it_the_same() -> None:
    first, rest = "______AB|_", "CCC_______"
    assert stable(first, first + rest, first + 2 * rest) == [0, 0, 2]
    moved = "_______AB|"
    assert stable(first, moved + rest, first + 2 * rest) == [0, 0, 2]
    other = "______XB|_"
    assert stable(first, other + rest, first + 2 * rest, first + 3 * rest) == [0, 0, 0, 2]
    assert stable(first, first + rest, first + 2 * rest, other + 3 * rest) == [0, 0, 2, 2]


def test_words_at_the_edge_of_a_window_are_not_judged_by_it() -> None:
    first, rest = "AB|_______", "CCC_______"
    assert stable(first, first + rest, first + 2 * rest) == [0, 0, 0]


@pytest.mark.parametrize(
    ("heard_again", "forgiving"),
    [("AXA", {"low"}), ("XXX", {"low"}), ("AXX", {"low"}), ("XAA", {"low"}), ("AAA", ALL)],
)
def test_a_disputed_word_holds_up_those_behind_it_only_while_windows_hear_it(
    heard_again: str, forgiving: set[str]
) -> None:
    """The word AB, heard again by three windows as AB or as XB, and then by none."""
    for stability in ("low", "medium", "high"):
        s = segment(stability=stability)
        s.accept(hop(0, 0, 10, 60), rows("______AB|_" + "_" * 50))
        for n, letter in enumerate(heard_again, 1):
            s.accept(hop(0, 10 * n, 10 * n + 10, 60), rows(f"______{letter}B|_" + "_" * 50))
        for n in (4, 5):
            s.accept(hop(8, 10 * n, 10 * n + 10, 60), rows("_" * 52))
        assert (s.partials()[-1].stable == 2) == (stability in forgiving)


def test_a_word_that_the_window_cuts_off_is_not_shown_before_its_right_context_is_there() -> None:
    for stability, texts in (("low", ["AB CR", "AB CRIC"]), ("medium", ["AB", "AB CRIC"])):
        s = segment(stability=stability)
        s.accept(hop(0, 0, 4, 19), rows("AB|__" + "_" * 12 + "CR"))
        s.accept(hop(0, 4, 8, 32), rows("AB|__" + "_" * 12 + "CRIC" + "_" * 11))
        assert [p.text for p in s.partials()] == texts


def test_partials_have_words_where_they_are_wanted() -> None:
    s = segment(partial_words=True)
    s.accept(hop(0, 0, 4, 8), rows("AB|CCC__"))
    (partial,) = s.partials()
    assert partial.words is not None
    assert [(word.text, word.confidence) for word in partial.words] == [("AB", 0.9), ("C", 0.9)]
    assert partial.words[1].start == pytest.approx((3 * 320 + 40 - 960) / 16000, abs=0.003)


@pytest.mark.parametrize("stability", ["low", "medium", "high"])
def test_windows_come_out_of_order_twice_and_late(stability: str) -> None:
    first, second = hop(0, 0, 4, 6), hop(0, 4, 8, 10)
    a, b = rows("AAA|__"), rows("AAA|BB|_CC")
    in_order, mixed = (segment(stability=stability, calm_ms=40) for _ in range(2))
    for window, log_probs in ((first, a), (second, b)):
        in_order.accept(window, log_probs)
    for window, log_probs in ((second, b), (second, b), (first, a), (first, a), (second, b)):
        mixed.accept(window, log_probs)
    assert mixed.partials() == in_order.partials()
    assert mixed.settled == 8


def test_the_final_window_replaces_the_hops() -> None:
    s = segment(10)
    s.accept(hop(5, 10, 14, 16, 10), rows("_____XX|_YY"))
    s.close(20)
    s.accept(Window(8, 12, 10, 20, True, False, 10), rows("__AAB|_CD_|_"))
    final = s.final()
    assert isinstance(final, Final)
    assert (final.text, final.segment, final.cut) == ("AB CD", 3200, 6400)
    assert [w.text for w in final.words] == ["AB", "CD"]
    assert 0 < final.confidence <= 1
    assert (final.start, final.end) == (final.words[0].start, final.words[-1].end) == (0.2, 0.4)  # the utterance's
    # C is in frame 15, with a field of 400 and a delay of 3 frames: its hop's middle is 4800 + 40 - 960
    assert final.words[0].end == final.words[1].start == pytest.approx((4800 + 40 - 960) / 16000, abs=0.001)


def pause(start: int, emit_from: int, end: int, segment: int = 0) -> Window:
    return Window(start, end - start, emit_from, end, False, False, segment, pause=True)


def test_a_pause_that_lasts_was_the_end() -> None:
    s = segment(10)
    s.accept(hop(5, 10, 14, 16, 10), rows("_____XX|_YY"))
    s.accept(pause(8, 14, 20, 10), rows("__AAB|_CD_|_"))
    assert not s.complete
    assert [(p.text, p.stable) for p in s.partials()] == [("X Y", 0), ("AB CD", 2)]
    s.close(20)
    final = s.final()
    assert final is not None
    assert (final.text, final.cut) == ("AB CD", 6400)


def test_a_pause_window_may_come_after_the_end_and_without_the_hops_before_it() -> None:
    s = segment()
    s.close(12)
    s.accept(pause(0, 8, 12), rows("AB|_CD_|____"))
    final = s.final()
    assert final is not None
    assert final.text == "AB CD"


def test_after_a_pause_it_goes_on_from_what_was_heard_anew() -> None:
    s = segment(stability="medium", calm_ms=0)
    s.accept(hop(0, 0, 4, 8), rows("XB|_CD|_"))
    s.accept(pause(0, 4, 12), rows("AB|_CD|_____"))
    s.accept(hop(8, 12, 16, 18), rows("____EF|_GH"))
    assert [p.text for p in s.partials()] == ["XB CD", "AB CD", "AB CD EF GH"]
    s.accept(pause(0, 16, 22), rows("AB|_CD|_____EF|_GI|___"))
    s.close(18)  # a flush, before the pause was one
    assert not s.complete
    s.accept(Window(0, 18, 0, 18, True, False, 0), rows("AB|_CD|_____EE|_GH"))
    final = s.final()
    assert final is not None
    assert final.text == "AB CD E GH"


def test_of_two_pauses_the_later_one_counts_whichever_comes_first() -> None:
    s = segment()
    s.accept(pause(0, 12, 16), rows("AB|_CD|___EF|___"))
    s.accept(pause(0, 0, 8), rows("AB|_CD|_"))
    s.close(16)
    final = s.final()
    assert final is not None
    assert final.text == "AB CD EF"


def test_the_confidence_of_a_final_is_the_mean_of_its_words() -> None:
    s = segment()
    s.close(6)
    log_probs = rows("A|B|C|")
    log_probs[2, VOCABULARY.symbols.index("B")] = np.log(0.3)
    s.accept(Window(0, 6, 0, 6, True, False, 0), log_probs)
    final = s.final()
    assert final is not None
    assert [word.confidence for word in final.words] == [0.9, pytest.approx(0.3), 0.9]
    assert final.confidence == pytest.approx((0.9 * 0.3 * 0.9) ** (1 / 3), abs=1e-4)


def test_without_words_there_is_no_final_and_what_was_shown_is_withdrawn() -> None:
    s = segment()
    s.accept(hop(0, 0, 4, 6), rows("A_____"))
    s.close(8)
    s.accept(Window(0, 8, 0, 8, True, False, 0), rows("_" * 8))
    assert s.complete
    assert s.final() is None
    s.withdraw()
    assert [p.text for p in s.partials()] == ["A", ""]


def test_commit_hop_keeps_what_it_settled() -> None:
    s = segment(commit="hop")
    s.accept(Window(0, 6, 0, 4, False, False, 0), rows("AB|CXX"))
    s.close(8)
    assert not s.complete
    s.accept(Window(0, 8, 4, 8, True, False, 0), rows("ZZZZD|__"))
    final = s.final()
    assert final is not None
    assert final.text == "AB CD"
    assert s.partials() == [Partial(0, 0.0, 0.125, "AB CX", 2)]


def test_a_split_of_commit_hop_ends_at_the_last_settled_word() -> None:
    s = segment(commit="hop")
    s.accept(Window(0, 6, 0, 4, False, False, 0), rows("AB|CXX"))
    s.close(8, split=True)
    s.accept(Window(0, 8, 4, 8, True, False, 0), rows("ZZZZD|EF"))
    final = s.final()
    assert final is not None
    assert (final.text, s.end) == ("AB CD", 5)


def heard(vocabulary: Vocabulary, spoken: str, commit: str) -> Segment:
    """A segment that is given a frame for each symbol, two at a time, all with the next two as their right context."""
    ids = [vocabulary.symbols.index(char) for char in spoken]
    probs = np.log(np.eye(vocabulary.size, dtype=np.float32)[ids] * 0.9 + 0.01)
    info = ModelInfo("fake", "", GRID, vocabulary)
    timing = Timing.of(StreamConfig(commit=commit, stability="low"), GRID, 0, 0)  # type: ignore[arg-type]
    s = Segment(info, timing, decoder_factory(DecodeConfig(), vocabulary), 0)
    for end in range(2, len(spoken) - 1, 2):
        s.accept(Window(0, end + 2, end - 2, end, False, commit != "hop", 0), probs[: end + 2])
    return s


def test_chinese_becomes_stable_character_by_character_with_commit_hop() -> None:
    vocabulary = Vocabulary(("_", "|", *"你好世界"), 0, 1)
    partials = heard(vocabulary, "你_好_世_|界_你_", "hop").partials()
    assert [(p.text, p.stable) for p in partials] == [("你好", 0), ("你好世", 1), ("你好世 界", 2), ("你好世 界你", 3)]
    assert all(b.text.startswith(a.text[: a.stable]) for a, b in pairwise(partials))


def test_chinese_becomes_stable_character_by_character_with_commit_utterance() -> None:
    vocabulary = Vocabulary(("_", "|", *"你好世界"), 0, 1)
    partials = heard(vocabulary, "______你_好_世_界_你_好____", "utterance").partials()
    assert [p.stable for p in partials][-4:] == [0, 1, 2, 3]


@given(st.text("aA's.|_", min_size=6, max_size=40))
@example("a_|_'_|___s|____")
def test_stable_is_a_promise_where_spaces_are_cleaned_up(spoken: str) -> None:
    vocabulary = Vocabulary(("_", "|", "a", "A", "'", "s", "."), 0, 1, lower=True, clean=True)
    partials = heard(vocabulary, spoken, "hop").partials()
    for n, partial in enumerate(partials):
        assert all(later.text.startswith(partial.text[: partial.stable]) for later in partials[n:])


def test_a_window_of_the_wrong_length_is_a_broken_invariant() -> None:
    with pytest.raises(AssertionError):
        segment().accept(hop(0, 0, 4, 8), rows("AB"))
