"""The bytes of a file or a pipe, from the first on; a pipe can't be opened twice, nor go back."""

import os
import select
import stat
import tempfile
import threading
from pathlib import Path
from typing import Any

from earshot_asr.engine.sources.ahead import START_BYTES, Ahead
from earshot_asr.engine.sources.headers import promised_bytes

STANDARD_INPUT = "-"
POLL_SECONDS = 0.1
COPY_BYTES = 1 << 20


class Reader(Ahead):
    """Reads a file; or forward only what is none: a FIFO, standard input.

    size      bytes of the file; None: not known, and there is no way back
    again     whether it can be opened once more
    suffix    of its name, in small letters
    start     its first bytes, by which its kind is told
    promised_bytes    how long its header says it is; None: it doesn't say
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        super().__init__(self._more)
        standard = str(path) == STANDARD_INPUT
        self._file: Any = open(0 if standard else path, "rb", buffering=0, closefd=not standard)  # noqa: SIM115
        status = os.fstat(self._file.fileno())
        self.size = status.st_size if stat.S_ISREG(status.st_mode) and self._file.tell() == 0 else None
        self.again = self.size is not None and not standard
        self.suffix = path.suffix.lower()
        self._stopped = threading.Event()
        self.start = self.peek(START_BYTES)
        self.promised_bytes = promised_bytes(self)

    def rewound(self) -> Any:
        """The file itself, from its start, to read and to seek in."""
        assert self.size is not None
        self._waiting = b""
        self._file.seek(0)
        return self._file

    def spool(self) -> None:
        """Copies a pipe into a temporary file, to its end, and goes on with that. Raises OSError."""
        copy: Any = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        while data := self.read(COPY_BYTES):
            copy.write(data)
        self._file.close()
        self._file, self.size = copy, copy.tell()
        copy.seek(0)

    def stop(self) -> None:
        """A pipe ends here, also for a thread that waits for its next bytes."""
        self._stopped.set()

    def close(self) -> None:
        """Closes the file, but not standard input."""
        self._file.close()

    def _more(self, size: int) -> bytes:
        if self.size is None and os.name == "posix":  # elsewhere a pipe can't be polled
            while not select.select([self._file], [], [], POLL_SECONDS)[0]:
                if self._stopped.is_set():
                    return b""
        data: bytes = b"" if self._stopped.is_set() else self._file.read(size)
        return data
