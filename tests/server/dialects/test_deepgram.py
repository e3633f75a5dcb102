"""Deepgram's protocol: slices of the time line, Finalize, timeouts, what a URL may ask for and what is refused."""

import base64
import hashlib
import json
import re
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.decoder import DecodeConfig, Hotword
from earshot_asr.engine.sources import RawFormat
from earshot_asr.server.dialects.deepgram import Deepgram
from earshot_asr.server.dialects.deepgram_query import Options
from earshot_asr.server.handshake import Handshake
from earshot_asr.server.settings import Limits
from tests.engine.sources.made import written
from tests.helpers import FakeRunner, Polyglot, finals, run_session, silence, speak
from tests.server.dialects.line import Line, chunks, wav_header
from tests.server.loopback import serving

PAUSE, MOMENT = silence(1.8), silence(0.2)
DIALOGUE = np.concatenate([MOMENT, speak("SO IT BEGINS"), PAUSE, speak("AND GOES ON"), PAUSE, speak("AND ENDS"), PAUSE])
AUDIO = chunks(DIALOGUE, 1600)
FINALS = finals(run_session(DIALOGUE, StreamConfig.preset("balanced")))
TEXTS = [final.text.lower() for final in FINALS]
RAW = {"encoding": "linear16", "sample_rate": "16000"}
LIVE = {**RAW, "interim_results": "true"}
KEEP_ALIVE, FINALIZE, CLOSE = {"type": "KeepAlive"}, {"type": "Finalize"}, {"type": "CloseStream"}


def target(query: dict[str, Any]) -> str:
    return "/v1/listen?" + urlencode(query, doseq=True)


def line(*messages: str | bytes | dict[str, Any], query: dict[str, Any] = LIVE, **settings: Any) -> Line:
    line = Line(Deepgram, target(query), **settings)
    line.send(*messages)
    return line


def results(client: Line, **flags: bool) -> list[dict[str, Any]]:
    """Those with these flags."""
    found = [message for message in client.messages if message["type"] == "Results"]
    return [each for each in found if all(each[name] == flag for name, flag in flags.items())]


def text(message: dict[str, Any]) -> str:
    transcript = message["channel"]["alternatives"][0]["transcript"]
    assert isinstance(transcript, str)
    return transcript


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [text(each) for each in messages if text(each)]


def require_tiles(client: Line) -> None:
    """Final slices are one after the other from 0 on; interim ones begin with the slice that is open."""
    at = 0.0
    for each in results(client):
        assert each["start"] == pytest.approx(at, abs=1e-6)
        assert each["duration"] >= 0
        for word in each["channel"]["alternatives"][0]["words"]:
            assert each["start"] <= word["start"] <= word["end"] <= each["start"] + each["duration"] + 1e-6
        if each["is_final"]:
            at = each["start"] + each["duration"]
    (metadata,) = [message for message in client.messages if message["type"] == "Metadata"]
    assert metadata["duration"] == pytest.approx(at, abs=1e-6)


# ---- results


def test_a_stream() -> None:
    client = line(*AUDIO, CLOSE)
    assert texts(results(client, is_final=True)) == TEXTS
    assert texts(results(client, speech_final=True)) == TEXTS
    assert texts(results(client, is_final=False))
    assert not results(client, from_finalize=True)
    assert not results(client, is_final=False, speech_final=True)
    assert client.messages[-1]["type"] == "Metadata"
    assert client.dialect.close == (1000, "")
    require_tiles(client)


def test_every_result_says_all_that_clients_read() -> None:
    client = line(*AUDIO, CLOSE)
    for each in results(client):
        assert each["channel_index"] == [0, 1]
        assert each["metadata"]["request_id"] == "5e551on"
        assert each["metadata"]["model_info"] == {"name": "fake", "version": "fa4e", "arch": "ctc"}
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", each["metadata"]["model_uuid"])
        assert set(each) >= {"start", "duration", "is_final", "speech_final", "from_finalize"}
    metadata = client.messages[-1]
    assert metadata["sha256"] == hashlib.sha256(DIALOGUE.tobytes()).hexdigest()
    assert metadata["duration"] == pytest.approx(len(DIALOGUE) / 16_000, abs=0.001)
    assert metadata["channels"] == 1
    assert metadata["transaction_key"] == "deprecated"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", metadata["created"])
    assert list(metadata["model_info"]) == metadata["models"] == [results(client)[0]["metadata"]["model_uuid"]]
    assert "warnings" not in metadata


def test_words_of_finals_and_of_interim_results() -> None:
    client = line(*AUDIO, CLOSE)
    spoken = [each["channel"]["alternatives"][0] for each in results(client, is_final=True) if text(each)]
    for told, final in zip(spoken, FINALS, strict=True):
        assert told["confidence"] == final.confidence
        assert [(each["word"], each["start"], each["end"], each["confidence"]) for each in told["words"]] == [
            (word.text.lower(), word.start, word.end, word.confidence) for word in final.words
        ]
        assert "punctuated_word" not in told["words"][0]
    interim = next(each for each in results(client, is_final=False) if text(each) == TEXTS[0])
    reading = interim["channel"]["alternatives"][0]
    assert [word["word"] for word in reading["words"]] == TEXTS[0].split()
    assert 0.5 < reading["confidence"] < 1


def test_without_interim_results_there_are_finals_only() -> None:
    client = line(*AUDIO, CLOSE, query=RAW)
    assert not results(client, is_final=False)
    assert texts(results(client, is_final=True)) == TEXTS
    require_tiles(client)
    runner = FakeRunner()
    line(*AUDIO, CLOSE, query=RAW, runner=runner)
    assert runner.windows < 10  # the windows of partials are not computed either


def test_long_silence_is_slices_of_its_own() -> None:
    """So that a slice with text begins with it, and what has no text goes on as well."""
    audio = np.concatenate([silence(12), speak("HELLO"), silence(7)])
    client = line(*chunks(audio), CLOSE)
    require_tiles(client)
    silent = [each for each in results(client, is_final=True) if not text(each)]
    assert [each["speech_final"] for each in silent] == [False] * len(silent)
    assert max(each["duration"] for each in silent) < 6.1
    assert len(silent) >= 4
    (said,) = [each for each in results(client, is_final=True) if text(each)]
    assert 11 < said["start"] < 12


def test_an_utterance_that_is_cut_for_its_length_does_not_end_speech() -> None:
    client = line(*chunks(np.concatenate([speak("ABC DEF " * 90), PAUSE])), CLOSE)
    told = [(each["speech_final"], len(text(each)) > 0) for each in results(client, is_final=True) if text(each)]
    assert told == [(False, True), (True, True)]
    require_tiles(client)


@given(
    st.lists(
        st.sampled_from(["audio", "audio", "audio", "audio", "second", "keep", "finalize", "nonsense"]), max_size=60
    ),
    st.booleans(),
    st.booleans(),
)
def test_slices_tile_the_time_line(sent: list[str], interim: bool, compute: bool) -> None:
    """Whatever is sent; each Finalize is answered; no word is lost."""
    client = line(query=LIVE if interim else RAW)
    at, flushes = 0, []
    for kind in sent:
        if client.conversation.blocked:
            client.compute()
        if kind in ("audio", "second"):
            data = DIALOGUE[at : at + (1600 if kind == "audio" else 16_000)].tobytes()
            at += len(data) // 2
            if data:
                client.send(data, compute=compute)
        elif kind == "finalize":
            flushes.append(at)
            client.send(FINALIZE, compute=compute)
        else:
            client.send(KEEP_ALIVE if kind == "keep" else "nonsense", compute=compute)
    if client.conversation.blocked:
        client.compute()
    client.send(CLOSE)
    assert client.dialect.close == (1000, "")
    require_tiles(client)
    assert len(results(client, from_finalize=True)) == len(flushes)
    assert len([m for m in client.messages if m["type"] == "Error"]) == sent.count("nonsense")
    expected = run_session(
        DIALOGUE[:at],
        StreamConfig.preset("balanced", partials=interim, partial_words=interim),
        flushes=sorted({*flushes} - {0, at}),
    )
    assert texts(results(client, is_final=True)) == [final.text.lower() for final in finals(expected)]


# ---- what a client may send


def test_finalize_is_answered_at_once() -> None:
    half = 16_000 // 1600
    client = line(*AUDIO[:half])
    client.send(FINALIZE)
    (answer,) = results(client, from_finalize=True)
    assert answer["is_final"]
    assert not answer["speech_final"]
    assert text(answer) == TEXTS[0]
    assert results(client)[-1] == answer


def test_finalize_is_answered_where_nothing_is_to_be_said() -> None:
    client = line(FINALIZE)
    client.send(MOMENT.tobytes(), FINALIZE, FINALIZE)
    told = results(client, from_finalize=True)
    assert [(text(each), each["start"]) for each in told[:2]] == [("", 0.0), ("", 0.0)]
    assert len(told) == 3
    client = line(*AUDIO[: 2 * 16_000 // 1600], FINALIZE)  # the pause had ended the utterance
    assert [text(each) for each in results(client, is_final=True)] == [TEXTS[0], ""]
    assert [each["from_finalize"] for each in results(client, is_final=True)] == [False, True]


def test_finalize_just_before_the_end() -> None:
    client = line(*AUDIO[:10])
    client.send(FINALIZE, FINALIZE, CLOSE, compute=False)
    client.compute()
    assert [text(each) for each in results(client, from_finalize=True)] == [TEXTS[0], ""]
    require_tiles(client)


def test_what_ends_in_a_word_ends_with_it() -> None:
    client = line(*AUDIO[:10], chunks(DIALOGUE[16_000:], 100)[0], CLOSE)
    assert [text(each) for each in results(client, is_final=True)] == [TEXTS[0]]
    require_tiles(client)


def test_speech_and_its_end_are_told() -> None:
    query = {**LIVE, "vad_events": "true", "utterance_end_ms": "1000"}
    client = line(*AUDIO, CLOSE, query=query)
    kinds = [m["type"] for m in client.messages if m["type"] in ("SpeechStarted", "UtteranceEnd")]
    assert kinds == ["SpeechStarted", "UtteranceEnd"] * 3
    started = [m for m in client.messages if m["type"] == "SpeechStarted"]
    ended = [m for m in client.messages if m["type"] == "UtteranceEnd"]
    assert [each["last_word_end"] for each in ended] == [final.end for final in FINALS]
    for each, final in zip(started, FINALS, strict=True):
        assert final.start <= each["timestamp"] <= final.start + 0.3
        assert each["channel"] == [0, 1]
    assert not {"SpeechStarted", "UtteranceEnd"} & {m["type"] for m in line(*AUDIO, CLOSE).messages}


def test_speech_is_told_before_the_engine_has_heard_it() -> None:
    client = line(query={**LIVE, "vad_events": "true"})
    client.send(*AUDIO[:5], compute=False)
    assert [m["type"] for m in client.messages] == ["SpeechStarted"]


def test_utterances_end_as_well_where_audio_is_sent_ahead() -> None:
    client = line(query={**LIVE, "utterance_end_ms": "1000"})
    client.send(*AUDIO, CLOSE, compute=False)
    client.compute()
    ended = [m["last_word_end"] for m in client.messages if m["type"] == "UtteranceEnd"]
    assert ended == [final.end for final in FINALS]
    assert client.messages[-1]["type"] == "Metadata"


def test_a_short_gap_is_no_end_of_an_utterance() -> None:
    audio = np.concatenate([MOMENT, speak("ONE"), silence(0.8), speak("TWO"), silence(2.5)])
    client = line(*chunks(audio, 800), query={**LIVE, "utterance_end_ms": "1000"})
    (ended,) = [m for m in client.messages if m["type"] == "UtteranceEnd"]
    *_, word = results(client, speech_final=True)[-1]["channel"]["alternatives"][0]["words"]
    assert ended["last_word_end"] == word["end"]


def test_endpointing() -> None:
    audio = chunks(np.concatenate([MOMENT, speak("ONE"), silence(0.4), speak("TWO"), MOMENT]))
    for endpointing, said in {"10": ["one", "two"], "200": ["one", "two"], "1500": ["one two"]}.items():
        client = line(*audio, CLOSE, query={**LIVE, "endpointing": endpointing})
        assert texts(results(client, is_final=True)) == said
    assert texts(results(line(*audio, CLOSE, query={**LIVE, "endpointing": "true"}), is_final=True)) == ["one two"]
    client = line(*AUDIO, CLOSE, query={**LIVE, "endpointing": "false"})
    assert texts(results(client, is_final=True)) == TEXTS
    assert not results(client, speech_final=True)


def test_an_empty_message_closes() -> None:
    client = line(*AUDIO, b"", AUDIO[0], FINALIZE)
    assert texts(results(client, is_final=True)) == TEXTS
    assert client.messages[-1]["type"] == "Metadata"
    assert client.dialect.close == (1000, "")


@pytest.mark.parametrize("message", ["hello", "[1]", "[" * 100_000, '{"type":"Flush"}', '{"type":["KeepAlive"]}'])
def test_what_is_not_understood_is_answered_and_changes_nothing(message: str) -> None:
    client = line(AUDIO[0], message, *AUDIO[1:], CLOSE)
    (error,) = [m for m in client.messages if m["type"] == "Error"]
    assert error["variant"] == "SchemaError"
    assert error["description"].endswith(
        "must be a JSON object whose type is KeepAlive, Finalize, CloseStream or Configure"
    )
    assert error["message"] == message[:300]
    assert texts(results(client, is_final=True)) == TEXTS


def test_configure() -> None:
    client = line({"type": "Configure"}, {"type": "Configure", "features": {"numerals": False}, "keyterms": None})
    assert client.messages == [{"type": "ConfigureSuccess", "request_id": "5e551on"}] * 2
    client = line({"type": "Configure", "keyterms": ["Ada"]}, {"type": "Configure", "features": {"numerals": True}})
    failures = client.messages
    assert [m["type"] for m in failures] == ["ConfigureFailure"] * 2
    assert failures[0]["code"] == "CONFIGURE_KEYTERMS_NOT_SUPPORTED"
    assert "numerals" in failures[1]["description"]
    assert client.dialect.close is None


# ---- how it ends


def test_who_sends_nothing_is_told_so_after_ten_seconds() -> None:
    client = line(AUDIO[0])
    client.tick(9)
    client.send(KEEP_ALIVE)
    client.tick(9)
    assert client.dialect.close is None
    client.tick()
    assert client.dialect.close == (1011, "NET-0001: nothing came for 10 s")
    assert client.messages[-1]["type"] == "Error"
    assert client.messages[-1]["variant"] == "NET-0001"


def test_keepalives_alone_do_not_keep_a_place_for_ever() -> None:
    client = line(AUDIO[0], limits=Limits(silent_seconds=30))
    for _ in range(29):
        client.tick()
        client.send(KEEP_ALIVE)
    assert client.dialect.close is None
    client.tick()
    assert client.dialect.close == (1011, "NET-0001: no audio came for 30 s")


def test_audio_that_can_not_be_decoded() -> None:
    nan = np.array([0.0, np.nan], "<f4").tobytes()
    client = line(nan, query={"encoding": "linear32", "sample_rate": "16000"})
    assert client.dialect.close
    assert client.dialect.close[0] == 1008
    assert client.dialect.close[1].startswith("DATA-0000: ")
    assert client.messages[-1]["variant"] == "DATA-0000"


def test_what_was_said_is_told_before_an_error() -> None:
    client = line(DIALOGUE[:24_000].tobytes(), bytes(2**20 + 1))
    assert texts(results(client, is_final=True)) == [TEXTS[0]]
    assert client.messages[-1]["type"] == "Error"
    assert client.dialect.close
    assert client.dialect.close[0] == 1009


# ---- what a URL may ask for


def test_defaults() -> None:
    options = Options.of(RAW_LISTS)
    assert options.audio == RawFormat("pcm_s16le", 16_000)
    assert options.language is None
    assert options.endpointing
    assert options.endpoint_ms is None
    assert not (options.interim_results or options.vad_events or options.formatted or options.utterance_end_ms)
    assert options.decode == DecodeConfig()


RAW_LISTS = {name: [value] for name, value in RAW.items()}


@pytest.mark.parametrize(
    ("encoding", "rate", "audio"),
    [
        ("mulaw", ["8000"], RawFormat("mulaw", 8000)),
        ("mulaw", [], RawFormat("mulaw", 8000)),
        ("alaw", ["16000"], RawFormat("alaw", 16_000)),
        ("linear32", ["48000"], RawFormat("pcm_f32le", 48_000)),
    ],
)
def test_encodings(encoding: str, rate: list[str], audio: RawFormat) -> None:
    query = {"encoding": [encoding], **({"sample_rate": rate} if rate else {})}
    assert Options.of(query).audio == audio


def test_hotwords() -> None:
    asked = {
        **RAW_LISTS,
        "keyterm": ["Ada Lovelace"],
        "keywords": ["Earshot", "Babbage:2", "Ada:0.5", "Byron:99", "a:b:0"],
    }
    assert Options.of(asked).decode.hotwords == (
        Hotword("Ada Lovelace", 3.0),
        Hotword("Earshot", 3.0),
        Hotword("Babbage", 4.0),
        Hotword("Ada", 1.5),
        Hotword("Byron", 20.0),
        Hotword("a:b", 0.0),
    )


def test_alternatives() -> None:
    client = line(*AUDIO, CLOSE, query={**RAW, "alternatives": "3"})
    told = [each["channel"]["alternatives"] for each in results(client) if text(each)]
    assert max(map(len, told)) == 3
    assert all(each[0]["words"] and not other["words"] for each in told for other in each[1:])


def test_what_the_model_does_not_do_is_a_warning() -> None:
    query = {**LIVE, "smart_format": "true", "punctuate": "true", "numerals": "false", "profanity_filter": "true"}
    client = line(*AUDIO, CLOSE, query=query)
    warnings = client.messages[-1]["warnings"]
    assert [each["parameter"] for each in warnings] == ["profanity_filter", "punctuate", "smart_format"]
    word = results(client, is_final=True)[0]["channel"]["alternatives"][0]["words"][0]
    assert (word["word"], word["punctuated_word"]) == ("so", "So")


def test_text_has_capitals_where_it_is_to_be_formatted() -> None:
    for name in ("smart_format", "punctuate"):
        client = line(*AUDIO, CLOSE, query={**LIVE, name: "true", "keyterm": "Begins"})
        assert texts(results(client, is_final=True)) == ["So it Begins", "And goes on", "And ends"]
        for each in results(client):
            reading = each["channel"]["alternatives"][0]
            assert " ".join(word["punctuated_word"] for word in reading["words"]) == reading["transcript"]
            assert all(word["word"] == word["punctuated_word"].lower() for word in reading["words"])


def test_what_is_wrong_with_the_audio_is_a_warning() -> None:
    client = line(wav_header() + DIALOGUE.tobytes(), CLOSE)
    (warning,) = client.messages[-1]["warnings"]
    assert warning["parameter"] == "encoding"
    assert "header" in warning["message"]


def test_extra_is_repeated() -> None:
    client = line(AUDIO[0], CLOSE, query={**RAW, "extra": ["call:17", "time:12:30", "plain"]})
    extra = {"call": "17", "time": "12:30", "plain": ""}
    assert client.messages[-1]["extra"] == extra
    assert results(client)[0]["metadata"]["extra"] == extra


def test_what_deepgram_does_not_know_is_ignored() -> None:
    asked = {"model": "nova-3", "version": "latest", "tier": "x", "tag": "a", "mip_opt_out": "true", "what": "ever"}
    client = line(*AUDIO, CLOSE, query={**LIVE, **asked, "diarize": "false", "redact": "false", "search": ""})
    assert texts(results(client, is_final=True)) == TEXTS


def test_languages() -> None:
    for language in ("en", "en-US", "multi"):
        client = line(*AUDIO, CLOSE, query={**LIVE, "language": language}, runner=Polyglot())
        assert client.dialect.close == (1000, "")
    client = line(query={**LIVE, "language": "fr"}, runner=Polyglot())
    assert client.conversation.stream
    client = line(query={**LIVE, "language": "tlh"}, runner=Polyglot())
    assert client.dialect.close
    assert client.dialect.close[0] == 1008
    assert client.messages[-1]["variant"] == "language_unsupported"
    assert line(query={**LIVE, "language": "de"}).conversation.stream  # a model that does not say what it speaks


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (
            {"encoding": "g729"},
            "encoding is 'g729'; it must be one of linear16, linear32, mulaw, alaw, flac, opus, ogg-opus",
        ),
        ({"encoding": "linear16"}, "sample_rate is missing: it is needed with encoding"),
        ({**RAW, "sample_rate": "fast"}, "sample_rate is 'fast'; it must be a number from 8000 to 192000"),
        ({**RAW, "sample_rate": "1"}, "sample_rate is '1'; it must be a number from 8000 to 192000"),
        ({**RAW, "channels": "9"}, "channels is '9'; it must be a number from 1 to 8"),
        ({**RAW, "multichannel": "maybe"}, "multichannel is 'maybe'; it must be true or false"),
        ({**RAW, "interim_results": "yes"}, "interim_results is 'yes'; it must be true or false"),
        ({**RAW, "diarize": "true"}, "diarize can't be had here: leave it out"),
        ({**RAW, "diarize_model": "latest"}, "diarize_model can't be had here: leave it out"),
        ({**RAW, "redact": ["pci", "ssn"]}, "redact can't be had here: leave it out"),
        ({**RAW, "callback": "https://example"}, "callback can't be had here: leave it out"),
        ({**RAW, "utterance_end_ms": "1000"}, "utterance_end_ms needs interim_results=true"),
        ({**LIVE, "utterance_end_ms": "10"}, "utterance_end_ms is '10'; it must be a number from 1000 to 5000"),
        ({**RAW, "endpointing": "-3"}, "endpointing is '-3'; it must be a number from 0 to 100000000"),
        ({**RAW, "alternatives": "0"}, "alternatives is '0'; it must be a number from 1 to 10"),
        ({**RAW, "keywords": "Ada:-2"}, "the boost of a keyword is '-2'; words can't be suppressed here"),
        ({**RAW, "keywords": "Ada:nan"}, "the boost of a keyword is 'nan'; it must be a number, as in word:2"),
        ({**RAW, "keyterm": " "}, "a hotword is empty"),
        ({**RAW, "keyterm": ["x"] * 1001}, "there are 1001 hotwords"),
    ],
)
def test_what_can_not_be_had_is_refused_at_the_handshake(query: dict[str, Any], sentence: str) -> None:
    page = Deepgram.refusal(Handshake.of(target(query), []))
    assert page
    assert page.status == 400
    body = json.loads(page.body)
    assert body["err_code"] == "INVALID_QUERY_PARAMETER"
    assert body["err_msg"].startswith(sentence)
    assert page.headers["dg-error"] == body["err_msg"]
    assert page.headers["dg-request-id"] == body["request_id"]
    assert Deepgram.refusal(Handshake.of(target(RAW), [])) is None


def test_a_refusal_fits_into_a_header() -> None:
    page = Deepgram.refusal(Handshake.of("/v1/listen?encoding=%0d%0aX:+%c3%bc%00", []))
    assert page
    assert page.headers["dg-error"].isascii()
    assert page.headers["dg-error"].isprintable()


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({"Authorization": "Token sesame"}, "sesame"),
        ({"authorization": "token sesame"}, "sesame"),
        ({"Authorization": "Bearer sesame"}, "sesame"),
        ({"Authorization": "Basic " + base64.b64encode(b"user:sesame").decode()}, "sesame"),
        ({"Sec-WebSocket-Protocol": "token, sesame"}, "sesame"),
        ({"Sec-WebSocket-Protocol": "bearer, sesame"}, "sesame"),
        ({"Sec-WebSocket-Protocol": "token"}, None),
        ({"Sec-WebSocket-Protocol": "chat, superchat"}, None),
        ({}, None),
    ],
)
def test_tokens(headers: dict[str, str], token: str | None) -> None:
    assert Deepgram.credential(Handshake.of("/v1/listen", headers.items())) == token


def test_a_closing_gap_between_finals_is_none() -> None:
    """Times are whole milliseconds, so that the end of one slice is the beginning of the next to the digit."""
    client = line(*AUDIO, CLOSE)
    for one, two in pairwise(results(client, is_final=True)):
        assert round(one["start"] + one["duration"], 3) == two["start"]


async def test_over_sockets() -> None:
    async with serving() as server:
        url = f"ws://127.0.0.1:{server.port}"
        async with connect(url + target(LIVE), subprotocols=[Subprotocol("token"), Subprotocol("sesame")]) as websocket:
            assert websocket.subprotocol == "token"
            for audio in AUDIO:
                await websocket.send(audio)
            await websocket.send(json.dumps(CLOSE))
            told = [json.loads(message) async for message in websocket]
            assert websocket.close_code == 1000
        assert told[-1]["type"] == "Metadata"
        assert texts([m for m in told if m.get("is_final")]) == TEXTS
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url + "/v1/listen?encoding=g729"):
                pass
        assert refused.value.response.status_code == 400
        assert refused.value.response.headers["dg-error"].startswith("encoding is 'g729'; it must be")


async def test_a_container_and_each_of_its_channels_for_itself() -> None:
    """The bytes say what they are; the channels have results of their own, which tile the time line."""
    other = np.roll(DIALOGUE, 16_000)
    flac = written(np.stack([DIALOGUE, other], axis=1), 16_000, format="FLAC")
    async with serving() as server:
        url = f"ws://127.0.0.1:{server.port}" + target({"channels": "2", "multichannel": "true"})
        async with connect(url) as websocket:
            for at in range(0, len(flac), 8000):
                await websocket.send(flac[at : at + 8000])
            await websocket.send(json.dumps(CLOSE))
            told = [json.loads(message) async for message in websocket]
        assert websocket.close_code == 1000
    assert told[-1]["type"] == "Metadata" and told[-1]["channels"] == 2
    for index in (0, 1):
        slices = [each for each in told if each.get("is_final") and each["channel_index"] == [index, 2]]
        assert texts(slices) == TEXTS
        assert slices[0]["start"] == 0
        for one, two in pairwise(slices):
            assert two["start"] == pytest.approx(one["start"] + one["duration"], abs=1e-6)
        assert slices[-1]["start"] + slices[-1]["duration"] == pytest.approx(told[-1]["duration"], abs=1e-6)


def test_finalize_is_answered_for_each_channel() -> None:
    stereo = np.stack([DIALOGUE, np.zeros_like(DIALOGUE)], axis=1).tobytes()
    client = line(query={**LIVE, "channels": "2", "multichannel": "true"})
    client.send(*[stereo[at : at + 6400] for at in range(0, len(stereo) // 3, 6400)], FINALIZE)
    answers = results(client, from_finalize=True)
    assert [each["channel_index"] for each in answers] == [[0, 2], [1, 2]]
    client.send(CLOSE)
    assert client.messages[-1]["type"] == "Metadata"


def test_channels_are_mixed_unless_each_is_wanted() -> None:
    stereo = np.stack([DIALOGUE, DIALOGUE], axis=1).tobytes()
    client = line(
        *[stereo[at : at + 6400] for at in range(0, len(stereo), 6400)], CLOSE, query={**LIVE, "channels": "2"}
    )
    assert texts(results(client, is_final=True)) == TEXTS
    require_tiles(client)
