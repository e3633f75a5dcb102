"""A recording that a stranger sent, decoded in a process of its own: a file in, 16 kHz mono int16 out.

    async with Recording(file) as recording:
        async for pcm in recording: ...
    recording.damage, recording.notes

As compressed.py does it for streams; but here the process has a file in which it can seek, read as open_file does it.
"""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import IO, Any, Self

import av
import numpy as np

from earshot_asr.engine.audio import Pcm, Seconds
from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources.confined import allow_cpu, confine, environment
from earshot_asr.engine.sources.files import open_file

CHUNK_BYTES = 64 * 1024
HANGING_SECONDS = 60.0
"""So much time may pass without a chunk of audio."""
NICENESS = 10
"""The process stands back behind those that serve live streams."""
REPORT_BYTES = 64 * 1024


class Recording:
    """A decoding process. Use it in an `async with`; its end ends the process, whatever that does.

    file       an open file, which is decoded from its start
    options    those of open_file: track, channel, longest_gap
    """

    def __init__(self, file: IO[bytes], *, hanging_seconds: Seconds = HANGING_SECONDS, **options: Any) -> None:
        self.damage = ""
        """See FileSource; known at the end."""
        self.notes: list[str] = []
        """See FileSource; known at the end."""
        self._file, self._options = file, options
        self._hanging_seconds = hanging_seconds
        self._process: Process | None = None
        self._report: asyncio.Task[bytes] | None = None

    async def __aenter__(self) -> Self:
        self._file.seek(0)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", __name__, json.dumps(self._options)),
            stdin=self._file,
            stdout=PIPE,
            stderr=PIPE,
            env=environment(),
        )
        assert self._process.stderr
        self._report = asyncio.create_task(_end_of(self._process.stderr))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._process and self._report
        with suppress(ProcessLookupError):
            self._process.kill()
        self._report.cancel()
        await self._process.wait()

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
            async with asyncio.timeout(self._hanging_seconds):
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


async def _end_of(stream: asyncio.StreamReader) -> bytes:
    """The last that it says: libraries may say something before the report."""
    end = b""
    while data := await stream.read(CHUNK_BYTES):
        end = (end + data)[-REPORT_BYTES:]
    return end


def _died(code: int) -> str:
    """What has become of the process, in words."""
    if sys.platform != "win32" and code == -signal.SIGXCPU:
        return "decoding it takes too much computing"
    ended = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
    return f"decoding it failed: the decoder has ended {ended}"


# ---- in the process


def main(options: Mapping[str, Any]) -> None:
    """Decodes standard input, writes samples to standard output, and at its end a report to standard error."""
    report: dict[str, Any] = {}
    try:
        with open_file("-", **options) as source:
            for pcm in source:
                sys.stdout.buffer.write(pcm.tobytes())
                sys.stdout.buffer.flush()
                allow_cpu()
        report = {"damage": source.damage, "notes": source.notes}
    except AudioError as e:
        report = {"error": str(e).removeprefix("standard input: ")}
    except MemoryError:
        report = {"error": "decoding it takes too much memory"}
    except BrokenPipeError:  # nobody wants to know the rest
        os._exit(0)
    print(json.dumps(report), file=sys.stderr)


if __name__ == "__main__":
    confine()
    if sys.platform != "win32":
        os.nice(NICENESS)
    av.logging.set_level(None)
    main(json.loads(sys.argv[1]))
