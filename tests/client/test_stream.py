"""The client library against a scripted server: a real websocket that says what the test wants."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection

from earshot_asr.client.connection import with_default_path
from earshot_asr.client.inbox import CROWDED_MESSAGE_COUNT
from earshot_asr.client.stream import ClientStream, StreamError
from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.errors import AudioError, ConfigError, ProtocolError
from earshot_asr.server import wire
from earshot_asr.server.wire import Ack, Done, Error, FinalMessage, Flush, PartialMessage, Start, Stop
from tests.client.scripted import HELLO, READY, heard, listening, say, scripted


async def test_ten_lines_are_a_client() -> None:
    async def script(socket: ServerConnection) -> None:
        await heard(socket)
        await say(socket, PartialMessage(0, 0.1, 0.5, "HEL", 0), HELLO, Ack(16_000, 16_000, 16_000), Done(16_000, 1.0))

    async def audio() -> AsyncIterator[Pcm]:
        yield np.zeros(16_000, np.int16)

    async with scripted(script) as url, ClientStream(url) as stream:
        stream.play(audio())
        messages = [message async for message in stream]
    assert stream.ready == READY
    assert messages == [PartialMessage(0, 0.1, 0.5, "HEL", 0), HELLO, Ack(16_000, 16_000, 16_000), Done(16_000, 1.0)]


async def test_start_carries_the_options_and_the_path_is_added() -> None:
    got: list[object] = []

    async def handle(socket: ServerConnection) -> None:
        assert socket.request is not None
        got.extend((socket.request.path, wire.decode_client(await socket.recv())))
        await say(socket, READY)

    async with listening(handle) as url, ClientStream(url, partials=False, commit="hop", hotwords=["earshot"]):
        pass
    assert got == [wire.PATH, Start(partials=False, commit="hop", hotwords=["earshot"])]


async def test_audio_arrives_whole_in_messages_that_are_not_too_long() -> None:
    pcm = np.arange(100_000).astype(np.int16)
    got: list[bytes] = []

    async def script(socket: ServerConnection) -> None:
        audio, messages = await heard(socket)
        got.extend(audio)
        assert messages == [Flush(), Stop()]
        await say(socket, Done(0, 0.0))

    async with scripted(script) as url, ClientStream(url) as stream:
        await stream.send(pcm)
        await stream.flush()
        await stream.send(b"\x01\x02")
        await stream.stop()
        assert [message async for message in stream] == [Done(0, 0.0)]
    assert b"".join(got) == pcm.astype("<i2").tobytes() + b"\x01\x02"
    assert max(map(len, got)) == wire.MESSAGE_BYTES


@pytest.mark.parametrize(
    ("options", "names"),
    [({"sampel_rate": 8000}, "sampel_rate"), ({"sample_rate": 1}, "sample_rate"), ({"commit": "never"}, "commit")],
)
def test_wrong_options_are_named(options: dict[str, Any], names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        ClientStream("ws://127.0.0.1:1", **options)


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("ws://h:8765", "ws://h:8765/v1/stream"),
        ("wss://h/", "wss://h/v1/stream"),
        ("ws://h:1/behind/a/proxy?key=1", "ws://h:1/behind/a/proxy?key=1"),
        ("ws://[::1]:8765", "ws://[::1]:8765/v1/stream"),
    ],
)
def test_urls_are_completed(url: str, whole: str) -> None:
    assert with_default_path(url) == whole


@pytest.mark.parametrize("url", ["http://h:1", "127.0.0.1:8765", "ws://", "ws://h:99999", "ws://h:x", "ws://[::1", ""])
def test_what_is_no_url_is_said(url: str) -> None:
    with pytest.raises(ConfigError, match=r"looks like ws://127\.0\.0\.1:8765"):
        with_default_path(url)


async def test_an_array_of_floats_is_refused() -> None:
    async def script(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async with scripted(script) as url, ClientStream(url) as stream:
        with pytest.raises(AudioError, match="float64"):
            await stream.send(np.zeros(10))  # type: ignore[arg-type]


async def test_an_int16_array_on_a_stream_of_another_encoding_is_refused() -> None:
    async def script(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async with scripted(script) as url, ClientStream(url, encoding="mulaw") as stream:
        with pytest.raises(AudioError, match="mulaw"):
            await stream.send(np.zeros(10, np.int16))


async def test_an_error_of_the_server_is_raised_after_what_came_before_it() -> None:
    async def script(socket: ServerConnection) -> None:
        await say(socket, HELLO, Error("internal_error", "sorry"))
        await socket.close(1011)

    async with scripted(script) as url, ClientStream(url, retry=0) as stream:
        assert await anext(stream) == HELLO
        with pytest.raises(StreamError, match=r"^sorry \(internal_error\)$") as caught:
            await anext(stream)
    assert caught.value.code == "internal_error"


async def test_sending_to_a_server_that_refused_tells_why() -> None:
    async def script(socket: ServerConnection) -> None:
        await say(socket, Error("invalid_audio", "that is a picture"))
        await socket.close(1003)

    async def picture() -> AsyncIterator[bytes]:
        while True:
            yield bytes(32_000)

    async with scripted(script) as url, ClientStream(url) as stream:
        with pytest.raises(StreamError, match="that is a picture"):
            await stream._play(picture())


async def test_a_refusal_before_ready_is_raised_on_entering() -> None:
    async def handle(socket: ServerConnection) -> None:
        await say(socket, Error("overloaded", "try again later"))
        await socket.close(1013)

    async with listening(handle) as url:
        with pytest.raises(StreamError, match="try again later"):
            async with ClientStream(url, retry=0):
                raise AssertionError("not admitted")


async def test_a_lost_connection_names_the_url() -> None:
    async def script(socket: ServerConnection) -> None:
        socket.transport.abort()

    async with scripted(script) as url, ClientStream(url, retry=0) as stream:
        with pytest.raises(StreamError, match=f"the connection to {url}/v1/stream was lost") as caught:
            await anext(stream)
    assert caught.value.code == "lost"


async def test_an_orderly_close_without_done_is_a_loss_too() -> None:
    async def script(socket: ServerConnection) -> None:
        await socket.close(1012, "going down")

    async with scripted(script) as url, ClientStream(url, retry=0) as stream:
        with pytest.raises(StreamError, match=r"1012.*going down"):
            await anext(stream)


@pytest.mark.parametrize("by", ["playing", "sending"])
async def test_a_server_that_fails_while_much_is_unsent_is_a_loss(by: str) -> None:
    """It reads on after its last word, and so lets asyncio close the transport out of a write."""

    async def script(socket: ServerConnection) -> None:
        socket.transport.pause_reading()
        await asyncio.sleep(0.1)  # until the client can't get rid of its audio
        socket.transport.resume_reading()
        socket.protocol.fail(1011, "broken")
        socket.send_data()
        await socket.wait_closed()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(wire.MESSAGE_BYTES)

    async def stream_to(url: str) -> None:
        async with ClientStream(url, retry=0) as stream:
            if by == "playing":
                stream.play(endless())
                await anext(stream)
            await stream._play(endless())

    async with scripted(script) as url:
        with pytest.raises(StreamError, match=r"was lost.*1011.*broken"):
            await stream_to(url)


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/#part", "ws://user@127.0.0.1:1", "ws://a..b:1"])
async def test_what_only_looks_like_a_url_is_said(url: str) -> None:
    with pytest.raises(ConfigError, match="is not the URL of a server"):
        async with ClientStream(url):
            pass


async def test_a_proxy_that_is_none_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "nonsense")
    monkeypatch.setattr("urllib.request.proxy_bypass", lambda host: False)
    with pytest.raises(ConfigError, match="proxy from the environment variables: nonsense"):
        async with ClientStream("ws://192.0.2.1:1"):
            pass


async def test_no_server_is_one_clear_line() -> None:
    async with listening(lambda socket: socket.wait_closed()) as url:
        pass  # the port is free again
    with pytest.raises(StreamError, match=f"no server at {url}/v1/stream: start one with `earshot serve`"):
        async with ClientStream(url, retry=0):
            pass


async def test_a_server_of_another_kind_is_said() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(StreamError, match="HTTP 404: is that an Earshot server"):
            async with ClientStream(f"ws://127.0.0.1:{port}"):
                pass


@pytest.mark.parametrize("text", ["hello", '{"type":"surprise"}', wire.encode(HELLO)])
async def test_a_server_that_does_not_speak_the_protocol_is_said(text: str) -> None:
    async def handle(socket: ServerConnection) -> None:
        await socket.send(text)
        await socket.wait_closed()

    async with listening(handle) as url:
        with pytest.raises(ProtocolError):
            async with ClientStream(url):
                pass


async def test_a_file_that_breaks_ends_the_iteration_with_its_error() -> None:
    async def script(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async def broken() -> AsyncIterator[Pcm]:
        yield np.zeros(10, np.int16)
        raise AudioError("talk.opus: damaged")

    async with scripted(script) as url, ClientStream(url) as stream:
        stream.play(broken())
        with pytest.raises(AudioError, match=r"talk\.opus: damaged"):
            await anext(stream)


async def test_leaving_early_ends_what_plays() -> None:
    began, closed = asyncio.Event(), asyncio.Event()

    async def script(socket: ServerConnection) -> None:
        await say(socket, HELLO)
        async for _ in socket:
            pass

    async def endless() -> AsyncIterator[Pcm]:
        try:
            while True:
                began.set()
                yield np.zeros(160, np.int16)
                await asyncio.sleep(0)
        finally:
            closed.set()

    async with scripted(script) as url, ClientStream(url) as stream:
        stream.play(endless())
        assert await anext(stream) == HELLO
        await began.wait()
    await closed.wait()


async def test_a_client_that_does_not_read_gets_all_finals_and_the_newest_partial() -> None:
    """Neither side waits for the other, however much is sent before anything is read."""
    finals = [FinalMessage(k, 0, 1, "X" * 500, 1.0, k + 1) for k in range(300)]
    newest = PartialMessage(300, 0, 9, "Y", 0)

    async def script(socket: ServerConnection) -> None:
        for final in finals:
            await say(socket, final, *[PartialMessage(300, 0, 1, "X" * 500, 0)] * 20, Ack(final.cut, 0, 0))
        await say(socket, newest)
        await heard(socket)
        await say(socket, Done(0, 0.0))

    async with scripted(script) as url, ClientStream(url) as stream:
        for _ in range(100):
            await stream.send(bytes(wire.MESSAGE_BYTES))
        await stream.stop()
        while not stream._inbox.closed:
            await asyncio.sleep(0.001)
        assert len(stream._inbox) <= CROWDED_MESSAGE_COUNT + len(finals)
        messages = [message async for message in stream]
    assert [m for m in messages if isinstance(m, FinalMessage)] == finals
    assert [m for m in messages if isinstance(m, PartialMessage)][-1] == newest
    assert messages[-1] == Done(0, 0.0)


async def test_a_hostile_server_can_not_control_the_terminal() -> None:
    async def script(socket: ServerConnection) -> None:
        await say(socket, Error("bad\x1b[2J", "\x1b]0;owned\x07" + "x" * 1000))
        await socket.close(1003)

    async with scripted(script) as url, ClientStream(url) as stream:
        with pytest.raises(StreamError) as error:
            await anext(stream)
    said = str(error.value)
    assert said.isprintable() and said.startswith(" ]0;owned xxx") and len(said) < 400
