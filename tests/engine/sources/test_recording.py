"""Decoding in a process of its own: the same audio, and whatever becomes of that process is a sentence."""

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources import open_file, recording
from earshot_asr.engine.sources.confined import CPU_SECONDS, MEMORY_BYTES, environment
from earshot_asr.engine.sources.recording import Recording
from tests.engine.sources.made import encoded, tone

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

LONG = encoded("wav", "pcm_s16le", [(0.0, tone(60.0, 48_000))])


def made(tmp_path: Path, name: str, data: bytes) -> Path:
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


async def decoded(file: Path, **options: Any) -> tuple[Pcm, Recording]:
    with file.open("rb") as opened:
        async with Recording(opened, **options) as decoder:
            return np.concatenate([pcm async for pcm in decoder]), decoder


@pytest.mark.parametrize(("format", "codec"), [("wav", "pcm_s16le"), ("mp4", "aac"), ("webm", "libopus")])
async def test_it_is_the_same_audio(tmp_path: Path, format: str, codec: str) -> None:
    data = encoded(format, codec, [(0.0, tone(2.0, 48_000))])
    file = made(tmp_path, f"a.{format}", data)
    expected = np.concatenate([*open_file(file)])
    heard, decoder = await decoded(file)
    assert heard.tobytes() == expected.tobytes()
    assert not decoder.damage


async def test_options_and_what_is_said_of_the_file(tmp_path: Path) -> None:
    file = made(tmp_path, "cut.wav", LONG[:-100_000])
    heard, decoder = await decoded(file, channel=1)
    with open_file(file, channel=1) as source:
        assert heard.tobytes() == np.concatenate([*source]).tobytes()
    assert decoder.damage == source.damage
    assert "cut off" in decoder.damage


async def test_what_is_no_audio_is_told_without_a_name(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"^can't decode|^this is|^there is"):
        await decoded(made(tmp_path, "a.wav", b"once upon a time" * 100))
    with pytest.raises(AudioError, match=r"^the file is empty"):
        await decoded(made(tmp_path, "b.wav", b""))


async def test_what_else_the_process_says_does_not_hide_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talkative = environment() | {"PYTHONPROFILEIMPORTTIME": "1"}
    monkeypatch.setattr(recording, "environment", lambda: talkative)
    heard, decoder = await decoded(made(tmp_path, "cut.wav", LONG[:-100_000]))
    assert len(heard) and "cut off" in decoder.damage


async def interrupted(tmp_path: Path, number: int) -> None:
    """Decodes a recording whose process gets a signal in the middle."""
    with made(tmp_path, "a.wav", LONG).open("rb") as opened:
        async with Recording(opened, hanging_seconds=1.0 if number == signal.SIGSTOP else 60.0) as decoder:
            async for _ in decoder:
                assert decoder._process
                os.kill(decoder._process.pid, number)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (signal.SIGSEGV, "the decoder has ended by SIGSEGV"),
        (signal.SIGABRT, "the decoder has ended by SIGABRT"),
        (signal.SIGXCPU, "takes too much computing"),
        (signal.SIGSTOP, "nothing came for 1 s"),
    ],
)
async def test_its_death_is_an_error_of_the_recording(
    tmp_path: Path, number: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earshot_asr.engine.sources.recording.CHUNK_BYTES", 1000)
    with pytest.raises(AudioError, match=sentence):
        await interrupted(tmp_path, number)


async def test_the_process_is_confined(tmp_path: Path) -> None:
    """As confined.py has it: memory, computing, files."""
    with made(tmp_path, "a.wav", LONG).open("rb") as opened:
        async with Recording(opened) as recording:
            assert recording._process
            async for _ in recording:
                limits = Path(f"/proc/{recording._process.pid}/limits")
                if not limits.exists():
                    pytest.skip("needs /proc")
                said = dict(re.findall(r"^(Max .+?)  +(\S+)", limits.read_text(encoding="utf-8"), re.MULTILINE))
                assert said["Max data size"] == str(MEMORY_BYTES)
                assert said["Max file size"] == said["Max core file size"] == "0"
                assert int(said["Max cpu time"]) <= CPU_SECONDS + 5
                break


async def test_the_end_ends_the_process(tmp_path: Path) -> None:
    with made(tmp_path, "a.wav", LONG).open("rb") as opened:
        async with Recording(opened) as decoder:
            assert decoder._process
            async for _ in decoder:
                break
        assert decoder._process.returncode is not None
