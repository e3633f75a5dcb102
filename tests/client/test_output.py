"""Standard output that is closed, full, read by nobody, or of an encoding that lacks letters: for every command."""

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from earshot_asr.client.output import Output, show_notices
from earshot_asr.engine.text import ESCAPES

ROOT = Path(__file__).parents[2]
EARSHOT = (sys.executable, "-c", "from earshot_asr.client.cli import main; main()")
CLOSED = "earshot: can't write to standard output: it is closed\n"


def shell(line: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of bash in which "$@" is the command with its arguments."""
    command = ("bash", "-o", "pipefail", "-c", line, "bash", *EARSHOT, *arguments)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, env={**os.environ, **environment})
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["transcribe", "nowhere.wav"], ["stream", "nowhere.wav"], ["mic"], ["demo"], ["evaluate", "no.jsonl"]],
)
def test_closed_standard_output_is_one_line_before_any_work(arguments: list[str]) -> None:
    done = shell('"$@" >&-', *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", CLOSED)


def test_commands_that_print_nothing_do_without_it() -> None:
    done = shell('"$@" >&-', "serve", "--insecure", "--host", "a..b")
    assert "not a host name" in done.stderr and "standard output" not in done.stderr


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('"$@" >/dev/full', "No space left on device"),
        ('"$@" </dev/null 1<&0', "it is closed"),  # open, but not for writing
        ('{ sleep 0.2; "$@"; } | true', "whatever read it has ended"),
    ],
)
def test_output_that_can_not_be_written_is_one_line(line: str, reason: str) -> None:
    done = shell(line, "--help")
    assert (done.returncode, done.stderr) == (1, f"earshot: can't write to standard output: {reason}\n")


@pytest.mark.parametrize("line", ['"$@" 2>&-', '"$@" 2>/dev/full'])
def test_errors_that_nobody_can_read_do_not_end_up_in_the_output(line: str) -> None:
    done = shell(line, "stream", "nowhere.wav")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_numbers_of_closed_files_are_not_taken_by_others() -> None:
    """Else what is meant for standard error would be written into the file that is opened next."""
    code = "import os; from earshot_asr.client.output import guarded\nwith guarded(): os._exit(os.open('/', 0))"
    done = subprocess.run(("bash", "-c", '"$@" <&- >&- 2>&-', "bash", sys.executable, "-c", code), cwd=ROOT, timeout=60)
    assert done.returncode == 3


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", "utf-16-le"])
def test_any_character_can_be_written_and_json_reads_it_back(encoding: str) -> None:
    """Half a surrogate pair, too: that is what Python makes of a file name that is no text."""
    text = "caf\xe9 \u0142 \U0001f600 \udce9 \"'\\"
    data = io.BytesIO()
    before = io.TextIOWrapper(data, encoding)
    output = Output(before, fatal=True)
    output.write(json.dumps(text, ensure_ascii=False))
    output.flush()
    assert json.loads(data.getvalue().decode(encoding)) == text
    output.detach()


def test_the_log_is_shown_as_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """On what standard error is at the time, once; how far a download is only where no bar is drawn."""
    hub = logging.getLogger("earshot_asr.engine.hub")
    for stream in (first := io.StringIO(), second := io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        show_notices()
        hub.warning("%d of %d", 1, 2)
        hub.info("some of it is here")
        logging.getLogger("earshot_asr.server").info("not for users")
    wanted = "earshot: 1 of 2\nearshot: some of it is here\n"
    assert [first.getvalue(), second.getvalue()] == [wanted] * 2


def test_the_handler_is_for_encoding_alone() -> None:
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("ascii", ESCAPES)
