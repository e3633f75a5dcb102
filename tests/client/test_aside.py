"""Lines that C libraries write to standard error, in processes of their own, as it is the process's that is changed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEGIN = """
import os, sys
from earshot_asr.client.aside import Aside
from earshot_asr.client.output import guarded
from earshot_asr.engine.errors import DeviceError
def library(text): os.write(2, text.encode())
"""


def run(code: str) -> tuple[str, str]:
    """Standard output and error of a program that ended well."""
    done = subprocess.run((sys.executable, "-c", BEGIN + code), cwd=ROOT, capture_output=True, timeout=60, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("around", ["guarded(), Aside()", "Aside()"])
def test_they_are_not_shown_and_ours_are(around: str) -> None:
    out, err = run(f"""
with {around}:
    library("Expression 'PaAlsaStream_WaitForFrames' failed\\n")
    print("the microphone is back", file=sys.stderr)
    print("text")
library("afterwards\\n")
print("ours afterwards", file=sys.stderr)
""")
    assert (out, err) == ("text\n", "the microphone is back\nafterwards\nours afterwards\n")


def test_the_last_one_tells_more_of_an_error() -> None:
    out, err = run("""
try:
    with Aside():
        library("ALSA lib conf.c: first\\nALSA lib pcm_dmix.c: \\x1b[2Junable to open slave\\n\\n")
        raise DeviceError("can't open the microphone")
except DeviceError as e:
    print(e)
""")
    assert (out, err) == ("can't open the microphone (ALSA lib pcm_dmix.c:  [2Junable to open slave)\n", "")


def test_other_errors_and_an_error_without_such_lines_are_as_they_were() -> None:
    out, _ = run("""
for error, line in ((DeviceError("no microphone"), ""), (ValueError("wrong"), "ALSA lib conf.c\\n")):
    try:
        with Aside():
            library(line)
            raise error
    except (DeviceError, ValueError) as e:
        print(e, e is error)
""")
    assert out == "no microphone True\nwrong True\n"


def test_any_amount_is_taken_in_bounded_memory() -> None:
    out, err = run("""
aside = Aside()
with aside:
    for _ in range(100):
        library("x" * 10_000 + "\\n")
    library("x" * 1_000_000)
print(sum(map(len, aside._lines)) < 10_000)
""")
    assert (out, err) == ("True\n", "")
