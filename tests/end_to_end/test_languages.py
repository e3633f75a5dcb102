"""Several languages in one server at once, over real sockets: ten of a model's, the command line, lost connections."""

import asyncio
import signal
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import soundfile
from websockets.asyncio.server import ServerConnection

from earshot_asr.client.files import FileAudio
from earshot_asr.client.stream import ClientStream, FinalMessage, Resumed, StreamError, Timeouts
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.runner import load_runner
from earshot_asr.engine.transcription import streamed
from earshot_asr.server.app import build
from earshot_asr.server.settings import Limits, ServerConfig
from earshot_asr.server.wire import Ack
from tests import mms
from tests.client.scripted import listening, say
from tests.end_to_end.proxy import Cut, Proxy
from tests.end_to_end.test_client import device as device
from tests.end_to_end.test_client import earshot
from tests.helpers import Polyglot, silence, speak
from tests.server.loopback import GIVE_UP_SECONDS, serving

SPEECH = mms.speech()[: 4 * SAMPLE_RATE]
TALK = np.concatenate([silence(0.5), speak("ABC"), silence(1.5), speak("SO IT BEGINS"), silence(1.0)])
FRENCH = ["bcd", "tp ju cfhjot"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mms.make(tmp_path_factory.mktemp("mms") / "mms-small")


async def finals(url: str, language: str | None, pcm: Pcm, **options: object) -> list[FinalMessage]:
    """Those of a stream in a language."""
    async with asyncio.timeout(GIVE_UP_SECONDS), ClientStream(url, language=language, **options) as stream:  # type: ignore[arg-type]
        await stream.send(pcm)
        await stream.stop()
        return [message async for message in stream if isinstance(message, FinalMessage)]


def texts(said: list[FinalMessage]) -> list[str]:
    return [final.text for final in said]


async def test_ten_languages_in_one_server_at_once_each_as_if_alone(model: Path) -> None:
    """Of the same audio their texts differ, and are those of the model in each language by itself."""
    limits = Limits(streams=20, per_address=0)
    async with build(ServerConfig(model=str(model), device="cpu", port=0, limits=limits)) as server:
        together = await asyncio.gather(*(finals(server.url, each, SPEECH) for each in mms.TEN))
        alone = [await finals(server.url, each, SPEECH) for each in mms.TEN]
        default = await finals(server.url, None, SPEECH)
    assert [texts(said) for said in together] == [texts(said) for said in alone]
    for one, other in zip(chain(*together), chain(*alone), strict=True):
        assert (one.start, one.end, one.cut) == (other.start, other.end, other.cut)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)  # rounded to that
    assert len({" ".join(texts(said)) for said in together}) == 10
    assert texts(default) == texts(together[mms.TEN.index("eng")])
    runner = load_runner(model, "cpu")
    for said, language in zip(together, mms.TEN, strict=True):
        alone_here = streamed(runner, StreamConfig(partials=False, language=language), [SPEECH])
        assert texts(said) == [final.text for final in alone_here] != []


async def test_a_language_survives_a_lost_connection(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", TALK, SAMPLE_RATE)
    async with (
        asyncio.timeout(GIVE_UP_SECONDS),
        serving(Polyglot()) as server,
        Proxy([server.port], [Cut("reset", finals=1, down=True)]) as proxy,
        ClientStream(proxy.url, language="French") as stream,
    ):
        stream.play(FileAudio(tmp_path / "talk.wav", speed=8))
        messages = [message async for message in stream]
    assert stream.ready.language == "fra"
    assert [message.text for message in messages if isinstance(message, FinalMessage)] == FRENCH
    assert any(isinstance(message, Resumed) for message in messages)


async def test_a_client_waits_for_a_language_that_is_loaded_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than it would wait for a server that says nothing."""
    monkeypatch.setattr("earshot_asr.server.connection.TICK_SECONDS", 0.05)
    async with serving(Polyglot(load=lambda _: time.sleep(1.5)), limits=Limits(streams=9)) as server:
        assert texts(await finals(server.url, "fr", TALK, timeouts=Timeouts(silence=0.75), retry=0)) == FRENCH


async def test_a_client_gives_up_a_server_that_falls_silent_before_it_is_ready() -> None:
    async def loading(socket: ServerConnection) -> None:
        await socket.recv()
        await say(socket, Ack(0, 0, 0))
        await socket.wait_closed()

    async with listening(loading) as url:
        with pytest.raises(StreamError, match=r"has sent nothing for 0.3 s \(timeout\)"):
            await finals(url, "fr", TALK, timeouts=Timeouts(silence=0.3), retry=0)


async def test_a_language_on_the_command_line(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", TALK, SAMPLE_RATE)
    async with serving(Polyglot()) as server:
        for language, said in (("fr", "bcd\ntp ju cfhjot\n"), ("Frenc", "")):
            arguments = ("stream", "--url", server.url, "--speed", "0", "--language", language, "--retry", "0")
            process = await earshot(*arguments, str(tmp_path / "talk.wav"))
            out, err = await process.communicate()
            assert out.decode() == said
            assert process.returncode == (0 if said else 1)
            assert bool(said) or b"fake has no language 'Frenc'; near are fra (French)" in err


async def test_a_microphone_without_a_server_has_a_language_too(device: Path, model: Path) -> None:
    np.save(device / "talk.npy", np.resize(SPEECH, len(SPEECH) // 800 * 800))
    arguments = ("mic", "--model", str(model), "--compute", "cpu", "--language", "Russian")
    process = await earshot(*arguments, path=device)
    assert process.stdout is not None
    first = (await process.stdout.readline()).decode()
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 0
    assert set(first) & set(mms.LETTERS["rus"])
