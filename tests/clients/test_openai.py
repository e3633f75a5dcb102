"""OpenAI's client from PyPI, as it is, with the bundled model and a real recording."""

import json
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.captions import writer
from earshot_asr.engine.casing import Casing
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.loading import load_runner
from earshot_asr.engine.model import Runner
from earshot_asr.engine.scripts import join
from earshot_asr.engine.sources import AudioSource, open_file
from earshot_asr.engine.transcription import streamed
from earshot_asr.server.app import Server
from earshot_asr.server.dialects.openai_session import LOGPROBS
from earshot_asr.server.settings import Limits, ServerConfig
from tests.clients.environment import environment, run

pytestmark = pytest.mark.slow

CLIENT = "openai[realtime]==3.57.0"
RECORDING = Path(__file__).parents[2] / "client" / "data" / "demo.flac"
KEY = "sk-0123456789abcdef"
Event = dict[str, Any]
DELTA, COMPLETED = (f"conversation.item.input_audio_transcription.{what}" for what in ("delta", "completed"))
PCM = {"type": "audio/pcm", "rate": 24000}


@cache
def runner() -> Runner:
    """The bundled model."""
    return load_runner(None, "cpu")


@pytest.fixture(scope="module")
def recording() -> Pcm:
    """As the protocol wants it, with a pause at its end."""
    with open_file(RECORDING) as source:
        pcm = np.concatenate([*source, np.zeros(32_000, np.int16)])
    resampled: Pcm = np.clip(soxr.resample(pcm.astype(np.float32), 16_000, 24_000), -32768, 32767).astype(np.int16)
    return resampled


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """It wants a key."""
    (tmp_path / "tokens").write_text(f"{KEY} anna - -\n")
    (tmp_path / "tokens").chmod(0o600)
    config = ServerConfig(
        port=0, rest_port=0, token_file=str(tmp_path / "tokens"), limits=Limits(streams=8, per_address=0)
    )
    async with Server(config, [runner]) as server:
        yield server


async def heard(server: Server, recording: Pcm, folder: Path, session: Event) -> list[Event]:
    """All events that the client gets."""
    (folder / "audio").write_bytes(recording.tobytes())
    url, asked = f"http://127.0.0.1:{server.port}/v1", json.dumps({"type": "transcription", **session})
    printed = await run(environment(CLIENT), "openai_realtime.py", url, KEY, str(folder / "audio"), asked)
    return [json.loads(line) for line in printed.splitlines()]


def texts(recording: Pcm, **config: Any) -> list[str]:
    """What the engine alone makes of it."""
    source = AudioSource("pcm_s16le", 24_000)
    pcm = np.concatenate([source.feed(recording.tobytes()), source.flush()])
    settings = StreamConfig.preset("balanced", commit="hop", **config)
    return [final.text for final in streamed(runner(), settings, [pcm])]


def of(events: list[Event], kind: str, field: str) -> list[Any]:
    return [event[field] for event in events if event["type"] == kind]


@pytest.mark.parametrize("detection", [{"type": "server_vad", "silence_duration_ms": 500}, {"type": "semantic_vad"}])
async def test_turns(server: Server, recording: Pcm, tmp_path: Path, detection: Event) -> None:
    audio = {"input": {"format": PCM, "turn_detection": detection, "transcription": {"model": "gpt-4o-transcribe"}}}
    events = await heard(server, recording, tmp_path, {"audio": audio, "include": [LOGPROBS]})
    assert [event["type"] for event in events][:2] == ["session.created", "session.updated"]
    assert "error" not in {event["type"] for event in events}
    completed = dict(zip(of(events, COMPLETED, "item_id"), of(events, COMPLETED, "transcript"), strict=True))
    silence_ms = 500 if detection["type"] == "server_vad" else 1000
    assert [text for text in completed.values() if text] == texts(recording, endpoint_ms=silence_ms)
    deltas = dict.fromkeys(completed, "")
    for name, delta in zip(of(events, DELTA, "item_id"), of(events, DELTA, "delta"), strict=True):
        deltas[name] += delta
    assert deltas == completed
    assert len(of(events, DELTA, "delta")) > len(completed)  # text comes while somebody speaks
    for text, logprobs in zip(completed.values(), of(events, COMPLETED, "logprobs"), strict=True):
        assert "".join(each["token"] for each in logprobs) == text


async def test_a_commit_ends_all(server: Server, recording: Pcm, tmp_path: Path) -> None:
    audio = {
        "input": {"format": PCM, "turn_detection": None, "transcription": {"model": "whisper-1", "language": "en"}}
    }
    events = await heard(server, recording, tmp_path, {"audio": audio})
    assert of(events, COMPLETED, "transcript") == [join(texts(recording))]
    assert "".join(of(events, DELTA, "delta")) == join(texts(recording))


async def test_a_wrong_key(server: Server, recording: Pcm, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="401"):
        await run(
            environment(CLIENT), "openai_realtime.py", f"http://127.0.0.1:{server.port}/v1", "sk-no", __file__, "{}"
        )


async def test_recordings(server: Server) -> None:
    url = f"http://127.0.0.1:{server.ports['rest_port']}/v1"
    heard = json.loads(await run(environment(CLIENT), "openai_rest.py", url, KEY, str(RECORDING)))
    with open_file(RECORDING) as source:
        pcm = np.concatenate([*source])
    finals = list(streamed(runner(), StreamConfig.preset("balanced", partials=False), [pcm]))
    text, duration = join(final.text for final in finals), len(pcm) / 16_000
    assert heard["text"] == text + "\n"
    assert heard["json"]["text"] == text == heard["verbose_json"]["text"]
    assert "".join(each["token"] for each in heard["json"]["logprobs"]) == text
    for format in ("srt", "vtt"):
        captions = writer(format)
        assert heard[format] == "".join(
            [*map(captions.feed, map(Casing("en").final, finals)), captions.finish(duration)]
        )
    verbose = heard["verbose_json"]
    assert [(word["word"], word["start"], word["end"]) for word in verbose["words"]] == [
        (word.text, word.start, word.end) for final in finals for word in final.words
    ]
    assert [each["text"] for each in verbose["segments"]] == [final.text for final in finals]
    assert (verbose["language"], verbose["duration"]) == ("english", pytest.approx(duration, abs=1e-3))
    assert "".join(event["delta"] for event in heard["stream"][:-1]) == heard["stream"][-1]["text"] == text
    assert heard["models"] == [runner().info.name]
    assert "does not translate" in heard["translation"]["message"]
