"""The server's log, as text for people or as JSON for machines. It holds neither audio nor what was said."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

FIELDS = "fields"
"""The attribute of a log record that holds its named values."""


class TextFormatter(logging.Formatter):
    """`2026-11-22 18:00:00,000 INFO earshot_asr.server.connection: closed session=4f.. code=1000`"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        fields = getattr(record, FIELDS, {})
        return super().formatMessage(record) + "".join(f" {name}={value}" for name, value in fields.items())


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


def configure(*, as_json: bool) -> None:
    """Sends the log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("websockets").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of every pong to a client that has gone
