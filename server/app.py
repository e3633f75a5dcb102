"""The server as a whole: model, device thread and sockets, from start to shutdown.

async with build(ServerConfig(port=0)) as server:
    print(server.url)

asyncio.run(serve(build(ServerConfig())))  # until SIGINT or SIGTERM, which drains
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.cost import Cost, combined, measure
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.loading import fetch, load_runner
from earshot_asr.engine.model import Runner
from earshot_asr.engine.pool import RunnerPool
from earshot_asr.engine.session import timing_of
from earshot_asr.server import static, wire
from earshot_asr.server.accounts import Account, Accounts
from earshot_asr.server.addresses import SPARE_CONNECTIONS, Census, Proxies
from earshot_asr.server.background import apart
from earshot_asr.server.capacity import UNKNOWN, Capacity
from earshot_asr.server.channels import Channels
from earshot_asr.server.connection import Connection
from earshot_asr.server.conversation import CLOSED
from earshot_asr.server.dialects.dialect import Dialect
from earshot_asr.server.dialects.registry import DIALECTS, PORTS, TCP_PORTS
from earshot_asr.server.door import Door, Port
from earshot_asr.server.engine_loop import EngineLoop
from earshot_asr.server.gate import Gate
from earshot_asr.server.guests import Guests
from earshot_asr.server.handshake import Handshake
from earshot_asr.server.http import Router, Routes, health, metrics
from earshot_asr.server.line import Gone, Line
from earshot_asr.server.listener import on_loop_error, raise_descriptor_limit
from earshot_asr.server.metrics import Metrics
from earshot_asr.server.settings import ServerConfig, is_loopback
from earshot_asr.server.tcp import TcpDoor
from earshot_asr.server.tls import Certificate
from earshot_asr.server.visitor import Visitor

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 5.0
"""How long clients may take to say goodbye when the server goes down; then they are disconnected."""
DRAIN_POLL_SECONDS = 0.05
LISTENING = "listening at %s, %s on %s, room for %d streams, or %d that commit hop by hop, as live captions do"
TOO_SLOW = (
    "%s is too large for %s: one stream needs %.1f times what it can do, and its text will come late; "
    "`earshot models list` says what would fit"
)
OPEN_TO_ALL = "anyone who reaches %s may stream here, as there is no --token-file"
IN_THE_CLEAR = (
    "tokens and speech travel to %s unencrypted: give it a certificate with --tls-cert, or a proxy that has one"
)
NO_DIALECTS: Mapping[str, type[Dialect]] = {}
ADDRESS_SHARE, ADDRESS_STREAMS = 0.75, 2
"""An address may have this share of the streams that fit, but so many at least, if nothing else is said."""


class Server:
    """Listens first, then loads the model: until it is loaded, health checks are answered and streams refused with 503.

    loads       one function a device, which loads the model; called in the thread that will compute there
    dialects    path of the websocket handshake -> the protocol spoken there
    fetch       downloads what the model needs, unless it is here; called before the others
    """

    def __init__(
        self,
        config: ServerConfig,
        loads: Sequence[Callable[[], Runner]],
        dialects: Mapping[str, type[Dialect]] = DIALECTS,
        fetch: Callable[[], None] | None = None,
    ) -> None:
        self.config = config
        self._fetch = fetch
        self._costs: list[Cost] = []
        self._measuring = threading.Lock()
        self._pool = RunnerPool([partial(self._measured, load) for load in loads])
        self._dialects = dialects
        self.port = config.port
        """The port it listens at; after start() the actual one, if the config says 0."""
        self._ready = False
        self.connections: set[Connection] = set()
        """The websockets that are open."""
        self._census = Census()
        self._guests = Guests(self._census, Proxies(config.trusted_proxy))
        self.accounts = Accounts(config.token_file)
        """Who may use it."""
        self.channels = Channels(config.limits.viewers)
        """Where streams are published, and who watches."""
        self._certificate = Certificate(config.tls_cert, config.tls_key) if config.tls_cert else None
        self.engine_loop: EngineLoop | None = None
        """What computes, once the model is loaded."""
        self.metrics = Metrics()
        self._is_busy: Callable[[], bool] = lambda: False  # with requests that are no connections
        self._doors = self._make_doors()
        self._engine_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens, then loads the model.

        Raises ConfigError if it can't listen at the address, and what loading the model raises.
        """
        try:
            await self._listen()
            log.info("port %d is open; loading %s, until then streams are refused", self.port, self._wanted)
            await self.fetch()
            self._pool.begin(await asyncio.gather(*map(asyncio.wrap_future, self._pool.load())))
            capacity = self._capacity()
        except BaseException:
            await self.stop()
            raise
        self.engine_loop = EngineLoop(self._pool, capacity, self.metrics)
        self._engine_task = asyncio.create_task(self.engine_loop.run())
        self._engine_task.add_done_callback(self._engine_ended)
        self._ready = True
        info, devices = self._pool.runners[0].info, ", ".join(runner.device for runner in self._pool.runners)
        timing = timing_of(info, StreamConfig.preset(self.config.latency))
        room = capacity.room(timing)
        self._census.most = most_per_address(self.config.limits.per_address, room)
        hops = capacity.room(timing_of(info, StreamConfig.preset(self.config.latency, commit="hop")))
        log.info(LISTENING, self.url, info.name, devices, room, hops)
        log.info("the caption page: %s", self.page)
        for name, port in list(self.ports.items())[1:]:
            log.info("%s is %d", name, port)
        self._warn()
        if (load := capacity.load(timing)) > 1:
            log.warning(TOO_SLOW, info.name, devices, load)

    def _warn(self) -> None:
        """Says what is open to others."""
        if is_loopback(self.config.host):
            return
        if not self.accounts.required:
            log.warning(OPEN_TO_ALL, self.config.host)
        elif not self._certificate and not self.config.trusted_proxy:
            log.warning(IN_THE_CLEAR, self.config.host)

    @property
    def _wanted(self) -> str:
        """What is to be loaded, in words."""
        if self.config.model is None and self.config.language:
            return f"the model that is recommended for {self.config.language}"
        return self.config.model or "the bundled model"

    async def fetch(self) -> None:
        """Downloads what the model needs, unless it is here. start() does it, too. Raises CheckpointError."""
        if self._fetch is None:
            return
        try:
            await apart(self._fetch)
        except asyncio.CancelledError:
            log.warning("stopped before all of %s was here; what has come is kept", self._wanted)
            raise
        self._fetch = None

    async def stop(self) -> None:
        """Closes every websocket with 1012, nothing flushed, and waits until all are closed; cuts other connections."""
        self._ready = False
        for connection in list(self.connections):
            connection.shut_down()
        for door in self._doors:
            door.close()
        goodbyes = [asyncio.create_task(_send_away(viewer)) for viewer in self.channels.all()]
        for visitor in self._guests.all():
            if not visitor.is_served:
                visitor.abort()
        abort_timer = asyncio.get_running_loop().call_later(SHUTDOWN_SECONDS, self._abort)
        await asyncio.gather(*goodbyes, *(door.wait_closed() for door in self._doors))
        abort_timer.cancel()
        if self._engine_task:
            self._engine_task.cancel()
            await asyncio.wait([self._engine_task])
        self._pool.close()

    async def drain(self) -> None:
        """Admits no more streams; waits until the open ones have ended, at most `config.drain_seconds`."""
        self._ready = False
        log.info("draining, %d connections", len(self.connections))
        for connection in list(self.connections):
            connection.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.config.drain_seconds):
                while self._is_busy() or any(each.conversation.state is not CLOSED for each in self.connections):
                    await asyncio.sleep(DRAIN_POLL_SECONDS)

    def reload(self) -> None:
        """Reads the token file and the certificate again. Streams of accounts that are gone end, and their viewers are
        disconnected: when they come again they are told why. Raises nothing."""
        for what, read in [("tokens", self.accounts.reload), *self._certificate_to_reload()]:
            try:
                read()
            except ConfigError as e:
                log.error("%s: nothing has changed: %s", what, e)
            else:
                log.info("read the %s again", what)
        for connection in list(self.connections):
            if connection.account and not self.accounts.has(connection.account):
                connection.refuse("unauthorized", "the token was withdrawn")
        for viewer in self.channels.all():
            if viewer.account and not self.accounts.has(viewer.account):
                viewer.abort()

    def _certificate_to_reload(self) -> list[tuple[str, Callable[[], None]]]:
        return [("certificate", self._certificate.reload)] if self._certificate else []

    async def broken(self) -> None:
        """Waits until the engine loop breaks, which should never happen, and raises what broke it."""
        assert self._engine_task
        await asyncio.shield(self._engine_task)

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
        """Whether the port is open."""
        return self._doors[0].is_open

    @property
    def ports(self) -> Mapping[str, int]:
        """The ports that are open, by the settings that name them; after start() the actual ones."""
        return {door.name: door.port for door in self._doors}

    @property
    def url(self) -> str:
        """Where a client of the native protocol connects to."""
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"{'wss' if self._certificate else 'ws'}://{host}:{self.port}{wire.PATH}"

    @property
    def page(self) -> str:
        """Where a browser finds the caption page."""
        host = "localhost" if is_loopback(self.config.host) else self.config.host
        return f"{'https' if self._certificate else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}/"

    @property
    def full(self) -> bool:
        """Whether one more stream with the default settings would be refused."""
        return self.engine_loop is not None and not self.engine_loop.fits(StreamConfig.preset(self.config.latency))

    def _measured(self, load: Callable[[], Runner]) -> Runner:
        """Loads a runner and measures it, in the thread that will compute with it."""
        runner = load()
        if self.config.limits.streams is None:
            with self._measuring:  # one after the other: they share this process
                log.info("measuring how many streams %s can serve", runner.device)
                self._costs.append(measure(runner, StreamConfig.preset(self.config.latency)))
        return runner

    def _capacity(self) -> Capacity:
        streams = self.config.limits.streams
        return Capacity(combined(self._costs)) if streams is None else Capacity(UNKNOWN, streams)

    async def _listen(self) -> None:
        for door in self._doors:
            await door.open(self._handle, self._guests, self.config.limits)
        self.port = self._doors[0].port

    async def _handle(self, line: Line, speaks: type[Dialect], handshake: Handshake) -> None:
        if not self._ready:  # it went down during the handshake
            with suppress(Gone):
                await line.end(1012, "shutting_down")
            return
        assert self.engine_loop
        config = self.config
        connection = Connection(
            line,
            self.engine_loop,
            speaks,
            handshake,
            self.accounts,
            self.channels,
            config.latency,
            config.limits,
            log_text=config.log_text,
        )
        if self._census.exceeds(line.address):
            most = self._census.most
            connection.refuse("too_many_connections", f"{line.address} has {most} connections, the most it may have")
        if self._has_too_many(line.account):
            connection.refuse("too_many_streams", "the account of this token has too many connections")
        self.connections.add(connection)
        try:
            await connection.run()
        finally:
            self.connections.discard(connection)

    def _has_too_many(self, account: Account | None) -> bool:
        """Whether an account has as many connections open as it may have streams, and some to spare."""
        if account is None or account.streams is None:
            return False
        return sum(each.account is account for each in self.connections) >= account.streams + SPARE_CONNECTIONS

    def _make_doors(self) -> list[Port]:
        """The ports that the settings ask for, the server's own first."""
        config = self.config
        checks = health(lambda: self._ready, lambda: self.full)
        shown = metrics(self._metrics_text)
        own = {**static.routes(), **checks, **(shown if config.metrics_port is None else {})}
        doors: list[Port] = [self._door("port", config.port, own, self._dialects)]
        if config.metrics_port is not None:
            doors.append(self._door("metrics_port", config.metrics_port, {**checks, **shown}, open_metrics=True))
        for name, dialect in PORTS.items():
            if (port := getattr(config, name)) is not None:
                doors.append(self._door(name, port, checks, everywhere=dialect))
        for name, (dialect, framing) in TCP_PORTS.items():
            if (port := getattr(config, name)) is not None:
                doors.append(TcpDoor(name, config.host, port, dialect, framing))
        if config.rest_port is not None:
            doors.append(self._rest_door(config.rest_port, checks))
        return doors

    def _door(
        self,
        name: str,
        port: int,
        routes: Routes,
        dialects: Mapping[str, type[Dialect]] = NO_DIALECTS,
        *,
        everywhere: type[Dialect] | None = None,
        open_metrics: bool = False,
    ) -> Door:
        gate = Gate(self.config.host, self.config.allow_host, self.config.origin)
        channels = self.channels if dialects else None
        router = Router(
            routes,
            dialects,
            everywhere,
            gate,
            self.accounts,
            lambda: self._ready,
            channels=channels,
            open_metrics=open_metrics,
        )
        return Door(name, self.config.host, port, router, self._certificate, channels)

    def _rest_door(self, port: int, checks: Routes) -> Port:
        """The port of the REST API. Raises ConfigError if what it needs is not installed."""
        try:
            from earshot_asr.server.rest.api import Api
            from earshot_asr.server.rest.door import RestDoor
        except ModuleNotFoundError as e:
            if e.name != "aiohttp":
                raise
            raise ConfigError("--rest-port needs aiohttp: pip install aiohttp") from None
        config, loop = self.config, lambda: self.engine_loop
        api = Api(config, self.accounts, loop, lambda: self._ready, self._census.exceeds, checks)
        self._is_busy = lambda: api.busy > 0
        return RestDoor("rest_port", config.host, port, api, self._certificate)

    def _metrics_text(self) -> str:
        """The metrics, brought up to date."""
        self.metrics.connections.set(len(self.connections))
        self.metrics.viewers.set(self.channels.viewers)
        if self.engine_loop:
            self.engine_loop.update_metrics()
        return self.metrics.text()

    def _engine_ended(self, task: asyncio.Task[None]) -> None:
        """The engine loop has ended; unless it was cancelled, that is a fault."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.critical("the engine broke, no stream can go on", exc_info=error)
        self._ready = False
        for connection in list(self.connections):
            connection.failed(error)

    def _abort(self) -> None:
        for visitor in self._guests.all():
            visitor.abort()


async def _send_away(viewer: Visitor) -> None:
    with suppress(Gone):
        await viewer.end(1012, "shutting_down")


def most_per_address(setting: int | None, room: int) -> int | None:
    """How many connections an address may have on a server with room for so many streams; None: any number."""
    if setting is None:
        return max(ADDRESS_STREAMS, int(ADDRESS_SHARE * room))
    return setting or None


def build(config: ServerConfig) -> Server:
    """A server that is not started yet."""
    devices = config.device.split(",")
    load = partial(load_runner, config.model, revision=config.revision, language=config.language, lm=config.lm)
    loads = [partial(load, device=device.strip()) for device in devices]
    return Server(config, loads, fetch=partial(fetch, config.model, config.revision, config.language, config.lm))


async def serve(server: Server, started: Callable[[Server], None] = lambda server: None) -> None:
    """Runs a server until SIGINT, or until SIGTERM, which drains it first; a second signal of either kind ends that.

    Calls `started` when the server is ready. Raises what Server.start() raises, what breaks the engine loop, and
    KeyboardInterrupt for a SIGINT before it is ready.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task
    signalled = interrupted = has_started = False
    draining = asyncio.Event()

    def stop() -> None:
        nonlocal signalled
        signalled = True
        task.cancel()

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        stop()

    def terminate() -> None:
        if server.ready:
            draining.set()
        else:  # it is still loading, or draining already
            stop()

    reloads = getattr(signal, "SIGHUP", None)  # Windows has none
    raise_descriptor_limit()
    loop.set_exception_handler(on_loop_error)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    loop.add_signal_handler(signal.SIGTERM, terminate)
    if reloads:
        loop.add_signal_handler(reloads, server.reload)
    try:
        async with server:
            has_started = True
            started(server)
            await _first(server.broken(), draining.wait())
            if draining.is_set():
                await server.drain()
    except asyncio.CancelledError:
        if not signalled:
            raise
        if interrupted and not has_started:
            raise KeyboardInterrupt from None
    finally:
        for number in filter(None, (signal.SIGINT, signal.SIGTERM, reloads)):
            loop.remove_signal_handler(number)
        loop.set_exception_handler(None)


async def _first(*works: Coroutine[Any, Any, object]) -> None:
    """Waits until the first is done, and cancels the others. Raises what the first raises."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
