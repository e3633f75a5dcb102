"""Log lines: for people, and for machines."""

import json
import logging
import os
import re
import time
from logging.handlers import QueueHandler
from typing import Any

import pytest

from earshot_asr.server.logs import FieldLogger, JsonFormatter, TextFormatter, configure


def logged(caplog: pytest.LogCaptureFixture, formatter: logging.Formatter) -> str:
    (record,) = caplog.records
    return formatter.format(record)


def test_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    FieldLogger("server.x", session="4f").info("closed", code=1000, error=None)
    assert logged(caplog, TextFormatter()).endswith(" INFO server.x: closed session=4f code=1000 error=None")


def test_what_a_stranger_sent_makes_no_second_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    FieldLogger("server.x").info("answered", path="/a\n2026 INFO forged\x1b[2J\udcff")
    assert logged(caplog, TextFormatter()).endswith(" path=/a 2026 INFO forged [2J ")


def test_an_object(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    FieldLogger("server.x", session="4f").info("closed", code=1000, error=None)
    line: dict[str, Any] = json.loads(logged(caplog, JsonFormatter()))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "server.x",
        "message": "closed",
        "session": "4f",
        "code": 1000,
        "error": None,
    }


def test_an_error_is_one_object_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    FieldLogger("server.x", session="4f").error("internal error", RuntimeError("a\nb"))
    line = logged(caplog, JsonFormatter())
    assert "\n" not in line
    assert "RuntimeError: a\nb" in json.loads(line)["exception"]


def test_what_others_log_is_an_object_too(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("elsewhere").warning("%d of %d", 1, 2)
    assert json.loads(logged(caplog, JsonFormatter()))["message"] == "1 of 2"


def test_a_log_that_nobody_reads_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a full pipe: what finds no room is dropped and counted, and all goes on when somebody reads again."""
    monkeypatch.setattr("earshot_asr.server.logs.QUEUED_LINES", 100)
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    full = os.fdopen(writing, "w", encoding="utf-8")
    configure(as_json=False, to=full)
    log, lines = logging.getLogger("x"), 3000
    for number in range(lines):
        log.info("line %d %s", number, "." * 100)
    said = ""
    while not (said.endswith("\n") and " lines of the log were dropped" in said and log_is_empty()):
        said += read(reading)
    log.info("the last")
    while not said.endswith("the last\n"):
        said += read(reading)
    dropped = map(int, re.findall(r" WARNING earshot_asr.server.logs: (\d+) lines of the log were dropped", said))
    assert said.count(" INFO x: line ") + sum(dropped) == lines
    full.close()
    os.close(reading)


def read(pipe: int) -> str:
    """What is in it now, after a moment if that is nothing."""
    try:
        return os.read(pipe, 65_536).decode()
    except BlockingIOError:
        time.sleep(0.01)
        return ""


def log_is_empty() -> bool:
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, QueueHandler)
    return bool(handler.queue.unfinished_tasks == 0)  # type: ignore[attr-defined]
