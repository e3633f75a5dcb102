"""The REST API over real sockets: forms in, transcripts out, and OpenAI's errors."""

import asyncio
import io
import json
import logging
import math
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import soundfile

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.captions import writer
from earshot_asr.engine.casing import Casing
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.events import Final
from earshot_asr.engine.scripts import join
from earshot_asr.server import wire
from earshot_asr.server.app import Server
from earshot_asr.server.logs import FIELDS
from earshot_asr.server.rest import job, visitor
from earshot_asr.server.rest.api import TRANSCRIPTIONS
from earshot_asr.server.settings import Limits
from tests.helpers import INFO, FakeRunner, Polyglot, finals, run_session, silence, speak
from tests.server.loopback import GIVE_UP_SECONDS, connected, dictate, serving, until

DIALOGUE = np.concatenate([silence(0.2), speak("SO IT BEGINS"), silence(1.5), speak("AND ENDS"), silence(0.5)])


def wav(pcm: Pcm) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, 16_000, format="WAV")
    return buffer.getvalue()


RECORDING = wav(DIALOGUE)


def expected(pcm: Pcm = DIALOGUE) -> list[Final]:
    return finals(run_session(pcm, StreamConfig.preset("balanced", partials=False)))


def base(server: Server) -> str:
    return f"http://127.0.0.1:{server.ports['rest_port']}"


async def post(
    server: Server, file: Any = RECORDING, headers: dict[str, str] | None = None, **fields: Any
) -> tuple[int, str]:
    """Status and body. A field of several values is a list."""
    form = aiohttp.FormData()
    if file is not None:
        form.add_field("file", file, filename="talk.wav", content_type="audio/wav")
    for name, value in fields.items():
        for each in value if isinstance(value, list) else [value]:
            form.add_field(f"{name}[]" if isinstance(value, list) else name, each)
    async with (
        asyncio.timeout(GIVE_UP_SECONDS),
        aiohttp.ClientSession(headers=headers) as session,
        session.post(base(server) + TRANSCRIPTIONS, data=form) as response,
    ):
        return response.status, await response.text()


async def error(server: Server, *arguments: Any, **fields: Any) -> tuple[int, dict[str, Any]]:
    status, body = await post(server, *arguments, **fields)
    (said,) = json.loads(body).values()
    assert set(said) == {"message", "type", "param", "code"}
    assert 10 < len(said["message"]) < 400
    return status, said


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(rest_port=0) as server:
        yield server


# ---- formats


async def test_json(server: Server) -> None:
    status, body = await post(server, model="whisper-1", include=["logprobs"])
    answer = json.loads(body)
    assert status == 200
    assert answer["text"] == join(final.text for final in expected()) == "SO IT BEGINS AND ENDS"
    assert "".join(each["token"] for each in answer["logprobs"]) == answer["text"]
    assert answer["usage"] == {"type": "duration", "seconds": math.ceil(len(DIALOGUE) / 16_000)}
    assert set(answer) == {"text", "logprobs", "usage"}


@pytest.mark.parametrize("format", ["text", "srt", "vtt"])
async def test_plain_formats_are_those_of_the_command_line(server: Server, format: str) -> None:
    captions = writer(format)
    shown = "".join([*map(captions.feed, map(Casing().final, expected())), captions.finish(len(DIALOGUE) / 16_000)])
    status, body = await post(server, response_format=format)
    assert (status, body) == (200, "SO IT BEGINS AND ENDS\n" if format == "text" else shown)


async def test_verbose_json_has_words_and_segments(server: Server) -> None:
    _, body = await post(server, response_format="verbose_json", timestamp_granularities=["word", "segment"])
    answer = json.loads(body)
    said = expected()
    assert answer["words"] == [
        {"word": word.text, "start": word.start, "end": word.end} for final in said for word in final.words
    ]
    assert [(each["id"], each["start"], each["end"], each["text"]) for each in answer["segments"]] == [
        (n, final.start, final.end, final.text) for n, final in enumerate(said)
    ]
    assert answer["duration"] == len(DIALOGUE) / 16_000
    assert (answer["task"], answer["language"]) == ("transcribe", "unknown")
    _, body = await post(server, response_format="verbose_json", timestamp_granularities=["word"])
    assert "segments" not in json.loads(body)


async def test_text_is_streamed_as_it_becomes_final(server: Server) -> None:
    _, body = await post(server, stream="true", include=["logprobs"])
    events = [dict(line.split(": ", 1) for line in event.splitlines()) for event in body.strip().split("\n\n")]
    sent = [json.loads(event["data"]) for event in events]
    assert [event["event"] for event in events] == [each["type"] for each in sent]
    assert [each["type"] for each in sent] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert "".join(each["delta"] for each in sent[:-1]) == sent[-1]["text"] == "SO IT BEGINS AND ENDS"
    assert [token for each in sent[:-1] for token in each["logprobs"]] == sent[-1]["logprobs"]


async def test_silence_has_no_text(server: Server) -> None:
    nothing = wav(silence(2))
    assert json.loads((await post(server, nothing))[1])["text"] == ""
    assert await post(server, nothing, response_format="vtt") == (200, "WEBVTT\n\n")
    assert (await post(server, nothing, stream="true"))[1].count("event:") == 1


async def test_a_language_of_the_model() -> None:
    async with serving(Polyglot(), rest_port=0) as server:
        _, body = await post(server, response_format="verbose_json", language="fr")
        assert json.loads(body)["language"] == "french"
        assert json.loads(body)["text"] == "tp ju cfhjot boe foet"
        assert (await error(server, language="es"))[1]["param"] == "language"


async def test_a_damaged_recording_is_transcribed_and_said_to_be(server: Server) -> None:
    (warning,) = json.loads((await post(server, RECORDING[:-20_000]))[1])["warnings"]
    assert "cut off" in warning


# ---- refusals


@pytest.mark.parametrize(
    ("file", "code"),
    [(b"", "invalid_audio"), (b"once upon a time" * 50, "invalid_audio"), (None, "missing_required_parameter")],
)
async def test_what_is_no_recording(server: Server, file: bytes | None, code: str) -> None:
    for more in ({}, {"stream": "true"}):
        status, said = await error(server, file, model="whisper-1", **more)
        assert (status, said["type"], said["param"], said["code"]) == (400, "invalid_request_error", "file", code)
        assert "/tmp" not in said["message"]
        assert "standard input" not in said["message"]


async def test_a_mistake_names_the_field(server: Server) -> None:
    status, said = await error(server, response_format="docx")
    assert (status, said["param"]) == (400, "response_format")


async def in_chunks(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 10_000):
        yield data[at : at + 10_000]


async def test_a_file_that_is_too_large() -> None:
    async with serving(limits=Limits(upload_bytes=65_536), rest_port=0) as server:
        for file in (bytes(400_000), in_chunks(bytes(400_000))):
            status, said = await error(server, file)
            assert status == 413
            assert "65,536" in said["message"]
        assert (await post(server, RECORDING[:60_000]))[0] == 200


async def test_fields_that_are_too_large(server: Server) -> None:
    assert (await error(server, prompt="x" * 300_000))[0] == 413
    assert (await error(server, keywords=["x"] * 2001))[0] == 400


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nbad\r\n\r\n"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/mixed; boundary=x", b"--x--"),
    ],
)
async def test_what_is_no_form(server: Server, kind: str, body: bytes) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(base(server) + TRANSCRIPTIONS, data=body, headers={"Content-Type": kind}) as response,
    ):
        assert response.status == 400
        assert (await response.json())["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models", 200),
        ("GET", "/v1/models/fake", 200),
        ("GET", "/v1/models/whisper-1", 404),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", TRANSCRIPTIONS, 405),
        ("POST", "/v1/audio/translations", 400),
        ("POST", "/v1/chat/completions", 404),
        ("GET", "/", 404),
    ],
)
async def test_other_requests(server: Server, method: str, path: str, status: int) -> None:
    async with aiohttp.ClientSession() as session, session.request(method, base(server) + path) as response:
        assert response.status == status
        assert "Server" not in response.headers
        if status >= 400:
            assert (await response.json())["error"]["message"]
        elif path == "/v1/models":
            assert [each["id"] for each in (await response.json())["data"]] == [INFO.name]


async def test_a_key_is_needed_where_there_are_tokens(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("0123456789abcdef0123 anna 1 -\n")
    (tmp_path / "tokens").chmod(0o600)
    async with serving(rest_port=0, token_file=str(tmp_path / "tokens")) as server:
        for headers in (None, {"Authorization": "Bearer sk-wrong"}):
            status, said = await error(server, headers=headers)
            assert (status, said["code"]) == (401, "invalid_api_key")
        key = {"Authorization": "Bearer 0123456789abcdef0123"}
        assert (await post(server, headers=key))[0] == 200
        (account,) = server.accounts._accounts.values()
        server.accounts.enter(account)
        status, said = await error(server, headers=key)
        assert (status, said["code"]) == (429, "too_many_streams")


async def test_pages_of_others_are_kept_out(server: Server) -> None:
    status, said = await error(server, headers={"Origin": "https://evil.example"})
    assert (status, said["code"]) == (403, "forbidden")


def test_without_aiohttp_it_is_said_what_to_install() -> None:
    start = "import sys; sys.modules['aiohttp'] = None; from earshot_asr.client.cli import main; main()"
    command = [sys.executable, "-c", start, "serve", "--port", "0", "--rest-port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GIVE_UP_SECONDS)
    assert done.returncode != 0
    assert "pip install aiohttp" in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_what_is_no_http(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.ports["rest_port"])
    writer.write(b"\x16\x03\x01\x00\xa5 hello\r\n\r\n")
    async with asyncio.timeout(GIVE_UP_SECONDS):
        assert (await reader.read()).startswith(b"HTTP/1.0 400")
    writer.close()
    assert "Traceback" not in caplog.text


# ---- beside others


async def test_many_at_once_and_a_live_stream_each_as_if_alone(server: Server) -> None:
    recordings = asyncio.gather(*(post(server, response_format="text") for _ in range(5)))
    assert [final.text for final in await dictate(server, DIALOGUE)] == ["SO IT BEGINS", "AND ENDS"]
    assert await recordings == [(200, "SO IT BEGINS AND ENDS\n")] * 5
    assert server.engine_loop
    assert server.engine_loop.streams == 0


async def test_the_last_place_is_for_live_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earshot_asr.server.rest.api.PATIENCE_SECONDS", 0.0)
    async with serving(limits=Limits(streams=2), rest_port=0) as server, connected(server, wire.Start()) as live:
        await live.recv()
        status, said = await error(server)
        assert (status, said["type"], said["code"]) == (503, "server_error", "full")
    async with serving(limits=Limits(streams=1), rest_port=0) as server:
        assert (await post(server))[0] == 200


async def test_it_waits_for_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "POLL_SECONDS", 0.01)
    async with serving(limits=Limits(streams=2), rest_port=0) as server:
        async with connected(server, wire.Start()) as live:
            await live.recv()
            waiting = asyncio.create_task(post(server))
            await asyncio.sleep(1.0)
            assert not waiting.done()
        assert (await waiting)[0] == 200


async def test_who_hangs_up_gives_back_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here while the recording is computed, as the device never comes to an end."""
    hang = threading.Event()
    stuck = FakeRunner(fail_on=lambda pcm: hang.wait(GIVE_UP_SECONDS) and False)
    async with serving(stuck, rest_port=0, limits=Limits(streams=4)) as server:
        loop = server.engine_loop
        assert loop
        request = asyncio.create_task(post(server))
        await until(lambda: loop.streams == 1)
        request.cancel()
        await until(lambda: loop.streams == 0)
        hang.set()
        assert (await post(server))[0] == 200


async def test_a_window_that_fails_is_an_error_of_the_server() -> None:
    async with serving(FakeRunner(fail_on=lambda pcm: True), rest_port=0, limits=Limits(streams=4)) as server:
        status, said = await error(server)
        assert (status, said["type"]) == (500, "server_error")
        assert "fire" not in said["message"]


async def answered(port: int, said: str) -> bytes:
    """What comes of a request whose end never comes."""
    async with asyncio.timeout(GIVE_UP_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said.encode())
        answer = await reader.read()
        writer.close()
        return answer


async def test_who_says_nothing_is_cut() -> None:
    head = f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    part = '--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nRIFF'
    async with serving(rest_port=0, limits=Limits(handshake_seconds=1)) as server:
        said = ("", "POST", f"{head}Content-Length: 1000\r\n\r\n{part}")
        nothing, half, late = await asyncio.gather(*(answered(server.ports["rest_port"], each) for each in said))
    assert (nothing, half) == (b"", b"")
    assert late.startswith(b"HTTP/1.1 408")


async def test_a_server_that_goes_down_finishes_what_it_has_begun() -> None:
    hang = threading.Event()
    stuck = FakeRunner(fail_on=lambda pcm: hang.wait(GIVE_UP_SECONDS) and False)
    async with serving(stuck, rest_port=0, limits=Limits(streams=4)) as server:
        request = asyncio.create_task(post(server))
        await until(lambda: server.engine_loop is not None and server.engine_loop.streams == 1)
        draining = asyncio.create_task(server.drain())
        assert (await error(server))[0] == 503
        assert not draining.done()
        hang.set()
        await asyncio.wait_for(draining, GIVE_UP_SECONDS)
        assert (await request)[0] == 200


async def test_a_server_that_is_stopped_ends_requests() -> None:
    hang = threading.Event()
    stuck = FakeRunner(fail_on=lambda pcm: hang.wait(GIVE_UP_SECONDS) and False)
    async with serving(stuck, rest_port=0, limits=Limits(streams=4)) as server:
        request = asyncio.create_task(post(server))
        await until(lambda: server.engine_loop is not None and server.engine_loop.streams == 1)
        asyncio.get_running_loop().call_later(0.2, hang.set)
    with pytest.raises(aiohttp.ClientError):
        await request


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer SECRET\xff", 401),
        (b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic SECRET\xff", 401),
        (b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: \xff\r\nAuthorization: Bearer SECRET", 403),
        (b"POST /v1/audio/transcriptions HTTP/1.1\r\nAuthorization: Bearer SECRET\x00", 400),
        (b"GET /SECRET\xff HTTP/1.1\r\nHost: localhost", 400),
        (b"GET /v1/models HTTP/1.1\r\nAuthorization Bearer SECRET", 400),
    ],
)
async def test_no_header_is_a_fault_of_the_server_or_gets_into_its_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, head: bytes, status: int
) -> None:
    caplog.set_level(logging.INFO)
    tokens = tmp_path / "tokens"
    tokens.write_text("0123456789abcdef anna - -\n")
    async with serving(rest_port=0, token_file=str(tokens)) as server, asyncio.timeout(GIVE_UP_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.ports["rest_port"])
        writer.write(head + b"\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
    assert int(answer.split()[1]) == status
    assert b"SECRET" not in answer and b"aiohttp" not in answer
    assert set(json.loads(answer.partition(b"\r\n\r\n")[2])) == {"error"}
    assert "SECRET" not in caplog.text and "Traceback" not in caplog.text


async def test_who_does_not_read_the_answer_is_disconnected(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitor, "UNREAD_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.ports["rest_port"])
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    request = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    writer.write(request * 60_000)
    await until(lambda: len(server._guests.all()) == 1)
    await until(lambda: not server._guests.all())
    writer.transport.abort()


async def test_a_proxy_may_send_several_clients_through_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with (
        serving(rest_port=0, trusted_proxy=("127.0.0.1",)) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
    ):
        for client in ("192.0.2.1", "192.0.2.2", None):
            headers = {} if client is None else {"X-Forwarded-For": client}
            async with session.get(base(server) + "/v1/models", headers=headers) as response:
                await response.read()
            assert server._census._open == {client or "127.0.0.1": 1}
    told = [getattr(record, FIELDS)["address"] for record in caplog.records if record.message == "answered"]
    assert told == ["192.0.2.1", "192.0.2.2", "127.0.0.1"]
