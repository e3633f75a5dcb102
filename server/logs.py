"""What the server logs, as lines for people or as JSON for machines. Of audio and text there is nothing in it."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

FIELDS = "fields"


class Lines(logging.Formatter):
    """`2026-11-22 18:00:00,000 INFO earshot_asr.server.connection: closed session=4f.. code=1000`"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        fields = getattr(record, FIELDS, {})
        return super().formatMessage(record) + "".join(f" {name}={value}" for name, value in fields.items())


class Json(logging.Formatter):
    """An object a line: time, level, logger, message, exception if any, and the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class Log:
    """A logger that puts the same fields into every record, and more into some.

    Log(__name__, session="4f").info("closed", code=1000)
    """

    def __init__(self, name: str, **fields: object) -> None:
        self._logger = logging.getLogger(name)
        self._fields = fields

    def info(self, message: str, **fields: object) -> None:
        """What happens in the life of a stream."""
        self._logger.info(message, extra={FIELDS: {**self._fields, **fields}})

    def error(self, message: str, error: BaseException, **fields: object) -> None:
        """What should never happen, with its traceback."""
        self._logger.error(message, exc_info=error, extra={FIELDS: {**self._fields, **fields}})


def configure(*, as_json: bool) -> None:
    """Sends what is logged to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if as_json else Lines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("websockets").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # warns of every pong to a client that has gone
