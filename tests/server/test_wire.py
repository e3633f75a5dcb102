"""Messages: every field is checked, and what is wrong is named."""

import msgspec
import pytest

from earshot_asr.engine.errors import ProtocolError
from earshot_asr.server import wire

START_DEFAULTS = {
    "type": "start",
    "encoding": "pcm_s16le",
    "sample_rate": 16000,
    "channels": 1,
    "channel": "mix",
    "language": None,
    "hotwords": [],
    "partials": True,
    "words": True,
    "commit": "utterance",
    "alternatives": 1,
    "endpoint_ms": None,
    "stability": "medium",
    "partial_words": False,
    "publish": None,
    "resume": None,
}


def test_start_as_the_design_has_it() -> None:
    assert msgspec.json.decode(wire.encode(wire.Start())) == START_DEFAULTS
    assert wire.decode_client('{"type":"start"}') == wire.Start()


@pytest.mark.parametrize(
    "message",
    [
        wire.Start(encoding="mulaw", sample_rate=8000, hotwords=["Ada", wire.Hotword("Grace", 2.0)], language="en"),
        wire.Start(resume=wire.Resume(cut=640, from_sample=0, fingerprint="f"), commit="hop", words=False),
        wire.Start(endpoint_ms=100, alternatives=5),
        wire.Flush(),
        wire.Keepalive(),
        wire.Stop(),
    ],
)
def test_round_trip_client(message: wire.ClientMessage) -> None:
    assert wire.decode_client(wire.encode(message)) == message
    assert wire.decode_client(wire.encode(message).encode()) == message


@pytest.mark.parametrize(
    "message",
    [
        wire.PartialMessage(segment=0, start=0.1, end=0.5, text="SO", stable=1),
        wire.PartialMessage(0, 0.1, 0.5, "SO", 2, [wire.WireWord("SO", 0.1, 0.5, 0.9)]),
        wire.FinalMessage(0, 0.1, 0.5, "SO", 0.9, 8000, [wire.WireWord("SO", 0.1, 0.5, 0.9)]),
        wire.FinalMessage(0, 0.1, 0.5, "SO", 0.9, 8000, flushed=True),
        wire.Ack(received=3, committed=2, cut=1),
        wire.Error("code", "message"),
        wire.Done(received=16000, duration=1.0),
    ],
)
def test_round_trip_server(message: wire.ServerMessage) -> None:
    assert wire.decode_server(wire.encode(message)) == message


def test_words_are_left_out_not_null() -> None:
    assert "words" not in msgspec.json.decode(wire.encode(wire.FinalMessage(0, 0.0, 1.0, "A", 1.0, 16000)))
    assert "words" not in msgspec.json.decode(wire.encode(wire.PartialMessage(0, 0.0, 1.0, "A", 1)))


def test_flushed_is_never_left_out() -> None:
    for flushed in (False, True):
        final = wire.FinalMessage(0, 0.0, 1.0, "A", 1.0, 16000, flushed=flushed)
        assert msgspec.json.decode(wire.encode(final))["flushed"] is flushed


def test_a_newer_server_may_say_more() -> None:
    ack = wire.decode_server('{"type":"ack","received":1,"committed":1,"cut":0,"lag_ms":3}')
    assert ack == wire.Ack(1, 1, 0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"type":"foo"}', "type: Invalid value 'foo'; it must be one of start, flush, keepalive, stop"),
        ('{"type":3}', "type: Expected `str`; it must be one of start, flush, keepalive, stop"),
        ("{}", "Object missing required field `type`"),
        ("[]", "Expected `object`, got `array`"),
        ('{"type":"start","langage":"en"}', "Object contains unknown field `langage`"),
        ('{"type":"stop","now":true}', "Object contains unknown field `now`"),
        ('{"type":"start","sample_rate":"16000"}', "sample_rate: Expected `int`, got `str`"),
        ('{"type":"start","sample_rate":7999}', "sample_rate: Expected `int` >= 8000"),
        ('{"type":"start","sample_rate":192001}', "sample_rate: Expected `int` <= 192000"),
        ('{"type":"start","sample_rate":16000.5}', "sample_rate: Expected `int`, got `float`"),
        ('{"type":"start","channels":0}', "channels: Expected `int` >= 1"),
        ('{"type":"start","channels":9}', "channels: Expected `int` <= 8"),
        ('{"type":"start","partials":1}', "partials: Expected `bool`, got `int`"),
        ('{"type":"start","words":null}', "words: Expected `bool`, got `null`"),
        ('{"type":"start","language":7}', "language: Expected `str | null`, got `int`"),
        ('{"type":"start","language":"' + "x" * 101 + '"}', "language: Expected `str` of length <= 100"),
        ('{"type":"start","hotwords":[7]}', "hotwords[0]: Expected `str | object`, got `int`"),
        ('{"type":"start","hotwords":[{"text":"a","wait":1}]}', "hotwords[0]: Object contains unknown field `wait`"),
        (
            '{"type":"start","encoding":"mp3"}',
            "encoding: Invalid enum value 'mp3'; it must be one of pcm_s16le, pcm_s24le, pcm_s32le, pcm_f32le, mulaw, "
            "alaw, opus, container",
        ),
        (
            '{"type":"start","commit":"never"}',
            "commit: Invalid enum value 'never'; it must be one of utterance, hop",
        ),
        (
            '{"type":"start","endpoint_ms":99}',
            "endpoint_ms: Expected `int` >= 100; it must be between 100 and 5000, or null",
        ),
        (
            '{"type":"start","endpoint_ms":5001}',
            "endpoint_ms: Expected `int` <= 5000; it must be between 100 and 5000, or null",
        ),
        (
            '{"type":"start","endpoint_ms":"640"}',
            "endpoint_ms: Expected `int | null`, got `str`; it must be between 100 and 5000, or null",
        ),
        ('{"type":"start","resume":{"cut":-1}}', "resume.cut: Expected `int` >= 0"),
        ('{"type":"start","resume":{"cut":1}}', "resume: Object missing required field `from_sample`"),
    ],
)
def test_what_is_wrong_is_named(text: str, complaint: str) -> None:
    with pytest.raises(ProtocolError) as e:
        wire.decode_client(text)
    assert str(e.value) == complaint
    assert not isinstance(e.value, wire.NotJson)


@pytest.mark.parametrize("text", ["", "{", "start", '{"type":"stop"} ', b'{"type":"\xff"}', b"\xff\xfe", "\ud800"])
def test_not_json(text: str | bytes) -> None:
    if text == '{"type":"stop"} ':
        assert wire.decode_client(text) == wire.Stop()
    else:
        with pytest.raises(wire.NotJson, match="not a JSON object"):
            wire.decode_client(text)


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"type":"start","resume":['])
def test_deep_nesting_is_an_error_not_a_crash(opening: str) -> None:
    with pytest.raises(ProtocolError):
        wire.decode_client(opening * 50_000)


def test_a_complaint_is_short() -> None:
    with pytest.raises(ProtocolError) as e:
        wire.decode_client('{"type":"start","' + "x" * 60_000 + '":1}')
    assert len(str(e.value)) < 400
