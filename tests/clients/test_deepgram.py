"""Deepgram's clients from PyPI, and Pipecat's service that has one inside, as they are, with the bundled model."""

import json
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.casing import Casing
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.events import Final
from earshot_asr.engine.loading import load_runner
from earshot_asr.engine.model import Runner
from earshot_asr.engine.sources import open_file
from earshot_asr.engine.transcription import streamed
from earshot_asr.server.app import Server
from earshot_asr.server.settings import Limits, ServerConfig
from tests.clients.environment import environment, run

pytestmark = pytest.mark.slow

VERSION_4, VERSION_7, PIPECAT = "deepgram-sdk==4.8.1", "deepgram-sdk==7.17.0", "pipecat-ai[deepgram]==1.14.0"
RECORDING = Path(__file__).parents[2] / "client" / "data" / "demo.flac"
KEY = "0123456789abcdef"
Message = dict[str, Any]


@cache
def runner() -> Runner:
    """The bundled model."""
    return load_runner(None, "cpu")


@pytest.fixture(scope="module")
def recording() -> Pcm:
    """With a pause at its end."""
    with open_file(RECORDING) as source:
        return np.concatenate([*source, np.zeros(32_000, np.int16)])


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """It wants a key."""
    (tmp_path / "tokens").write_text(f"{KEY} anna - -\n")
    (tmp_path / "tokens").chmod(0o600)
    config = ServerConfig(port=0, token_file=str(tmp_path / "tokens"), limits=Limits(streams=8, per_address=0))
    async with Server(config, [runner]) as server:
        yield server


async def heard(
    server: Server, recording: Pcm, folder: Path, client: str, script: str, key: str = KEY
) -> list[Message]:
    """What the client has printed."""
    (folder / "audio").write_bytes(recording.tobytes())
    printed = await run(environment(client), script, str(server.port), key, str(folder / "audio"))
    return [json.loads(line) for line in printed.splitlines()]


def finals(recording: Pcm) -> list[Final]:
    """What the engine alone makes of it."""
    return list(streamed(runner(), StreamConfig.preset("balanced"), [recording]))


def texts(recording: Pcm, *names: str) -> list[str]:
    """As sentences, which the clients ask for, with names as they are spelled."""
    return [Casing("en", names).text(final.text) for final in finals(recording)]


def transcripts(messages: list[Message], **flags: bool) -> list[str]:
    """Of the results with these flags."""
    results = [each for each in messages if each["type"] == "Results"]
    chosen = [each for each in results if all(each[name] == flag for name, flag in flags.items())]
    found = [each["channel"]["alternatives"][0]["transcript"] for each in chosen]
    return [text for text in found if text]


async def test_version_7(server: Server, recording: Pcm, tmp_path: Path) -> None:
    messages = await heard(server, recording, tmp_path, VERSION_7, "deepgram_7.py")
    assert transcripts(messages, is_final=True, speech_final=True) == texts(recording, "earshot", "captions")
    assert transcripts(messages, is_final=False)
    kinds = [each["type"] for each in messages]
    assert "Error" not in kinds
    assert {"SpeechStarted", "UtteranceEnd"} <= set(kinds)
    assert kinds[-1] == "Metadata"
    assert messages[-1]["duration"] == pytest.approx(len(recording) / 16_000, abs=0.001)
    assert [each["type"] for each in messages if each.get("from_finalize")] == ["Results"]


async def test_version_4(server: Server, recording: Pcm, tmp_path: Path) -> None:
    messages = await heard(server, recording, tmp_path, VERSION_4, "deepgram_4.py")
    assert transcripts(messages, is_final=True) == texts(recording)
    assert transcripts(messages, is_final=False)
    kinds = {each["type"] for each in messages}
    assert {"SpeechStarted", "UtteranceEnd"} <= kinds
    assert not {"Error", "Unhandled"} & kinds


async def test_pipecat(server: Server, recording: Pcm, tmp_path: Path) -> None:
    """Its Finalize, with the last word, is answered: it does not have to wait until the text must be complete."""
    spoken = recording[: round(finals(recording)[-1].end * 16_000) + 800]
    messages = await heard(server, spoken, tmp_path, PIPECAT, "deepgram_pipecat.py")
    assert [each["final"] for each in messages if "final" in each] == texts(spoken)
    assert [each["finalized"] for each in messages if "final" in each][-1]
    assert any("interim" in each for each in messages)


@pytest.mark.parametrize(("client", "script"), [(VERSION_7, "deepgram_7.py"), (VERSION_4, "deepgram_4.py")])
async def test_a_wrong_key(server: Server, recording: Pcm, tmp_path: Path, client: str, script: str) -> None:
    with pytest.raises(AssertionError, match=r"HTTP 401|could not connect"):
        await heard(server, recording, tmp_path, client, script, "wrong")
