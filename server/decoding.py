"""Compressed audio of one stream, on its way through the process that decodes it, see engine.sources.compressed."""

import asyncio
import logging
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import numpy as np

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources.compressed import DATA, HEAD_BYTES, MARK, PIPE_BYTES, Compressed, message
from earshot_asr.engine.sources.confined import environment

MOST_BYTES = 64 * 1024 * 1024
"""Longest message that is taken from the process: a minute of silence on eight channels has a quarter of that."""
BROKEN = "the audio makes its decoder fail: it is damaged, or was made to do so"

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Who is told what becomes of the audio."""

    def decoded(self, pcm: Pcm) -> None:
        """Samples at 16 kHz, (S,), or (C, S) where each channel is wanted for itself."""
        ...

    def flush_reached(self) -> None:
        """All that could be decoded of what was fed before a flush has been told."""
        ...

    def noted(self, sentence: str) -> None:
        """What a listener should know of the audio."""
        ...

    def decoding_ended(self, fault: AudioError | None) -> None:
        """Nothing more comes; `fault` says why, unless all was decoded."""
        ...


class Decoder(Protocol):
    """What a conversation needs of it. Nothing here waits, and nothing raises."""

    @property
    def behind(self) -> bool:
        """Whether nothing more should be fed now."""
        ...

    def feed(self, data: bytes) -> None:
        """Bytes as they come; with bare packets, one of them."""
        ...

    def flush(self) -> None:
        """Answered by flush_reached()."""
        ...

    def finish(self) -> None:
        """The audio ends. Answered by decoding_ended()."""
        ...

    def hold(self, held: bool) -> None:
        """Whether the listener has no room for samples now."""
        ...

    def close(self) -> None:
        """Ends the process, if it runs still."""
        ...


class ProcessDecoder:
    """A Decoder: owns one process. To be made on the event loop.

    listener    is told on the event loop
    changed     is called after that, and when there is room for more
    """

    def __init__(self, format: Compressed, listener: Listener, changed: Callable[[], None]) -> None:
        self._format, self._listener, self._changed = format, listener, changed
        self._unsent = bytearray()
        self._finished = False
        self._to_send = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._task = asyncio.create_task(self._run())

    @property
    def behind(self) -> bool:
        """See Decoder."""
        return len(self._unsent) >= PIPE_BYTES

    def feed(self, data: bytes) -> None:
        """See Decoder."""
        self._send(message(DATA, data))

    def flush(self) -> None:
        """See Decoder."""
        self._send(message(MARK))

    def finish(self) -> None:
        """See Decoder."""
        self._finished = True
        self._to_send.set()

    def hold(self, held: bool) -> None:
        """See Decoder."""
        if held:
            self._room.clear()
        else:
            self._room.set()

    def close(self) -> None:
        """See Decoder."""
        self._task.cancel()

    async def wait_closed(self) -> None:
        """Waits until the process is gone."""
        await asyncio.wait([self._task])

    def _send(self, data: bytes) -> None:
        self._unsent += data
        self._to_send.set()

    async def _run(self) -> None:
        process = None
        try:
            process = await asyncio.create_subprocess_exec(
                *self._format.command, env=environment(), stdin=PIPE, stdout=PIPE
            )
            writing = asyncio.create_task(self._write(process))
            try:
                fault = await self._read(process)
            finally:
                writing.cancel()
            self._listener.decoding_ended(fault)
        except OSError as e:
            self._listener.decoding_ended(AudioError(f"the decoder can't be started: {e.strerror}"))
        except Exception:  # a fault of ours: the stream would wait for ever
            log.exception("a decoder's output could not be taken")
            self._listener.decoding_ended(AudioError("the audio could not be decoded, by a fault of the server"))
        finally:
            if process:
                await _end(process)
        self._changed()

    async def _write(self, process: Process) -> None:
        assert process.stdin
        with suppress(OSError):  # it has ended, and has said why
            while True:
                await self._to_send.wait()
                self._to_send.clear()
                data, self._unsent = self._unsent, bytearray()
                process.stdin.write(data)
                self._changed()
                await process.stdin.drain()
                if self._finished and not self._unsent:
                    process.stdin.close()
                    return

    async def _read(self, process: Process) -> AudioError | None:
        """Hands on what the process writes, to its end. Returns what is wrong with the audio."""
        assert process.stdout
        fault = None
        with suppress(asyncio.IncompleteReadError):
            while True:
                await self._room.wait()
                head = await process.stdout.readexactly(HEAD_BYTES)
                if (size := int.from_bytes(head[1:], "little")) > MOST_BYTES:
                    return AudioError(BROKEN)
                data = await process.stdout.readexactly(size)
                match head[:1]:
                    case b"p":
                        self._listener.decoded(self._samples(data))
                    case b"f":
                        self._listener.flush_reached()
                    case b"n":
                        self._listener.noted(data.decode())
                    case b"e":
                        fault = AudioError(data.decode())
                self._changed()
        return fault or _fault(await process.wait())

    def _samples(self, data: bytes) -> Pcm:
        pcm = np.frombuffer(data, np.int16)
        return pcm.reshape(self._format.channels, -1) if self._format.channels else pcm


def _fault(status: int) -> AudioError | None:
    """What the exit status of the process says of the audio."""
    if status == 0:
        return None
    if hasattr(signal, "SIGXCPU") and status == -signal.SIGXCPU:
        return AudioError("the audio takes too long to decode")
    return AudioError(BROKEN)


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await asyncio.shield(process.wait())
