"""The server as its clients know it: real sockets on loopback."""

import asyncio
import itertools

import numpy as np
import pytest

from earshot_asr.engine.audio import Pcm, seconds
from earshot_asr.engine.model import BUNDLED
from earshot_asr.engine.sources import open_file
from earshot_asr.server import wire
from earshot_asr.server.app import Server, build
from earshot_asr.server.settings import Limits, ServerConfig
from tests.helpers import FakeRunner, clips, noise, silence, speak
from tests.server.dialects.test_native import REFUSED
from tests.server.loopback import connected, cut, dictate, finals, hear, send, serving, talk, text, until


def said(*texts: str) -> Pcm:
    """Utterances, each within silence."""
    return np.concatenate([silence(0.2), *(part for text in texts for part in (speak(text), silence(1.0)))])


TEXTS = ["ONE TWO THREE", "A MAN A PLAN A CANAL", "SO IT BEGINS", "ABC", "IT WAS A BRIGHT COLD DAY", "NO"]


async def test_several_streams_at_once_each_as_if_alone() -> None:
    async with serving() as server:
        audio = [said(*TEXTS[n:], *TEXTS[:n]) for n in range(len(TEXTS))]
        alone = [await dictate(server, pcm) for pcm in audio]
        together = await asyncio.gather(*(dictate(server, pcm) for pcm in audio))
    assert together == alone
    for n, spoken in enumerate(together):
        assert [final.text for final in spoken] == TEXTS[n:] + TEXTS[:n]


async def test_a_session_from_start_to_done() -> None:
    pcm = said("HELLO THERE")
    async with serving() as server:
        heard, code = await talk(server, wire.Start(), *cut(pcm.tobytes()), wire.Stop())
    assert code == 1000
    ready, *_, ack, done = heard
    assert isinstance(ready, wire.Ready)
    assert ready.resumable
    assert isinstance(ack, wire.Ack)
    assert done == wire.Done(len(pcm), seconds(len(pcm)))
    assert text(heard) == "HELLO THERE"
    assert any(isinstance(message, wire.PartialMessage) for message in heard)


async def test_sessions_have_names_of_their_own() -> None:
    async with serving() as server:
        names = set()
        for _ in range(3):
            heard, _ = await talk(server, wire.Start(), wire.Stop())
            assert isinstance(heard[0], wire.Ready)
            names.add(heard[0].session)
    assert len(names) == 3


async def test_a_byte_at_a_time() -> None:
    pcm = np.concatenate([silence(0.1), speak("HI", blocks=1), silence(0.1)])
    async with serving(limits=Limits(messages_per_second=1_000_000)) as server:
        whole = await dictate(server, pcm, size=60_000)
        assert [final.text for final in whole] == ["HI"]
        assert await dictate(server, pcm, size=1) == whole


async def test_flush_is_answered_while_the_stream_goes_on() -> None:
    async with serving() as server, connected(server, wire.Start(partials=False)) as websocket:
        assert isinstance(wire.decode_server(await websocket.recv()), wire.Ready)
        await send(websocket, said("FIRST")[:20_160].tobytes(), wire.Flush())
        heard_so_far, final, ack = [wire.decode_server(await websocket.recv()) for _ in range(3)]
        assert heard_so_far == wire.Ack(20_160, 0, 0)
        assert isinstance(final, wire.FinalMessage)
        assert final.text == "FIRST"
        assert isinstance(ack, wire.Ack)
        assert ack.cut >= final.cut
        await send(websocket, *cut(said("SECOND").tobytes()), wire.Stop())
        assert text(await hear(websocket)) == "SECOND"


async def test_a_trickle_is_acknowledged() -> None:
    async with serving() as server, connected(server, wire.Start()) as websocket:
        await send(websocket, bytes(320))
        await websocket.recv()
        assert wire.decode_server(await websocket.recv()) == wire.Ack(160, 0, 0)


async def test_mistakes_of_every_kind_do_not_disturb_others() -> None:
    async def mistake(name: str, messages: list[str | bytes], code: str) -> None:
        heard, closed = await talk(server, *messages)
        error = heard[-1]
        assert isinstance(error, wire.Error), name
        assert (error.code, closed) == (code, {"invalid_audio": 1003, "message_too_big": 1009}.get(code, 1008)), name

    async with serving() as server:
        alone = await dictate(server, said(*TEXTS))
        good = [asyncio.create_task(dictate(server, said(*TEXTS), size=999)) for _ in range(3)]
        await asyncio.gather(*(mistake(name, list(messages), code) for name, messages, code, _ in REFUSED))
        assert [await stream for stream in good] == [alone] * 3


async def test_what_the_websocket_layer_refuses() -> None:
    async with serving() as server:
        _, code = await talk(server, wire.Start(), bytes(10_000_000))
        assert code == 1009
        async with connected(server) as websocket:
            await websocket.send(b"\xff\xfe", text=True)
            await hear(websocket)
            assert websocket.close_code == 1007
        assert [final.text for final in await dictate(server, said("STILL HERE"))] == ["STILL HERE"]


async def test_clients_that_vanish_are_forgotten() -> None:
    async with serving() as server:
        other = asyncio.create_task(dictate(server, said(*TEXTS)))
        for abrupt in (True, False, True):
            async with connected(server, wire.Start()) as websocket:
                await send(websocket, *cut(said("I WAS SAYING")[:20_000].tobytes()))
                await websocket.recv()
                if abrupt:
                    websocket.transport.abort()
        assert [final.text for final in await other] == TEXTS
        await until(lambda: not server.connections)
        assert server.engine_loop is not None
        assert server.engine_loop.streams == 0


async def test_a_window_that_fails_ends_its_stream_alone() -> None:
    def is_cursed(pcm: Pcm) -> bool:
        return bool(np.abs(pcm.astype(np.int32)).max() > 30_000)

    curse = (noise(16_000, np.random.default_rng(0), 1000.0) + 30_000).astype(np.int16)
    async with serving(FakeRunner(fail_on=is_cursed)) as server:
        before = await dictate(server, said("BEFORE"))
        heard, code = await talk(server, wire.Start(), *cut(said("FINE").tobytes()), *cut(curse.tobytes()), wire.Stop())
        assert code == 1011
        assert text(heard) == "FINE"
        error = heard[-1]
        assert isinstance(error, wire.Error)
        assert error.code == "internal_error"
        assert "fire" not in error.message
        assert await dictate(server, said("BEFORE")) == before


async def test_going_down_closes_with_1012_and_flushes_nothing() -> None:
    async with serving() as server:
        async with connected(server, wire.Start(partials=False)) as websocket, connected(server) as idle:
            await websocket.recv()
            await send(websocket, said("UNFINISHED")[:14_000].tobytes())
            stopping = asyncio.create_task(server.stop())
            heard, silent = await asyncio.gather(hear(websocket), hear(idle))
            await stopping
            assert websocket.close_code == idle.close_code == 1012
        for messages in (heard, silent):
            error = messages[-1]
            assert isinstance(error, wire.Error)
            assert error.code == "shutting_down"
        assert not finals(heard)


# ---- the real model


@pytest.fixture
async def real() -> Server:
    if not (BUNDLED / "model.safetensors").exists():
        pytest.skip("needs the bundled model")
    return build(ServerConfig(port=0, device="cpu", limits=Limits(streams=20)))  # however busy the machine is


async def test_ten_clients_get_the_transcript_that_each_has_alone(real: Server) -> None:
    speech = [b"".join(chunk.tobytes() for chunk in open_file(row["audio"])) for row in clips("dev.jsonl", 10)]
    audio = [np.frombuffer(data, np.int16)[:48_000] for data in speech]
    async with real as server:
        alone = [await dictate(server, pcm, wire.Start(partials=False)) for pcm in audio]
        together = await asyncio.gather(*(dictate(server, pcm) for pcm in audio))
    texts = [[final.text for final in heard] for heard in alone]
    assert [[final.text for final in heard] for heard in together] == texts
    assert sum(bool(heard) for heard in texts) >= 8
    assert len(set(itertools.chain(*texts))) >= 8
