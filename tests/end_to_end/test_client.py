"""The client and its command line against a real server, whose encoder is a fake."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
from rich.console import Console
from websockets.asyncio.server import ServerConnection

from earshot_asr.client.files import FileAudio
from earshot_asr.client.live import caption
from earshot_asr.client.stream import ClientStream, Message
from earshot_asr.client.terminal import screen
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.server.app import Server
from earshot_asr.server.settings import ServerConfig
from earshot_asr.server.wire import Ack, Done, FinalMessage, PartialMessage
from tests.client.scripted import HELLO, heard, say, scripted
from tests.helpers import FakeRunner, silence, speak
from tests.server.loopback import GIVE_UP_SECONDS, serving, until

ROOT = Path(__file__).parents[2]
TALK = np.concatenate([silence(0.5), speak("HELLO WORLD"), silence(1.5), speak("GOOD BYE"), silence(0.3)])
LONG = "HELLO WORLD AND ALL THAT " * 20


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "talk.wav", TALK, SAMPLE_RATE)
    return tmp_path / "talk.wav"


async def earshot(*arguments: str, path: Path = ROOT) -> Process:
    """Starts the command; `path` is searched for modules first."""
    code = f"import sys; sys.path[:0] = [{str(path)!r}, {str(ROOT)!r}]; from earshot_asr.client.cli import main; main()"
    return await asyncio.create_subprocess_exec(sys.executable, "-c", code, *arguments, stdout=PIPE, stderr=PIPE)


async def test_a_file_streamed_as_fast_as_it_goes(talk: Path) -> None:
    async with serving() as server, ClientStream(server.url) as stream:
        stream.play(FileAudio(talk, speed=0))
        messages = [message async for message in stream]
    finals = [message for message in messages if isinstance(message, FinalMessage)]
    assert [final.text for final in finals] == ["HELLO WORLD", "GOOD BYE"]
    assert messages[-1] == Done(len(TALK), round(len(TALK) / SAMPLE_RATE, 3))


async def test_flush_makes_final_what_was_said_so_far() -> None:
    async with serving() as server, ClientStream(server.url, partials=False) as stream:
        await stream.send(np.concatenate([silence(0.5), speak("HELLO"), silence(0.3)]))
        await stream.flush()
        async for message in stream:
            if isinstance(message, FinalMessage):
                assert message.text == "HELLO"
                break
        assert isinstance(await anext(stream), Ack)


async def test_live_captions_end_with_the_finals(talk: Path) -> None:
    out = Console(file=StringIO(), width=80, force_terminal=True, _environ={})
    async with serving() as server:
        with screen(out) as shown:
            assert not await caption(server.url, FileAudio(talk, speed=0), [shown])
    assert isinstance(out.file, StringIO)
    assert "HELLO WORLD\n" in out.file.getvalue()
    assert "GOOD BYE\n" in out.file.getvalue()


class Interrupted:
    """Audio that would go on for ever, and a Screen: Ctrl-C is pressed at the first message."""

    live, dropped = True, 0.0

    def __init__(self, pcm: Pcm) -> None:
        self.pcm = pcm
        self.stopped = asyncio.Event()
        self.pressed = False

    def stop(self) -> None:
        self.stopped.set()

    async def __aiter__(self) -> AsyncIterator[Pcm]:
        yield self.pcm
        await self.stopped.wait()

    def hear(self, pcm: Pcm, dropped: float, now: float) -> None: ...

    def show(self, message: Message, now: float) -> None:
        if not self.pressed:
            self.pressed = True
            signal.raise_signal(signal.SIGINT)


async def test_ctrl_c_still_brings_the_last_words() -> None:
    out = Console(file=StringIO(), width=80)
    before = signal.getsignal(signal.SIGINT)
    async with serving() as server:
        with screen(out) as shown:
            audio = Interrupted(TALK)
            assert await caption(server.url, audio, [shown, audio])
    assert isinstance(out.file, StringIO)
    assert out.file.getvalue() == "HELLO WORLD\nGOOD BYE\n"
    assert signal.getsignal(signal.SIGINT) is before


# ---- the command


@pytest.mark.parametrize("format", ["text", "json", "srt", "vtt"])
async def test_stream_writes_the_format_alone_to_standard_output(talk: Path, format: str) -> None:
    async with serving() as server:
        process = await earshot("stream", "--url", server.url, "--speed", "0", "--format", format, str(talk))
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    match format:
        case "text":
            assert out == b"HELLO WORLD\nGOOD BYE\n"
        case "json":
            hello, bye, done = map(json.loads, out.splitlines())
            assert (hello["type"], hello["text"], bye["text"]) == ("final", "HELLO WORLD", "GOOD BYE")
            assert [word["text"] for word in bye["words"]] == ["GOOD", "BYE"]
            assert done == {"type": "done", "received": len(TALK), "duration": round(len(TALK) / SAMPLE_RATE, 3)}
        case "srt":
            assert out.startswith(b"1\n00:00:")
        case "vtt":
            assert out.startswith(b"WEBVTT\n")


@pytest.mark.parametrize(
    ("options", "first"),
    [
        (["--format", "json"], b'{"type":"final"'),
        (["--format", "json", "--partials"], b'{"type":"partial"'),
        (["--format", "srt"], b"1\n"),
        (["--format", "vtt"], b"WEBVTT\n"),
        ([], b"HELLO\n"),
    ],
)
async def test_a_line_is_there_as_soon_as_its_text_is(talk: Path, options: list[str], first: bytes) -> None:
    """The server goes on when the line has been read from the pipe."""
    read = asyncio.Event()

    async def script(socket: ServerConnection) -> None:
        partial = PartialMessage(0, 0.1, 0.8, "HEL", 0)
        final = msgspec.structs.replace(HELLO, cut=64_000)  # all later words are after 4 s: its cue is final, too
        await say(socket, *([partial] if "--partials" in options else []), final)
        await read.wait()
        await heard(socket)
        await say(socket, Done(16_000, 1.0))

    async with scripted(script) as url:
        process = await earshot("stream", "--url", url, "--speed", "0", *options, str(talk))
        assert process.stdout is not None
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                line = await process.stdout.readline()
        finally:
            read.set()
            await process.communicate()
    assert line.startswith(first)
    assert process.returncode == 0


async def test_stream_that_is_interrupted_prints_the_last_words(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.concatenate([silence(0.5), speak(LONG)]), SAMPLE_RATE)
    runner = FakeRunner()
    async with serving(runner) as server:
        before = runner.windows
        process = await earshot("stream", "--url", server.url, "--commit", "hop", str(tmp_path / "long.wav"))
        await until(lambda: runner.windows > before + 3)  # something was said
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")
    assert out.startswith(b"HE")
    assert len(out) < len(LONG)


async def line_with(process: Process, text: bytes) -> bytes:
    """The next line on standard error that holds it."""
    assert process.stderr is not None
    async with asyncio.timeout(GIVE_UP_SECONDS):
        while line := await process.stderr.readline():
            if text in line:
                return line
    raise AssertionError(f"it ended without {text!r}")


async def test_stream_before_the_server_is_up_waits_for_it(talk: Path, unused_tcp_port: int) -> None:
    url = f"ws://127.0.0.1:{unused_tcp_port}"
    process = await earshot("stream", "--url", url, "--speed", "0", str(talk))
    line = await line_with(process, b"waiting")
    assert line.endswith(f"no server at {url}/v1/stream: start one with `earshot serve`\n".encode())
    async with Server(ServerConfig(port=unused_tcp_port), [FakeRunner]):
        out, err = await process.communicate()
    assert (process.returncode, out) == (0, b"HELLO WORLD\nGOOD BYE\n")
    assert err == f"connected to {url}/v1/stream\n".encode()


async def test_who_waits_for_a_server_can_stop_that(talk: Path, unused_tcp_port: int) -> None:
    process = await earshot("stream", "--url", f"ws://127.0.0.1:{unused_tcp_port}", str(talk))
    await line_with(process, b"waiting")
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(GIVE_UP_SECONDS):
        assert await process.communicate() == (b"", b"")
    assert process.returncode == 130


SOUNDDEVICE = """
import os, threading, types
import numpy as np
class PortAudioError(Exception): pass
def query_devices(device=None, kind=None):
    return dict(index=0, name="Line in", max_input_channels=1, default_samplerate=16000.0)
def check_input_settings(*_, **__): pass
class RawInputStream:
    def __init__(self, callback, **_): self.callback, self.over = callback, threading.Event()
    def start(self): threading.Thread(target=self.run, daemon=True).start()
    def close(self): self.over.set()
    def run(self):
        pcm, time, at = np.load({talk!r}), types.SimpleNamespace(inputBufferAdcTime=0.0), 0
        while not self.over.wait(0.005):
            os.write(2, b"Expression 'PaAlsaStream_WaitForFrames( stream, &framesAvail )' failed\\n")
            self.callback(pcm[at : at + 800].tobytes(), 800, time, types.SimpleNamespace(input_overflow=False))
            at = (at + 800) % len(pcm)
"""


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A folder with a sound device of the test's own, as there need not be one: it says the same again and again."""
    np.save(tmp_path / "talk.npy", np.resize(TALK, len(TALK) // 800 * 800))
    (tmp_path / "sounddevice.py").write_text(SOUNDDEVICE.format(talk=str(tmp_path / "talk.npy")))
    return tmp_path


async def test_mic_writes_lines_of_json_until_it_is_interrupted(device: Path) -> None:
    async with serving() as server:
        process = await earshot("mic", "--url", server.url, "--format", "json", "--partials", path=device)
        assert process.stdout is not None
        messages = [json.loads(await process.stdout.readline())]
        while messages[-1]["type"] != "final":
            messages.append(json.loads(await process.stdout.readline()))
        process.send_signal(signal.SIGINT)
        rest, _ = await process.communicate()
    assert {message["type"] for message in messages[:-1]} == {"partial"}
    assert messages[-1]["text"] == "HELLO WORLD"
    assert json.loads(rest.splitlines()[-1])["type"] == "done"
    assert process.returncode == 0


async def test_mic_says_what_portaudio_says_of_a_device_that_can_not_be_opened(device: Path) -> None:
    with (device / "sounddevice.py").open("a") as module:
        module.write("""
class RawInputStream:
    def __init__(self, **_):
        os.write(2, b"ALSA lib pcm_dsnoop.c:567: unable to open slave\\n")
        raise PortAudioError("Device unavailable")
""")
    async with serving() as server:
        process = await earshot("mic", "--url", server.url, path=device)
        out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    said = err.decode().splitlines()[-1]
    assert said.startswith("earshot: can't open the microphone 'Line in': Device unavailable; close what uses it")
    assert said.endswith("(ALSA lib pcm_dsnoop.c:567: unable to open slave)")


async def test_mic_that_is_interrupted_prints_the_last_words(device: Path) -> None:
    """And nothing of what PortAudio says on standard error, which would break into captions."""
    async with serving() as server:
        process = await earshot("mic", "--url", server.url, path=device)
        assert process.stdout is not None
        first = await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, err = await process.communicate()
    assert first == b"HELLO WORLD\n"
    assert process.returncode == 0
    assert err == b"listening to Line in, until Ctrl-C\n"
    assert rest == b"" or rest.endswith(b"\n")
