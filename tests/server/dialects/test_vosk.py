"""Vosk's protocol: what is answered and when, what a config may say, and the clients that speak it in other ways."""

import json
import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedOK

from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.decoder import Hotword
from earshot_asr.server.dialects.vosk import Vosk, dump
from earshot_asr.server.logs import FIELDS
from earshot_asr.server.settings import Limits
from tests.helpers import Polyglot, finals, run_session, silence, speak
from tests.server.dialects.line import Line, chunks, wav_header
from tests.server.loopback import serving

CONFIG = '{ "config" : { "sample_rate" : 16000 } }'
EOF = '{"eof" : 1}'
RESET = '{"reset" : 1}'
PAUSE, MOMENT = silence(1.5), silence(0.2)
DIALOGUE = np.concatenate(
    [MOMENT, speak("SO IT BEGINS"), PAUSE, speak("AND GOES ON"), PAUSE, speak("AND ENDS"), MOMENT]
)
AUDIO = chunks(DIALOGUE)
FINALS = finals(run_session(DIALOGUE, StreamConfig.preset("balanced")))
TEXT = " ".join(final.text.lower() for final in FINALS)


def line(*messages: str | bytes | dict[str, Any], target: str = "/vosk", **settings: Any) -> Line:
    line = Line(Vosk, target, **settings)
    line.send(*messages)
    return line


def said(text: str) -> bytes:
    """Within silence: the fake encoder errs at the edges of a window."""
    return np.concatenate([MOMENT, speak(text), MOMENT]).tobytes()


def spoken(messages: list[dict[str, Any]]) -> str:
    """The text of the finals among them."""
    return " ".join(message["text"] for message in messages if message.get("text"))


def kinds(messages: list[dict[str, Any]]) -> set[str]:
    return {next(kind for kind in ("partial", "text", "alternatives") if kind in message) for message in messages}


# ---- answers


def test_each_message_of_audio_has_one_answer_and_config_has_none() -> None:
    client = line(CONFIG)
    assert client.heard == []
    for number, audio in enumerate(AUDIO, start=1):
        client.send(audio)
        assert len(client.heard) == number
    client.send(EOF)
    assert len(client.heard) == len(AUDIO) + 1
    assert client.dialect.close == (1000, "")
    assert spoken(client.messages) == TEXT
    assert len(FINALS) == 3


def test_an_answer_does_not_wait_for_the_engine() -> None:
    client = line(CONFIG)
    client.send(*AUDIO[:8], compute=False)
    assert client.messages == [{"partial": ""}] * 8
    client.send(EOF, compute=False)
    assert len(client.heard) == 8
    client.compute()
    assert len(client.heard) == 9
    assert client.messages[-1]["text"] == "so it begins"


def test_a_partial_is_the_newest_text_and_ends_with_its_final() -> None:
    client = line(CONFIG, *AUDIO)
    heard = client.messages
    partials = [message.get("partial") for message in heard]
    assert kinds(heard) == {"partial", "text"}
    assert "so it begins" in partials
    after = next(number for number, message in enumerate(heard) if message.get("text") == "so it begins")
    assert partials[after + 1] == ""


def test_finals_come_one_after_the_other() -> None:
    """Where several became final between two messages; what is left at the end is one."""
    client = line(CONFIG)
    client.send(DIALOGUE.tobytes())
    client.send(b"", b"", b"", b"")
    texts = [message.get("text") for message in client.messages]
    assert texts == [None, "so it begins", "and goes on", None, None]
    client.send(EOF)
    assert client.messages[-1]["text"] == "and ends"

    joined = line(CONFIG, DIALOGUE.tobytes(), EOF).messages
    assert [message.get("text") for message in joined] == [None, TEXT]
    assert [word["word"] for word in joined[-1]["result"]] == TEXT.split()


def test_a_reset_is_answered_once_and_in_its_place() -> None:
    client = line(CONFIG)
    client.send(said("ONE"), RESET, said("TWO"), b"", RESET, b"", EOF, compute=False)
    assert client.messages == [{"partial": ""}]  # the others wait for the first reset
    client.compute()
    assert [m.get("text", m.get("partial")) for m in client.messages] == ["", "one", "", "", "two", "", ""]
    assert [kinds([m]) for m in client.messages[-3:]] == [{"text"}, {"partial"}, {"text"}]
    assert client.dialect.close == (1000, "")


def test_nothing_said() -> None:
    assert line(CONFIG, EOF).heard == ['{\n  "text" : ""\n}']
    assert line(EOF).dialect.close == (1000, "")
    assert line({"config": {"max_alternatives": 2}}, EOF).messages == [
        {"alternatives": [{"confidence": 1.0, "text": ""}]}
    ]


@given(
    st.lists(st.sampled_from(["audio", "audio", "audio", "empty", "config", "reset"]), max_size=30),
    st.lists(st.booleans(), min_size=31, max_size=31),
)
def test_one_answer_a_message(sent: list[str], computed: list[bool]) -> None:
    """However fast the engine is, in the order of the messages, and no word is lost or doubled."""
    audio = iter(AUDIO)
    client = line(CONFIG)
    at, flushes, expected = 0, set[int](), list[str]()
    for kind, compute in zip(sent, computed, strict=False):
        if client.conversation.blocked:
            client.compute()
        if kind == "config":
            client.send('{"config": {"sample_rate": 8000}}' if at else CONFIG, compute=compute)
        elif kind == "reset":
            flushes.add(at)
            expected.append("text")
            client.send(RESET, compute=compute)
        else:
            data = next(audio, b"") if kind == "audio" else b""
            at += len(data) // 2
            expected.append("")
            client.send(data, compute=compute)
    client.send(EOF)
    assert len(client.heard) == len(expected) + 1
    assert all(kind in ("", *message) for kind, message in zip([*expected, "text"], client.messages, strict=True))
    assert client.dialect.close == (1000, "")
    whole = run_session(DIALOGUE[:at], StreamConfig.preset("balanced"), flushes=sorted(flushes - {0, at}))
    assert spoken(client.messages) == " ".join(final.text.lower() for final in finals(whole))


# ---- JSON


def test_json_is_written_as_vosk_writes_it() -> None:
    word = {"word": "one", "start": 0.9, "end": 1.23, "conf": 1.0}
    assert dump({"text": 'one "two"', "result": [word, word]}) == (
        "{\n"
        '  "result" : [{\n'
        '      "conf" : 1.000000,\n'
        '      "end" : 1.230000,\n'
        '      "start" : 0.900000,\n'
        '      "word" : "one"\n'
        "    }, {\n"
        '      "conf" : 1.000000,\n'
        '      "end" : 1.230000,\n'
        '      "start" : 0.900000,\n'
        '      "word" : "one"\n'
        "    }],\n"
        '  "text" : "one \\"two\\""\n'
        "}"
    )
    assert dump({"partial": "größer"}) == '{\n  "partial" : "größer"\n}'


def test_words_have_times_from_the_start_of_the_connection() -> None:
    words = line(CONFIG, *AUDIO, EOF).messages[-1]["result"]
    expected = FINALS[-1].words
    assert words == [
        {"word": word.text.lower(), "start": word.start, "end": word.end, "conf": pytest.approx(word.confidence)}
        for word in expected
    ]
    assert words[0]["start"] > 3


def test_words_may_be_left_out() -> None:
    for words in (0, False):
        client = line({"config": {"sample_rate": 16000, "words": words}}, *AUDIO, EOF)
        assert client.messages[-1] == {"text": "and ends"}
    assert "result" in line({"config": {"sample_rate": 16000, "words": 1}}, *AUDIO, EOF).messages[-1]


def test_alternatives() -> None:
    """As many as there may be, where Vosk would take 20; times are those of the best."""
    client = line({"config": {"sample_rate": 16000, "max_alternatives": 20}}, *AUDIO, EOF)
    told = [message["alternatives"] for message in client.messages if "alternatives" in message]
    assert [each[0]["text"] for each in told] == [final.text.lower() for final in FINALS]
    assert {len(each) for each in told} <= set(range(1, 11))
    assert any(len(each) > 1 for each in told)
    for each in told:
        assert [word["word"] for word in each[0]["result"]] == each[0]["text"].split()
        assert "conf" not in each[0]["result"][0]
        assert all("result" not in other and 0 <= other["confidence"] <= 1 for other in each[1:])
    assert not any("text" in message for message in client.messages)


def test_alternatives_of_several_finals() -> None:
    client = line({"config": {"sample_rate": 16000, "max_alternatives": 2}}, DIALOGUE.tobytes(), EOF)
    best, *others = client.messages[-1]["alternatives"]
    assert best["text"] == TEXT
    assert [word["word"] for word in best["result"]] == TEXT.split()
    assert all(other["text"].startswith("so it begins and goes on") for other in others)


# ---- config


def test_without_a_config_audio_is_of_telephones() -> None:
    """As the page sends it that comes with vosk-server."""
    client = line(bytes(16_000), EOF)
    assert client.conversation.stream
    assert client.conversation.stream.received == 16_000
    assert len(client.heard) == 2


@pytest.mark.parametrize("rate", [48_000, 48_000.0, "48000", "48000.0"])
def test_a_rate_however_it_is_written(rate: object) -> None:
    """jigasi writes 48000.0, BigBlueButton a text."""
    client = line({"config": {"sample_rate": rate}}, bytes(96_000), EOF)
    assert client.conversation.stream
    assert client.conversation.stream.received == 16_000


def test_a_config_counts_before_the_first_audio_only() -> None:
    client = line(CONFIG, AUDIO[0], {"config": {"sample_rate": 8000, "words": 0}}, *AUDIO[1:], EOF)
    assert spoken(client.messages) == TEXT
    assert "result" in client.messages[-1]


def test_the_query_may_say_what_a_config_may() -> None:
    client = line(*AUDIO, EOF, target="/vosk?sample_rate=16000&words=0&token=x&more=y")
    assert client.messages[-1] == {"text": "and ends"}
    client = line(*AUDIO, EOF, target="/vosk?sample_rate=8000&sample_rate=16000&max_alternatives=1")
    assert client.messages[-1]["alternatives"][0]["text"] == "and ends"


def test_a_phrase_list_is_a_list_of_hotwords() -> None:
    client = line({"config": {"phrase_list": ["zero one two", "oh", "[unk]"]}}, b"")
    assert client.conversation.stream
    assert isinstance(client.dialect, Vosk)
    assert client.dialect.hotwords == (Hotword("zero one two"), Hotword("oh"))


def test_a_phrase_list_in_the_query() -> None:
    client = line(b"", target="/vosk?phrase_list=one+two&phrase_list=three")
    assert isinstance(client.dialect, Vosk)
    assert client.dialect.hotwords == (Hotword("one two"), Hotword("three"))
    assert len(client.heard) == 1


def test_what_vosk_does_not_know_is_ignored_and_null_is_nothing() -> None:
    config = {"sample_rate": 16000, "show_words": True, "phrase_list": None, "model": None, "max_alternatives": None}
    client = line({"config": config}, *AUDIO, EOF)
    assert spoken(client.messages) == TEXT


def test_our_own_model_may_be_named() -> None:
    assert line({"config": {"model": "fake"}}, EOF).dialect.close == (1000, "")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("hello", "can't understand 'hello'; a text message must be {\"config\" : {...}}, "),
        ("[]", "can't understand '[]'; "),
        ("[" * 100_000, "can't understand '[["),
        ('{"config" : 3}', "can't understand "),
        ('{"eof" : 0}', "can't understand "),
        ({"config": {"model": "/opt/model-de"}}, "there is no model '/opt/model-de' here: leave it out, or name fake"),
        ({"config": {"sample_rate": "fast"}}, "sample_rate is 'fast'; it must be a number"),
        ({"config": {"sample_rate": [1]}}, "sample_rate is '[1]'; it must be a number"),
        ({"config": {"sample_rate": 1e999}}, "sample_rate is 'inf'; it must be a number"),
        ({"config": {"sample_rate": 44_100.5}}, "sample_rate is 44100.5; it must be a whole number of samples"),
        ({"config": {"max_alternatives": "many"}}, "max_alternatives is 'many'; it must be a number"),
        ({"config": {"phrase_list": "one"}}, "phrase_list is 'one'; it must be a list of texts"),
        ({"config": {"phrase_list": [1]}}, "phrase_list is '[1]'; it must be a list of texts"),
    ],
)
def test_what_is_not_understood_ends_the_connection_with_a_sentence(message: str | dict[str, Any], why: str) -> None:
    client = line(message)
    assert client.heard == []
    assert client.dialect.close
    code, reason = client.dialect.close
    assert code == 1008
    assert reason.startswith(why[:120])


@pytest.mark.parametrize("config", [{"sample_rate": 3}, {"phrase_list": ["x" * 101]}, {"phrase_list": [" "]}])
def test_what_can_not_be_had_is_refused_with_the_first_audio(config: dict[str, Any]) -> None:
    client = line({"config": config}, b"\0\0")
    assert client.dialect.close
    assert client.dialect.close[0] in (1003, 1008)
    assert "must be" in client.dialect.close[1] or "at most" in client.dialect.close[1]


def test_what_is_found_is_told_before_the_connection_ends() -> None:
    client = line(CONFIG, DIALOGUE[:60_000].tobytes(), "nonsense")
    assert [message.get("text") for message in client.messages] == [None, "so it begins and goes on"]
    assert client.dialect.close
    assert client.dialect.close[1].startswith("can't understand 'nonsense'")


def test_half_a_sample_is_left_out() -> None:
    whole = line(CONFIG, *AUDIO, EOF)
    half = line(CONFIG, *(audio + b"\x7f" for audio in AUDIO), EOF)
    assert half.heard == whole.heard


def test_what_comes_after_the_end_is_ignored() -> None:
    client = line(CONFIG)
    client.send(AUDIO[0], EOF, AUDIO[1], EOF, RESET, "nonsense", compute=False)
    client.compute()
    assert len(client.heard) == 2
    assert client.dialect.close == (1000, "")


def test_who_has_no_way_to_keep_a_connection_alive_may_be_quiet() -> None:
    limits = Limits(handshake_seconds=1, idle_seconds=2, silent_seconds=20)
    for messages in ([], [AUDIO[0]]):
        client = line(*messages, limits=limits)
        client.tick(19)
        assert client.dialect.close is None
        client.tick(1)
        assert client.dialect.close
    assert client.dialect.close == (1013, "nothing came for 20 s")


# ---- as others speak it


def test_as_jigasi_speaks_it() -> None:
    """It connects, is quiet until somebody speaks, and then sends and listens at once, 48 kHz."""
    client = line()
    client.tick(300)
    client.send('{"config" : {"sample_rate" : 48000.0 }}')
    for audio in chunks(np.repeat(DIALOGUE, 3), 960):
        client.send(audio)
    client.send('{"eof" : 1}')
    told = client.messages
    assert all(isinstance(message.get("partial", message.get("text")), str) for message in told)
    assert spoken(told).split()[:3] == ["so", "it", "begins"]
    assert client.dialect.close == (1000, "")


def test_as_jigasi_sends_a_fragment() -> None:
    """All of it in one message; the answers are read until the server closes."""
    client = line('{"config" : {"sample_rate" : 16000.0}}')
    client.send(DIALOGUE.tobytes(), '{"eof" : 1}')
    assert spoken(client.messages) == TEXT
    assert Vosk.message_bytes == 2**20


def test_as_nextcloud_talk_speaks_it() -> None:
    """A config with a language is answered, and its client reads that as the answer to the first audio."""
    client = line('{"config": {"sample_rate": 48000, "language": "fr"}}', runner=Polyglot())
    assert client.messages == [{"success": True}]
    for audio in chunks(np.repeat(DIALOGUE, 3), 19_200):
        client.send(audio)
        assert len(client.heard) > 1
    client.send('{"config": {"language": "fra"}}')
    assert client.messages[-1] == {"success": True}
    client.send('{"config": {"language": "de"}}')  # a stream keeps its language
    assert client.messages[-1] == {"success": False}
    client.send('{"eof" : 1}')
    assert client.dialect.close == (1000, "")


def test_a_language_that_the_model_does_not_have() -> None:
    client = line('{"config": {"language": "en"}}', '{"config": {"language": "tlh"}}', runner=Polyglot())
    assert client.messages == [{"success": True}, {"success": False}]
    client.send(b"\0\0")
    assert client.dialect.close
    assert client.dialect.close[0] == 1008
    assert "tlh" in client.dialect.close[1]


def test_as_bigbluebutton_speaks_it() -> None:
    client = line('{"config":{"sample_rate":"16000"}}', *AUDIO, '{"eof":1}')
    assert spoken(client.messages) == TEXT
    assert client.dialect.close == (1000, "")


def test_the_token_may_be_in_the_url() -> None:
    client = line(target="/vosk?token=sesame", headers={"Authorization": "Bearer other"})
    assert Vosk.credential(client.dialect.handshake) == "other"
    assert Vosk.credential(line(target="/vosk?token=sesame").dialect.handshake) == "sesame"
    assert Vosk.credential(line().dialect.handshake) is None


def test_answers_are_json() -> None:
    for message in line(CONFIG, *AUDIO, EOF).heard:
        assert isinstance(message, str)
        assert dump(json.loads(message)) == message


def test_what_is_wrong_with_the_audio_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = line(CONFIG, wav_header() + DIALOGUE.tobytes(), EOF)
    assert len(client.heard) == 2
    (remark,) = [getattr(record, FIELDS) for record in caplog.records if record.message == "remark"]
    assert "header" in remark["sentence"]


async def test_over_sockets() -> None:
    """At its path and, on its own port, at any; a message may be larger than others may send."""
    async with serving(vosk_port=0) as server:
        own = server.ports["vosk_port"]
        for url in (f"ws://127.0.0.1:{server.port}/vosk", f"ws://localhost:{own}", f"ws://127.0.0.1:{own}/en?words=1"):
            async with connect(url, proxy=None) as websocket:
                await websocket.send(CONFIG)
                await websocket.send(DIALOGUE.tobytes() + bytes(500_000))
                answers = [json.loads(await websocket.recv())]
                await websocket.send(EOF)
                answers.append(json.loads(await websocket.recv()))
                with pytest.raises(ConnectionClosedOK):
                    await websocket.recv()
            assert spoken(answers) == TEXT


@pytest.mark.parametrize("end", [['{"eof" : 1}'], ['{"reset" : 1}', '{"eof" : 1}'], [b"\0\0", '{"eof" : 1}']])
async def test_nothing_may_be_said_in_a_language_that_is_loaded_first(end: list[str | bytes]) -> None:
    async with (
        serving(Polyglot()) as server,
        connect(f"ws://127.0.0.1:{server.port}/vosk?language=fr", proxy=None) as websocket,
    ):
        answers = []
        for message in end:
            await websocket.send(message)
            answers.append(json.loads(await websocket.recv()))
        assert answers[-1] == {"text": ""}
        with pytest.raises(ConnectionClosedOK):
            await websocket.recv()
