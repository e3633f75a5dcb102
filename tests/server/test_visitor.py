"""What is bounded below the messages: who may connect how often, how fast frames may come, what is read at the end."""

import asyncio
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
from websockets.frames import Opcode

from earshot_asr.server import visitor, wire
from earshot_asr.server.addresses import SPARE_CONNECTIONS
from earshot_asr.server.app import Server
from earshot_asr.server.connection import Connection
from earshot_asr.server.settings import Limits
from earshot_asr.server.visitor import LAST_BYTES, SMALL_BYTES, Visitor
from tests.end_to_end.test_bad_input import SPEECH, TEXTS, clean_log, frame, handshake
from tests.helpers import silence, speak
from tests.server.loopback import connected, cut, dictate, finals, get, hear, send, serving, talk, until
from tests.server.test_connection import HeldRunner

__all__ = ["clean_log"]  # for every test here, too
ROOM = Limits(streams=32)
HELLO = handshake() + frame(Opcode.TEXT, b'{"type":"start"}')
KILOBYTE = frame(Opcode.BINARY, bytes(1000))
WAITING_SECONDS = 0.2


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has been told the last is soon cut."""
    monkeypatch.setattr(visitor, "LAST_SECONDS", WAITING_SECONDS)


# ---- what is read at the end


ENDS = {
    "a mistake": HELLO + frame(Opcode.TEXT, b"oops"),
    "a stop": HELLO + frame(Opcode.TEXT, b'{"type":"stop"}'),
    "a broken frame": HELLO + frame(0x3, bytes(2)),
    "a request for a page": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no request": b"hello\r\n\r\n",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
async def test_who_has_been_told_the_last_is_not_read_for_ever(
    monkeypatch: pytest.MonkeyPatch, hasty: None, end: bytes
) -> None:
    """It sends on at full speed, and reads nothing."""
    read = [0]
    received = Visitor.data_received

    def counted(self: Visitor, data: bytes) -> None:
        read[0] += len(data)
        received(self, data)

    monkeypatch.setattr(Visitor, "data_received", counted)
    async with serving(limits=ROOM) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(end)
        async with asyncio.timeout(20):
            with suppress(ConnectionError):
                while True:
                    writer.write(KILOBYTE * 100)
                    await writer.drain()
        await until(lambda: not server.connections)
    assert read[0] < 1.2 * LAST_BYTES


async def test_who_has_not_read_its_last_is_not_cut_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitor, "LAST_SECONDS", WAITING_SECONDS / 10)
    monkeypatch.setattr(visitor, "PAUSE_SECONDS", WAITING_SECONDS / 10)
    monkeypatch.setattr(visitor, "KERNEL_BYTES", 2048)
    flushes = 1000
    async with serving(limits=Limits(streams=32, messages_per_second=1_000_000, unsent_messages=100_000)) as server:
        async with connected(server, wire.Start(), receive_buffer=2048) as websocket:
            await websocket.recv()
            websocket.transport.pause_reading()
            await send(websocket, *[wire.Flush()] * flushes, *cut(SPEECH.tobytes()), "oops")
            (session,) = server.connections
            await until(lambda: session.conversation.ended)
            await asyncio.sleep(WAITING_SECONDS)
            websocket.transport.resume_reading()
            heard = await hear(websocket)
        assert websocket.close_code == 1008
        await until(lambda: not server.connections)
    assert sum(isinstance(message, wire.Ack) for message in heard) >= flushes
    assert [final.text for final in finals(heard)] == TEXTS
    assert isinstance(heard[-1], wire.Error)


# ---- how fast frames may come


FLOODS = {
    "messages of one byte": frame(Opcode.BINARY, bytes(1)),
    "messages of almost ten milliseconds": frame(Opcode.BINARY, bytes(SMALL_BYTES - 1)),
    "empty messages": frame(Opcode.BINARY),
    "empty fragments": frame(Opcode.CONT, fin=False),
    "keepalives": frame(Opcode.TEXT, b'{"type":"keepalive"}'),
    "long keepalives": frame(Opcode.TEXT, b'{"type":"keepalive"}' + b" " * 100),
    "pings": frame(Opcode.PING),
    "long pings": frame(Opcode.PING, bytes(125)),
    "pongs": frame(Opcode.PONG),
}
MOST = 200


@pytest.mark.parametrize("unit", FLOODS.values(), ids=FLOODS.keys())
@pytest.mark.parametrize("count", [MOST - 10, 10 * MOST])
async def test_messages_in_a_second_are_limited(hasty: None, unit: bytes, count: int) -> None:
    """The limit leaves room for `start` and `stop`."""
    async with serving(limits=Limits(streams=32, messages_per_second=MOST)) as server, connected(server) as websocket:
        await send(websocket, wire.Start())
        if unit == FLOODS["empty fragments"]:
            websocket.transport.write(frame(Opcode.BINARY, fin=False))
        websocket.transport.write(unit * count)
        if unit == FLOODS["empty fragments"]:
            websocket.transport.write(frame(Opcode.CONT))
        await send(websocket, b"\0", wire.Stop())
        last = (await hear(websocket))[-1]
    if count > MOST:
        assert isinstance(last, wire.Error)
        assert last.code == "too_many_messages" and f"more than {MOST} messages" in last.message
        assert websocket.close_code == 1008
    else:
        assert isinstance(last, wire.Done | wire.Error)
        assert websocket.close_code in (1000, 1003)  # 1003: an odd number of bytes


async def test_a_flood_before_the_answer_to_the_handshake_is_told_too(hasty: None) -> None:
    async with serving(limits=ROOM) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HELLO + frame(Opcode.BINARY) * 5000)
        async with asyncio.timeout(20):
            answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 101") and b"too_many_messages" in answer


async def test_what_came_before_a_flood_is_made_final(hasty: None) -> None:
    """Also in the same packet."""
    hi = np.concatenate([silence(0.1), speak("HI", blocks=1), silence(0.1)])
    async with serving(limits=ROOM) as server, connected(server, wire.Start()) as websocket:
        await websocket.recv()
        websocket.transport.write(frame(Opcode.BINARY, hi.tobytes()) + frame(Opcode.BINARY) * 1200)
        heard = await hear(websocket)
    assert [final.text for final in finals(heard)] == ["HI"]
    assert isinstance(heard[-1], wire.Error)
    assert heard[-1].code == "too_many_messages"


async def test_who_has_to_wait_for_the_last_has_its_time_to_read_it(
    monkeypatch: pytest.MonkeyPatch, hasty: None
) -> None:
    """The finals take longer than that; who is cut in mid-way may lose what the kernel holds."""
    monkeypatch.setattr(visitor, "PAUSE_SECONDS", WAITING_SECONDS / 10)
    runner = HeldRunner()
    async with serving(runner, limits=ROOM) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HELLO + frame(Opcode.BINARY, SPEECH.tobytes()[:64_000]) + frame(Opcode.BINARY) * 5000)
        await until(
            lambda: any(session.conversation.error or session.conversation.blocked for session in server.connections)
        )
        await asyncio.sleep(2 * WAITING_SECONDS)
        runner.go.set()
        (session,) = server.connections
        await until(lambda: session.conversation.ended)
        ended = time.monotonic()
        async with asyncio.timeout(20):
            answer = await reader.read()
        assert time.monotonic() - ended >= 0.9 * WAITING_SECONDS
        writer.close()
    assert b'"type":"final"' in answer and b"too_many_messages" in answer


async def test_audio_is_not_counted() -> None:
    """As fast as it goes, in messages of ten milliseconds of telephone audio."""
    start = wire.Start(encoding="mulaw", sample_rate=8000)
    async with serving(limits=Limits(streams=32, messages_per_second=100)) as server:
        heard, code = await talk(server, start, *[b"\xff" * SMALL_BYTES] * 1000, wire.Stop())
    assert code == 1000, heard[-1]


# ---- how many connections an address may have


async def silent_connections(port: int, count: int) -> list[asyncio.StreamWriter]:
    return [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(count)]


async def test_handshakes_that_are_not_finished_count() -> None:
    async with serving(limits=Limits(streams=32, per_address=3)) as server:
        held = await silent_connections(server.port, 3)
        heard, code = await talk(server, wire.Start())
        assert isinstance(heard[-1], wire.Error)
        assert (heard[-1].code, code) == ("too_many_connections", 1013)
        assert (await get(server.port, "/healthz"))[0] == 200
        for writer in held:
            writer.close()
        await until(lambda: not server._census.exceeds("127.0.0.1", spare=-3))
        assert [final.text for final in await dictate(server, SPEECH)] == TEXTS


async def test_far_too_many_connections_are_cut_at_once() -> None:
    async with serving(limits=Limits(streams=32, per_address=3, handshake_seconds=60)) as server:
        held = await silent_connections(server.port, 3 + SPARE_CONNECTIONS)
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            assert await reader.read() == b""
        for each in [writer, *held]:
            each.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no second address of their own")
async def test_another_address_is_another_matter() -> None:
    async with serving(limits=Limits(streams=32, per_address=2)) as server:
        held = await silent_connections(server.port, 2 + SPARE_CONNECTIONS)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=("127.0.0.2", 0))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        for each in [writer, *held]:
            each.close()


async def opened(server: Server, forwarded: str) -> tuple[asyncio.StreamWriter, Connection]:
    """A websocket that came with X-Forwarded-For."""
    before = set(server.connections)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(handshake(more=f"X-Forwarded-For: {forwarded}\r\n"))
    await until(lambda: bool(server.connections - before))
    (one,) = server.connections - before
    return writer, one


async def test_clients_behind_a_trusted_proxy_are_counted_one_by_one() -> None:
    async with serving(trusted_proxy=("127.0.0.0/8",), limits=Limits(streams=32, per_address=2)) as server:
        held = await silent_connections(server.port, 50)
        ends = [await opened(server, f"{said}192.0.2.{n}") for n in (1, 2) for said in ("", "192.0.2.9, ")]
        assert [c.address for _, c in ends] == ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"]
        assert not [c for _, c in ends if c.conversation.error]
        ends.append(await opened(server, "192.0.2.1"))
        assert ends[-1][1].conversation.error == "too_many_connections"
        for writer in [*held, *(writer for writer, _ in ends)]:
            writer.close()


async def test_nobody_else_is_believed() -> None:
    async with serving(trusted_proxy=("10.0.0.0/8",), limits=Limits(streams=32, per_address=2)) as server:
        writer, one = await opened(server, "192.0.2.1")
        assert one.address == "127.0.0.1"
        writer.close()
