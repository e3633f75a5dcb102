"""A recording on its way through the engine, beside the live streams: it gets what they leave."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.events import Final
from earshot_asr.engine.recognizer import Stream
from earshot_asr.server.capacity import Full
from earshot_asr.server.engine_loop import EngineLoop

POLL_SECONDS = 0.5
"""How often it is tried whether there is room."""


class _Owner:
    """Waits for the engine; see StreamOwner."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._error: BaseException | None = None

    def advanced(self) -> None:
        """See StreamOwner."""
        self._changed.set()

    def failed(self, error: BaseException) -> None:
        """See StreamOwner."""
        self._error = error
        self._changed.set()

    async def progress(self) -> None:
        """Waits for the next result. Raises what has gone wrong with a window."""
        await self._changed.wait()
        self._changed.clear()
        if self._error:
            raise self._error


async def finals(
    engine_loop: EngineLoop,
    config: StreamConfig,
    audio: AsyncIterable[Pcm],
    *,
    live: StreamConfig,
    backlog: Seconds,
    patience: Seconds,
) -> AsyncGenerator[Final, None]:
    """The utterances of a recording, each as soon as it is final. To be used within `aclosing`.

    A stream that is ahead of real time is computed when no live one is due. It counts as one of the streams that fit,
    but never takes the last place, unless there is no other stream.

    live        settings of a live stream, for which there has to be room
    backlog     audio that may wait to be encoded
    patience    how long it waits for a place. Raises Full when it has not got one by then
    """
    owner = _Owner()
    stream = await _opened(engine_loop, config, owner, live, patience)
    try:
        async for pcm in audio:
            while len(pcm := pcm[stream.feed(pcm) :]) or stream.backlog > backlog * SAMPLE_RATE:
                engine_loop.wake()
                await owner.progress()
                for final in _finals(stream):
                    yield final
            engine_loop.wake()
            for final in _finals(stream):
                yield final
        stream.finish()
        engine_loop.wake()
        while not stream.done:
            await owner.progress()
        for final in _finals(stream):
            yield final
    finally:
        engine_loop.close(stream)


async def _opened(
    engine_loop: EngineLoop, config: StreamConfig, owner: _Owner, live: StreamConfig, patience: Seconds
) -> Stream:
    until = asyncio.get_running_loop().time() + patience
    while True:
        try:
            stream = engine_loop.open(config, owner)
            if engine_loop.streams == 1 or engine_loop.fits(live):
                return stream
            engine_loop.close(stream)
            raise Full("the server has room for live streams only; try again later")
        except Full:
            if asyncio.get_running_loop().time() >= until:
                raise
        await asyncio.sleep(POLL_SECONDS)


def _finals(stream: Stream) -> list[Final]:
    return [event for event in stream.events() if isinstance(event, Final)]
