"""Live captions: streams audio to a server and shows the messages. Ctrl-C ends the audio, not the transcription."""

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from types import FrameType
from typing import Any, Protocol

from rich.console import Console

from earshot_asr.client.stream import ClientStream, Message, iterating
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds

Clock = Callable[[], Seconds]
LOCAL_STREAM_COUNT = 2
"""Streams of a local server: one, and one that is still closing. A given number also skips measuring the capacity."""


class StoppableAudio(Protocol):
    """A microphone or a file: blocks of 16 kHz mono int16, until it ends or is stopped."""

    @property
    def live(self) -> bool:
        """Whether audio arrives in real time."""

    @property
    def dropped(self) -> Seconds:
        """Seconds of audio that were lost and replaced by zeros."""

    def __aiter__(self) -> AsyncIterator[Pcm]: ...

    def stop(self) -> None:
        """Ends the audio now."""


class Screen(Protocol):
    """Gets the audio as it is sent and the messages as they arrive. `now` is the time in seconds on any clock."""

    def hear(self, pcm: Pcm, dropped: Seconds, now: Seconds) -> None:
        """A block of audio, of which the last sample was recorded at `now`; `dropped`: seconds lost since the start."""

    def show(self, message: Message, now: Seconds) -> None:
        """A message that arrived at `now`."""


class SampleClock:
    """Converts times of the audio to times of a clock. Follows the newest audio, as a device's clock may be off."""

    def __init__(self) -> None:
        self.heard: Seconds = 0.0
        """Length of the audio so far."""
        self._samples = 0
        self._began: Seconds = 0.0

    def hear(self, samples: int, now: Seconds) -> None:
        """Adds `samples`, the last of which was recorded at `now`."""
        self._samples += samples
        self.heard = self._samples / SAMPLE_RATE
        self._began = now - self.heard

    def age(self, at: Seconds, now: Seconds) -> Seconds:
        """Seconds from the time that position `at` of the audio was recorded, in real time, until `now`."""
        return now - (self._began + at)


async def caption(
    url: str | Sequence[str],
    audio: StoppableAudio,
    screens: list[Screen],
    clock: Clock = time.monotonic,
    **options: Any,
) -> bool:
    """Streams `audio` to a server and shows the messages until all text is final.

    screens    get the audio and the messages, `ready` first of those that a server sends
    options    of ClientStream

    Audio is kept while there is no server yet. The first Ctrl-C ends the audio, and the last finals still arrive; a
    second one, or one before there is a server, raises KeyboardInterrupt. Returns whether there was a Ctrl-C. Raises
    the exceptions of ClientStream and of the audio.
    """

    async def heard() -> AsyncIterator[Pcm]:
        async with iterating(audio) as blocks:
            async for pcm in blocks:
                for screen in screens:
                    screen.hear(pcm, audio.dropped, clock())
                yield pcm

    async with ClientStream(url, wait=False, **options) as stream:
        stream.play(heard())
        with interrupt(audio.stop, lambda: stream.admitted) as interrupted:
            greeted = False
            async for message in stream:
                for each in [stream.ready, message] if stream.admitted and not greeted else [message]:
                    for screen in screens:
                        screen.show(each, clock())
                greeted = stream.admitted
    return interrupted.is_set()


@contextmanager
def interrupt(stop: Callable[[], None], when: Callable[[], bool]) -> Iterator[threading.Event]:
    """The first Ctrl-C calls `stop` on the event loop and sets the event; a second one raises KeyboardInterrupt.

    when   a Ctrl-C raises KeyboardInterrupt unless this is true
    """
    happened = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield happened
        return
    loop = asyncio.get_running_loop()

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        if when():
            happened.set()
            loop.call_soon_threadsafe(stop)
        elif callable(before):
            before(number, frame)

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
    language: str | None = None,
    revision: str | None = None,
    lm: str | None = None,
    device: str = "auto",
    latency: str = "balanced",
) -> AsyncIterator[str]:
    """Runs a server in this process on a free port of this machine, and yields its URL. Takes seconds to start.

    Raises CheckpointError and DeviceError if the model or device can't be used.
    """
    from earshot_asr.server.app import build  # loads the engine: not needed to use another server
    from earshot_asr.server.settings import Limits, ServerConfig

    limits = Limits(streams=LOCAL_STREAM_COUNT)
    config = ServerConfig(
        model=model,
        language=language,
        revision=revision,
        lm=lm,
        device=device,
        port=0,
        latency=latency,
        limits=limits,
    )
    server = build(config)
    await server.fetch()
    with console.status("loading the model") if console.is_terminal else nullcontext():
        await server.start()
    try:
        yield server.url
    finally:
        await server.stop()
