"""The client without asyncio, over real sockets; and the examples of client/README.md, as they stand there."""

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earshot_asr import AudioError, FinalMessage, StreamError, listen
from earshot_asr.engine.audio import Pcm
from earshot_asr.server.app import Server
from tests.helpers import silence, speak
from tests.server.loopback import serving

README = Path(__file__).parents[2] / "client" / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
TEXTS = ["HELLO THERE", "GENERAL"]
PCM: Pcm = np.concatenate([silence(0.5), speak(TEXTS[0]), silence(1.5), speak(TEXTS[1]), silence(0.5)])


@contextmanager
def server() -> Iterator[Server]:
    """One that runs in a thread, as whoever does not use asyncio sees it."""
    loop, found, stop = asyncio.new_event_loop(), list[Server](), asyncio.Event()
    there = threading.Event()

    async def run() -> None:
        async with serving() as one:
            found.append(one)
            there.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    assert there.wait(20)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


def blocks() -> Iterator[Pcm]:
    for at in range(0, len(PCM), 1600):
        yield PCM[at : at + 1600]


async def as_it_comes() -> AsyncIterator[Pcm]:
    for pcm in blocks():
        yield pcm


def texts(*arguments: object, **options: object) -> list[str]:
    return [m.text for m in listen(*arguments, **options) if isinstance(m, FinalMessage)]  # type: ignore[arg-type]


def test_whatever_yields_audio_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    soundfile.write(path, PCM, 16_000)
    with server() as one:
        assert texts(one.url, blocks()) == TEXTS
        assert texts(one.url, as_it_comes()) == TEXTS
        assert texts(one.url, [pcm.tobytes() for pcm in blocks()]) == TEXTS
        assert texts([one.url], path) == TEXTS
        assert texts(one.url, []) == []


def test_leaving_the_loop_ends_the_stream_and_its_thread() -> None:
    def endless() -> Iterator[Pcm]:
        while True:
            yield from blocks()

    with server() as one:
        for message in listen(one.url, endless()):
            if isinstance(message, FinalMessage):
                break
        assert not [thread for thread in threading.enumerate() if thread.name == "earshot-listen"]


def test_what_goes_wrong_is_raised(tmp_path: Path) -> None:
    def broken() -> Iterator[Pcm]:
        yield PCM
        raise ZeroDivisionError

    with server() as one:
        with pytest.raises(ZeroDivisionError):
            texts(one.url, broken())
        with pytest.raises(AudioError, match="no such file"):
            texts(one.url, tmp_path / "nothing.wav")
        with pytest.raises(StreamError, match="which language it speaks"):
            texts(one.url, blocks(), language="tlh")
    with pytest.raises(StreamError, match="no server at"):
        texts("ws://127.0.0.1:1", blocks(), retry=0)


def test_every_kind_of_example_is_there() -> None:
    assert len(EXAMPLES) == 7
    assert sum("Microphone()" in example for example in EXAMPLES) == 2


@pytest.mark.parametrize("example", [e for e in EXAMPLES if "Microphone()" not in e and "ffmpeg" not in e])
def test_the_examples_run(example: str, tmp_path: Path) -> None:
    """Those with a microphone: end_to_end/test_microphone.py."""
    soundfile.write(tmp_path / "talk.opus", PCM, 16_000, format="WAV")
    root = str(Path(__file__).parents[2])
    with server() as one:
        script = example.replace("ws://127.0.0.1:8765", one.url)
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{script}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    if "load_runner" not in example:
        assert " ".join(TEXTS) in " ".join(re.sub(r"[\d.]+ s", "", done.stdout).split())


def test_the_example_of_a_generator_that_waits(tmp_path: Path) -> None:
    """With a command that writes what ffmpeg would, where there is none."""
    (example,) = [each for each in EXAMPLES if "ffmpeg" in each]
    mulaw = tmp_path / "talk.mulaw"
    soundfile.write(mulaw, PCM, 16_000, format="RAW", subtype="ULAW")
    script = re.sub(r"command = \[.*?\]", f"command = ['cat', {str(mulaw)!r}]", example).replace("=8000", "=16000")
    root = str(Path(__file__).parents[2])
    with server() as one:
        script = script.replace("ws://127.0.0.1:8765", one.url)
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{script}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split("\n")[:2] == TEXTS, done.stderr
