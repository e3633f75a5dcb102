"""Settings of all tests: no deadlines, time is measured in benchmarks only; one thread, so that tests share cores."""

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from earshot_asr.server.logs import CHATTY

os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell; processes would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("earshot", deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "broken on purpose",
    settings.get_profile("earshot"),
    max_examples=500,
    phases=[Phase.generate],
    database=None,
    report_multiple_bugs=False,
)
settings.register_profile("thorough", settings.get_profile("earshot"), max_examples=2000)
settings.load_profile("earshot")


@pytest.fixture(autouse=True)
def loggers_stay_as_they_are() -> Iterator[None]:
    """A test that runs a command sets them up; the next one shall not hear of it."""
    names = (None, "asyncio", "earshot_asr", "earshot_asr.engine.hub", *CHATTY)
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = [handler for handler in logger.handlers if handler in handlers]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this tree, built from a copy, as setuptools leaves files where it builds; with what is installed."""
    root, here = Path(__file__).parents[1], tmp_path_factory.mktemp("wheel")
    tree = here / "tree"
    tree.mkdir()
    for name in ("earshot_asr", "engine", "server", "client"):
        if (root / name).exists():  # in a source distribution, all is in earshot_asr
            shutil.copytree(root / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, tree)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(here), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = here.glob("earshot_asr-*.whl")
    return built


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: a quarter of the time, tests wait for sockets and other processes."""
    return (os.cpu_count() or 1) + 1
