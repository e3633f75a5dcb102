"""The server as a whole: model, device thread, sockets; from start to shutdown.

async with build(ServerConfig(port=0)) as server:
    print(server.url)

asyncio.run(serve(build(ServerConfig())))  # until SIGINT or SIGTERM, which drains
"""

import asyncio
import errno
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websockets.asyncio import server as websockets

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.model import Runner
from earshot_asr.engine.session import timing_of
from earshot_asr.server import wire
from earshot_asr.server.capacity import UNKNOWN, Capacity, measure
from earshot_asr.server.connection import CLOSE_SECONDS, Connection
from earshot_asr.server.http import answers
from earshot_asr.server.limits import Limits
from earshot_asr.server.metrics import Metrics
from earshot_asr.server.worker import Worker

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 5.0
"""How long clients may take to say goodbye when the server goes down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """What `earshot serve` can be told.

    model      a checkpoint's folder, or its name on the hub; None: the bundled one
    revision   of a model on the hub: branch, tag or commit; None: the newest
    device     auto, cpu or cuda
    port       0: any free one
    latency    preset of the windows: low, balanced or accurate
    limits     what clients may have
    drain      when it goes down, open streams may run on to their next endpoint for so long, in seconds
    log_text   what is said is logged
    """

    model: str | Path | None = None
    revision: str | None = None
    device: str = "auto"
    host: str = "127.0.0.1"
    port: int = 8765
    latency: str = "balanced"
    limits: Limits = field(default_factory=Limits)
    drain: Seconds = 30.0
    log_text: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port is {self.port}; it must be between 0 and 65535")
        if not self.host:
            raise ConfigError("host is empty; 127.0.0.1 is this machine alone, 0.0.0.0 all its networks")
        if not 0 <= self.drain <= 86_400:
            raise ConfigError(f"drain is {self.drain}; it must be between 0 and 86400 seconds")
        StreamConfig.preset(self.latency)


class Server:
    """Listens first, then loads the model: a health check has an answer meanwhile, a stream is told to come again."""

    def __init__(self, config: ServerConfig, load: Callable[[], Runner]) -> None:
        self.config = config
        self._load = load
        self.port = config.port
        """The port it listens at; once started, also where the config said 0."""
        self._ready = False
        self._device = ThreadPoolExecutor(1, "device")
        self.sessions: set[Connection] = set()
        """The connections that are open."""
        self._left = asyncio.Event()  # a connection has gone
        self._listener: websockets.Server | None = None
        self.worker: Worker | None = None
        self.metrics = Metrics()
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises ConfigError if the address can't be had, and what loading the model raises."""
        try:
            await self._listen()
            runner, capacity = await asyncio.get_running_loop().run_in_executor(self._device, self._prepare)
        except BaseException:
            await self.stop()
            raise
        self.worker = Worker(runner, self._device, capacity, self.metrics)
        self._loop = asyncio.create_task(self.worker.run())
        self._loop.add_done_callback(self._broke)
        self._ready = True
        room = capacity.room(timing_of(runner.info, StreamConfig.preset(self.config.latency)))
        log.info("listening at %s, %s on %s, room for %d streams", self.url, runner.info.name, runner.device, room)

    async def stop(self) -> None:
        """Closes every connection with 1012, nothing flushed, and waits until they have gone."""
        self._ready = False
        for connection in list(self.sessions):
            connection.shut_down()
        if self._listener:
            impatience = asyncio.get_running_loop().call_later(SHUTDOWN_SECONDS, self._abort)
            self._listener.close(close_connections=False)
            with suppress(TimeoutError):  # of those that are still in their handshake nothing is known
                async with asyncio.timeout(SHUTDOWN_SECONDS + 1):
                    await self._listener.wait_closed()
            impatience.cancel()
        if self._loop:
            self._loop.cancel()
            await asyncio.wait([self._loop])
        self._device.shutdown(wait=False, cancel_futures=True)

    async def drain(self) -> None:
        """Admits nothing more; waits until open streams have come to an endpoint, at most `config.drain` seconds."""
        self._ready = False
        log.info("draining, %d connections", len(self.sessions))
        for connection in list(self.sessions):
            connection.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.config.drain):
                while self.sessions:
                    self._left.clear()
                    await self._left.wait()

    async def broken(self) -> None:
        """Waits for as long as the server works. Raises what has broken it."""
        assert self._loop
        await asyncio.shield(self._loop)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def ready(self) -> bool:
        """Whether streams are admitted."""
        return self._ready

    @property
    def listening(self) -> bool:
        """Whether there is a port, and somebody at it."""
        return self._listener is not None and self._listener.is_serving()

    @property
    def url(self) -> str:
        """Where a client connects to."""
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"ws://{host}:{self.port}{wire.PATH}"

    @property
    def full(self) -> bool:
        """Whether there is no room for one more stream of the usual kind."""
        return self.worker is not None and not self.worker.fits(StreamConfig.preset(self.config.latency))

    def _prepare(self) -> tuple[Runner, Capacity]:
        runner, streams = self._load(), self.config.limits.streams
        if streams is not None:
            return runner, Capacity(UNKNOWN, streams)
        return runner, Capacity(measure(runner, StreamConfig.preset(self.config.latency)))

    async def _listen(self) -> None:
        config, limits = self.config, self.config.limits
        try:
            self._listener = await websockets.serve(
                self._handle,
                config.host,
                config.port,
                process_request=answers(lambda: self._ready, lambda: self.full, self._measured),
                server_header=None,
                compression=None,  # audio doesn't get smaller
                max_size=2 * limits.message_bytes,  # of what is over the limit, but not by much, the protocol says so
                max_queue=4,
                open_timeout=limits.handshake_seconds,
                ping_timeout=None,  # a pong waits behind audio that isn't read while the engine is behind
                close_timeout=CLOSE_SECONDS,
            )
        except (OSError, UnicodeError) as e:  # UnicodeError: no host can have such a name
            raise ConfigError(_refusal(e, config.host, config.port)) from None
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _handle(self, websocket: websockets.ServerConnection) -> None:
        if not self._ready:  # it went down during the handshake
            return await websocket.close(1012, "shutting_down")
        assert self.worker
        config = self.config
        connection = Connection(websocket, self.worker, config.latency, config.limits, log_text=config.log_text)
        most = config.limits.per_address
        if most is not None and sum(each.address == connection.address for each in self.sessions) >= most:
            connection.refuse(
                "too_many_connections", f"{connection.address} has {most} connections, the most there may be"
            )
        self.sessions.add(connection)
        try:
            await connection.run()
        finally:
            self.sessions.discard(connection)
            self._left.set()

    def _measured(self) -> str:
        """The metrics of now."""
        self.metrics.connections.set(len(self.sessions))
        if self.worker:
            self.worker.measured()
        return self.metrics.text()

    def _broke(self, loop: asyncio.Task[None]) -> None:
        """The worker's loop has ended; by itself it never does."""
        if loop.cancelled() or (error := loop.exception()) is None:
            return
        log.critical("the engine broke, no stream can go on", exc_info=error)
        self._ready = False
        for connection in list(self.sessions):
            connection.failed(error)

    def _abort(self) -> None:
        for connection in self.sessions:
            connection.abort()


def _refusal(error: OSError | UnicodeError, host: str, port: int) -> str:
    if isinstance(error, UnicodeError):
        return (
            f"can't listen at port {port} of {host!r}: it is no name of a host; host must be an address of this machine"
        )
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; choose another one, or 0 for any that is free"
    if error.errno == errno.EACCES:
        return f"port {port} of {host} is not allowed to this user; choose one from 1024 on"
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return f"can't listen at port {port} of {host!r}: {reason}; host must be an address of this machine"


def build(config: ServerConfig) -> Server:
    """A server that is not started yet."""

    def load() -> Runner:
        from earshot_asr.engine.runner import load_runner  # takes torch along, seconds: in the device's thread

        return load_runner(config.model, config.device, config.revision)

    return Server(config, load)


async def serve(server: Server, started: Callable[[Server], None] = lambda server: None) -> None:
    """Runs a server until SIGINT, or SIGTERM, which drains it; then a second one of either ends that.

    Calls `started` when it is ready. Raises what Server.start() raises, and what breaks the loop.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task
    signalled = False
    draining = asyncio.Event()

    def stop() -> None:
        nonlocal signalled
        signalled = True
        task.cancel()

    def terminate() -> None:
        if server.ready:
            draining.set()
        else:  # it loads, or drains already
            stop()

    loop.add_signal_handler(signal.SIGINT, stop)
    loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        async with server:
            started(server)
            await _first(server.broken(), draining.wait())
            if draining.is_set():
                await server.drain()
    except asyncio.CancelledError:
        if not signalled:
            raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _first(*works: Coroutine[Any, Any, object]) -> None:
    """Waits until one of them is done, and cancels the others. Raises what that one raises."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
