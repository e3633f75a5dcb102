"""Flow: a socket is not read while there is no room, and a reader is waited for, within bounds."""

import asyncio
import base64
import json
import logging
import socket
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from websockets.asyncio.client import connect

from earshot_asr.engine.audio import LogProbs, Pcm, seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.server import app, connection, wire
from earshot_asr.server.settings import Limits
from earshot_asr.server.visitor import Visitor
from tests.helpers import FakeRunner, finals, run_session, silence, speak
from tests.server.loopback import connected, cut, dictate, hear, send, serving, talk, text, until

ANY_PACE = Limits(messages_per_second=1_000_000)


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
    async with serving(runner, limits=Limits(streams=1)) as server:  # else it would be measured
        talking = asyncio.create_task(talk(server, wire.Start(), *cut(pcm.tobytes(), 60_000), wire.Stop()))
        await until(lambda: any(session.conversation.blocked for session in server.connections))
        (session,) = server.connections
        stream = session.conversation.stream
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


async def test_large_messages_do_not_pile_up_while_the_engine_is_behind() -> None:
    """Those of OpenAI's may have 20 MB: one waits for the engine, one behind it, and no more are read."""
    audio = base64.b64encode(np.concatenate([speak("AB " * 100, blocks=4)] * 3).tobytes()).decode()
    message = json.dumps({"type": "input_audio_buffer.append", "audio": audio})
    runner = HeldRunner()
    async with serving(runner, limits=Limits(streams=1)) as server:
        url = f"ws://127.0.0.1:{server.port}/v1/realtime?intent=transcription"
        async with connect(url, compression=None, proxy=None) as websocket:
            sending = asyncio.create_task(send(websocket, *[message] * 8))
            await until(lambda: any(session.conversation.blocked for session in server.connections))
            await asyncio.sleep(0.3)
            (guest,) = server._guests.all()
            assert isinstance(guest, Visitor)
            assert len(guest.recv_messages.frames) <= 1
            sending.cancel()
            runner.go.set()
            websocket.transport.abort()


async def test_a_reader_that_does_not_read_is_given_up_and_disturbs_nobody() -> None:
    async with serving(limits=ANY_PACE) as server, connected(server, wire.Start(), receive_buffer=4096) as websocket:
        sending = asyncio.create_task(send(websocket, *[wire.Flush()] * 10_000, wire.Stop()))
        await until(lambda: any(session.stuck for session in server.connections))
        hi = np.concatenate([silence(0.2), speak("HI"), silence(0.2)])
        assert [final.text for final in await dictate(server, hi)] == ["HI"]
        await until(lambda: any(session.conversation.error == "slow_reader" for session in server.connections))
        heard = await hear(websocket)
        await sending
        assert websocket.close_code == 1013
    assert isinstance(heard[-1], wire.Error)
    assert heard[-1].code == "slow_reader"


async def test_a_reader_that_does_not_read_cannot_keep_the_server_from_going_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "SHUTDOWN_SECONDS", 0.1)
    async with serving(limits=ANY_PACE) as server, connected(server, wire.Start(), receive_buffer=4096) as websocket:
        sending = asyncio.create_task(send(websocket, *[wire.Flush()] * 10_000))
        await until(lambda: any(session.stuck for session in server.connections))
        await server.stop()
        assert not server.connections
        await hear(websocket)
        await sending


async def test_a_reader_that_does_not_read_its_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CLOSE_SECONDS", 0.1)
    async with serving(limits=ANY_PACE) as server, connected(server, wire.Start(), receive_buffer=4096) as websocket:
        sending = asyncio.create_task(send(websocket, *[wire.Flush()] * 10_000))
        await until(lambda: any(session.stuck for session in server.connections))
        (session,) = server.connections
        session.failed(RuntimeError("a bug"))
        await until(lambda: not server.connections)
        await hear(websocket)
        await sending


async def test_a_reader_that_has_said_its_last_and_reads_on_is_no_mistake_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It closes its half, and so lets asyncio close the transport out of a write."""
    async with serving(limits=ANY_PACE) as server, connected(server, wire.Start(), receive_buffer=4096) as websocket:
        sending = asyncio.create_task(send(websocket, *[wire.Flush()] * 10_000))
        await until(lambda: any(session.stuck for session in server.connections))
        websocket.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
        with caplog.at_level(logging.ERROR):
            await hear(websocket)
            await until(lambda: not server.connections)
        await sending
    assert not caplog.records


async def test_a_refused_client_that_goes_on_sending_learns_why() -> None:
    async with serving() as server:
        heard, code = await talk(server, wire.Start(), "oops", *[bytes(60_000)] * 100)
    assert isinstance(heard[-1], wire.Error)
    assert code == 1008


async def test_audio_is_not_compressed() -> None:
    async with serving() as server, connect(server.url, compression="deflate", proxy=None) as websocket:
        assert websocket.protocol.extensions == []
