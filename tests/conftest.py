"""Settings of all tests: no deadlines, time is measured in benchmarks only; one thread, so that tests share cores."""

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("earshot", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "broken on purpose",
    settings.get_profile("earshot"),
    phases=[Phase.generate],
    database=None,
    report_multiple_bugs=False,
)
settings.register_profile("thorough", settings.get_profile("earshot"), max_examples=2000)
settings.load_profile("earshot")


@pytest.fixture(autouse=True)
def loggers_stay_as_they_are() -> Iterator[None]:
    """A test that runs a command sets them up; the next one shall not hear of it."""
    loggers = [logging.getLogger(name) for name in (None, "websockets", "asyncio")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = [handler for handler in logger.handlers if handler in handlers]
