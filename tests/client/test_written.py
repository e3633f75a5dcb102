"""What a stream writes to a file or pipe: finals in each format, or lines of JSON, each as soon as it can be."""

import json
from collections.abc import Callable
from io import StringIO

import numpy as np
import pytest
from msgspec.structs import replace
from rich.console import Console

from earshot_asr.client.stream import Connected, Reconnecting, Resumed, Waiting
from earshot_asr.client.terminal import screen
from earshot_asr.client.written import FinalsOnly, JsonLines
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.server.wire import Ack, Done, FinalMessage, PartialMessage, WireWord

HELLO = FinalMessage(0, 0.1, 0.9, "HELLO WORLD", 0.9, 16_000, [WireWord("HELLO", 0.1, 0.4, 0.9)])
HELLO_WOR = PartialMessage(0, 0.1, 0.8, "HELLO WOR", 5)


def console() -> Console:
    """A terminal; only text is drawn on it."""
    return Console(file=StringIO(), width=80, height=24, force_terminal=True, _environ={})


def written(out: Console) -> str:
    assert isinstance(out.file, StringIO)
    return out.file.getvalue()


def quiet(seconds: float) -> Pcm:
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)


def test_without_a_terminal_finals_are_plain_lines() -> None:
    out = Console(file=StringIO(), width=10)
    with screen(out) as plain:
        assert isinstance(plain, FinalsOnly)
        plain.hear(quiet(1), 0.0, now=1.0)
        plain.show(HELLO_WOR, now=1.2)
        plain.show(HELLO, now=1.3)
        plain.show(Done(16_000, 1.0), now=1.4)
    assert written(out) == "HELLO WORLD\n"


@pytest.mark.parametrize(
    ("format", "check"),
    [
        ("json", lambda text: json.loads(text)["text"] == "HELLO WORLD"),
        ("srt", lambda text: text.startswith("1\n00:00:00,100 -->")),
        ("vtt", lambda text: text.startswith("WEBVTT\n")),
    ],
)
def test_other_formats_are_written_to_a_terminal_too_as_soon_as_they_are_final(
    format: str, check: Callable[[str], bool]
) -> None:
    out = console()
    with screen(out, format=format) as view:
        view.hear(quiet(1), 0.0, now=1.0)
        view.show(HELLO_WOR, now=1.2)
        assert written(out) == ""
        view.show(replace(HELLO, cut=64_000), now=1.3)  # all later words are after 4 s: the cue is final, too
        assert check(written(out))
        view.show(Done(16_000, 1.0), now=10.4)
    assert "\x1b" not in written(out)


def lines(*messages: object, partials: bool = False) -> list[dict[str, object]]:
    """The objects that are written of these messages."""
    out = Console(file=StringIO(), width=10)
    with screen(out, format="json", partials=partials) as view:
        assert isinstance(view, JsonLines)
        for message in messages:
            view.show(message, now=1.0)  # type: ignore[arg-type]
    return list(map(json.loads, written(out).splitlines()))


FINAL_LINE = {
    "type": "final",
    "segment": 0,
    "start": 0.1,
    "end": 0.9,
    "text": "HELLO WORLD",
    "confidence": 0.9,
    "cut": 16_000,
    "words": [{"text": "HELLO", "start": 0.1, "end": 0.4, "confidence": 0.9}],
    "flushed": False,
}


def test_lines_of_json_are_the_messages_of_the_protocol() -> None:
    messages = (HELLO_WOR, Ack(16_000, 16_000, 16_000), HELLO, Done(16_000, 1.0))
    partial = {"type": "partial", "segment": 0, "start": 0.1, "end": 0.8, "text": "HELLO WOR", "stable": 5}
    done = {"type": "done", "received": 16_000, "duration": 1.0}
    assert lines(*messages) == [FINAL_LINE, done]
    assert lines(*messages, partials=True) == [partial, FINAL_LINE, done]


def test_a_stream_that_is_cut_short_has_no_done() -> None:
    assert lines(HELLO) == [FINAL_LINE]


def test_lines_of_json_keep_each_character_and_steer_no_terminal() -> None:
    text = "\x1b[2J\x9b31m\r\u200c\u2028\u0142"
    out = Console(file=StringIO(), width=10)
    with screen(out, format="json") as view:
        view.show(FinalMessage(0, 0.1, 0.9, text, 0.9, 1), now=1.0)
    (line,) = written(out).splitlines()
    assert line.isprintable() and "\u0142" in line
    assert json.loads(line)["text"] == text


def test_captions_are_complete_where_a_stream_is_cut_short() -> None:
    out = Console(file=StringIO(), width=80)
    with screen(out, format="vtt") as view:
        view.hear(quiet(1.5), 0.0, now=1.0)
        view.show(Ack(16_000, 0, 0), now=1.1)
    assert written(out) == "WEBVTT\n\n"


@pytest.mark.parametrize("format", ["json", "vtt"])
def test_nothing_is_written_where_a_stream_never_began(format: str) -> None:
    out = Console(file=StringIO(), width=80)
    with screen(out, format=format) as view:
        view.hear(quiet(1.5), 0.0, now=1.0)
        view.show(Waiting(1, "no server", 0.0), now=1.0)
    assert written(out) == ""


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_lost_connection_is_said_on_standard_error_once(format: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = Console(file=StringIO(), width=80)
    with screen(out, format=format) as view:
        for attempt in (1, 2, 3):
            view.show(Reconnecting(attempt, "connection lost", 12.34), now=1.0)
        view.show(Resumed("ws://h:1/v1/stream", 13.0), now=2.0)
        view.show(HELLO, now=2.1)
        view.show(Reconnecting(4, "no answer", 1.0), now=3.0)
    assert len(written(out).splitlines()) == 1
    assert capsys.readouterr().err.splitlines() == [
        "reconnecting (1): connection lost; 12.3 s kept",
        "resumed at ws://h:1/v1/stream; 13.0 s sent again",
        "reconnecting (4): no answer; 1.0 s kept",
    ]


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_server_that_is_waited_for_is_said_on_standard_error_once(
    format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Console(file=StringIO(), width=80)
    with screen(out, format=format) as view:
        for attempt in (1, 2, 3):
            view.show(Waiting(attempt, "no server at ws://h:1: \x1b[2J", 0.1), now=1.0)
        view.show(Connected("ws://h:1/v1/stream"), now=2.0)
    assert written(out) == ""
    assert capsys.readouterr().err.splitlines() == [
        "waiting (1), 0.1 s kept: no server at ws://h:1:  [2J",
        "connected to ws://h:1/v1/stream",
    ]
