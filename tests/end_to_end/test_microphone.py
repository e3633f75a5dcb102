"""`earshot mic` the whole way: a recording played into a virtual microphone, PulseAudio, ALSA, PortAudio, the engine.

The microphone is the monitor of a null sink of a PulseAudio that the test starts, apart from any that runs here.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import suppress
from ctypes.util import find_library
from pathlib import Path

import jiwer
import pytest
import soundfile

from earshot_asr.server.app import build
from earshot_asr.server.settings import ServerConfig
from tests.client.test_blocking import EXAMPLES
from tests.client.test_terminal import lines_left

pytestmark = pytest.mark.mic
ROOT = Path(__file__).parents[2]
DEMO = ROOT / "earshot_asr" / "client" / "data" / "demo.flac"
WHOLE, FIRST = 11.2, 4.8
"""The recording, and its first sentence, until a moment after the last word: it is no endpoint that ends this one."""
HIGHEST_CER = 0.10
SECONDS = 60.0
"""Longest wait for anything."""
EARSHOT = (sys.executable, "-c", "from earshot_asr.client.cli import main; main()")
DEFAULT_INPUT = (sys.executable, "-c", "import sounddevice; sounddevice.query_devices('default', 'input')")
INSTALL = "apt install pulseaudio pulseaudio-utils libportaudio2 libasound2-plugins"
MICROPHONE = "load-module module-null-sink sink_name=stage rate=48000"


class SoundServer:
    """A PulseAudio of its own in a folder, apart from the user's session, sound server and configuration."""

    def __init__(self, folder: Path) -> None:
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(("PULSE", "DBUS"))}
        self.environment |= {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "PULSE_RUNTIME_PATH": str(folder / "pulse"),
            "PULSE_SERVER": f"unix:{folder}/pulse/native",
            "PYTHONPATH": str(ROOT),
        }
        (folder / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
        self.log = folder / "log"
        self.daemon: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Skips the test where it can't be done."""
        options = ["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disable-shm"]
        modules = ("--load=module-native-protocol-unix auth-anonymous=1", f"--{MICROPHONE.replace('-module ', '=')}")
        with self.log.open("w") as log:
            self.daemon = subprocess.Popen(
                ("pulseaudio", *options, *modules), env=self.environment, stdin=DEVNULL, stdout=log, stderr=log
            )
        for _ in range(100):
            if (await self.run("pactl", "info"))[0] == 0:
                return
            await asyncio.sleep(0.1)
        pytest.skip(f"no PulseAudio can be started here: {self.log.read_text().strip()[-200:]}")

    def signal(self, number: signal.Signals) -> None:
        assert self.daemon is not None
        self.daemon.send_signal(number)

    def kill(self) -> None:
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()
            self.daemon = None

    async def run(self, *command: str) -> tuple[int | None, str]:
        """Exit status and standard output."""
        process = await asyncio.create_subprocess_exec(*command, env=self.environment, stdout=PIPE, stderr=DEVNULL)
        out, _ = await process.communicate()
        return process.returncode, out.decode()

    async def recorded(self) -> None:
        """Waits until somebody records."""
        async with asyncio.timeout(SECONDS):
            while not (await self.run("pactl", "list", "short", "source-outputs"))[1]:
                await asyncio.sleep(0.1)
        await asyncio.sleep(2.5)  # a null sink may begin so late

    async def play(self, recording: Path) -> None:
        """Returns when all of it was heard."""
        status, _ = await self.run("paplay", "--device=stage", str(recording))
        assert status == 0
        await asyncio.sleep(0.3)


@pytest.fixture
async def sound() -> AsyncIterator[SoundServer]:
    programs = [name for name in ("pulseaudio", "pactl", "paplay") if shutil.which(name) is None]
    if missing := programs or ([] if find_library("portaudio") else ["PortAudio"]):
        pytest.skip(f"needs {', '.join(missing)}: {INSTALL}")
    with tempfile.TemporaryDirectory(prefix="earshot-") as folder:  # a socket's path must be short
        server = SoundServer(Path(folder))
        try:
            await server.start()
            if (await server.run(*DEFAULT_INPUT))[0]:
                pytest.skip(f"PortAudio needs ALSA's plugin for PulseAudio: {INSTALL}")
            yield server
        finally:
            server.kill()


@pytest.fixture
def recording(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The bundled recording, `request.param` seconds of it."""
    pcm, rate = soundfile.read(DEMO, dtype="int16")
    soundfile.write(tmp_path / "recording.wav", pcm[: round(request.param * rate)], rate)
    return tmp_path / "recording.wav"


def streamed(recording: Path) -> str:
    """What the same engine hears in the file."""
    return subprocess.run(
        (*EARSHOT, "transcribe", str(recording)), cwd=ROOT, stdout=PIPE, check=True, timeout=SECONDS, text=True
    ).stdout


def assert_same(heard: str, read: str, words: int) -> None:
    """But for a few letters: the microphone has a clock of its own, and another sample is its first."""
    heard, read = " ".join(heard.split()), " ".join(read.split())
    assert len(heard.split()) >= words, heard
    assert jiwer.cer(read, heard) <= HIGHEST_CER, (read, heard)


async def mic(sound: SoundServer, stdout: int = PIPE, stderr: int = PIPE) -> Process:
    return await asyncio.create_subprocess_exec(
        *EARSHOT, "mic", cwd=ROOT, env=sound.environment, stdout=stdout, stderr=stderr
    )


async def interrupt(process: Process) -> tuple[str, str]:
    """Ctrl-C, and all that is left of both outputs."""
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(SECONDS):
        out, err = await process.communicate()
    assert process.returncode == 0
    return (out or b"").decode(), (err or b"").decode()


async def line_with(process: Process, text: str) -> str:
    """The next line on standard error that holds it."""
    assert process.stderr is not None
    async with asyncio.timeout(SECONDS):
        while line := (await process.stderr.readline()).decode():
            if text in line:
                return line.strip()
    raise AssertionError(f"it ended without {text!r}")


@pytest.mark.parametrize("recording", [WHOLE], indirect=True)
async def test_what_is_said_is_written(sound: SoundServer, recording: Path) -> None:
    """And the last words come after Ctrl-C."""
    process = await mic(sound)
    await sound.recorded()
    await sound.play(recording)
    out, err = await interrupt(process)
    assert_same(out, streamed(recording), words=25)
    assert err == "listening to default, until Ctrl-C\n"


@pytest.mark.parametrize("recording", [WHOLE], indirect=True)
@pytest.mark.parametrize("example", [each for each in EXAMPLES if "Microphone()" in each])
async def test_the_examples_of_a_client_hear_it(sound: SoundServer, recording: Path, example: str) -> None:
    """Of client/README.md."""
    async with build(ServerConfig(port=0, device="cpu")) as server:
        script = example.replace("ws://127.0.0.1:8765", server.url)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", "-c", script), cwd=ROOT, env=sound.environment, stdout=PIPE, stderr=PIPE
        )
        await sound.recorded()
        await sound.play(recording)
        await asyncio.sleep(3)
        process.kill()
        out, _ = await process.communicate()
    lines = [line for line in out.decode().replace("\r", "\n").splitlines() if not line.startswith("...")]
    assert_same(" ".join(lines), streamed(recording), words=20)


@pytest.mark.parametrize("recording", [WHOLE], indirect=True)
async def test_captions_are_live_in_a_terminal(sound: SoundServer, recording: Path) -> None:
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = await mic(sound, theirs, theirs)
    os.close(theirs)
    reading = asyncio.create_task(asyncio.to_thread(read_all, ours))
    await sound.recorded()
    await sound.play(recording)
    await interrupt(process)
    drawn = await reading
    assert drawn.count("  delay ") > 20  # the open utterance, again and again
    listening, *finals = lines_left(drawn)
    assert "listening to default, until Ctrl-C" in listening
    assert_same(" ".join(finals).upper(), streamed(recording), words=25)


def read_all(terminal: int) -> str:
    """What is written to it, until there is nobody left to write."""
    drawn = b""
    with open(terminal, "rb", buffering=0) as screen, suppress(OSError):  # that is how it ends
        while part := screen.read(65_536):
            drawn += part
    return drawn.decode()


@pytest.mark.parametrize("recording", [FIRST], indirect=True)
async def test_a_device_that_goes_away_is_waited_for(sound: SoundServer, recording: Path) -> None:
    """Unplugged; its sound server killed, and started again; its sound server hung for a while."""
    process = await mic(sound)
    await sound.recorded()
    await sound.play(recording)
    for how in ("unplugged", "killed", "hung"):
        match how:
            case "unplugged":
                await sound.run("pactl", "unload-module", "module-null-sink")
            case "killed":
                sound.kill()
            case "hung":
                sound.signal(signal.SIGSTOP)
        assert await line_with(process, "is disconnected") == "the microphone 'default' is disconnected; waiting for it"
        match how:
            case "unplugged":
                await sound.run("pactl", *MICROPHONE.split())
            case "killed":
                await sound.start()
            case "hung":
                sound.signal(signal.SIGCONT)
        assert await line_with(process, "the microphone") == "the microphone 'default' is back"
        await sound.play(recording)
    out, err = await interrupt(process)
    assert_same(out, streamed(recording) * 4, words=50)
    assert "the microphone" not in err


@pytest.mark.parametrize("recording", [FIRST], indirect=True)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_last_words_come_without_the_device_too(
    sound: SoundServer, recording: Path, how: signal.Signals
) -> None:
    """Ctrl-C while it is waited for, or at once after it hangs, and for good."""
    process = await mic(sound)
    await sound.recorded()
    await sound.play(recording)
    sound.signal(how)
    if how is signal.SIGKILL:
        await line_with(process, "is disconnected")
    out, _ = await interrupt(process)
    assert_same(out, streamed(recording), words=12)


async def test_a_missing_device_is_an_error_at_the_start(sound: SoundServer) -> None:
    sound.kill()
    process = await mic(sound)
    async with asyncio.timeout(SECONDS):
        out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert err.startswith(b"earshot: there is no microphone: plug one in")
    assert err.count(b"\n") == 1
