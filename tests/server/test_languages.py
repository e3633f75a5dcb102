"""Streams of several languages on one server: a language is loaded in a thread, and costs other streams nothing."""

import asyncio
import threading

import numpy as np
import pytest

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.errors import CheckpointError
from earshot_asr.server import wire
from earshot_asr.server.app import Server
from earshot_asr.server.settings import Limits
from tests.helpers import Polyglot, silence, speak
from tests.server.loopback import connected, cut, dictate, hear, send, serving, talk, text, until

TALK = np.concatenate([silence(0.2), speak("ABC"), silence(1.0), speak("SO IT BEGINS"), silence(0.2)])
ENGLISH, FRENCH, GERMAN = ["ABC", "SO IT BEGINS"], ["bcd", "tp ju cfhjot"], ["'ab", "rn hs adfhmr"]
UNMEASURED = Limits(streams=20)


class Library:
    """Lends languages: slowly, until `here` is set, and not at all those that are `lost`."""

    def __init__(self, lost: tuple[str, ...] = ()) -> None:
        self.here = threading.Event()
        self.asked: list[str] = []
        self._lost = lost

    def lend(self, language: str) -> None:
        self.asked.append(language)
        assert self.here.wait(timeout=60)
        if language in self._lost:
            raise CheckpointError(f"adapter.{language}.safetensors is damaged")


def spoken(language: str) -> wire.Start:
    return wire.Start(language=language, partials=False)


async def transcript(server: Server, start: wire.Start, pcm: Pcm = TALK) -> list[str]:
    return [final.text for final in await dictate(server, pcm, start)]


async def test_each_stream_has_its_language_and_all_at_once() -> None:
    names = ("en", "fra", "German", "fr-CA", "eng", "deu")
    async with serving(Polyglot(), limits=UNMEASURED) as server:
        alone = [await transcript(server, spoken(name)) for name in names]
        together = await asyncio.gather(*(transcript(server, spoken(name)) for name in names))
    assert together == alone
    assert alone[0] == alone[4] == ENGLISH
    assert alone[1] == alone[3] == FRENCH
    assert alone[2] == alone[5] == GERMAN


async def test_others_go_on_while_a_language_is_loaded_and_it_is_loaded_once() -> None:
    library = Library()
    async with serving(Polyglot(load=library.lend), limits=UNMEASURED) as server:
        waiting = [asyncio.create_task(talk(server, spoken("fr"), *cut(TALK.tobytes()), wire.Stop())) for _ in range(3)]
        await until(lambda: len(server.connections) == 3 and all(c.conversation.blocked for c in server.connections))
        assert await transcript(server, spoken("en")) == ENGLISH
        await until(lambda: len(server.connections) == 3)
        assert not any(c.conversation.stream for c in server.connections)
        assert server.engine_loop and server.engine_loop.streams == 0  # they have no place yet
        library.here.set()
        for heard, code in await asyncio.gather(*waiting):
            assert code == 1000
            ready = next(message for message in heard if not isinstance(message, wire.Ack))
            assert isinstance(ready, wire.Ready)
            assert ready.language == "fra"
            assert text(heard) == " ".join(FRENCH)
    assert library.asked == ["fra"]


async def test_who_waits_for_a_language_is_told_that_it_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr("earshot_asr.server.connection.TICK_SECONDS", 0.01)
    async with (
        serving(Polyglot(load=library.lend), limits=UNMEASURED) as server,
        connected(server, spoken("fr")) as websocket,
    ):
        assert wire.decode_server(await websocket.recv()) == wire.Ack(0, 0, 0)
        library.here.set()
        while isinstance(ready := wire.decode_server(await websocket.recv()), wire.Ack):
            pass
        assert isinstance(ready, wire.Ready)


async def test_a_language_that_can_not_be_had_is_refused_and_others_lose_nothing() -> None:
    library = Library(lost=("deu",))
    library.here.set()
    async with serving(Polyglot(load=library.lend), limits=UNMEASURED) as server:
        other = asyncio.create_task(transcript(server, spoken("fr")))
        for asked, code, closed, sentence in (
            ("de", "language_unavailable", 1013, "adapter.deu.safetensors is damaged"),
            ("de", "language_unavailable", 1013, "adapter.deu.safetensors is damaged"),  # it is tried again
            ("germ", "language_unsupported", 1008, "fake has no language 'germ'; near are deu (German)"),
            ("", "language_unsupported", 1008, "fake has no language ''; it has deu (German)"),
        ):
            heard, how = await talk(server, spoken(asked), *cut(TALK.tobytes()), wire.Stop())
            (error,) = heard
            assert isinstance(error, wire.Error)
            assert (error.code, how) == (code, closed)
            assert sentence in error.message
        assert await other == FRENCH
    assert library.asked.count("deu") == 2


async def test_a_fault_of_ours_in_loading_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    def broken(language: str) -> None:
        raise RuntimeError("the secret of the house")

    async with serving(Polyglot(load=broken), limits=UNMEASURED) as server:
        heard, code = await talk(server, spoken("fr"))
        (error,) = heard
        assert isinstance(error, wire.Error)
        assert (error.code, code) == ("internal_error", 1011)
        assert "secret" not in error.message
        assert "the secret of the house" in caplog.text
        assert await transcript(server, spoken("en")) == ENGLISH


async def test_a_full_server_loads_no_language_and_one_that_fills_meanwhile_says_so() -> None:
    library = Library()
    async with (
        serving(Polyglot(load=library.lend), limits=Limits(streams=1)) as server,
        connected(server, spoken("fr")) as waits,
    ):
        await until(lambda: any(c.conversation.blocked for c in server.connections))
        async with connected(server, wire.Start()) as first:
            assert isinstance(wire.decode_server(await first.recv()), wire.Ready)
            heard, code = await talk(server, spoken("de"))
            assert isinstance(heard[-1], wire.Error)
            assert (heard[-1].code, code, library.asked) == ("full", 1013, ["fra"])
            library.here.set()
            *_, error = await hear(waits)
            assert isinstance(error, wire.Error)
            assert error.code == "full"


async def test_a_client_that_leaves_while_its_language_is_loaded_is_forgotten() -> None:
    library = Library()
    async with serving(Polyglot(load=library.lend), limits=UNMEASURED) as server:
        async with connected(server, spoken("fr")) as websocket:
            await until(lambda: any(c.conversation.blocked for c in server.connections))
            websocket.transport.abort()
            await until(lambda: not server.connections)
        library.here.set()
        assert await transcript(server, spoken("fr")) == FRENCH
        assert server.engine_loop and server.engine_loop.streams == 0


@pytest.mark.parametrize("end", ["drain", "stop"])
async def test_a_server_that_goes_down_does_not_wait_for_a_language(end: str) -> None:
    library = Library()
    async with (
        serving(Polyglot(load=library.lend), limits=UNMEASURED) as server,
        connected(server, spoken("fr")) as websocket,
    ):
        await send(websocket, bytes(32_000))
        await until(lambda: any(c.conversation.blocked for c in server.connections))
        ending = asyncio.create_task(getattr(server, end)())
        *_, error = await hear(websocket)
        assert isinstance(error, wire.Error)
        assert (error.code, websocket.close_code) == ("shutting_down", 1012)
        await ending
    library.here.set()
