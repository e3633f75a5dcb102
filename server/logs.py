"""The server's log, as text for people or as JSON for machines. It holds neither audio nor what was said."""

import atexit
import json
import logging
import sys
import time
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue
from typing import Any, TextIO

from earshot_asr.engine.text import printable

QUEUED_LINES = 10_000
"""So many lines wait for whoever reads the log; further ones are dropped."""
DRAIN_SECONDS = 1.0
CHATTY = ("websockets", "httpx", "httpx2", "httpcore", "httpcore2", "urllib3", "filelock", "huggingface_hub")
"""Loggers of libraries that note each connection, request or lock."""
FIELDS = "fields"
"""The attribute of a log record that holds its named values."""


class TextFormatter(logging.Formatter):
    """`2026-11-22 18:00:00,000 INFO earshot_asr.server.connection: closed session=4f.. code=1000`"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        fields = getattr(record, FIELDS, {}).items()
        return super().formatMessage(record) + "".join(f" {name}={printable(str(value))}" for name, value in fields)


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, the record's own fields, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class FieldLogger:
    """A logger that puts the same named values into every record; a call may add more.

    FieldLogger(__name__, session="4f").info("closed", code=1000)
    """

    def __init__(self, name: str, **fields: object) -> None:
        self._logger = logging.getLogger(name)
        self._fields = fields

    def info(self, message: str, **fields: object) -> None:
        """Logs an event in the life of a stream."""
        self._logger.info(message, extra={FIELDS: {**self._fields, **fields}})

    def error(self, message: str, error: BaseException, **fields: object) -> None:
        """Logs a fault of the server, with its traceback."""
        self._logger.error(message, exc_info=error, extra={FIELDS: {**self._fields, **fields}})


class _Enqueuer(QueueHandler):
    """Hands records to the thread that writes them. Never waits: what finds no room is counted, and dropped."""

    def __init__(self, records: "Queue[logging.LogRecord]") -> None:
        super().__init__(records)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """See QueueHandler: nothing need be formatted yet, as the queue ends in this process."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """See QueueHandler."""
        try:
            self.queue.put_nowait(record)
        except Full:
            self.dropped += 1


class _Writer(QueueListener):
    """Writes records in a thread of its own, and says how many were dropped before one."""

    def __init__(self, source: _Enqueuer, handler: logging.Handler) -> None:
        super().__init__(source.queue, handler)
        self._source, self._told = source, 0

    def handle(self, record: logging.LogRecord) -> None:
        """See QueueListener."""
        if dropped := self._source.dropped - self._told:
            self._told += dropped
            text = "%d lines of the log were dropped, as it was not read"
            super().handle(logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (dropped,), None))
        super().handle(record)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to a file, or to whatever standard error is at the time: it may be another one by the end."""

    def __init__(self, to: TextIO | None) -> None:
        self._to = to
        super().__init__()

    @property
    def stream(self) -> TextIO:
        """See StreamHandler."""
        return self._to or sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None: ...


def configure(*, as_json: bool, to: TextIO | None = None) -> None:
    """Sends the log to standard error, or `to` another file. Logging never waits for whoever reads that.

    A pipe that nobody reads would otherwise stop the server at the first line that finds no room in it.
    """
    handler = _Handler(to)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    records: Queue[logging.LogRecord] = Queue(QUEUED_LINES)
    enqueuer = _Enqueuer(records)
    _Writer(enqueuer, handler).start()
    atexit.register(_drain, records)
    logging.basicConfig(level=logging.INFO, handlers=[enqueuer], force=True)
    for library in CHATTY:
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of every pong to a client that has gone


def _drain(records: "Queue[logging.LogRecord]") -> None:
    """At exit: gives the writer a moment for its last lines, and ends the log.

    Threads that are still at work, such as a download, would else log while the interpreter takes its modules apart.
    """
    until = time.monotonic() + DRAIN_SECONDS
    while records.unfinished_tasks and time.monotonic() < until:
        time.sleep(0.01)
    logging.disable()
    logging.raiseExceptions = False
