"""Order and time on the socket: clients that don't read, that trickle, that vanish; reading that is paused; limits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
import pytest
from websockets.asyncio import server as websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Opcode

from earshot_asr.client.stream import ClientStream, Reconnecting, Timeouts
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, seconds
from earshot_asr.server import connection, visitor, wire
from earshot_asr.server.app import Server
from earshot_asr.server.connection import Connection
from earshot_asr.server.conversation import Conversation
from earshot_asr.server.outbox import SLOW_READER_NOTICES
from earshot_asr.server.settings import Limits
from earshot_asr.server.visitor import Visitor
from tests.end_to_end.proxy import Cut, Proxy
from tests.end_to_end.test_bad_input import ANY_PACE, ROOM, SPEECH, TEXTS, beside_others, clean_log, frame, handshake
from tests.helpers import silence, speak
from tests.server.loopback import (
    GIVE_UP_SECONDS,
    connected,
    cut,
    dictate,
    finals,
    get,
    hear,
    send,
    serving,
    talk,
    text,
    until,
)
from tests.server.test_connection import HeldRunner

__all__ = ["clean_log"]  # for every test here, too
TICK_SECONDS = 0.02


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's seconds are short."""
    monkeypatch.setattr(connection, "TICK_SECONDS", TICK_SECONDS)


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch, hasty: None) -> list[Conversation]:
    """Grows by one with each of them."""
    passed: list[Conversation] = []
    tick = Conversation.tick

    def ticked(conversation: Conversation) -> None:
        passed.append(conversation)
        tick(conversation)

    monkeypatch.setattr(Conversation, "tick", ticked)
    return passed


async def pass_seconds(ticks: list[Conversation], count: float) -> None:
    """Waits for so many of the server's."""
    passed = len(ticks)
    await until(lambda: len(ticks) >= passed + count)


def error(heard: list[wire.ServerMessage]) -> str:
    """The code of the error at the end."""
    last = heard[-1]
    assert isinstance(last, wire.Error)
    return last.code


def only(server: Server) -> Connection:
    """The one connection that there is."""
    (session,) = server.connections
    return session


def newest(server: Server) -> Connection:
    """The one that has sent no audio yet."""
    (session,) = [s for s in server.connections if s.conversation.stream and not s.conversation.stream.received]
    return session


@asynccontextmanager
async def line(proxy: Proxy) -> AsyncIterator[ClientConnection]:
    """A connection through a proxy that may not carry a goodbye."""
    websocket = await connect(proxy.url + wire.PATH, compression=None, ping_interval=None, proxy=None)
    try:
        yield websocket
    finally:
        websocket.transport.abort()
        await websocket.wait_closed()


# ---- clients that don't read


CHATTER = np.concatenate([part for _ in range(250) for part in (speak("A", blocks=4), silence(0.8))])
STORY = np.concatenate([part for _ in range(6) for part in (speak("AND SO ON " * 24), silence(0.8))])
WRITTEN_BYTES = 64 * 1024
"""What websockets lets wait behind the messages that we hold, and one of them."""


@pytest.fixture
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's, so that seconds of audio fill them."""
    monkeypatch.setattr(visitor, "KERNEL_BYTES", 2048)


async def unread(websocket: ClientConnection, session: Connection, pcm: Pcm) -> tuple[int, int]:
    """Sends audio at full speed and reads nothing; most messages that waited for it, and most bytes behind them."""
    messages = written = 0
    for message in cut(pcm.tobytes(), 32_000):
        await send(websocket, message)
        messages = max(messages, len(session.conversation.outbox))
        written = max(written, session._line.unread_bytes)
    await send(websocket, wire.Stop())
    return messages, written


async def test_audio_is_heard_also_when_nothing_is_read_and_no_final_is_lost(small_buffers: None) -> None:
    async with serving(limits=ROOM) as server:
        alone = await dictate(server, STORY)
        async with connected(server, wire.Start(), receive_buffer=2048) as websocket:
            await websocket.recv()
            session = only(server)
            messages, written = await unread(websocket, session, STORY)
            await until(lambda: session.conversation.ended)
            assert session.stuck
            assert messages < SLOW_READER_NOTICES + 2 * len(alone) + 2
            assert written < WRITTEN_BYTES
            heard = await hear(websocket)
    assert finals(heard) == alone
    assert isinstance(heard[-1], wire.Done)
    assert websocket.close_code == 1000


async def test_who_reads_nothing_for_too_long_is_closed_and_nobody_else_notices(small_buffers: None) -> None:
    limits = Limits(streams=8, unsent_messages=64)
    async with beside_others(limits) as server:
        alone = await dictate(server, CHATTER)
        async with connected(server, wire.Start(), receive_buffer=2048) as websocket:
            await websocket.recv()
            session = newest(server)
            messages, written = await unread(websocket, session, CHATTER)
            await until(lambda: session.conversation.ended)
            assert messages <= limits.unsent_messages + 1  # and the error
            assert written < WRITTEN_BYTES
            heard = await hear(websocket)
    assert error(heard) == "slow_reader"
    assert websocket.close_code == 1013
    assert 0 < len(finals(heard)) < len(alone)
    assert finals(heard) == alone[: len(finals(heard))]


async def test_pongs_that_are_not_read_do_not_pile_up(monkeypatch: pytest.MonkeyPatch, hasty: None) -> None:
    """The websocket layer answers pings by itself, and waits for no reader."""
    monkeypatch.setattr(connection, "UNREAD_BYTES", 200_000)
    async with beside_others(ANY_PACE) as server:
        async with connected(server, wire.Start(), receive_buffer=2048) as websocket:
            await websocket.recv()
            session = newest(server)
            websocket.transport.pause_reading()
            pings = frame(Opcode.PING, bytes(125)) * 500
            written = 0
            while session in server.connections:
                if websocket.transport.get_write_buffer_size() < len(pings):
                    websocket.transport.write(pings)
                await asyncio.sleep(0)
                written = max(written, session._line.unread_bytes)
            assert session.conversation.error == "slow_reader"
            websocket.transport.abort()
        assert 200_000 < written < 20_000_000


# ---- clients that trickle


async def test_headers_that_trickle_in_are_cut_short() -> None:
    """And nobody waits for a client that says nothing at all."""

    async def trickle(writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            for byte in handshake():
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)

    async with beside_others(Limits(streams=8, handshake_seconds=1)) as server:
        ends = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        trickling = asyncio.create_task(trickle(ends[0][1]))
        async with asyncio.timeout(GIVE_UP_SECONDS):
            for reader, writer in ends:
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
                writer.close()
        trickling.cancel()


HOLLOW = frame(Opcode.BINARY, fin=False) + frame(Opcode.CONT, fin=False) * 99
NO_MESSAGES = [
    ("a start", None, frame(Opcode.TEXT, b'{"type":"start"}' + b" " * 500), "start_timeout", 1008),
    ("audio", wire.Start(), frame(Opcode.BINARY, bytes(20_000)), "idle", 1013),
    ("empty frames", wire.Start(), HOLLOW, "idle", 1013),
    ("pings", wire.Start(), frame(Opcode.PING) * 100, "idle", 1013),
]


@pytest.mark.parametrize(
    ("start", "data", "code", "closed"), [case[1:] for case in NO_MESSAGES], ids=[case[0] for case in NO_MESSAGES]
)
async def test_bytes_that_make_no_message_keep_nothing_alive(
    monkeypatch: pytest.MonkeyPatch, hasty: None, start: wire.Start | None, data: bytes, code: str, closed: int
) -> None:
    """Some of them come in each second. What is unfinished swallows the goodbye, too."""
    monkeypatch.setattr(connection, "CLOSE_SECONDS", 0.1)
    limits = Limits(streams=8, idle_seconds=10, handshake_seconds=10)
    async with serving(limits=limits) as server, connected(server, start) as websocket:
        hearing = asyncio.create_task(hear(websocket))
        for part in cut(data, 2):
            if hearing.done() or websocket.transport.is_closing():
                break
            websocket.transport.write(part)
            await asyncio.sleep(TICK_SECONDS)
        assert error(await hearing) == code
        assert websocket.close_code == closed
        await until(lambda: not server.connections)


async def test_a_trickle_of_whole_messages_is_a_stream(ticks: list[Conversation]) -> None:
    limits = Limits(streams=8, idle_seconds=10)
    async with serving(limits=limits) as server, connected(server, wire.Start()) as websocket:
        hearing = asyncio.create_task(hear(websocket))
        for byte in range(12):
            await send(websocket, bytes([byte]))
            await pass_seconds(ticks, 2)
        await send(websocket, wire.Stop())
        assert (await hearing)[-1] == wire.Done(6, seconds(6))


# ---- clients that vanish


async def test_a_client_that_vanishes_is_forgotten_when_it_was_quiet_for_too_long(
    monkeypatch: pytest.MonkeyPatch, hasty: None
) -> None:
    """Its machine has lost power, say: nothing comes from it any more, not even the end of the connection."""
    monkeypatch.setattr(connection, "CLOSE_SECONDS", 0.1)
    async with serving(limits=Limits(streams=1, idle_seconds=10)) as server:
        async with Proxy([server.port], [Cut("silence", after=30_000)]) as proxy:
            async with line(proxy) as websocket:
                await send(websocket, wire.Start(), *cut(SPEECH.tobytes()))
                await until(lambda: len(server.connections) == 1)
                session = only(server)
                await until(lambda: session.conversation.error == "idle")
                await until(lambda: not server.connections)
            assert [made.how for made in proxy.made] == ["silence"]
        assert server.engine_loop is not None
        assert server.engine_loop.streams == 0


async def test_the_room_of_a_stream_that_has_ended_is_free_at_once(hasty: None) -> None:
    """However long the client takes for its goodbye."""
    async with (
        serving(limits=Limits(streams=1, idle_seconds=10)) as server,
        Proxy([server.port], [Cut("silence", after=30_000)]) as proxy,
        line(proxy) as websocket,
    ):
        await send(websocket, wire.Start(), *cut(SPEECH.tobytes()))
        await until(lambda: len(server.connections) == 1)
        vanished = only(server)
        await until(lambda: vanished.conversation.error == "idle")
        assert not server.full
        assert [final.text for final in await dictate(server, SPEECH)] == TEXTS
        assert vanished in server.connections
        vanished.abort()


# ---- reading that is paused


async def paused(server: Server) -> Connection:
    """The one connection, once it is not read any more."""
    await until(lambda: any(session.conversation.blocked for session in server.connections))
    return only(server)


BACKLOG = Limits(streams=8, backlog_seconds=1, idle_seconds=10)
LONG = np.tile(STORY[:100_000], 3)


async def test_neither_pings_nor_idle_time_end_a_stream_whose_reading_is_paused(
    monkeypatch: pytest.MonkeyPatch, ticks: list[Conversation]
) -> None:
    """The pongs wait behind the audio. What was sent is heard in the end."""
    serve = websockets.serve

    def hasty_pings(*args: Any, ping_timeout: float | None = 20, **settings: Any) -> Any:
        return serve(*args, ping_interval=TICK_SECONDS, ping_timeout=ping_timeout and TICK_SECONDS, **settings)

    monkeypatch.setattr(websockets, "serve", hasty_pings)
    runner = HeldRunner()
    async with serving(runner, limits=BACKLOG) as server:
        talking = asyncio.create_task(talk(server, wire.Start(), *cut(LONG.tobytes()), wire.Stop()))
        session = await paused(server)
        assert session.conversation.stream
        held = session.conversation.stream.received
        await pass_seconds(ticks, 2 * 10)
        assert session.conversation.stream.received == held < len(LONG)
        assert isinstance(session._line, Visitor) and len(session._line.pending_pings) > 2
        runner.go.set()
        heard, code = await talking
        assert code == 1000
        assert text(heard) == text([*await dictate(server, LONG)])


async def test_our_client_waits_for_a_server_that_is_behind(ticks: list[Conversation]) -> None:
    """It goes by the acks: they come also while nothing is read."""
    silence_seconds = 0.5
    runner = HeldRunner()
    async with serving(runner, limits=BACKLOG) as server:
        async with ClientStream(server.url, timeouts=Timeouts(silence=silence_seconds)) as stream:
            await stream.send(LONG)
            await stream.stop()
            await paused(server)
            await pass_seconds(ticks, 1.5 * silence_seconds / TICK_SECONDS)
            runner.go.set()
            messages = [message async for message in stream]
        alone = await dictate(server, LONG)
    assert not [message for message in messages if isinstance(message, Reconnecting)]
    assert [message for message in messages if isinstance(message, wire.FinalMessage)] == alone


# ---- limits


async def test_one_stream_too_many() -> None:
    async with beside_others(Limits(streams=3)) as server, connected(server, wire.Start()) as third:
        assert isinstance(wire.decode_server(await third.recv()), wire.Ready)
        assert (await get(server.port, "/readyz"))[0] == 503
        heard, code = await talk(server, wire.Start(), *cut(SPEECH.tobytes()), wire.Stop())
        assert (error(heard), code) == ("full", 1013)
        await send(third, *cut(SPEECH.tobytes()), wire.Stop())
        assert [final.text for final in finals(await hear(third))] == TEXTS
        assert (await get(server.port, "/readyz"))[0] == 200
        assert [final.text for final in await dictate(server, SPEECH)] == TEXTS


async def test_one_connection_too_many_from_an_address() -> None:
    async with beside_others(Limits(streams=8, per_address=3)) as server:
        async with connected(server) as third:
            await until(lambda: len(server.connections) == 3)
            heard, code = await talk(server, wire.Start())
            assert (error(heard), code) == ("too_many_connections", 1013)
            await send(third, wire.Start(), *cut(SPEECH.tobytes()), wire.Stop())
            assert [final.text for final in finals(await hear(third))] == TEXTS
        await until(lambda: len(server.connections) == 2)
        assert [final.text for final in await dictate(server, SPEECH)] == TEXTS


async def test_the_longest_stream() -> None:
    async with beside_others(Limits(streams=8, longest_seconds=3)) as server:
        heard, code = await talk(server, wire.Start(), *cut(np.tile(SPEECH, 3).tobytes()), wire.Stop())
        assert (error(heard), code) == ("stream_too_long", 1008)
        assert finals(heard) == await dictate(server, np.tile(SPEECH, 3)[: 3 * SAMPLE_RATE])


@pytest.mark.parametrize("most", [wire.MESSAGE_BYTES, 3 * wire.MESSAGE_BYTES])
async def test_the_longest_message(most: int) -> None:
    audio = bytes(most) + SPEECH.tobytes()
    async with beside_others(Limits(streams=8, message_bytes=most)) as server:
        heard, code = await talk(server, wire.Start(), *cut(audio, most), wire.Stop())
        assert (text(heard), code) == (" ".join(TEXTS), 1000)
        heard, code = await talk(server, wire.Start(), bytes(most + 1))
        assert (error(heard), code) == ("message_too_big", 1009)
        heard, code = await talk(server, wire.Start(), bytes(2 * most + 1))
        assert code == 1009
        assert not [message for message in heard if isinstance(message, wire.Error)]
