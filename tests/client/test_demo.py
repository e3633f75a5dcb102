"""What the demo makes of what it saw, and when it calls that a failure."""

import numpy as np
import pytest

from earshot_asr.client.demo import DemoObserver, character_error_rate
from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.server.wire import FinalMessage, PartialMessage, WireWord

TEXT = "Hello, world!"
SECOND = np.zeros(SAMPLE_RATE, np.int16)


def said(text: str, start: Seconds, end: Seconds, segment: int = 0) -> FinalMessage:
    words = text.split()
    edges = np.linspace(start, end, len(words) + 1)
    return FinalMessage(
        segment,
        start,
        end + 0.3,
        text,
        0.9,
        40_000,
        [WireWord(word, float(a), float(b), 0.9) for word, a, b in zip(words, edges, edges[1:], strict=False)],
    )


def watched() -> DemoObserver:
    """Two seconds of audio from t = 100 on, a partial in between, a final at the end."""
    observer = DemoObserver()
    observer.hear(SECOND, 0.0, now=101.0)
    observer.show(PartialMessage(0, 0.2, 1.0, "HELLO WORD", 6), now=101.25)
    observer.hear(SECOND, 0.0, now=102.0)
    observer.show(said("HELLO WORLD", 0.5, 1.5), now=102.25)
    return observer


def test_a_good_demo_has_no_faults() -> None:
    result = watched().result(TEXT)
    assert result.faults() == []
    assert result.text == "HELLO WORLD"
    assert result.first_partial == pytest.approx(101.25 - 100.5)
    assert result.final_delays == [pytest.approx(102.25 - 101.5)]
    assert result.cer == 0.0
    for figure in ("0.75 s after the first word", "0.75 s after the last word", "0.0%"):
        assert figure in str(result)


def test_a_partial_that_comes_after_the_audio_is_a_fault() -> None:
    observer = DemoObserver()
    observer.hear(SECOND, 0.0, now=101.0)
    observer.show(PartialMessage(0, 0.2, 1.0, "HELLO WORD", 6), now=101.25)
    observer.show(said("HELLO WORLD", 0.5, 0.9), now=101.5)
    assert observer.result(TEXT).faults() == ["no partial arrived before the audio ended"]


def test_an_empty_partial_is_none() -> None:
    observer = DemoObserver()
    observer.show(PartialMessage(0, 0.2, 0.3, "", 0), now=100.5)
    observer.hear(SECOND, 0.0, now=101.0)
    assert not observer.result(TEXT).early


READ = "HELLO WORLD " * 3 + "HELLO"


@pytest.mark.parametrize(("text", "fault"), [(READ, False), (READ[:-2], False), (READ[:-3], True), ("GOODBYE", True)])
def test_more_than_a_twentieth_of_wrong_characters_is_a_fault(text: str, fault: bool) -> None:
    """Of 41 characters two wrong ones are 4.9 %, three are 7.3 %."""
    observer = DemoObserver()
    observer.show(PartialMessage(0, 0.2, 0.3, "H", 0), now=100.5)
    observer.hear(SECOND, 0.0, now=101.0)
    observer.show(said(text, 0.2, 0.9), now=101.5)
    assert bool(observer.result(READ).faults()) is fault


def test_nothing_at_all_is_two_faults() -> None:
    observer = DemoObserver()
    observer.hear(SECOND, 0.0, now=101.0)
    result = observer.result(TEXT)
    assert len(result.faults()) == 2
    assert result.cer == 1.0
    assert "first partial         none" in str(result)


def test_capitals_and_punctuation_are_no_errors() -> None:
    assert character_error_rate("It's me -- hello,\nWorld.", "IT'S ME HELLO WORLD") == 0
