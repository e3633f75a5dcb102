"""A terminal recording of live captions: python -m tests.benchmarks.recording FILE... --out captions.svg

Starts a real server, streams recordings to it in real time with `earshot stream` in a pseudo terminal, and writes what
was on the screen over time as an animated SVG. Several files are joined. Further options are those of `earshot stream`:

    python -m tests.benchmarks.recording talk.opus --seconds 60 --out after.svg --stability high

With --tree, server and client are those of another checkout, for a recording of what it was like before:

    git worktree add /tmp/before COMMIT
    python -m tests.benchmarks.recording talk.opus --seconds 60 --out before.svg --tree /tmp/before
"""

import argparse
import codecs
import os
import select
import socket
import subprocess
import sys
import tempfile
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.engine.sources import open_file
from earshot_asr.engine.whole import write_text
from tests.benchmarks.animation import Shot, animated
from tests.terminal_screen import TerminalScreen

ROOT = Path(__file__).parents[2]
COLUMNS, LINES = 84, 16
QUIET_SECONDS: Seconds = 0.015
"""A redraw is over when nothing was written for so long."""
HOLD_SECONDS: Seconds = 4.0
"""The last screen stays for so long before the recording begins again."""
START_SECONDS: Seconds = 120.0
"""The server must be ready within this time."""


def main() -> None:
    """Records, writes the SVG, and prints its size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="recordings, joined in order")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.svg", help="where the SVG is written")
    parser.add_argument("--name", help="of the recording, as it is shown; default: that of the first file")
    parser.add_argument("--seconds", type=float, help="of the recordings, only the first ones; default: all")
    parser.add_argument("--tree", type=Path, default=ROOT, help="checkout that runs; default: this one")
    parser.add_argument("--latency", default="balanced", help="of the server; default: balanced")
    options, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder, serving(options.tree, options.latency) as url:
        talk = Path(folder) / "talk.wav"
        joined(options.files, options.seconds, talk)
        command = earshot("stream", "--url", url, *more, str(talk))
        prompt = " ".join(("$ earshot stream", *more, options.name or options.files[0].name))
        shots = recorded(command, options.tree, prompt)
    end = shots[-1].at + HOLD_SECONDS
    write_text(options.out, animated(shots, end, columns=COLUMNS, lines=LINES, title="Live captions in a terminal"))
    print(f"{options.out}: {end:.0f} s, {len(shots)} screens, {options.out.stat().st_size / 1000:.0f} kB")


def earshot(*arguments: str) -> list[str]:
    """The command of the checkout in which it is run."""
    return [sys.executable, "-m", "earshot_asr", *arguments]


def joined(files: Sequence[Path], seconds: Seconds | None, out: Path) -> None:
    """Writes one WAV file of several recordings; of its length only so much, if that is given."""
    parts = []
    for path in files:
        with open_file(path) as audio:
            parts += list(audio)
    most = None if seconds is None else round(seconds * SAMPLE_RATE)
    soundfile.write(out, np.concatenate(parts)[:most], SAMPLE_RATE)


@contextmanager
def serving(tree: Path, latency: str) -> Iterator[str]:
    """Runs a checkout's server on a free port; its URL, once it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = earshot("serve", "--port", str(port), "--latency", latency)
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, cwd=tree, env=environment(tree), stdout=log, stderr=log)
        try:
            began = time.monotonic()
            while not ready(port):
                if server.poll() is not None or time.monotonic() > began + START_SECONDS:
                    log.seek(0)
                    sys.exit(f"the server did not start:\n{log.read().decode()}")
                time.sleep(0.1)
            yield f"ws://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def ready(port: int) -> bool:
    """Whether the server takes streams."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def environment(tree: Path) -> dict[str, str]:
    """That of a terminal whose size is not known from variables, with the code of a checkout."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    return kept | {"PYTHONPATH": str(tree), "TERM": "xterm-256color"}


def recorded(command: Sequence[str], folder: Path, prompt: str) -> list[Shot]:
    """Runs a command in a pseudo terminal: what is on the screen, each time that it is another.

    Times are from when it first writes anything. Exits with what it wrote if it fails.
    """
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (LINES, COLUMNS))
    screen = TerminalScreen(COLUMNS, LINES).feed(f"\x1b[1m{prompt[:COLUMNS]}\x1b[0m\n")
    shots = [Shot(0.0, screen.rows)]
    began: Seconds | None = None
    program = subprocess.Popen(
        command, cwd=folder, env=environment(folder), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    for output in redraws(ours):
        began = began or time.monotonic()
        screen.feed(output)
        if screen.rows != shots[-1].rows:
            shots.append(Shot(time.monotonic() - began, screen.rows))
    os.close(ours)
    if program.wait():
        sys.exit("\n".join(screen.texts))
    return shots


def redraws(terminal: int) -> Iterator[str]:
    """What is written to a terminal until it is closed, in pieces between which it was quiet."""
    decoder, waiting = codecs.getincrementaldecoder("utf-8")(), ""
    while True:
        written, _, _ = select.select([terminal], [], [], QUIET_SECONDS if waiting else None)
        if not written:
            yield waiting
            waiting = ""
            continue
        try:
            output = os.read(terminal, 1 << 16)
        except OSError:  # Linux: nobody has it open any more
            output = b""
        if not output:
            break
        waiting += decoder.decode(output)
    yield waiting


if __name__ == "__main__":
    main()
