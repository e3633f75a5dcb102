"""Every limit of a connection, without sockets: what happens at it."""

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from earshot_asr.engine.audio import SAMPLE_RATE, seconds
from earshot_asr.engine.config import RING_MS, StreamConfig
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.recognizer import StartPoint, Stream
from earshot_asr.server import wire
from earshot_asr.server.capacity import Full
from earshot_asr.server.conversation import TICK_SECONDS
from earshot_asr.server.dialects.twilio import Twilio
from earshot_asr.server.intake import UNANSWERED_FLUSHES
from earshot_asr.server.settings import Limits
from tests.helpers import silence, speak
from tests.server.dialects import line as calls
from tests.server.dialects.test_native import DIALOGUE, TALK, Line, chunks

ENDLESS = np.tile(speak("AB " * 20, blocks=4), 20)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("streams", 0),
        ("per_address", -1),
        ("messages_per_second", 99),
        ("silent_seconds", 0),
        ("message_bytes", wire.MESSAGE_BYTES - 1),
        ("backlog_seconds", RING_MS / 1000 + 1),
        ("handshake_seconds", 0),
        ("idle_seconds", -1),
        ("longest_seconds", 0.5),
        ("unsent_messages", 2 * UNANSWERED_FLUSHES - 1),
        ("idle_seconds", float("nan")),
    ],
)
def test_limits_have_limits(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{setting} is {value}; it must be between"):
        Limits(**{setting: value})  # type: ignore[arg-type]


def test_the_page_names_each_limit_with_its_default() -> None:
    page = (Path(wire.__file__).parent / "PROTOCOL.md").read_text()
    rows = re.findall(r"\| ([^|]+) \| `--([a-z-]+)` \|", page.partition("## Limits")[2].partition("## Errors")[0])
    stated = {flag.replace("-", "_"): re.sub(r"[,s ]", "", default) for default, flag in rows}
    assert stated == {
        **{field.name: f"{field.default:.15g}" for field in fields(Limits) if field.default is not None},
        "streams": "amanyafit",
        "per_address": "¾ofthetreamatleat2",
        "longest_seconds": "none",
    }


def tick(line: Line, seconds: float) -> None:
    for _ in range(round(seconds / TICK_SECONDS)):
        line.conversation.tick()
    line.listen()


def error(line: Line) -> tuple[str, int]:
    last = line.heard[-1]
    assert isinstance(last, wire.Error)
    assert line.dialect.close is not None
    code, reason = line.dialect.close
    assert reason == last.code
    return last.code, code


def test_idle() -> None:
    line = Line(limits=Limits(idle_seconds=5))
    line.send(wire.Start(), TALK)
    tick(line, 4)
    line.send(wire.Keepalive())
    tick(line, 4)
    assert line.dialect.close is None
    tick(line, 1)
    assert error(line) == ("idle", 1013)


def test_a_stream_without_audio_gives_its_place_to_others_and_may_resume() -> None:
    """Keepalives and empty messages don't make it live longer; flushes neither."""
    line = Line(limits=Limits(silent_seconds=20, idle_seconds=5))
    line.send(wire.Start(), TALK)
    for message in (wire.Keepalive(), wire.Flush(), b"", wire.Keepalive(), wire.Keepalive()):
        tick(line, 3)
        line.send(message)
    tick(line, 4)
    assert line.dialect.close is None
    line.send(TALK)
    for _ in range(4):
        tick(line, 4)
        line.send(wire.Keepalive())
    tick(line, 3)
    assert line.dialect.close is None
    tick(line, 1)
    assert error(line) == ("silent", 1013)


def test_silence_does_not_count_while_the_socket_is_not_read() -> None:
    line = Line(limits=Limits(silent_seconds=5, backlog_seconds=1))
    line.send(wire.Start(), ENDLESS[:30_000].tobytes(), compute=False)
    tick(line, 20)
    assert line.dialect.close is None


def test_idle_does_not_count_while_the_socket_is_not_read() -> None:
    line = Line(limits=Limits(idle_seconds=5, backlog_seconds=1))
    line.send(wire.Start(), ENDLESS[:30_000].tobytes(), compute=False)
    assert line.conversation.blocked
    tick(line, 20)
    assert line.dialect.close is None
    line.compute()
    assert not line.conversation.blocked
    tick(line, 5)
    assert error(line) == ("idle", 1013)


def test_while_the_socket_is_not_read_there_is_an_ack_each_second() -> None:
    line = Line(limits=Limits(backlog_seconds=1))
    line.send(wire.Start(), ENDLESS[:30_000].tobytes(), compute=False)
    assert line.conversation.blocked
    line.listen()
    before = len(line.acks)
    for n in range(1, 4):
        tick(line, 1)
        assert len(line.acks) == before + n


def test_a_stream_that_was_stopped_is_not_idle_and_hears_that_its_server_lives() -> None:
    line = Line(limits=Limits(idle_seconds=5))
    line.send(wire.Start(), TALK, wire.Stop(), compute=False)
    line.listen()
    before = len(line.acks)
    tick(line, 20)
    assert len(line.acks) == before + 20
    line.compute()
    assert isinstance(line.heard[-1], wire.Done)


def test_start_has_to_come() -> None:
    line = Line(limits=Limits(handshake_seconds=3))
    tick(line, 2)
    assert line.dialect.close is None
    tick(line, 1)
    assert error(line) == ("start_timeout", 1008)


def test_messages_that_are_no_start_do_not_put_it_off() -> None:
    """Else who has no token yet could stay for ever."""
    line = calls.Line(Twilio, "/v1/twilio", limits=Limits(handshake_seconds=3))
    for _ in range(3):
        assert line.dialect.close is None
        line.send({"event": "mark"})
        line.tick()
    assert line.conversation.error == "start_timeout"


def test_the_longest_stream_is_made_final_as_far_as_it_goes() -> None:
    longest = 3
    line = Line(limits=Limits(longest_seconds=longest))
    line.send(wire.Start(), *chunks(DIALOGUE, 999), wire.Stop())
    assert error(line) == ("stream_too_long", 1008)
    alone = Line()
    alone.send(wire.Start(), *chunks(DIALOGUE[: longest * SAMPLE_RATE]), wire.Stop())
    assert line.finals == alone.finals
    assert max(ack.received for ack in line.acks) == longest * SAMPLE_RATE


def test_what_comes_behind_the_longest_stream_is_not_looked_at() -> None:
    line = Line(limits=Limits(longest_seconds=1))
    line.send(wire.Start(), DIALOGUE[: 2 * SAMPLE_RATE].tobytes(), "oops", bytes(100_000), wire.Stop(), compute=False)
    line.compute()
    assert line.finals
    assert error(line) == ("stream_too_long", 1008)


def test_a_message_is_measured_in_bytes() -> None:
    line = Line()
    line.send('{"type":"start","language":"' + "ü" * (wire.MESSAGE_BYTES // 2) + '"}')
    assert error(line) == ("message_too_big", 1009)


def test_a_stream_of_just_the_longest_length_ends_well() -> None:
    line = Line(limits=Limits(longest_seconds=3))
    line.send(wire.Start(), *chunks(DIALOGUE[: 3 * SAMPLE_RATE]), wire.Stop())
    assert line.heard[-1] == wire.Done(3 * SAMPLE_RATE, seconds(3 * SAMPLE_RATE))


def test_a_backlog_is_not_added_to() -> None:
    line = Line(limits=Limits(backlog_seconds=2))
    line.send(wire.Start(), compute=False)
    stream = line.conversation.stream
    assert stream
    sent = 0
    for chunk in chunks(ENDLESS):
        if line.conversation.blocked:
            break
        line.send(chunk, compute=False)
        sent += len(chunk) // 2
    assert 2 * SAMPLE_RATE < stream.backlog <= 2 * SAMPLE_RATE + 1600
    line.compute()
    assert stream.backlog == 0
    assert not line.conversation.blocked


def test_full() -> None:
    class FullLine(Line):
        def open(self, config: StreamConfig, at: StartPoint | None) -> Stream:
            raise Full("the server is full")

    line = FullLine()
    line.send(wire.Start())
    assert error(line) == ("full", 1013)


def test_silence_is_no_backlog() -> None:
    line = Line(limits=Limits(backlog_seconds=1))
    line.send(wire.Start(), *chunks(silence(20), 30_000), compute=False)
    assert not line.conversation.blocked
