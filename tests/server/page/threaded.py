"""A server in a thread of its own, as a browser's driver blocks: it can be stopped and started again at its port."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from earshot_asr.engine.model import Runner
from earshot_asr.server.app import Server
from tests.helpers import FakeRunner
from tests.server.loopback import serving

START_SECONDS = 60


class Served:
    """Where it is."""

    def __init__(self, runner: Runner | None, settings: dict[str, Any]) -> None:
        self._runner, self._settings = runner, settings
        self._loop = asyncio.new_event_loop()
        self._over: asyncio.Event
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self.server: Server

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server.port}"

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(START_SECONDS)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def call(self, act: Callable[[], None]) -> None:
        """Does it on the server's event loop, and waits until it is done."""
        done = threading.Event()

        def run() -> None:
            act()
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(START_SECONDS)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as e:
            self._failure = e
        finally:
            self._loop.close()
            self._ready.set()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        async with serving(self._runner, **self._settings) as self.server:
            self._ready.set()
            await self._over.wait()


@contextmanager
def served(runner: Runner | None = None, **settings: Any) -> Iterator[Served]:
    """A server that is ready; with the fake encoder if there is no other."""
    server = Served(runner or FakeRunner(), settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()
