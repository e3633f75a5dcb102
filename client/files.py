"""Audio of a file in real time, at another speed, or as fast as it can be read."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.sources import open_file

BLOCK_SAMPLES = SAMPLE_RATE // 10
"""Block length in real time: 100 ms, about that of a microphone."""


class FileAudio:
    """The audio of a file as 16 kHz mono int16, in blocks of 100 ms, each at the time when its last sample is due.

    path       "-": standard input
    speed      1: in real time; 4: four times as fast; 0: as fast as possible, in blocks of any length
    options    of open_file

    What comes through a pipe is never delayed: it may be spoken just now. Can be iterated over once. Raises ConfigError
    for a negative speed, AudioError for a file that can't be read.
    """

    dropped: Seconds = 0.0

    def __init__(self, path: str | Path, speed: float = 1.0, **options: Any) -> None:
        if not (isfinite(speed) and speed >= 0):
            raise ConfigError(f"speed is {speed}; it must be 0 (as fast as possible) or more, 1 being real time")
        self._source = open_file(path, **options)
        self.speed = speed if self._source.again else 0.0
        self._decoding = threading.Lock()
        self._stopped = asyncio.Event()

    @property
    def damage(self) -> str:
        """Which part of the file could not be read, known after all of it was read; empty if none."""
        return self._source.damage

    @property
    def notes(self) -> list[str]:
        """What a listener should know of the file, known after all of it was read."""
        return self._source.notes

    @property
    def live(self) -> bool:
        """Whether audio arrives in real time."""
        return self.speed == 1

    def stop(self) -> None:
        """Ends the audio now."""
        self._stopped.set()
        self._source.stop()

    def close(self) -> None:
        """Lets go of the file; iterating to the end does, too."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def __aiter__(self) -> AsyncGenerator[Pcm, None]:
        async with aclosing(self._decoded()) as decoded:
            if not self.speed:
                async for pcm in decoded:
                    yield pcm
                return
            async with aclosing(blocks(decoded, BLOCK_SAMPLES)) as even:
                async for pcm in self._paced(even):
                    yield pcm

    async def _decoded(self) -> AsyncGenerator[Pcm, None]:
        """Decodes the file block by block, in a thread."""
        chunks = iter(self._source)

        def decode() -> Pcm | None:
            with self._decoding:
                return next(chunks, None)

        try:
            while not self._stopped.is_set() and (pcm := await asyncio.to_thread(decode)) is not None:
                yield pcm
        finally:
            self._source.stop()  # a thread that waits for a pipe's next bytes would keep the event loop waiting
            with self._decoding, self._source:  # waits for a block that is still being decoded, then closes the file
                pass

    async def _paced(self, audio: AsyncIterator[Pcm]) -> AsyncGenerator[Pcm, None]:
        """Delays each block until it is due. The schedule starts with the first block, so that delays don't add up."""
        clock = asyncio.get_running_loop().time
        began, samples = None, 0
        async for pcm in audio:
            began = clock() if began is None else began
            samples += len(pcm)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(began + samples / (SAMPLE_RATE * self.speed)):
                    await self._stopped.wait()
            if self._stopped.is_set():
                return
            yield pcm


async def blocks(audio: AsyncIterator[Pcm], size: int) -> AsyncGenerator[Pcm, None]:
    """Cuts audio into blocks of `size` samples; the last one may be shorter."""
    rest = np.empty(0, np.int16)
    async for pcm in audio:
        rest = np.concatenate((rest, pcm))
        while len(rest) >= size:
            yield rest[:size]
            rest = rest[size:]
    if len(rest):
        yield rest
