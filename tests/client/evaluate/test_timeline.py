"""Words on the screen over time."""

import math
import re
from dataclasses import replace
from itertools import pairwise

import pytest

from earshot_asr.client.evaluate.take import SpokenWord, TimedEvent
from earshot_asr.client.evaluate.timeline import (
    CHARACTER_PX,
    MIN_WORD_COUNT,
    WIDTH_PX,
    ShownUtterance,
    screens,
    timeline,
)
from earshot_asr.client.evaluate.words import lives
from earshot_asr.engine.events import Final
from tests.client.evaluate.clips import SAID, svg, take, titles


def utterance() -> ShownUtterance:
    played = take()
    return ShownUtterance(played, played.finals[0], lives(played), list(SAID))


def test_each_word_has_its_story() -> None:
    assert titles(timeline(utterance()))[len(SAID) :] == [
        "ONE: spoken until 0.50 s, shown at 0.8 s, stable at 1.2 s, final at 2 s",
        "TOO: shown at 0.8 s, gone at 1.2 s",
        "TWO: spoken until 0.90 s, shown at 1.2 s, final at 2 s",
        "THREE: spoken until 1.40 s, shown at 2 s, final at 2 s",
    ]


def test_a_correction_stands_behind_what_it_corrects() -> None:
    """One row each for ONE, TOO and TWO, THREE: the labels at their ends are one below the other."""
    labels = [text for text in svg(timeline(utterance())).iter("text") if text.get("class") in ("strong", "lost")]
    assert [label.text for label in labels] == ["ONE", "TWO", "THREE"]
    heights = [float(label.get("y", "nan")) for label in labels]
    assert heights[1] - heights[0] == heights[2] - heights[1] > 0


def test_a_word_of_another_kind_has_a_row_of_its_own() -> None:
    one = utterance()
    one.lives[1].text = "GIRAFFE"
    labels = [text.text for text in svg(timeline(one)).iter("text") if text.get("class") in ("strong", "lost")]
    assert labels == ["ONE", "GIRAFFE ✕", "TWO", "THREE"]


def test_labels_of_words_that_follow_one_another_do_not_overlap() -> None:
    """Lines of text at an angle of 38 degrees: on a small screen, some have no room for a label."""
    one = utterance()
    said = [SpokenWord("DO", 0.03 * n, 0.03 * n + 0.03) for n in range(60)]
    picture = svg(timeline(one._replace(said=said), 340, "plot narrow"))
    places = [re.match(r"translate\(([\d.]+) ", text.get("transform", "")) for text in picture.iter("text")]
    across = [float(place[1]) for place in places if place]
    assert len(across) > 5
    assert all(b - a >= 12.5 / math.sin(math.radians(38)) - 0.1 for a, b in pairwise(across))


def test_bars_stand_where_their_times_are() -> None:
    picture = svg(timeline(utterance()))
    bars = {
        style: [bar for bar in picture.iter("rect") if bar.get("class") == style]
        for style in ("said", "shown", "stable", "gone")
    }
    said, (shown, *_), (stable, *_) = bars["said"], bars["shown"], bars["stable"]
    second = (float(said[2].get("x", "nan")) - float(said[0].get("x", "nan"))) / 0.8
    assert float(shown.get("x", "nan")) - float(said[0].get("x", "nan")) == pytest.approx(0.6 * second, abs=0.1)
    assert float(stable.get("x", "nan")) - float(shown.get("x", "nan")) == pytest.approx(0.4 * second, abs=0.1)
    assert float(stable.get("width", "nan")) + 1 == pytest.approx(0.8 * second, abs=0.1)
    assert float(bars["gone"][0].get("width", "nan")) + 1 == pytest.approx(0.4 * second, abs=0.1)


def test_long_words_have_room() -> None:
    one = utterance()
    one.lives[-1].text = "ANTIDISESTABLISHMENTARIANISM"
    label = next(text for text in svg(timeline(one)).iter("text") if text.text == one.lives[-1].text)
    assert float(label.get("x", "nan")) + CHARACTER_PX * len(one.lives[-1].text) <= WIDTH_PX


def test_a_typical_utterance_and_the_least_stable_one() -> None:
    calm, usual, wild = take("calm"), take("usual"), take("wild")
    calm.heard = [heard for heard in calm.heard if heard.at != 0.8]
    first = wild.heard[0]
    wild.heard.insert(0, first._replace(at=0.5, event=replace(first.event, text="WHAT IS THIS")))
    takes = [calm, usual, wild]
    shown = screens(takes, [lives(one) for one in takes])
    assert "Typical: usual" in shown and "Least stable: wild" in shown and "calm" not in shown


def test_a_single_utterance_is_shown_once_however_short() -> None:
    played = take()
    assert len(played.text.split()) < MIN_WORD_COUNT
    shown = screens([played], [lives(played)])
    assert shown.count("<figure>") == 1 and "Typical" not in shown


def test_nothing_was_said() -> None:
    silent = take()
    silent.heard = []
    assert screens([], []) == screens([silent], [lives(silent)]) == ""


def test_without_an_alignment_there_are_still_words() -> None:
    played = take()
    played.clip = replace(played.clip, words=None)
    picture = svg(timeline(ShownUtterance(played, played.finals[0], lives(played), [])))
    assert not [bar for bar in picture.iter("rect") if bar.get("class") in ("said", "when")]
    assert [text.text for text in picture.iter("text")][-1] == "THREE"


def test_only_words_of_the_utterance_are_in_it() -> None:
    played = take()
    played.heard.append(TimedEvent(4.0, Final(48_000, 3.2, 3.4, "FOUR", 0.9, (), 64_000)))
    shown = screens([played], [lives(played)])
    assert "From 0.2 to 1.4 s of the stream." in shown
    assert "TOO: " in shown and "FOUR: " not in shown


def test_a_word_follows_only_one_that_left_when_it_came() -> None:
    one = utterance()
    one.lives[0].text = one.lives[1].text = one.lives[2].text = "TWO"
    assert one.lives[1].gone is not None
    one.lives[1].gone += 0.1
    labels = [text.text for text in svg(timeline(one)).iter("text") if text.get("class") in ("strong", "lost")]
    assert labels == ["TWO", "TWO ✕", "TWO", "THREE"]
