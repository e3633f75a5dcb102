"""Log lines: for people, and for machines."""

import json
import logging
from typing import Any

import pytest

from earshot_asr.server.logs import FieldLogger, JsonFormatter, TextFormatter


def logged(caplog: pytest.LogCaptureFixture, formatter: logging.Formatter) -> str:
    (record,) = caplog.records
    return formatter.format(record)


def test_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    FieldLogger("server.x", session="4f").info("closed", code=1000, error=None)
    assert logged(caplog, TextFormatter()).endswith(" INFO server.x: closed session=4f code=1000 error=None")


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
