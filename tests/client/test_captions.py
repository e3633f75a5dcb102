"""Caption writers: the formats to the letter, and cues that a viewer can read."""

import json
import re
from dataclasses import asdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.client.captions import Cue, CueTimer, writer
from earshot_asr.engine.errors import ConfigError
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


def cues(*utterances: Final) -> list[Cue]:
    timer = CueTimer()
    return [cue for each in utterances for cue in timer.feed(each)]


HELLO = utterance("HELLO WORLD", 0.5)
LATER = utterance("TOM & <JERRY> -->", 3600.0, each=0.5)


# ---- formats


def test_text() -> None:
    text = writer("text")
    assert text.feed(HELLO) == "HELLO WORLD\n"
    assert text.feed(LATER) == "TOM & <JERRY> -->\n"
    assert text.finish(9.0) == ""


def test_json_is_one_object_on_one_line() -> None:
    as_json = writer("json", "a b.wav")
    assert as_json.feed(HELLO) == as_json.feed(LATER) == ""
    line = as_json.finish(3602.12345)
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "file": "a b.wav",
        "duration": 3602.123,
        "text": "HELLO WORLD TOM & <JERRY> -->",
        "segments": [
            {
                "start": final.start,
                "end": final.end,
                "text": final.text,
                "confidence": 0.9,
                "words": [asdict(word) for word in final.words],
            }
            for final in (HELLO, LATER)
        ],
    }


def test_json_of_silence() -> None:
    assert json.loads(writer("json", "x").finish(1.0)) == {"file": "x", "duration": 1.0, "text": "", "segments": []}


def test_json_keeps_letters_readable() -> None:
    as_json = writer("json", "x")
    as_json.feed(utterance("HÉLLO"))
    assert "HÉLLO" in as_json.finish(1.0)


def test_srt() -> None:
    srt = writer("srt")
    assert srt.feed(HELLO) == "1\n00:00:00,500 --> 00:00:01,500\nHELLO WORLD\n\n"
    assert srt.feed(LATER) == "2\n01:00:00,000 --> 01:00:02,000\nTOM & <JERRY> ->\n\n"
    assert srt.finish(3603.0) == ""


def test_vtt() -> None:
    vtt = writer("vtt")
    assert vtt.feed(HELLO) == "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\nHELLO WORLD\n\n"
    assert vtt.feed(LATER) == "01:00:00.000 --> 01:00:02.000\nTOM &amp; &lt;JERRY&gt; --&gt;\n\n"
    assert vtt.finish(3603.0) == ""


def test_vtt_of_silence_is_still_vtt() -> None:
    assert writer("vtt").finish(1.0) == "WEBVTT\n\n"
    assert writer("srt").finish(1.0) == writer("text").finish(1.0) == ""


def test_an_unknown_format_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="'ass'; it must be text, json, srt or vtt"):
        writer("ass")


@pytest.mark.parametrize("format", ["text", "json", "srt", "vtt"])
def test_finals_of_the_wire_are_written_as_well(format: str) -> None:
    words = [wire.WireWord(**asdict(word)) for word in HELLO.words]
    final = wire.FinalMessage(0, HELLO.start, HELLO.end, HELLO.text, HELLO.confidence, HELLO.cut, words)
    ours, theirs = writer(format), writer(format)
    assert ours.feed(HELLO) + ours.finish(2.0) == theirs.feed(final) + theirs.finish(2.0)


# ---- cues


def test_an_utterance_that_fits_is_one_cue_of_even_lines() -> None:
    (cue,) = cues(utterance("IT MAKES ME FEEL GOOD ABOUT THE WHOLE BUSINESS OF THE DAY", each=0.3))
    assert cue.lines == ("IT MAKES ME FEEL GOOD ABOUT", "THE WHOLE BUSINESS OF THE DAY")


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


def test_a_short_cue_stays_until_the_cut_at_most() -> None:
    assert cues(utterance("YES", 1.0, each=0.2, tail=0.3)) == [Cue(("YES",), 1000, 1500)]
    assert cues(utterance("YES", 1.0, each=0.2, tail=5.0)) == [Cue(("YES",), 1000, 2000)]


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


def test_a_script_without_spaces_gets_none() -> None:
    said = cues(utterance("語 " * 100, each=0.1, joiner=""))
    assert "".join("".join(cue.lines) for cue in said) == "語" * 100
    assert max(len(line) for cue in said for line in cue.lines) <= 42


def test_a_word_longer_than_a_line_is_divided() -> None:
    said = cues(utterance("A " + "X" * 100 + " B", each=3.0))
    assert "".join("".join(cue.lines) for cue in said) == "A" + "X" * 100 + " B"
    assert max(len(line) for cue in said for line in cue.lines) <= 42


def test_without_words_their_times_are_spread_over_the_utterance() -> None:
    final = wire.FinalMessage(0, 2.0, 22.0, " ".join(["ABCDE"] * 20), 1.0, 16_000 * 23, None)
    said = list(CueTimer().feed(final))
    assert " ".join(" ".join(cue.lines) for cue in said) == final.text
    assert (said[0].start_ms, said[-1].end_ms) == (2000, 22_000)
    assert all(a.end_ms == b.start_ms for a, b in pairwise(said))


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


@given(recordings())
def test_no_text_breaks_the_format(finals: list[Final]) -> None:
    stamp = r"\d{2,}:\d\d:\d\d[.,]\d{3}"
    cue = rf"{stamp} --> {stamp}\n(?:(?!\n|.*-->).+\n){{1,2}}\n"
    srt, vtt = writer("srt"), writer("vtt")
    written = "".join(map(srt.feed, finals)) + srt.finish(0.0)
    assert re.fullmatch(rf"(?:\d+\n{cue})*", written)
    numbers = re.findall(r"^(\d+)\n\d\d:", written, re.MULTILINE)
    assert numbers == [str(i + 1) for i in range(len(numbers))]
    written = "".join(map(vtt.feed, finals)) + vtt.finish(0.0)
    assert re.fullmatch(rf"WEBVTT\n\n(?:{cue})*", written)
    assert "<" not in written
    assert not re.search(r"&(?!amp;|lt;|gt;)", written)
