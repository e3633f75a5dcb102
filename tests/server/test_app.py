"""Start, address, signals."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from unittest.mock import patch

import numpy as np
import pytest

from earshot_asr.engine.cost import Cost
from earshot_asr.engine.errors import CheckpointError, ConfigError
from earshot_asr.engine.model import Runner
from earshot_asr.server import app, wire
from earshot_asr.server.app import Server, build, serve
from earshot_asr.server.settings import Limits, ServerConfig
from tests.helpers import FakeRunner, silence, speak
from tests.server.loopback import connected, cut, finals, get, hear, send, serving, text, until


async def test_port_zero_is_a_free_one() -> None:
    async with serving() as one, serving() as other:
        assert one.port != other.port
        assert one.url == f"ws://127.0.0.1:{one.port}/v1/stream"


async def test_port_in_use() -> None:
    async with serving() as one:
        two = Server(ServerConfig(port=one.port), [FakeRunner])
        with pytest.raises(ConfigError) as e:
            await two.start()
    assert str(e.value) == f"port {one.port} of 127.0.0.1 is in use; choose another one, or 0 for any that is free"


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
async def test_an_address_that_is_not_ours(host: str) -> None:
    with pytest.raises(ConfigError, match=r"can't listen at port 0 of .*; host must be an address of this machine"):
        await Server(ServerConfig(host=host, port=0, insecure=True), [FakeRunner]).start()


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
async def test_ipv6() -> None:
    try:
        async with (
            Server(ServerConfig(host="::1", port=0), [FakeRunner]) as server,
            connected(server, wire.Start()) as ws,
        ):
            assert isinstance(wire.decode_server(await ws.recv()), wire.Ready)
    except ConfigError:
        pytest.skip("needs IPv6")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"port": -1}, "port is -1; it must be between 0 and 65535"),
        ({"port": 65536}, "port is 65536"),
        ({"host": ""}, "host is empty"),
        ({"host": "0.0.0.0"}, "anyone who reaches 0.0.0.0 could stream here: .* --token-file, or say --insecure"),
        ({"host": "captions.example"}, "anyone who reaches captions.example"),
        ({"tls_key": "key.pem"}, "--tls-key needs --tls-cert"),
        ({"latency": "lowest"}, "latency is 'lowest'; it must be one of low, balanced, accurate"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        ServerConfig(**settings)  # type: ignore[arg-type]


async def test_a_model_that_cannot_be_loaded_gives_the_port_back() -> None:
    def load() -> Runner:
        raise CheckpointError("there is nothing in it")

    server = Server(ServerConfig(port=0), [load])
    with pytest.raises(CheckpointError, match="nothing in it"):
        await server.start()
    assert not server.listening


async def test_all_is_here_before_a_device_loads_it() -> None:
    did: list[str] = []

    def load() -> Runner:
        did.append("load")
        return FakeRunner()

    server = Server(ServerConfig(port=0, limits=Limits(streams=2)), [load, load], fetch=lambda: did.append("fetch"))
    await server.fetch()
    await server.start()
    assert did == ["fetch", "load", "load"]
    await server.stop()


async def test_ctrl_c_while_a_model_is_fetched_ends_it_at_once() -> None:
    fetching, never = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def fetch() -> None:
        loop.call_soon_threadsafe(fetching.set)
        never.wait()

    server = Server(ServerConfig(port=0), [FakeRunner], fetch=fetch)

    async def press() -> None:
        await fetching.wait()
        os.kill(os.getpid(), signal.SIGINT)

    async def until_it_ends() -> BaseException | None:
        pressing = asyncio.create_task(press())
        try:
            await serve(server)
        except KeyboardInterrupt as error:  # a task that ended with it would end the loop
            return error
        finally:
            await pressing
        return None

    try:
        assert isinstance(await until_it_ends(), KeyboardInterrupt)
        assert not server.listening
    finally:
        never.set()


async def test_no_model_no_server() -> None:
    with pytest.raises(CheckpointError):
        await build(ServerConfig(port=0, model="/no/such/model")).start()


def test_the_server_loads_without_torch() -> None:
    code = "import sys, earshot_asr.server.app; sys.exit('torch' in sys.modules)"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_closes_gracefully(number: signal.Signals) -> None:
    server = Server(ServerConfig(port=0), [FakeRunner])
    started = asyncio.Event()
    serving = asyncio.create_task(serve(server, lambda _: started.set()))
    await started.wait()
    async with connected(server, wire.Start()) as websocket:
        await websocket.recv()
        os.kill(os.getpid(), number)
        (error,) = await hear(websocket)
        assert isinstance(error, wire.Error)
        assert websocket.close_code == 1012
    await serving
    assert not server.listening


async def test_cancelling_is_not_a_signal() -> None:
    server = Server(ServerConfig(port=0), [FakeRunner])
    started = asyncio.Event()
    serving = asyncio.create_task(serve(server, lambda _: started.set()))
    await started.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert not server.listening


async def test_an_engine_that_breaks_ends_all_streams_and_is_not_ready() -> None:
    async with serving() as server:
        assert server.engine_loop

        def explode() -> None:
            raise RuntimeError("a bug")

        async with connected(server, wire.Start()) as websocket:
            await websocket.recv()
            server.engine_loop.recognizer.take = explode  # type: ignore[method-assign]
            await websocket.send(wire.encode(wire.Keepalive()))
            (error,) = await hear(websocket)
            assert isinstance(error, wire.Error)
            assert websocket.close_code == 1011
        with pytest.raises(RuntimeError, match="a bug"):
            await server.broken()
        assert (await get(server.port, "/readyz"))[0] == 503


async def test_a_stopped_server_can_be_stopped_again() -> None:
    async with serving() as server:
        await server.stop()


# ---- draining


@pytest.fixture
async def served() -> AsyncIterator[tuple[Server, asyncio.Task[None]]]:
    """A server under `serve`, as the command runs it."""
    server = Server(ServerConfig(port=0), [FakeRunner])
    started = asyncio.Event()
    running = asyncio.create_task(serve(server, lambda _: started.set()))
    await started.wait()
    yield server, running
    running.cancel()
    await asyncio.wait([running])


MID_SENTENCE = np.concatenate([silence(0.2), speak("SO IT BEGINS")])


async def test_a_drained_stream_runs_on_to_its_next_endpoint(served: tuple[Server, asyncio.Task[None]]) -> None:
    server, running = served
    async with connected(server, wire.Start()) as speaking, connected(server, wire.Start()) as silent:
        await send(speaking, *cut(MID_SENTENCE.tobytes()))
        await until(lambda: received(server) == len(MID_SENTENCE))
        os.kill(os.getpid(), signal.SIGTERM)
        heard = await hear(silent)
        assert isinstance(heard[-1], wire.Error)
        assert silent.close_code == 1012
        assert [(await get(server.port, path))[0] for path in ("/healthz", "/readyz", wire.PATH)] == [200, 503, 503]
        await send(speaking, *cut(np.concatenate([speak(" AND ENDS"), silence(3)]).tobytes()))
        heard = await hear(speaking)
        assert text(heard) == "SO IT BEGINS AND ENDS"
        assert isinstance(heard[-1], wire.Error)
        assert heard[-1].code == "shutting_down"
        assert speaking.close_code == 1012
    await running
    assert not server.listening


async def test_a_stopped_stream_is_finished_while_the_server_drains(served: tuple[Server, asyncio.Task[None]]) -> None:
    server, running = served
    async with connected(server, wire.Start()) as speaking:
        await send(speaking, *cut(MID_SENTENCE.tobytes()))
        await until(lambda: received(server) == len(MID_SENTENCE))
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: not server.ready)
        await send(speaking, wire.Stop())
        heard = await hear(speaking)
        assert text(heard).startswith("SO IT BEGINS")  # the fake encoder errs where sound ends with the audio
        assert isinstance(heard[-1], wire.Done)
    await running


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_closes_at_once(
    served: tuple[Server, asyncio.Task[None]], second: signal.Signals
) -> None:
    server, running = served
    async with connected(server, wire.Start()) as speaking:
        await send(speaking, *cut(MID_SENTENCE.tobytes()))
        await until(lambda: received(server) == len(MID_SENTENCE))
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: not server.ready)
        assert server.connections
        os.kill(os.getpid(), second)
        heard = await hear(speaking)
        assert not finals(heard)
        assert speaking.close_code == 1012
    await running


async def test_draining_has_an_end() -> None:
    async with serving(drain_seconds=0.1) as server, connected(server, wire.Start()) as speaking:
        await send(speaking, *cut(MID_SENTENCE.tobytes()))
        await until(lambda: received(server) == len(MID_SENTENCE))
        await server.drain()
        assert server.connections
        await server.stop()
        assert not finals(await hear(speaking))


async def test_who_has_no_websocket_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-open connections, and clients that have their page and don't leave."""
    monkeypatch.setattr(app, "SHUTDOWN_SECONDS", 30)
    async with serving(limits=Limits(streams=8, handshake_seconds=30)) as server:
        ends = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(4)]
        for n, (_, writer) in enumerate(ends):
            writer.write([b"", b"GET /", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"hello\r\n\r\n"][n])
        assert await ends[2][0].read(8) == b"HTTP/1.1"
        async with asyncio.timeout(20):
            await server.drain()
            await server.stop()
        for _, writer in ends:
            writer.close()


async def test_draining_waits_for_no_goodbye() -> None:
    """Of a client that has vanished, say."""
    async with serving(drain_seconds=600) as server, connected(server, wire.Start()) as silent:
        await silent.recv()
        silent.transport.pause_reading()
        async with asyncio.timeout(20):
            await server.drain()
        assert server.connections
        silent.transport.abort()


def received(server: Server) -> int:
    """Samples that all streams together have received."""
    return sum(session.conversation.stream.received for session in server.connections if session.conversation.stream)


def test_a_list_of_devices_is_a_runner_for_each() -> None:
    devices: list[str] = []

    def load(model: object, device: str, **settings: object) -> FakeRunner:
        assert (model, settings) == ("mms-1b-all", {"revision": "v2", "language": "fr", "lm": "none"})
        devices.append(device)
        return FakeRunner()

    chosen = {"model": "mms-1b-all", "revision": "v2", "language": "fr", "lm": "none"}
    with patch("earshot_asr.server.app.load_runner", load):
        server = build(ServerConfig(**chosen, device="cuda:0, cuda:1", limits=Limits(streams=4)))  # type: ignore[arg-type]
        server._pool.begin([loading.result() for loading in server._pool.load()])
    assert sorted(devices) == ["cuda:0", "cuda:1"]
    assert server._pool.size == 2
    server._pool.close()


async def test_a_server_says_what_it_does_while_it_starts(caplog: pytest.LogCaptureFixture) -> None:
    """Loading takes seconds, and so does measuring."""
    caplog.set_level(logging.INFO)

    def messages() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "earshot_asr.server.app"]

    def load() -> FakeRunner:
        said.extend(messages())
        return FakeRunner()

    said: list[str] = []
    async with Server(ServerConfig(port=0), [load]) as server:
        assert said == [f"port {server.port} is open; loading the bundled model, until then streams are refused"]
    _, measuring, listening, *_ = messages()
    assert measuring == "measuring how many streams cpu can serve"
    assert listening.startswith(f"listening at {server.url}, fake on cpu, room for ")


@pytest.mark.parametrize("slow", [True, False])
async def test_a_model_that_is_too_large_for_the_device_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    monkeypatch.setattr(app, "measure", lambda runner, config: Cost(frame=0.1 if slow else 1e-6, process=1e-6))
    async with Server(ServerConfig(port=0), [FakeRunner]):
        told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any(line.startswith("fake is too large for cpu: one stream needs ") for line in told) == slow


async def test_a_start_that_is_given_up_while_the_model_loads_waits_for_nothing() -> None:
    go = threading.Event()

    def load() -> FakeRunner:
        go.wait(timeout=60)
        return FakeRunner()

    server = Server(ServerConfig(port=0), [load])
    starting = asyncio.create_task(server.start())
    await until(lambda: server.listening)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not go.is_set() and not server.listening
    go.set()
