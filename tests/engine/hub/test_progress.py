"""How far a download is: a bar in a terminal, lines where the log is wanted, and silence elsewhere."""

import io
import logging
import os
import pty
import sys
import termios

import pytest

from earshot_asr.engine.hub import progress
from earshot_asr.engine.hub.progress import shown, size


def report(steps: int = 5, total: int = 3_000_000) -> None:
    with shown("acme/small") as tell:
        for step in range(steps + 1):
            tell(total * step // steps, total)


@pytest.fixture
def quiet() -> None:
    logging.getLogger("earshot_asr.engine.hub").setLevel(logging.WARNING)


@pytest.mark.usefixtures("quiet")
def test_a_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = pty.openpty()
    os.set_blocking(reader, False)  # a test that fails shall not hang
    termios.tcsetwinsize(writer, (24, 80))
    with open(writer, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        report()
        report(total=300)  # too little to show
        monkeypatch.undo()
        seen = os.read(reader, 100_000).decode()
    os.close(reader)
    assert "acme/small" in seen and "0.00/3.00M" in seen
    assert seen.endswith("\r")  # and nothing is left of it


@pytest.mark.usefixtures("quiet")
def test_silence_elsewhere(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for stream in (io.StringIO(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        report()
        assert stream is None or stream.getvalue() == ""
    assert caplog.messages == []


def test_lines_of_the_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "earshot_asr.engine.hub")
    report(total=300)
    assert caplog.messages == []
    report()
    first, last = "acme/small: 0 bytes of 3.0 MB are here", "acme/small: 3.0 MB of 3.0 MB are here"
    assert caplog.messages == [first, last]
    caplog.clear()
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    report()
    assert len(caplog.messages) == 6
    caplog.clear()
    with shown("x", lambda here, total: None) as tell:
        tell(0, 3_000_000)
    assert caplog.messages == []


def test_sizes() -> None:
    given = (0, 999, 1000, 1_260_000_000, 3_500_000)
    assert [size(count) for count in given] == ["0 bytes", "999 bytes", "1.0 kB", "1.3 GB", "3.5 MB"]
