"""Caption writers: the formats to the letter."""

import json
import re
from dataclasses import asdict

import pytest
from hypothesis import given

from earshot_asr.engine.captions import writer
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.events import Final
from earshot_asr.server import wire
from tests.engine.test_cues import recordings, utterance

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


def test_json_of_chinese_has_no_spaces_between_utterances() -> None:
    as_json = writer("json", "x")
    for text in ("你好。", "世界", "ok"):
        as_json.feed(utterance(text))
    assert json.loads(as_json.finish(1.0))["text"] == "你好。世界 ok"


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
