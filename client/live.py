"""Live captions: one source of audio, one stream, one screen, and Ctrl-C that still brings the last words."""

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any, Protocol

from rich.console import Console

from earshot_asr.client.stream import ClientStream, Message, iterating
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds

Clock = Callable[[], Seconds]
LOCAL_STREAM_COUNT = 2
"""A server of our own has one stream at a time, and maybe one that is just being closed. That need not be measured."""


class StoppableAudio(Protocol):
    """A microphone or a file: 16 kHz mono int16, until it ends or is stopped."""

    @property
    def live(self) -> bool:
        """Whether it comes as fast as it is said."""

    @property
    def dropped(self) -> Seconds:
        """StoppableAudio that was lost and replaced by zeros."""

    def __aiter__(self) -> AsyncIterator[Pcm]: ...

    def stop(self) -> None:
        """Ends the audio here."""


class Screen(Protocol):
    """What is done with audio as it goes out, and with messages as they come in; `now` is in seconds of any clock."""

    def hear(self, pcm: Pcm, dropped: Seconds, now: Seconds) -> None: ...

    def show(self, message: Message, now: Seconds) -> None: ...


class SampleClock:
    """When which moment of the audio was heard. Goes by the newest audio, so a device's clock may run fast or slow."""

    def __init__(self) -> None:
        self.heard: Seconds = 0.0
        self._samples = 0
        self._began: Seconds = 0.0

    def hear(self, samples: int, now: Seconds) -> None:
        """`samples` more, the last of which was heard at `now`."""
        self._samples += samples
        self.heard = self._samples / SAMPLE_RATE
        self._began = now - self.heard

    def age(self, at: Seconds, now: Seconds) -> Seconds:
        """How long before `now` the moment `at` of the audio was heard, if it came in real time."""
        return now - (self._began + at)


async def caption(
    url: str | Sequence[str],
    audio: StoppableAudio,
    screens: list[Screen],
    clock: Clock = time.monotonic,
    **options: Any,
) -> bool:
    """Streams `audio` to a server and shows what comes back until everything said is final.

    Ctrl-C ends the audio, and the last words are waited for; a second one interrupts as usual. True if there was one.
    Raises what ClientStream and the audio raise. `options`: those of ClientStream.
    """

    async def heard() -> AsyncIterator[Pcm]:
        async with iterating(audio) as blocks:
            async for pcm in blocks:
                for screen in screens:
                    screen.hear(pcm, audio.dropped, clock())
                yield pcm

    async with ClientStream(url, **options) as stream:
        stream.play(heard())
        with interrupt(audio.stop) as interrupted:
            async for message in stream:
                for screen in screens:
                    screen.show(message, clock())
    return interrupted.is_set()


@contextmanager
def interrupt(stop: Callable[[], None]) -> Iterator[threading.Event]:
    """The first Ctrl-C calls `stop` on the event loop, the second interrupts as usual. Yields whether there was any."""
    happened = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # no other gets signals
        yield happened
        return
    loop = asyncio.get_running_loop()

    def first(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        happened.set()
        loop.call_soon_threadsafe(stop)

    before = signal.signal(signal.SIGINT, first)
    try:
        yield happened
    finally:
        signal.signal(signal.SIGINT, before)


@asynccontextmanager
async def local_server(
    console: Console,
    *,
    model: str | None = None,
    revision: str | None = None,
    device: str = "auto",
    latency: str = "balanced",
) -> AsyncIterator[str]:
    """A server of our own on a free port of this machine, and its URL. Loading the model takes a few seconds.

    Raises CheckpointError and DeviceError where there is no such model or device.
    """
    from earshot_asr.server.app import (  # for those that need one: what only connects is spared the engine
        ServerConfig,
        build,
    )
    from earshot_asr.server.limits import Limits

    limits = Limits(streams=LOCAL_STREAM_COUNT)
    server = build(ServerConfig(model=model, revision=revision, device=device, port=0, latency=latency, limits=limits))
    with console.status("loading the model") if console.is_terminal else nullcontext():
        await server.start()
    try:
        yield server.url
    finally:
        await server.stop()
