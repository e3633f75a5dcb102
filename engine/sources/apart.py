"""Decodes a recording in a process of its own: bytes in, 16 kHz mono int16 out.

    async with Apart(file) as decoder:      # or Apart(), then feed(), end()
        async for pcm in decoder: ...
    decoder.damage, decoder.notes

What anybody may send is decoded by libraries that were written in C. If one of them crashes, hangs, or wants too much
memory or computing, that process ends, and with it this recording: as an AudioError, like any other that can't be read.
"""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

import earshot_asr
from earshot_asr.engine.audio import Pcm, Seconds
from earshot_asr.engine.errors import AudioError

if sys.platform != "win32":
    import resource

CHUNK_BYTES = 64 * 1024
MEMORY_BYTES = 1 << 30
"""Address space of the process; it takes a quarter of that as a rule."""
COMPUTING_SECONDS = 30
"""So much time of a processor may pass without a chunk of audio."""
HANGING_SECONDS = 60.0
"""So much time may pass without a chunk of audio when all bytes are there."""
NICENESS = 10
"""The process stands back behind those that serve live streams."""
REPORT_BYTES = 64 * 1024
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}


class Apart:
    """A decoding process. Use it in an `async with`; its end ends the process, whatever that does.

    file       an open file to decode, from its start; None: the bytes are fed
    options    those of open_file: track, channel, longest_gap
    hanging_seconds, computing_seconds, memory_bytes    see HANGING_SECONDS, COMPUTING_SECONDS, MEMORY_BYTES
    """

    def __init__(
        self,
        file: IO[bytes] | None = None,
        *,
        hanging_seconds: Seconds = HANGING_SECONDS,
        computing_seconds: int = COMPUTING_SECONDS,
        memory_bytes: int = MEMORY_BYTES,
        **options: Any,
    ) -> None:
        self.damage = ""
        """See FileSource; known at the end."""
        self.notes: list[str] = []
        """See FileSource; known at the end."""
        self._file = file
        self._hanging_seconds = hanging_seconds
        self._task = {"computing": computing_seconds, "memory": memory_bytes, "options": options}
        self._process: Process | None = None
        self._report: asyncio.Task[bytes] | None = None
        self._whole = file is not None

    async def __aenter__(self) -> Self:
        if self._file is not None:
            self._file.seek(0)
        package = str(Path(earshot_asr.__file__).parents[1])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", __name__, json.dumps(self._task)),
            stdin=PIPE if self._file is None else self._file,
            stdout=PIPE,
            stderr=PIPE,
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
        )
        assert self._process.stderr
        self._report = asyncio.create_task(self._process.stderr.read(REPORT_BYTES))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._process and self._report
        with suppress(ProcessLookupError):
            self._process.kill()
        self._report.cancel()
        if self._process.stdin:
            self._process.stdin.close()
        await self._process.wait()

    async def feed(self, data: bytes) -> None:
        """More bytes; waits while the process is behind. What it no longer wants is dropped."""
        assert self._process and self._process.stdin
        with suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(data)
            await self._process.stdin.drain()

    def end(self) -> None:
        """There are no more bytes."""
        assert self._process and self._process.stdin
        self._process.stdin.close()
        self._whole = True

    async def __aiter__(self) -> AsyncIterator[Pcm]:
        """The audio, (S,), as it is decoded. Raises AudioError if there is none, or when the process dies."""
        assert self._process and self._process.stdout
        rest = b""
        while data := await self._read(self._process.stdout):
            data = rest + data
            whole = len(data) // 2 * 2
            rest = data[whole:]
            if whole:
                yield np.frombuffer(data[:whole], np.int16)
        await self._finish(self._process)

    async def _read(self, stream: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(self._hanging_seconds if self._whole else None):
                return await stream.read(CHUNK_BYTES)
        except TimeoutError:
            raise AudioError(f"decoding it stands still: nothing came for {self._hanging_seconds:g} s") from None

    async def _finish(self, process: Process) -> None:
        assert self._report
        report, code = await self._report, await process.wait()
        try:
            said: Mapping[str, Any] = json.loads(report.splitlines()[-1])
        except (IndexError, ValueError):
            raise AudioError(_died(code)) from None
        if "error" in said:
            raise AudioError(said["error"])
        if code:
            raise AudioError(_died(code))
        self.damage, self.notes = said["damage"], said["notes"]


def _died(code: int) -> str:
    """What has become of the process, in words."""
    if sys.platform != "win32" and code == -signal.SIGXCPU:
        return "decoding it takes too much computing"
    ended = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
    return f"decoding it failed: the decoder has ended {ended}"


# ---- in the process


def main() -> None:
    """Decodes standard input, writes samples to standard output, and at its end a report to standard error."""
    from earshot_asr.engine.sources.files import open_file

    task = json.loads(sys.argv[1])
    _limit(task["memory"])
    report: dict[str, Any] = {}
    try:
        _allow_computing(task["computing"])
        with open_file("-", **task["options"]) as source:
            for pcm in source:
                sys.stdout.buffer.write(pcm.tobytes())
                sys.stdout.buffer.flush()
                _allow_computing(task["computing"])
        report = {"damage": source.damage, "notes": source.notes}
    except AudioError as e:
        report = {"error": str(e).removeprefix("standard input: ")}
    except MemoryError:
        report = {"error": "decoding it takes too much memory"}
    except BrokenPipeError:  # nobody wants to know the rest
        os._exit(0)
    print(json.dumps(report), file=sys.stderr)


def _limit(memory_bytes: int) -> None:
    if sys.platform == "win32":
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICENESS)


def _allow_computing(seconds: int) -> None:
    """So many seconds more, from now on."""
    if sys.platform == "win32":
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))


if __name__ == "__main__":
    main()
