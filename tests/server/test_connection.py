"""Flow: a socket is not read while there is no room, and a reader is waited for, within bounds."""

import asyncio
import logging
import socket
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from engine.audio import LogProbs, Pcm, seconds
from engine.config import StreamConfig
from server import app, connection, wire
from server.protocol import UNSENT
from tests.helpers import FakeRunner, finals, run_session, silence, speak
from tests.server.loopback import connected, cut, dictate, hear, send, serving, talk, text, until


class HeldRunner(FakeRunner):
    """Computes nothing before `go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def run(self, windows: Sequence[Pcm]) -> list[LogProbs]:
        self.go.wait()
        return super().run(windows)


async def test_audio_waits_in_the_socket_while_the_engine_is_behind() -> None:
    pcm = np.concatenate([speak("AB " * 100, blocks=4)] * 10)
    runner = HeldRunner()
    async with serving(runner) as server:
        talking = asyncio.create_task(talk(server, wire.Start(), *cut(pcm.tobytes(), 60_000), wire.Stop()))
        await until(lambda: any(session.protocol.blocked for session in server.sessions))
        (session,) = server.sessions
        stream = session.protocol.stream
        assert stream
        held = stream.received
        await asyncio.sleep(0.1)
        assert stream.received == held < len(pcm)
        runner.go.set()
        heard, code = await talking
    assert code == 1000
    assert heard[-1] == wire.Done(len(pcm), seconds(len(pcm)))
    expected = finals(run_session(pcm, StreamConfig.preset("balanced")))
    assert text(heard) == " ".join(final.text for final in expected)


async def test_a_reader_that_does_not_read_is_not_read_and_disturbs_nobody() -> None:
    flushes = 10_000
    async with serving() as server, connected(server, wire.Start(), receive_buffer=4096) as websocket:
        sending = asyncio.create_task(send(websocket, *[wire.Flush()] * flushes, wire.Stop()))
        await until(lambda: any(session.stuck and session.protocol.blocked for session in server.sessions))
        hi = np.concatenate([silence(0.2), speak("HI"), silence(0.2)])
        assert [final.text for final in await dictate(server, hi)] == ["HI"]
        await until(lambda: any(session.stuck and session.protocol.blocked for session in server.sessions))
        heard = await hear(websocket)
        await sending
    assert len([message for message in heard if isinstance(message, wire.Ack)]) == flushes + 1
    assert isinstance(heard[-1], wire.Done)


async def test_a_reader_that_does_not_read_cannot_keep_the_server_from_going_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "SHUTDOWN_SECONDS", 0.1)
    async with serving() as server, connected(server, wire.Start(), receive_buffer=4096) as websocket:
        sending = asyncio.create_task(send(websocket, *[wire.Flush()] * 10_000))
        await until(lambda: any(session.stuck for session in server.sessions))
        await server.stop()
        assert not server.sessions
        await hear(websocket)
        await sending


async def test_a_reader_that_does_not_read_its_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CLOSE_SECONDS", 0.1)
    async with serving() as server, connected(server, wire.Start(), receive_buffer=4096) as websocket:
        sending = asyncio.create_task(send(websocket, *[wire.Flush()] * 10_000))
        await until(lambda: any(session.stuck for session in server.sessions))
        (session,) = server.sessions
        session.failed()
        await until(lambda: not server.sessions)
        await hear(websocket)
        await sending


async def test_what_comes_after_the_engine_said_much_to_a_slow_reader_is_no_mistake() -> None:
    """The socket is being waited for while the engine fills the queue, and nothing may be received then."""
    runner = HeldRunner()
    async with (
        serving(runner) as server,
        connected(server, wire.Start(partials=False), receive_buffer=4096) as websocket,
    ):
        await until(lambda: bool(server.sessions))
        (session,) = server.sessions
        while not session.stuck:
            await send(websocket, *[wire.Flush()] * 50)
            await asyncio.sleep(0.002)
        stream = session.protocol.stream
        assert stream
        talked = np.concatenate([silence(0.2), speak("HI"), silence(0.2)])
        await send(websocket, talked.tobytes(), *[wire.Flush()] * (UNSENT - 1))
        await until(lambda: session.protocol._flushes == UNSENT - 1 and not session.protocol.blocked)
        session.protocol._unsent += [wire.Ack(0, 0, 0)]
        runner.go.set()
        await until(lambda: session.protocol.blocked and session.protocol._flushes == 0)
        await send(websocket, wire.Keepalive(), wire.Stop())
        heard = await hear(websocket)
    assert isinstance(heard[-1], wire.Done)
    assert text(heard) == "HI"


async def test_a_reader_that_has_said_its_last_and_reads_on_is_no_mistake_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It closes its half, and so lets asyncio close the transport out of a write."""
    async with serving() as server, connected(server, wire.Start(), receive_buffer=4096) as websocket:
        sending = asyncio.create_task(send(websocket, *[wire.Flush()] * 10_000))
        await until(lambda: any(session.stuck and session.protocol.blocked for session in server.sessions))
        websocket.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
        with caplog.at_level(logging.ERROR):
            await hear(websocket)
            await until(lambda: not server.sessions)
        await sending
    assert not caplog.records


async def test_a_refused_client_that_goes_on_sending_learns_why() -> None:
    async with serving() as server:
        heard, code = await talk(server, wire.Start(), "oops", *[bytes(60_000)] * 100)
    assert isinstance(heard[-1], wire.Error)
    assert code == 1008
