"""Twilio's media streams, as Twilio documents them: what is sent back, and what becomes of who hangs up."""

import asyncio
import base64
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.sources import AudioSource
from earshot_asr.server import wire
from earshot_asr.server.app import Server
from earshot_asr.server.dialects.twilio import Twilio
from earshot_asr.server.logs import FIELDS
from earshot_asr.server.settings import Limits, ServerConfig
from tests.helpers import FakeRunner, Polyglot, finals, run_session, silence, speak
from tests.server.dialects.line import Line, wav_header
from tests.server.loopback import GIVE_UP_SECONDS, serving, until

CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
STOP = {"event": "stop", "sequenceNumber": "9", "stop": {"accountSid": "AC1", "callSid": "CA1"}, "streamSid": "MZ1"}
DTMF = {"event": "dtmf", "streamSid": "MZ1", "sequenceNumber": "5", "dtmf": {"track": "inbound_track", "digit": "1"}}
MARK = {"event": "mark", "sequenceNumber": "4", "streamSid": "MZ1", "mark": {"name": "a label"}}
MULAW = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
TABLE = AudioSource("mulaw").feed(bytes(range(256)))
DIALOGUE = np.concatenate([silence(0.2), speak("SO IT BEGINS"), silence(1.5), speak("AND ENDS"), silence(0.2)])


def mulaw(pcm: Pcm) -> bytes:
    """16 kHz -> 8 kHz and one byte a sample. Square waves of 1 kHz survive that."""
    halved = pcm[::2].astype(np.int32)
    codes = np.abs(TABLE.astype(np.int32)[None, :] - halved[:, None]).argmin(axis=1)
    return bytes(codes.tolist())


CODES = mulaw(DIALOGUE)


def start(media_format: dict[str, Any] = MULAW, **parameters: str) -> dict[str, Any]:
    about = {"accountSid": "AC1", "streamSid": "MZ1", "callSid": "CA1", "tracks": ["inbound"]}
    more = {"mediaFormat": media_format, "customParameters": {"FirstName": "Jane", **parameters}}
    return {"event": "start", "sequenceNumber": "1", "start": {**about, **more}, "streamSid": "MZ1"}


def media(codes: bytes, track: str = "inbound") -> list[dict[str, Any]]:
    """20 ms a message, as Twilio sends them."""
    messages = []
    for chunk, at in enumerate(range(0, len(codes), 160), start=1):
        payload = base64.b64encode(codes[at : at + 160]).decode()
        about = {"track": track, "chunk": str(chunk), "timestamp": str(at // 8), "payload": payload}
        messages.append({"event": "media", "sequenceNumber": str(chunk + 1), "media": about, "streamSid": "MZ1"})
    return messages


MEDIA = media(CODES)


def line(*messages: str | bytes | dict[str, Any], **settings: Any) -> Line:
    line = Line(Twilio, "/v1/twilio", **settings)
    line.send(*messages)
    return line


def heard_by_the_engine(codes: bytes, rate: int = 8000) -> list[str]:
    source = AudioSource("mulaw", rate)
    pcm = np.concatenate([source.feed(codes), source.finish()])
    return [final.text for final in finals(run_session(pcm, StreamConfig.preset("balanced")))]


TEXTS = heard_by_the_engine(CODES)


def transcripts(client: Line, *, final: bool = True) -> list[str]:
    told = [message["transcript"] for message in client.messages if message["event"] == "transcript"]
    return [each["text"] for each in told if each["final"] == final]


def test_twilio_is_sent_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It would report a message that it does not know as an error. The log names the call."""
    caplog.set_level(logging.INFO)
    client = line(CONNECTED, start(), *MEDIA, MARK, DTMF, STOP)
    assert client.heard == []
    assert client.dialect.close == (1000, "")
    assert client.conversation.finals == len(TEXTS) == 2
    (call,) = [getattr(record, FIELDS) for record in caplog.records if record.message == "call"]
    assert call == {"session": "5e551on", "call": "CA1", "stream": "MZ1", "track": "inbound"}


def test_text_goes_into_the_log_if_that_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = line()
    client.conversation._log_text = True
    client.send(CONNECTED, start(), *MEDIA, STOP)
    assert [getattr(r, FIELDS)["text"] for r in caplog.records if r.message == "final"] == TEXTS


def test_a_program_between_may_have_the_text() -> None:
    client = line(CONNECTED, start(transcripts="final"), *MEDIA, STOP)
    assert transcripts(client) == TEXTS
    assert transcripts(client, final=False) == []
    assert {message["streamSid"] for message in client.messages} == {"MZ1"}
    first = client.messages[0]["transcript"]
    assert set(first) == {"track", "start", "end", "text", "final", "confidence"}
    client = line(CONNECTED, start(transcripts="all"), *MEDIA, STOP)
    assert transcripts(client) == TEXTS
    assert TEXTS[0] in transcripts(client, final=False)


def test_without_text_on_the_socket_partials_are_not_computed() -> None:
    runner = FakeRunner()
    line(start(), *MEDIA, STOP, runner=runner)
    assert runner.windows < 6


def test_one_track_is_heard() -> None:
    """Where both come, it is the caller's unless a parameter says otherwise."""
    other = media(mulaw(speak("NO " * 20)), "outbound")
    both = [message for pair in zip(MEDIA, other * 5, strict=False) for message in pair]
    client = line(start(transcripts="final"), *both, *MEDIA[len(other) * 5 :], STOP)
    assert transcripts(client) == TEXTS
    turned = [{**message, "media": {**message["media"], "track": "outbound"}} for message in MEDIA]
    client = line(start(transcripts="final", track="outbound"), *turned, *MEDIA, STOP)
    assert transcripts(client) == TEXTS


@pytest.mark.parametrize(
    ("media_format", "data"),
    [
        ({"encoding": "audio/x-l16", "sampleRate": 16000, "channels": 1}, DIALOGUE.astype("<i2").tobytes()),
        ({"encoding": "audio/x-mulaw"}, CODES),
        ({}, CODES),
    ],
)
def test_formats(media_format: dict[str, Any], data: bytes) -> None:
    client = line(start(media_format, transcripts="final"), *media(data), STOP)
    assert len(transcripts(client)) == 2


def test_language_and_hotwords() -> None:
    client = line(start(language="fr", hotwords="Ada, Lovelace"), runner=Polyglot())
    assert client.conversation.stream
    assert client.dialect.close is None
    client = line(start(language="tlh"), runner=Polyglot())
    assert client.dialect.close
    assert client.dialect.close[0] == 1008


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        (["hello"], "can't understand 'hello'; it is no message of a media stream"),
        ([{"type": "start"}], "can't understand "),
        ([{"event": "start"}], "can't understand "),
        ([{"event": "media", "media": {}}], "can't understand "),
        (["[" * 50_000], "can't understand "),
        ([b"\x7f"], "a binary message; audio comes in media messages here, as base64"),
        (MEDIA[:1], "media came before start"),
        (
            [start({"encoding": "audio/mp3"})],
            "mediaFormat must be one of audio/x-mulaw, audio/x-alaw, audio/x-l16, ",
        ),
        ([start({"channels": 2})], "mediaFormat must be one of "),
        ([start({"sampleRate": 1})], "start is not understood: Expected `int` >= 8000"),
        ([start(track="both")], "start is not understood: Invalid enum value 'both'"),
        ([start(transcripts="yes")], "start is not understood: Invalid enum value 'yes'"),
        ([start(hotwords="x" * 101)], "the hotword "),
        ([start(), {"event": "media", "media": {"payload": "?"}}], "the payload of a media message is not base64"),
        ([start(), start()], "the stream was started already"),
    ],
)
def test_what_is_not_understood_ends_the_connection_with_a_sentence(messages: list[Any], why: str) -> None:
    client = line(*messages)
    assert client.heard == []
    assert client.dialect.close
    code, reason = client.dialect.close
    assert code == 1008
    assert reason.startswith(why)


def test_an_error_is_told_to_who_can_read_it() -> None:
    client = line(start(transcripts="all"), *MEDIA[:40], "nonsense")
    assert transcripts(client)[0].startswith("SO IT")
    assert client.messages[-1]["event"] == "error"
    assert client.messages[-1]["error"]["code"] == "invalid_message"


def test_what_is_wrong_with_the_audio_is_told_too() -> None:
    asked = start({"encoding": "audio/x-l16", "sampleRate": 16000}, transcripts="final")
    client = line(asked, *media(wav_header() + DIALOGUE.tobytes()), STOP)
    (warning,) = [message["warning"] for message in client.messages if message["event"] == "warning"]
    assert "header" in warning["message"]
    assert transcripts(client, final=False) == []


def test_what_comes_after_the_end_is_ignored() -> None:
    client = line(start(transcripts="final"))
    client.send(*MEDIA, STOP, MEDIA[0], STOP, MARK, compute=False)
    client.compute()
    assert transcripts(client) == TEXTS
    assert client.dialect.close == (1000, "")


def test_who_hangs_up_has_said_something() -> None:
    client = line(CONNECTED, start(transcripts="final"), *MEDIA)
    assert transcripts(client) == TEXTS[:1]
    assert client.dialect.client_gone()
    client.conversation.update()
    client.compute()
    assert transcripts(client) == TEXTS
    assert not line(CONNECTED).dialect.client_gone()


class Calls:
    """A server that wants a token, and a telephone."""

    def __init__(self, folder: Path) -> None:
        (folder / "tokens").write_text("sesame-sesame-sesame anna - -\n")
        (folder / "tokens").chmod(0o600)
        limits = Limits(per_address=0)
        config = ServerConfig(port=0, token_file=str(folder / "tokens"), log_text=True, limits=limits)
        self.server = Server(config, [FakeRunner])

    async def call(self, *messages: dict[str, Any], hang_up: bool = False) -> int | None:
        """Hangs up as soon as all is sent, or waits until the server does; the close code."""
        async with connect(f"ws://127.0.0.1:{self.server.port}/v1/twilio", proxy=None) as websocket:
            for message in messages:
                await websocket.send(json.dumps(message))
            if not hang_up:
                await asyncio.wait_for(websocket.wait_closed(), GIVE_UP_SECONDS)
        return websocket.close_code


@pytest.mark.parametrize("end", [[STOP], []])
async def test_a_call(tmp_path: Path, caplog: pytest.LogCaptureFixture, end: list[dict[str, Any]]) -> None:
    """Twilio closes the connection with `stop`, or a line breaks: the last words are in the log all the same."""
    caplog.set_level(logging.INFO)
    calls = Calls(tmp_path)
    async with calls.server:
        await calls.call(CONNECTED, start(token="sesame-sesame-sesame"), *MEDIA, *end, hang_up=True)
        await until(lambda: not calls.server.connections)
        assert [getattr(r, FIELDS)["text"] for r in caplog.records if r.message == "final"] == TEXTS
        assert await calls.call(CONNECTED, start(token="wrong")) == 1008
        assert await calls.call(CONNECTED, start()) == 1008


async def test_a_second_start_changes_no_account(tmp_path: Path) -> None:
    calls = Calls(tmp_path)
    with (tmp_path / "tokens").open("a") as file:
        file.write("open-sesame-open-sesame bob - -\n")
    async with calls.server:
        calls.server.reload()
        tokens = "sesame-sesame-sesame", "open-sesame-open-sesame"
        assert await calls.call(CONNECTED, *(start(token=token) for token in tokens)) == 1008
        await until(lambda: not calls.server.connections)
        assert not calls.server.accounts._open


async def test_a_call_is_watched() -> None:
    """Text and partials, though the telephone is told nothing; the last words, too."""
    async with serving(limits=Limits(streams=8)) as server:
        base = f"ws://127.0.0.1:{server.port}"
        async with connect(f"{base}{wire.WATCH_PATH}desk", proxy=None) as viewer:
            async with connect(f"{base}/v1/twilio", proxy=None) as call:
                for message in (CONNECTED, start(publish="desk"), *MEDIA):
                    await call.send(json.dumps(message))
            told: list[wire.ServerMessage] = []
            async with asyncio.timeout(GIVE_UP_SECONDS):
                while sum(isinstance(message, wire.FinalMessage) for message in told) < len(TEXTS):
                    told.append(wire.decode_server(await viewer.recv()))
    assert [message.text for message in told if isinstance(message, wire.FinalMessage)] == TEXTS
    assert any(isinstance(message, wire.PartialMessage) for message in told)
