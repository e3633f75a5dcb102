"""OpenAI's Realtime transcription without sockets: what is said, in which order, and that no mistake ends a session."""

import base64
import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.events import Final, Partial
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.scripts import join
from earshot_asr.engine.sources import AudioSource
from earshot_asr.server.dialects.openai import MOST_AUDIO_BYTES, Realtime
from earshot_asr.server.dialects.openai_session import LOGPROBS
from earshot_asr.server.handshake import Handshake
from earshot_asr.server.notices import Progress
from earshot_asr.server.settings import Limits
from tests.helpers import Polyglot, finals, positions, run_session, silence, speak, utterances
from tests.server.dialects.line import Line
from tests.server.loopback import serving

Event = dict[str, Any]
PATH = "/v1/realtime"
RATE = 24_000
LIMITS = Limits()
DELTA, COMPLETED = (f"conversation.item.input_audio_transcription.{what}" for what in ("delta", "completed"))
BETA = {"openai-beta": "realtime=v1"}


def at_24_khz(pcm: Pcm) -> Pcm:
    """The same sound, as this protocol wants it."""
    samples = soxr.resample(pcm.astype(np.float32), 16_000, RATE, "HQ") if len(pcm) else pcm
    return np.clip(samples, -32768, 32767).astype(np.int16)


SPOKEN = [silence(0.2), speak("SO IT BEGINS"), silence(1.5), speak("AND ENDS"), silence(0.2)]
DIALOGUE = at_24_khz(np.concatenate(SPOKEN))
PAUSE = np.zeros(RATE, np.int16)


def append(pcm: Pcm | bytes, **more: Any) -> Event:
    data = pcm if isinstance(pcm, bytes) else pcm.tobytes()
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(data).decode(), **more}


def appends(pcm: Pcm, samples: int = 2400) -> list[Event]:
    return [append(pcm[at : at + samples]) for at in range(0, len(pcm), samples)]


def update(**fields: Any) -> Event:
    """As the newer generation asks for settings: `transcription`, `turn_detection`, `format` of the input."""
    session = {key: fields.pop(key) for key in ("type", "include") if key in fields}
    return {"type": "session.update", "session": {"type": "transcription", **session, "audio": {"input": fields}}}


def turns(detection: Event | None) -> Event:
    return update(turn_detection=detection)


COMMIT, CLEAR = {"type": "input_audio_buffer.commit"}, {"type": "input_audio_buffer.clear"}
MANUAL = turns(None)
WITH_LOGPROBS = update(include=[LOGPROBS])


class Session(Line):
    """A client of this protocol."""

    def __init__(self, target: str = f"{PATH}?intent=transcription", **more: Any) -> None:
        self.coming: list[ModelInfo] = []
        super().__init__(Realtime, target, **more)

    def prepare(self, config: StreamConfig) -> None:
        """The language is there when the test says so."""
        self.coming.append(self.recognizer.runner.speaking(config.language).info)

    def ask(self, *messages: Event | str | bytes) -> list[Event]:
        """Sends all of them; what is heard in answer."""
        before = len(self.heard)
        self.send(*messages)
        return [json.loads(message) for message in self.heard[before:]]

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.messages if event["type"] == kind]

    @property
    def transcripts(self) -> list[str]:
        return [event["transcript"] for event in self.of(COMPLETED)]


def kinds(events: Iterable[Event]) -> list[str]:
    """The types of events, deltas in a row counted once."""
    listed = [event["type"].removeprefix("input_audio_buffer.") for event in events]
    return [kind for before, kind in pairwise(["", *listed]) if kind != before or kind != DELTA]


def expected(pieces: Sequence[bytes], encoding: str = "pcm_s16le", rate: int = RATE, **config: Any) -> list[Final]:
    """The finals of a stream that is flushed after each of the pieces but the last."""
    source = AudioSource(encoding, rate)
    heard = [np.concatenate([source.feed(piece), source.flush()]) for piece in pieces]
    ends = np.cumsum([len(pcm) for pcm in heard]).tolist()
    settings = StreamConfig.preset("balanced", commit="hop", **config)
    return finals(run_session(np.concatenate(heard), settings, flushes=ends))


def told(session: Session) -> dict[str, str]:
    """The deltas of each item, one after the other."""
    items: dict[str, str] = {}
    for event in session.of(DELTA):
        items[event["item_id"]] = items.get(event["item_id"], "") + event["delta"]
    return items


ITEM = ["committed", "conversation.item.added", "conversation.item.done", COMPLETED]
TURN = ["speech_started", DELTA, "speech_stopped", *ITEM]


# ---- turns


def test_a_turn_from_beginning_to_end() -> None:
    session = Session()
    assert kinds(session.messages) == ["session.created"]
    session.send(*appends(DIALOGUE), *appends(PAUSE))
    assert kinds(session.messages[1:]) == TURN * 2
    assert session.transcripts == ["SO IT BEGINS", "AND ENDS"]
    started, stopped = session.of("input_audio_buffer.speech_started"), session.of("input_audio_buffer.speech_stopped")
    committed = session.of("input_audio_buffer.committed")
    names = [event["item_id"] for event in started]
    assert names == [e["item_id"] for e in stopped] == [e["item_id"] for e in committed] == [*told(session)]
    assert [event["previous_item_id"] for event in committed] == [None, names[0]]
    for begin, end, final in zip(started, stopped, expected([DIALOGUE.tobytes() + PAUSE.tobytes()]), strict=True):
        assert begin["audio_start_ms"] == final.segment // 16
        assert begin["audio_start_ms"] / 1000 <= final.start < final.end <= end["audio_end_ms"] / 1000
    assert [event["usage"]["type"] for event in session.of(COMPLETED)] == ["duration"] * 2
    item = session.of("conversation.item.done")[0]["item"]
    assert (item["id"], item["object"], item["role"]) == (names[0], "realtime.item", "user")


def test_text_comes_while_somebody_speaks() -> None:
    session = Session()
    session.send(*appends(at_24_khz(speak("ONE AND TWO AND THREE AND FOUR AND FIVE AND SIX", blocks=4))))
    assert len(session.of(DELTA)) > 1
    assert not session.transcripts


def test_without_turn_detection_a_commit_ends_an_item() -> None:
    session = Session()
    session.send(MANUAL, *appends(DIALOGUE), *appends(PAUSE))
    assert kinds(session.messages[2:]) == [DELTA]
    assert kinds(session.ask(COMMIT)) == ITEM
    session.send(*appends(DIALOGUE), *appends(PAUSE))
    assert kinds(session.ask(COMMIT)) == ITEM
    assert session.transcripts == ["SO IT BEGINS AND ENDS"] * 2
    assert [*told(session).values()] == session.transcripts
    seconds = (len(DIALOGUE) + len(PAUSE)) / RATE
    assert [e["usage"]["seconds"] for e in session.of(COMPLETED)] == pytest.approx([seconds] * 2, abs=0.06)


def test_a_commit_loses_no_word() -> None:
    """What the resampler holds back is of the item, too: here the last letter."""
    for encoding, rate, code in (("audio/pcm", RATE, "pcm_s16le"), ("audio/pcmu", 8000, "mulaw")):
        tail = (at_24_khz if rate == RATE else in_mulaw)(speak("SO IT IS"))
        data = tail.tobytes()
        session = Session()
        session.send(update(format={"type": encoding}, turn_detection=None), append(data), COMMIT)
        (final,) = expected([data], code, rate)
        assert session.transcripts == [final.text]
        assert not session.ask(append(b"\xff" * 8000 if code == "mulaw" else bytes(48_000)), COMMIT)[-1]["transcript"]


def test_a_commit_while_turns_are_detected() -> None:
    session = Session()
    heard = session.ask(append(DIALOGUE), COMMIT)
    assert kinds(heard) == [*TURN, "speech_started", DELTA, *ITEM]
    assert session.transcripts == ["SO IT BEGINS", "AND ENDS"]
    assert session.ask(COMMIT)[0]["error"]["code"] == "input_audio_buffer_commit_empty"


def test_silence_is_an_item_without_text() -> None:
    session = Session()
    session.send(MANUAL)
    assert kinds(session.ask(append(PAUSE), COMMIT)) == ITEM
    assert session.transcripts == [""]


def test_what_seemed_to_be_speech_ends_without_text() -> None:
    """The engine takes back a partial: who was told that somebody speaks is told that it is over."""
    session = Session()
    session.send(append(PAUSE))
    before = len(session.messages)
    for notice in (
        Partial(3200, 0.2, 1.0, "UH", 0, ()),
        Partial(3200, 0.2, 1.5, "", 0, ()),
        Progress(16_000, 3200, 3200),
    ):
        session.conversation.outbox.put(notice)
    session.listen()
    assert kinds(session.messages[before:]) == ["speech_started"]
    session.conversation.outbox.put(Progress(24_000, 16_000, 16_000))
    session.listen()
    assert kinds(session.messages[before:]) == ["speech_started", "speech_stopped", *ITEM]
    assert session.transcripts == [""]


def test_cleared_audio_becomes_no_item() -> None:
    session = Session()
    assert kinds(session.ask(CLEAR)) == ["cleared"]
    session.send(MANUAL, append(DIALOGUE))
    assert kinds(session.ask(CLEAR)) == ["cleared"]
    assert session.ask(COMMIT)[0]["error"]["code"] == "input_audio_buffer_commit_empty"
    session.send(append(at_24_khz(speak("OTHER"))), COMMIT)
    assert len(session.transcripts) == 1
    assert "OTHER" in session.transcripts[0]
    assert "BEGINS" not in session.transcripts[0]
    assert told(session)[session.of(COMPLETED)[0]["item_id"]] == session.transcripts[0]


def test_turns_end_after_the_silence_that_was_asked_for() -> None:
    speech = at_24_khz(np.concatenate([speak("SO IT BEGINS"), silence(0.8), speak("AND ENDS"), silence(3)]))
    asked: list[tuple[Event, int]] = [
        ({"type": "server_vad", "silence_duration_ms": 300}, 2),
        ({"type": "server_vad", "silence_duration_ms": 1500}, 1),
        ({"type": "semantic_vad", "eagerness": "high"}, 2),
        ({"type": "semantic_vad", "eagerness": "low"}, 1),
    ]
    for detection, count in asked:
        session = Session()
        session.send(turns(detection), *appends(speech))
        assert len(session.transcripts) == count, detection


def in_mulaw(pcm: Pcm) -> npt.NDArray[np.uint8]:
    """16 kHz -> mu-law at 8 kHz."""
    table = AudioSource("mulaw").feed(bytes(range(256))).astype(np.int32)
    low = soxr.resample(pcm.astype(np.float32), 16_000, 8000, "HQ")
    codes: npt.NDArray[np.uint8] = np.abs(table[None, :] - low[:, None]).argmin(axis=1).astype(np.uint8)
    return codes


@pytest.mark.parametrize(("format", "encoding"), [("audio/pcmu", "mulaw"), ("audio/pcma", "alaw")])
def test_telephone_audio(format: str, encoding: str) -> None:
    rng = np.random.default_rng(1)
    data = rng.integers(0, 256, 24_000).astype(np.uint8).tobytes() + bytes([0xD5]) * 8000
    session = Session()
    session.send(update(format={"type": format}, turn_detection=None), append(data), COMMIT)
    assert session.transcripts == [join(final.text for final in expected([data], encoding, 8000))]
    assert session.transcripts[0]


@st.composite
def sessions(draw: st.DrawFn) -> tuple[list[Pcm], bool, bool]:
    """Audio cut by commits, whether turns are detected, and whether log probabilities are wanted."""
    pcm = at_24_khz(draw(utterances()))
    edges = [0, *draw(positions(pcm, 3)), len(pcm)]
    return [pcm[a:b] for a, b in pairwise(edges)], draw(st.booleans()), draw(st.booleans())


@given(sessions(), st.integers(200, 60_000))
def test_deltas_make_what_is_completed(spoken: tuple[list[Pcm], bool, bool], samples: int) -> None:
    pieces, detected, with_logprobs = spoken
    session = Session()
    session.send(*([] if detected else [MANUAL]), *([WITH_LOGPROBS] if with_logprobs else []))
    committed: list[bytes] = [b""]
    for piece in pieces:
        session.send(*appends(piece, samples))
        committed[-1] += piece.tobytes()
        if "error" not in kinds(session.ask(COMMIT)):
            committed.append(b"")
    completed = {event["item_id"]: event for event in session.of(COMPLETED)}
    for name, deltas in told(session).items():
        if name in completed:
            assert completed[name]["transcript"] == deltas
            tokens = [each["token"] for each in completed[name].get("logprobs", [])]
            assert "".join(tokens) == (deltas if with_logprobs else "")
    spoken_text = join(final.text for final in expected(committed))
    assert (
        join([*session.transcripts, *(text for name, text in told(session).items() if name not in completed)])[
            : len(join(session.transcripts))
        ]
        == spoken_text[: len(join(session.transcripts))]
    )
    names = [event["item_id"] for event in session.of("input_audio_buffer.committed")]
    assert [e["previous_item_id"] for e in session.of("input_audio_buffer.committed")] == [None, *names][: len(names)]
    assert len({event["event_id"] for event in session.messages}) == len(session.messages)


# ---- settings


@pytest.mark.parametrize(
    ("asked", "path", "value"),
    [
        (update(format={"type": "audio/pcmu"}), "format", {"type": "audio/pcmu"}),
        (update(format={"type": "audio/pcm", "rate": 24000}), "format", {"type": "audio/pcm", "rate": 24000}),
        (MANUAL, "turn_detection", None),
        (
            turns({"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}),
            "turn_detection",
            {"type": "server_vad", "prefix_padding_ms": 320, "silence_duration_ms": 500},
        ),
        (
            turns({"type": "semantic_vad"}),
            "turn_detection",
            {"type": "semantic_vad", "eagerness": "auto", "silence_duration_ms": 1000},
        ),
        (update(noise_reduction={"type": "near_field"}), "noise_reduction", None),
        (
            update(transcription={"model": "gpt-4o-transcribe", "language": "de", "prompt": "Ada Lovelace, Jira"}),
            "transcription",
            {"model": "fake", "language": "deu", "prompt": "Ada Lovelace, Jira", "keywords": ["Ada Lovelace", "Jira"]},
        ),
        (
            update(transcription={"languages": ["es", "fr"], "keywords": ["Ada"], "delay": "low"}),
            "transcription",
            {"model": "fake", "language": "fra", "prompt": None, "keywords": ["Ada"]},
        ),
    ],
)
def test_an_update_tells_what_is_in_effect(asked: Event, path: str, value: object) -> None:
    (answer,) = Session(runner=Polyglot()).ask(asked)
    assert answer["type"] == "session.updated"
    assert answer["session"]["audio"]["input"][path] == value


def test_an_update_changes_only_what_it_names() -> None:
    session = Session()
    session.send(update(format={"type": "audio/pcma"}, include=[LOGPROBS]), MANUAL)
    (answer,) = session.ask(update(transcription={"keywords": ["Ada"]}))
    told = answer["session"]["audio"]["input"]
    assert (told["format"], told["turn_detection"]) == ({"type": "audio/pcma"}, None)
    assert answer["session"]["include"] == [LOGPROBS]


TRANSCRIPTION = "session.audio.input.transcription"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        (update(type="realtime"), "session.type"),
        (update(format={"type": "audio/opus"}), "session.audio.input.format.type"),
        (update(format={"type": "audio/pcm", "rate": 16000}), "session.audio.input.format.rate"),
        (update(transcription={"language": "xx-none"}), f"{TRANSCRIPTION}.language"),
        (update(transcription={"languages": ["es", "xx-none"]}), f"{TRANSCRIPTION}.languages"),
        (update(transcription={"keywords": ["x" * 101]}), f"{TRANSCRIPTION}.keywords"),
        (update(transcription={"keywords": [""]}), f"{TRANSCRIPTION}.keywords"),
        (update(transcription={"prompt": "Two people talk about the weather at sea."}), f"{TRANSCRIPTION}.prompt"),
        (update(transcription=None), TRANSCRIPTION),
        (
            turns({"type": "server_vad", "silence_duration_ms": 99}),
            "session.audio.input.turn_detection.silence_duration_ms",
        ),
        (
            turns({"type": "server_vad", "silence_duration_ms": "1"}),
            "session.audio.input.turn_detection.silence_duration_ms",
        ),
        (turns({"type": "other_vad"}), "session.audio.input.turn_detection.type"),
        (turns({"type": "semantic_vad", "eagerness": "very"}), "session.audio.input.turn_detection.eagerness"),
        (update(include=["everything"]), "session.include"),
    ],
)
def test_what_is_not_possible_is_refused_and_changes_nothing(asked: Event, param: str) -> None:
    session = Session(runner=Polyglot())
    before = session.ask(update())[0]["session"]
    (answer,) = session.ask(asked | {"event_id": "mine"})
    assert answer["type"] == "error"
    assert answer["error"]["type"] == "invalid_request_error"
    assert (answer["error"]["param"], answer["error"]["event_id"]) == (param, "mine")
    assert session.ask(update())[0]["session"] == before
    session.send(append(DIALOGUE), append(PAUSE))
    assert session.transcripts == ["SO IT BEGINS", "AND ENDS"]


def test_updates_after_audio() -> None:
    session = Session()
    session.send(append(DIALOGUE[:RATE]))
    same = {"format": {"type": "audio/pcm", "rate": 24000}, "transcription": {"model": "whisper-1"}}
    assert kinds(session.ask(update(**same), WITH_LOGPROBS, MANUAL)) == ["session.updated"] * 3
    for refused in (
        update(format={"type": "audio/pcmu"}),
        update(transcription={"keywords": ["ADA"]}),
        turns({"type": "server_vad", "silence_duration_ms": 200}),
    ):
        (answer,) = session.ask(refused)
        assert answer["error"]["code"] == "session_not_updatable"
    session.send(append(DIALOGUE[RATE:]), append(PAUSE), COMMIT)
    assert session.transcripts == ["SO IT BEGINS AND ENDS"]
    assert session.of(COMPLETED)[0]["logprobs"]


def test_log_probabilities_are_those_of_the_words() -> None:
    session = Session()
    session.send(WITH_LOGPROBS, append(DIALOGUE), append(PAUSE))
    for event, final in zip(session.of(COMPLETED), expected([DIALOGUE.tobytes() + PAUSE.tobytes()]), strict=True):
        assert [each["token"].strip() for each in event["logprobs"]] == [word.text for word in final.words]
        assert np.exp([each["logprob"] for each in event["logprobs"]]) == pytest.approx(
            [word.confidence for word in final.words], abs=1e-3
        )
        assert all(bytes(each["bytes"]).decode() == each["token"] for each in event["logprobs"])
    assert all(event["logprobs"] for event in session.of(DELTA))
    session.send(MANUAL, append(DIALOGUE), append(PAUSE), COMMIT)
    tokens = [each["token"] for each in session.of(COMPLETED)[-1]["logprobs"]]
    assert tokens == ["SO", " IT", " BEGINS", " AND", " ENDS"]


def test_audio_waits_for_its_language() -> None:
    """The first audio opens the stream, and is part of it."""
    session = Session(runner=Polyglot())
    assert kinds(session.ask(update(transcription={"language": "fr"}), append(DIALOGUE))) == ["session.updated"]
    assert session.conversation.blocked
    (spoken,) = session.coming
    assert spoken.language == "fra"
    session.conversation.speak(spoken)
    session.compute()
    assert session.transcripts[0] == "tp ju cfhjot"  # as the fake model has it: each letter is the next one
    session.send(append(PAUSE))
    assert len(session.transcripts) == 2


# ---- the beta


@pytest.mark.parametrize("headers", [BETA, {"sec-websocket-protocol": "realtime, openai-beta.realtime-v1"}])
def test_the_beta(headers: dict[str, str]) -> None:
    session = Session(headers=headers)
    assert kinds(session.messages) == ["transcription_session.created"]
    asked = {
        "input_audio_format": "g711_ulaw",
        "input_audio_transcription": {"model": "gpt-4o-transcribe", "prompt": "", "language": None},
        "turn_detection": {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 600},
        "input_audio_noise_reduction": {"type": "near_field"},
        "include": [LOGPROBS],
    }
    (answer,) = session.ask({"type": "transcription_session.update", "session": asked})
    assert answer["type"] == "transcription_session.updated"
    told = answer["session"]
    assert (told["input_audio_format"], told["include"]) == ("g711_ulaw", [LOGPROBS])
    assert told["turn_detection"]["silence_duration_ms"] == 600
    assert told["input_audio_noise_reduction"] is None


def test_the_beta_is_known_by_its_update_too() -> None:
    session = Session()
    session.send({"type": "transcription_session.update", "session": {"turn_detection": None}})
    heard = session.ask(append(DIALOGUE), COMMIT)
    assert kinds(heard) == [DELTA, "committed", "conversation.item.created", COMPLETED]
    assert heard[-2]["item"]["id"] == heard[-1]["item_id"]


# ---- mistakes


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("{", "invalid_json", None),
        ("", "invalid_json", None),
        ('{"type":"session.update","session":{"x":' + "[" * 100_000, "invalid_json", None),
        ("[]", "invalid_value", None),
        ("null", "invalid_value", None),
        ("\ud800", "invalid_json", None),
        ({}, "invalid_value", None),
        ({"type": "response.create"}, "invalid_value", "type"),
        ({"type": "conversation.item.create", "item": {}}, "invalid_value", "type"),
        ({"type": 7}, "invalid_value", "type"),
        ({"type": "input_audio_buffer.append"}, "invalid_value", None),
        ({"type": "input_audio_buffer.append", "audio": "@@@@"}, "invalid_value", "audio"),
        ({"type": "input_audio_buffer.append", "audio": "YQ"}, "invalid_value", "audio"),
        ({"type": "input_audio_buffer.append", "audio": [1]}, "invalid_value", "audio"),
        (append(bytes(MOST_AUDIO_BYTES + 2)), "invalid_value", "audio"),
        ({"type": "session.update"}, "invalid_value", None),
        ({"type": "session.update", "session": 5}, "invalid_value", "session"),
        (b"\0\0", "invalid_message", None),
        (COMMIT, "input_audio_buffer_commit_empty", None),
    ],
)
def test_a_mistake_is_answered_and_the_session_goes_on(message: Any, code: str, param: str | None) -> None:
    session = Session()
    (answer,) = session.ask(message)
    assert answer["type"] == "error"
    assert (answer["error"]["code"], answer["error"]["param"]) == (code, param)
    assert 10 < len(answer["error"]["message"]) < 400
    session.send(append(DIALOGUE[:RATE]), message if message != COMMIT else MANUAL, append(DIALOGUE[RATE:]), COMMIT)
    assert "".join(session.transcripts) in {"SO IT BEGINSAND ENDS", "SO IT BEGINS AND ENDS"}


def test_a_message_is_named_in_the_error() -> None:
    session = Session()
    (answer,) = session.ask({"type": "response.create", "event_id": "e7"})
    assert answer["error"]["event_id"] == "e7"
    assert "'response.create'" in answer["error"]["message"]


def test_another_protocol_at_this_path_is_refused() -> None:
    """vLLM's: no `session` in its update, and audio of 16 kHz."""
    session = Session()
    (answer,) = session.ask({"type": "session.update", "model": "mistralai/Voxtral"})
    assert "vLLM" in answer["error"]["message"]
    assert session.dialect.close == (1008, "invalid_message")


def test_what_the_server_can_not_do_ends_the_session_with_an_error() -> None:
    session = Session()
    session.send(append(DIALOGUE))
    session.conversation.shut_down()
    session.listen()
    assert session.messages[-1]["error"]["type"] == "server_error"
    assert session.messages[-1]["error"]["code"] == "shutting_down"
    assert session.dialect.close == (1012, "shutting_down")


def test_a_client_may_keep_silent() -> None:
    """There is no keepalive: who pushes to talk says nothing for minutes."""
    session = Session()
    for message in (WITH_LOGPROBS, append(DIALOGUE)):
        session.send(message)
        session.tick(int(LIMITS.silent_seconds) - 1)
        assert not session.conversation.ended
    session.tick()
    assert session.messages[-1]["error"]["code"] == "idle"


# ---- the handshake, and a socket


def test_the_key_comes_in_a_header_or_from_a_browser() -> None:
    offered = "realtime, openai-insecure-api-key.sesame, openai-beta.realtime-v1"
    browser = Handshake(PATH, headers={"sec-websocket-protocol": offered})
    assert Realtime.credential(browser) == "sesame"
    assert Realtime.subprotocol(browser) == "realtime"
    program = Handshake(PATH, headers={"authorization": "Bearer sesame"})
    assert Realtime.credential(program) == "sesame"
    assert Realtime.subprotocol(program) is None


async def test_over_a_socket_in_one_large_message() -> None:
    async with serving() as server:
        url = f"ws://127.0.0.1:{server.port}{PATH}?intent=transcription"
        async with connect(url, compression=None, proxy=None, subprotocols=["realtime"]) as websocket:  # type: ignore[list-item]
            assert websocket.subprotocol == "realtime"
            padded = np.concatenate([DIALOGUE, *[PAUSE] * 20])
            for message in (MANUAL, append(padded), COMMIT):
                await websocket.send(json.dumps(message))
            heard: list[Event] = []
            while not heard or heard[-1]["type"] != COMPLETED:
                heard.append(json.loads(await websocket.recv()))
            assert heard[-1]["transcript"] == "SO IT BEGINS AND ENDS"
