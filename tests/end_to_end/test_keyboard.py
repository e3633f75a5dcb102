"""Live captions on a terminal in which keys are pressed, which is stopped, and which must be as before afterwards."""

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import termios
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from websockets.asyncio.server import ServerConnection

from earshot_asr.server.wire import Done, Error, PartialMessage
from tests.client.scripted import HELLO, say, scripted
from tests.client.test_terminal import lines_left
from tests.server.loopback import GIVE_UP_SECONDS

ROOT = Path(__file__).parents[2]
CODE = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from earshot_asr.client.cli import main; main()"
EARSHOT = (sys.executable, "-c", CODE)
DONE = Done(16_000, 1.0)


class Pty:
    """A terminal, and what was written to it."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.openpty()
        termios.tcsetwinsize(self.theirs, (24, 100))
        self.written = ""
        self._started: list[Process] = []
        asyncio.get_running_loop().add_reader(self.ours, self._read)

    def _read(self) -> None:
        self.written += os.read(self.ours, 65_536).decode()

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.theirs)[3] & termios.ECHO)

    def press(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while not condition():
                await asyncio.sleep(0.01)

    async def start(self, *command: str) -> Process:
        """Starts a command whose controlling terminal this is."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self._started.append(process)
        return process

    async def close(self) -> None:
        for process in self._started:
            if process.returncode is None:
                process.kill()
                await process.wait()
        asyncio.get_running_loop().remove_reader(self.ours)
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
async def pty() -> AsyncIterator[Pty]:
    pty = Pty()
    yield pty
    await pty.close()


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "talk.wav", np.zeros(60 * 16_000, np.int16), 16_000)
    return tmp_path / "talk.wav"


@asynccontextmanager
async def server(go_on: asyncio.Event, end: Error | Done = DONE) -> AsyncIterator[str]:
    """Sends a partial, and when it may go on, the final and the end."""

    async def script(socket: ServerConnection) -> None:
        await say(socket, PartialMessage(0, 0.1, 0.5, "HEL", 0))
        await go_on.wait()
        await say(socket, HELLO, end)
        await socket.close(1003 if isinstance(end, Error) else 1000)

    async with scripted(script) as url:
        try:
            yield url
        finally:
            go_on.set()


@pytest.mark.parametrize("end", [DONE, Error("invalid_audio", "that is a picture")])
async def test_keys_leave_no_trace_in_captions_and_are_seen_again_after_them(
    pty: Pty, talk: Path, end: Error | Done
) -> None:
    assert pty.echoes
    go_on = asyncio.Event()
    async with server(go_on, end) as url:
        process = await pty.start(*EARSHOT, "stream", "--url", url, str(talk))
        await pty.until(lambda: "Hel" in pty.written)
        assert not pty.echoes
        pty.press("XYZ\r\r\r")
        await asyncio.sleep(0.2)
        go_on.set()
        assert await process.wait() == (1 if isinstance(end, Error) else 0)
    await pty.until(lambda: "Hello" in pty.written)
    await asyncio.sleep(0.1)
    assert pty.echoes
    assert "X" not in pty.written
    assert fcntl.ioctl(pty.theirs, termios.FIONREAD, bytes(4)) == bytes(4)  # nothing is left for the shell to run
    error = ["earshot: that is a picture (invalid_audio)"] if isinstance(end, Error) else []
    assert lines_left(pty.written) == ["Hello", *error]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
async def test_a_signal_leaves_the_terminal_as_it_was(pty: Pty, talk: Path, number: signal.Signals) -> None:
    go_on = asyncio.Event()
    async with server(go_on) as url:
        before = signal.signal(number, signal.SIG_DFL)  # who runs the tests may ignore it, and that is inherited
        process = await pty.start(*EARSHOT, "stream", "--url", url, str(talk))
        signal.signal(number, before)
        await pty.until(lambda: "Hel" in pty.written)
        assert not pty.echoes
        process.send_signal(number)
        async with asyncio.timeout(GIVE_UP_SECONDS):
            assert await process.wait() == -number
    await pty.until(lambda: pty.written.rstrip().endswith("\x1b[?25h"))  # the cursor
    assert pty.echoes


async def test_control_z_gives_the_terminal_back_until_captions_go_on(pty: Pty, talk: Path) -> None:
    """A shell with job control runs the command, says how the terminal is when it is stopped, and continues it."""
    if (bash := shutil.which("bash")) is None or shutil.which("stty") is None:
        pytest.skip("needs bash and stty")
    go_on = asyncio.Event()
    line = 'set -m; "$@"; echo; stty | grep -o -e "-echo\\b" || echo it echoes; fg; echo over'
    async with server(go_on) as url:
        process = await pty.start(bash, "-c", line, "bash", *EARSHOT, "stream", "--url", url, str(talk))
        await pty.until(lambda: "Hel" in pty.written)
        pty.press("\x1a")
        await pty.until(lambda: "it echoes" in pty.written)
        await pty.until(lambda: not pty.echoes)
        go_on.set()
        assert await process.wait() == 0
    await pty.until(lambda: "over" in pty.written)
    assert "-echo" not in pty.written
    assert pty.echoes


async def test_in_the_background_the_terminal_is_left_alone(pty: Pty, talk: Path) -> None:
    """There, changing it would stop the process."""
    if (bash := shutil.which("bash")) is None:
        pytest.skip("needs bash")
    go_on = asyncio.Event()
    async with server(go_on) as url:
        line = 'set -m; "$@" & wait; echo over'
        process = await pty.start(bash, "-c", line, "bash", *EARSHOT, "stream", "--url", url, str(talk))
        await pty.until(lambda: "Hel" in pty.written)
        assert pty.echoes
        go_on.set()
        assert await process.wait() == 0
    await pty.until(lambda: "over" in pty.written)
    assert "Hello" in pty.written


def test_without_a_terminal_nothing_is_done() -> None:
    code = "import sys; from earshot_asr.client.keys import unheard\nwith unheard(sys.stdout): print('there')"
    done = subprocess.run((sys.executable, "-c", code), cwd=ROOT, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"there\n", b"")
