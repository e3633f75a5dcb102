"""The client library where lines break, against scripted servers."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from earshot_asr.client.stream import (
    ClientStream,
    Connected,
    Message,
    Reconnecting,
    Resumed,
    StreamError,
    Timeouts,
    Waiting,
)
from earshot_asr.engine.errors import AudioError, ConfigError
from earshot_asr.server import wire
from earshot_asr.server.wire import Ack, Done, Error, FinalMessage, Flush, Keepalive, PartialMessage, Start, Stop
from tests.client.scripted import HELLO, READY, Script, heard, listening, say, scripted

HASTY = Timeouts(connect=5, silence=5, keepalive=5, close=0.5, first_wait=0.001, longest_wait=0.01)
SECOND = bytes(range(256)) * 125


def handler(*scripts: Callable[[ServerConnection, Start], Awaitable[None]]) -> Script:
    """Admits streams, and follows one script after the other."""
    left = list(scripts)

    async def handle(socket: ServerConnection) -> None:
        begin = wire.decode_client(await socket.recv())
        assert isinstance(begin, Start)
        await say(socket, READY)
        with suppress(ConnectionClosed):
            await left.pop(0)(socket, begin)

    return handle


def cut_line(socket: ServerConnection) -> None:
    socket.transport.abort()


async def take(socket: ServerConnection, size: int) -> bytes:
    """So much audio, or more."""
    data = b""
    while len(data) < size:
        part = await socket.recv()
        data += part if isinstance(part, bytes) else b""
    return data


def silent_about(messages: list[Message]) -> list[Message]:
    """What a reader sees who does not care for connections."""
    return [m for m in messages if not isinstance(m, Reconnecting | Resumed)]


async def test_what_is_said_before_there_is_a_server_is_kept(unused_tcp_port: int) -> None:
    """And the reader sees that it is waited for."""

    async def script(socket: ServerConnection, begin: Start) -> None:
        assert begin.resume is None
        audio, messages = await heard(socket)
        assert b"".join(audio) == SECOND * 20
        assert messages == [Flush(), Stop()]
        await say(socket, Done(1, 1.0))

    url = f"ws://127.0.0.1:{unused_tcp_port}"
    async with ClientStream(url, wait=False, timeouts=HASTY) as stream:
        assert not stream.admitted
        for _ in range(20):  # more than may be ahead of a connection
            await stream.send(SECOND)
        await stream.flush()
        await stream.stop()
        first = await anext(stream)
        assert isinstance(first, Waiting)
        assert (first.attempt, first.reason.partition(":")[0]) == (1, "no server at ws")
        async with serve(handler(script), "127.0.0.1", unused_tcp_port, compression=None):
            messages = [message async for message in stream]
    assert [m for m in messages if not isinstance(m, Waiting)] == [Connected(f"{url}{wire.PATH}"), Done(1, 1.0)]


@pytest.mark.parametrize("wait", [True, False])
async def test_a_server_is_waited_for_as_long_as_after_a_loss(unused_tcp_port: int, wait: bool) -> None:
    async def use(stream: ClientStream) -> list[Message]:
        async with stream:
            return [message async for message in stream]

    url = f"ws://127.0.0.1:{unused_tcp_port}"
    waiting = asyncio.create_task(use(ClientStream(url, wait=wait, timeouts=HASTY)))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    async with serve(handler(ended), "127.0.0.1", unused_tcp_port, compression=None):
        messages = await waiting
    assert messages[-1] == Done(0, 0.0)
    with pytest.raises(StreamError, match=f"no server at {url}/v1/stream"):
        await use(ClientStream(url, retry=0.05, wait=wait, timeouts=HASTY))


async def ended(socket: ServerConnection, begin: Start) -> None:
    await say(socket, Done(0, 0.0))


async def test_audio_that_breaks_before_there_is_a_server_is_said_at_once() -> None:
    async def broken() -> AsyncIterator[bytes]:
        raise AudioError("no microphone")
        yield b""

    async with ClientStream("ws://127.0.0.1:1", wait=False) as stream:
        stream.play(broken())
        with pytest.raises(AudioError, match="no microphone"):
            [message async for message in stream]


async def test_time_until_there_is_a_server_is_not_counted_after_a_loss(unused_tcp_port: int) -> None:
    async def drop(socket: ServerConnection, begin: Start) -> None:
        cut_line(socket)

    async with ClientStream(f"ws://127.0.0.1:{unused_tcp_port}", retry=1000, wait=False, timeouts=HASTY) as stream:
        while not isinstance(message := await anext(stream), Waiting) or message.attempt < 3:
            pass
        async with serve(handler(drop, ended), "127.0.0.1", unused_tcp_port, compression=None):
            lost = [message async for message in stream if isinstance(message, Reconnecting)]
    assert lost[0].attempt == 1


async def test_a_lost_connection_is_resumed_at_the_cut() -> None:
    begun: list[Start] = []
    replayed: list[bytes] = []

    async def first(socket: ServerConnection, begin: Start) -> None:
        await take(socket, 3 * len(SECOND))
        await say(socket, HELLO, PartialMessage(16_000, 1.0, 2.5, "WOR", 3), Ack(48_000, 16_000, 16_000))
        await socket.recv()  # the flush
        cut_line(socket)

    async def second(socket: ServerConnection, begin: Start) -> None:
        begun.append(begin)
        audio, messages = await heard(socket)
        replayed.append(b"".join(audio))
        assert messages == [Flush(), Stop()]
        world = FinalMessage(16_000, 1.0, 2.9, "WORLD", 0.9, 48_000)
        await say(socket, HELLO, PartialMessage(16_000, 1.0, 2.5, "WOR", 3), Ack(30_000, 16_000, 16_000), world)
        await say(socket, Done(50_000, 3.125))

    async with listening(handler(first, second)) as url, ClientStream(url, timeouts=HASTY, partials=True) as stream:
        await stream.send(SECOND * 3)
        messages = [await anext(stream) for _ in range(3)]
        await stream.flush()
        while not isinstance(message := await anext(stream), Resumed):
            messages.append(message)
        messages.append(message)
        await stream.send(SECOND[:4001])
        await stream.stop()
        messages += [message async for message in stream]
    assert begun == [Start(resume=wire.Resume(16_000, 12_800, "f00d"))]
    assert replayed == [(SECOND * 3)[25_600:] + SECOND[:4001]]
    assert silent_about(messages) == [
        HELLO,
        PartialMessage(16_000, 1.0, 2.5, "WOR", 3),
        Ack(48_000, 16_000, 16_000),
        Ack(48_000, 16_000, 16_000),
        FinalMessage(16_000, 1.0, 2.9, "WORLD", 0.9, 48_000),
        Done(50_000, 3.125),
    ]
    assert [m for m in messages if isinstance(m, Reconnecting)] == [Reconnecting(1, "connection lost", 2.0)]
    assert [m for m in messages if isinstance(m, Resumed)] == [Resumed(f"{url}{wire.PATH}", 2.2)]


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1013])
async def test_a_server_that_can_not_go_on_is_asked_again(code: int) -> None:
    async def first(socket: ServerConnection, begin: Start) -> None:
        if code > 1001:
            await say(socket, Error("some_code", "sorry"))
        await socket.close(code)

    async def second(socket: ServerConnection, begin: Start) -> None:
        assert begin.resume == wire.Resume(0, 0, "f00d")
        await heard(socket)
        await say(socket, HELLO, Done(0, 0.0))

    async with listening(handler(first, second)) as url, ClientStream(url, timeouts=HASTY) as stream:
        reason = "some code" if code > 1001 else "connection lost"
        assert await anext(stream) == Reconnecting(1, reason, 0.0)
        await stream.stop()
        assert [m async for m in stream] == [Resumed(f"{url}{wire.PATH}", 0.0), HELLO, Done(0, 0.0)]


@pytest.mark.parametrize("code", [1003, 1008, 1009])
async def test_a_server_that_refuses_is_not_asked_again(code: int) -> None:
    async def script(socket: ServerConnection, begin: Start) -> None:
        await say(socket, Error("invalid_something", "that is wrong"))
        await socket.close(code)

    async with listening(handler(script)) as url, ClientStream(url, timeouts=HASTY) as stream:
        with pytest.raises(StreamError, match=r"^that is wrong \(invalid_something\)$"):
            await anext(stream)


async def test_another_model_or_configuration_is_refused_by_name() -> None:
    async def handle(socket: ServerConnection) -> None:
        begin = wire.decode_client(await socket.recv())
        assert isinstance(begin, Start)
        if begin.resume:
            await say(socket, Error("fingerprint_mismatch", "the stream began on another model than fake"))
            await socket.close(1008)
        else:
            await say(socket, READY)
            cut_line(socket)

    async with listening(handle) as url, ClientStream(url, timeouts=HASTY) as stream:
        with pytest.raises(StreamError, match=r"can't resume the stream: .* another model than fake") as caught:
            [message async for message in stream]
    assert caught.value.code == "fingerprint_mismatch"


async def test_between_stop_and_done_too() -> None:
    async def first(socket: ServerConnection, begin: Start) -> None:
        await heard(socket)
        await say(socket, HELLO)
        cut_line(socket)

    async def second(socket: ServerConnection, begin: Start) -> None:
        assert begin.resume == wire.Resume(16_000, 12_800, "f00d")
        audio, messages = await heard(socket)
        assert (b"".join(audio), messages) == (SECOND[-6400:], [Stop()])
        await say(socket, Done(16_000, 1.0))

    async with listening(handler(first, second)) as url, ClientStream(url, timeouts=HASTY) as stream:
        await stream.send(SECOND)
        await stream.stop()
        assert silent_about([m async for m in stream]) == [HELLO, Done(16_000, 1.0)]


async def test_audio_is_taken_while_there_is_no_connection() -> None:
    """Neither send nor flush waits or raises."""
    there = asyncio.Event()

    async def first(socket: ServerConnection, begin: Start) -> None:
        cut_line(socket)

    async def second(socket: ServerConnection, begin: Start) -> None:
        audio, messages = await heard(socket)
        assert b"".join(audio) == SECOND * 100
        assert messages == [Flush()] * 100 + [Stop()]
        await say(socket, Done(1, 1.0))

    admitting = handler(first, second)

    async def handle(socket: ServerConnection) -> None:
        if begun:
            await there.wait()
        begun.append(True)
        await admitting(socket)

    begun: list[bool] = []
    async with listening(handle) as url, ClientStream(url, timeouts=HASTY) as stream:
        assert isinstance(await anext(stream), Reconnecting)
        for _ in range(100):
            await stream.send(SECOND)
            await stream.flush()
        await stream.stop()
        there.set()
        assert silent_about([m async for m in stream]) == [Done(1, 1.0)]


async def test_more_than_is_kept_waits() -> None:
    go_on = asyncio.Event()

    async def script(socket: ServerConnection, begin: Start) -> None:
        await take(socket, 60 * len(SECOND))
        await go_on.wait()
        await say(socket, Ack(960_000, 640_000, 640_000))
        await take(socket, 10 * len(SECOND))
        await say(socket, Done(1, 1.0))

    timeouts = replace(HASTY, keepalive=1000)  # which would wake what waits
    async with listening(handler(script)) as url, ClientStream(url, timeouts=timeouts, keep=60) as stream:
        await stream.send(SECOND * 60)
        more = asyncio.create_task(stream.send(SECOND * 10))
        done, _ = await asyncio.wait([more], timeout=0.05)
        assert not done
        go_on.set()
        await more
        assert await anext(stream) == Ack(960_000, 640_000, 640_000)


async def test_a_stream_that_is_not_kept_may_be_of_any_length() -> None:
    async def script(socket: ServerConnection, begin: Start) -> None:
        await take(socket, 100 * len(SECOND))
        await say(socket, Done(1, 1.0))

    timeouts = replace(HASTY, keepalive=1000)
    async with (
        listening(handler(script)) as url,
        ClientStream(url, timeouts=timeouts, keep=60, encoding="mulaw", retry=0) as stream,
    ):
        for _ in range(100):
            await stream.send(SECOND)
        assert [m async for m in stream] == [Done(1, 1.0)]


async def test_what_is_ahead_of_the_connection_waits_and_what_is_said_without_one_does_not() -> None:
    parted = asyncio.Event()
    back = asyncio.Event()

    async def deaf(connection: ServerConnection, begin: Start) -> None:
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await parted.wait()
        cut_line(connection)

    async def second(connection: ServerConnection, begin: Start) -> None:
        await back.wait()
        await heard(connection)
        await say(connection, Done(1, 1.0))

    timeouts = replace(HASTY, keepalive=1000)
    async with listening(handler(deaf, second)) as url, ClientStream(url, timeouts=timeouts) as stream:
        talking = asyncio.create_task(stream.send(SECOND * 290))  # more than kernels hold
        done, _ = await asyncio.wait([talking], timeout=0.2)
        parted.set()
        back.set()
        assert not done
        await talking
        await stream.stop()
        assert silent_about([m async for m in stream]) == [Done(1, 1.0)]


@pytest.mark.parametrize(("code", "again"), [("invalid_something", False), ("slow_reader", True)])
async def test_an_error_without_a_goodbye_goes_by_its_name(code: str, again: bool) -> None:
    async def rude(socket: ServerConnection, begin: Start) -> None:
        await say(socket, Error(code, "that is that"))
        await socket.wait_closed()

    async def second(socket: ServerConnection, begin: Start) -> None:
        await heard(socket)
        await say(socket, Done(1, 1.0))

    timeouts = replace(HASTY, close=0.05)
    async with listening(handler(rude, second)) as url, ClientStream(url, timeouts=timeouts) as stream:
        if again:
            await stream.stop()
            assert silent_about([m async for m in stream]) == [Done(1, 1.0)]
        else:
            with pytest.raises(StreamError, match="that is that"):
                [m async for m in stream]


async def test_a_silent_server_is_taken_for_dead() -> None:
    """It takes everything, and never says a word: the kernel of a half-open connection does that."""

    async def silent(socket: ServerConnection, begin: Start) -> None:
        async for _ in socket:
            pass

    async def second(socket: ServerConnection, begin: Start) -> None:
        await heard(socket)
        await say(socket, Done(1, 1.0))

    timeouts = replace(HASTY, silence=0.1)
    async with listening(handler(silent, second)) as url, ClientStream(url, timeouts=timeouts) as stream:
        await stream.send(SECOND)
        assert await anext(stream) == Reconnecting(1, "no answer", 1.0)
        await stream.stop()
        assert silent_about([m async for m in stream]) == [Done(1, 1.0)]


async def test_a_server_that_falls_silent_after_stop_is_taken_for_dead() -> None:
    """Nothing more is said to it, keepalives neither: but it owes an answer."""

    async def silent(socket: ServerConnection, begin: Start) -> None:
        await heard(socket)
        await say(socket, HELLO)
        async for _ in socket:
            pass

    async def second(socket: ServerConnection, begin: Start) -> None:
        await heard(socket)
        await say(socket, Done(16_000, 1.0))

    timeouts = replace(HASTY, silence=0.1)
    async with listening(handler(silent, second)) as url, ClientStream(url, timeouts=timeouts) as stream:
        await stream.send(SECOND)
        await stream.stop()
        assert silent_about([m async for m in stream]) == [HELLO, Done(16_000, 1.0)]


async def test_a_silent_server_that_was_told_nothing_lives() -> None:
    """And keepalives, which it answers, tell it that the stream is still wanted."""
    got: list[wire.ClientMessage] = []

    async def script(socket: ServerConnection, begin: Start) -> None:
        for _ in range(5):
            got.append(wire.decode_client(await socket.recv()))
            await say(socket, Ack(0, 0, 0))
        await socket.recv()
        await say(socket, Done(0, 0.0))

    timeouts = replace(HASTY, silence=0.1, keepalive=0.05)
    async with listening(handler(script)) as url, ClientStream(url, timeouts=timeouts) as stream:
        messages = [await anext(stream) for _ in range(5)]
        await stream.stop()
        assert [m async for m in stream] == [Done(0, 0.0)]
    assert messages == [Ack(0, 0, 0)] * 5
    assert got == [Keepalive()] * 5


async def test_nothing_follows_stop_not_even_a_keepalive() -> None:
    got: list[object] = []

    async def script(socket: ServerConnection, begin: Start) -> None:
        got.append(wire.decode_client(await socket.recv()))
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                got.append(await socket.recv())
        await say(socket, Done(0, 0.0))

    timeouts = replace(HASTY, keepalive=0.01)
    async with listening(handler(script)) as url, ClientStream(url, timeouts=timeouts) as stream:
        await stream.stop()
        for more in (stream.send(SECOND), stream.flush(), stream.stop()):
            with pytest.raises(StreamError, match="nothing may follow stop"):
                await more
        assert [m async for m in stream] == [Done(0, 0.0)]
        with pytest.raises(StreamError, match="is over"):
            await stream.send(SECOND)
    assert got == [Stop()]


async def test_servers_are_tried_in_turn() -> None:
    """The next one first: the one that was lost may be down."""
    asked: list[str] = []

    def counted(name: str, script: Script) -> Script:
        async def handle(socket: ServerConnection) -> None:
            asked.append(name)
            await script(socket)

        return handle

    async def drop(socket: ServerConnection, begin: Start) -> None:
        cut_line(socket)

    async def end(socket: ServerConnection, begin: Start) -> None:
        await say(socket, Done(0, 0.0))

    async with (
        listening(counted("a", handler(drop, drop))) as a,
        listening(counted("b", handler(drop, end))) as b,
        ClientStream([a, b], timeouts=HASTY) as stream,
    ):
        resumed = [m.url async for m in stream if isinstance(m, Resumed)]
        assert stream.url == f"{b}{wire.PATH}"
    assert asked == ["a", "b", "a", "b"]
    assert resumed == [f"{each}{wire.PATH}" for each in (b, a, b)]


async def test_of_several_servers_the_first_that_answers_is_taken() -> None:
    async def end(socket: ServerConnection, begin: Start) -> None:
        await say(socket, Done(0, 0.0))

    async with listening(handler(end)) as there, ClientStream(["ws://127.0.0.1:1", there], retry=0) as stream:
        assert [m async for m in stream] == [Done(0, 0.0)]
    with pytest.raises(StreamError, match=f"no server at ws://127.0.0.1:1/v1/stream.*; no server at {there}"):
        async with ClientStream(["ws://127.0.0.1:1", there], retry=0):
            pass


async def test_at_last_it_gives_up_and_says_how_much_is_lost() -> None:
    async def script(socket: ServerConnection, begin: Start) -> None:
        await take(socket, 2 * len(SECOND))
        await say(socket, HELLO)
        await socket.wait_closed()  # until the server is gone

    async with listening(handler(script)) as url:
        stream = ClientStream(url, retry=0.1, timeouts=HASTY)
        await stream.__aenter__()
        await stream.send(SECOND * 2)
        assert await anext(stream) == HELLO
    complaint = r"could not be resumed within 0\.1 s, 1\.0 s of audio are not transcribed: (no server at|.* was lost)"
    with pytest.raises(StreamError, match=complaint) as caught:
        [message async for message in stream]
    assert caught.value.code == "lost"
    with pytest.raises(StreamError, match=complaint):
        await stream.send(SECOND)
    await stream.__aexit__(None, None, None)


async def test_a_stream_that_is_not_resumable_ends_with_its_connection() -> None:
    async def handle(socket: ServerConnection) -> None:
        await socket.recv()
        await say(socket, msgspec.structs.replace(READY, resumable=False))
        cut_line(socket)

    async with listening(handle) as url, ClientStream(url, encoding="mulaw", timeouts=HASTY) as stream:
        with pytest.raises(StreamError, match="was lost"):
            await anext(stream)


async def test_leaving_while_it_reconnects() -> None:
    async def script(socket: ServerConnection) -> None:
        cut_line(socket)

    timeouts = replace(HASTY, first_wait=1000, longest_wait=1000)
    async with scripted(script) as url, ClientStream(url, timeouts=timeouts) as stream:
        assert isinstance(await anext(stream), Reconnecting)


@pytest.mark.parametrize(
    ("status", "again"), [(404, False), (401, False), (429, True), (502, True), (503, True), (504, True)]
)
async def test_what_a_proxy_answers_meanwhile(status: int, again: bool) -> None:
    lost, answers = False, 0

    def process(socket: ServerConnection, request: Request) -> Response | None:
        nonlocal answers
        if not lost:
            return None
        answers += 1
        return socket.respond(HTTPStatus(status), "") if answers < 3 else None

    async def handle(socket: ServerConnection) -> None:
        nonlocal lost
        await socket.recv()
        await say(socket, READY)
        if not lost:
            lost = True
            cut_line(socket)
        else:
            await say(socket, Done(0, 0.0))

    async with listening(handle, process_request=process) as url, ClientStream(url, timeouts=HASTY) as stream:
        if again:
            messages = [message async for message in stream]
            assert [m.attempt for m in messages if isinstance(m, Reconnecting)] == [1, 2, 3]
            assert messages[-1] == Done(0, 0.0)
        else:
            with pytest.raises(StreamError, match="wants a token" if status == 401 else f"HTTP {status}"):
                [message async for message in stream]


@pytest.mark.parametrize(
    ("settings", "names"), [({"retry": -1}, "retry"), ({"keep": 10}, "keep"), ({"keep": float("nan")}, "keep")]
)
def test_wrong_settings_are_named(settings: dict[str, Any], names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        ClientStream("ws://127.0.0.1:1", **settings)


def test_at_least_one_server() -> None:
    with pytest.raises(ConfigError, match="no URL"):
        ClientStream([])
