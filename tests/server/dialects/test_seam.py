"""A protocol is one file and one line in the registry: here, one that is unlike the native protocol, and beside it."""

import base64
from collections.abc import Mapping

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.recognizer import Recognizer, StartPoint, Stream
from earshot_asr.engine.sources import AudioSource
from earshot_asr.server import wire
from earshot_asr.server.app import Server
from earshot_asr.server.conversation import Conversation
from earshot_asr.server.dialects.dialect import Dialect
from earshot_asr.server.dialects.registry import DIALECTS
from earshot_asr.server.handshake import Handshake
from earshot_asr.server.settings import Limits, ServerConfig
from tests.helpers import INFO, FakeRunner, finals, run_session, silence, speak
from tests.server.dialects.shout import Shout
from tests.server.loopback import cut, dictate, get, send

SILENT = 0xFF
"""Silence in mu-law."""
KEY = {"x-key": "sesame"}


def dialogue() -> tuple[Pcm, bytes]:
    """Speech that mu-law expresses exactly, as samples and as bytes."""
    table = AudioSource("mulaw").feed(bytes(range(256)))
    pcm = np.concatenate([silence(0.2), speak("HI"), silence(1.5), speak("YOU"), silence(0.2)])
    codes = np.abs(table.astype(np.int32)[None, :] - pcm.astype(np.int32)[:, None]).argmin(axis=1).astype(np.uint8)
    return table[codes], codes.tobytes()


PCM, CODES = dialogue()
TEXTS = [event.text for event in finals(run_session(PCM, StreamConfig.preset("balanced")))]


class Talk:
    """A client that shouts, and a recognizer, in one thread."""

    def __init__(self, handshake: Handshake, limits: Limits | None = None) -> None:
        self.recognizer = Recognizer(FakeRunner(), clock=lambda: 0.0)
        self.conversation = Conversation("s1", INFO, "balanced", limits or Limits(), self.open, lambda config: None)
        self.dialect = Shout(self.conversation, handshake)
        self.heard: list[str | bytes] = []
        self.dialect.begin()
        self.compute()

    def open(self, config: StreamConfig, at: StartPoint | None) -> Stream:
        return self.recognizer.open(config, at)

    def send(self, *messages: str | bytes) -> None:
        for message in messages:
            self.dialect.receive(message)
            self.compute()

    def compute(self) -> None:
        while self.recognizer.step():
            self.conversation.update()
        self.heard += self.dialect.messages()


def words(texts: list[str]) -> list[str]:
    return [f"{word}!" for text in texts for word in text.split()]


def told(heard: list[str | bytes]) -> list[str | bytes]:
    """What is neither greeting nor partial."""
    return [m for m in heard if isinstance(m, bytes) or (not m.endswith("?") and not m.startswith("welcome"))]


def test_the_query_opens_the_stream_before_any_message() -> None:
    talk = Talk(Handshake("/shout", headers=KEY))
    assert talk.heard == ["welcome s1"]
    talk.send(*cut(CODES, 3200), "end")
    assert told(talk.heard) == [*words(TEXTS), b"\x06", "bye"]
    assert any(isinstance(m, str) and m.endswith("?") for m in talk.heard)
    assert talk.dialect.close == (1000, "")


def test_settings_come_from_the_query() -> None:
    talk = Talk(Handshake("/shout", query={"rate": ["8000"]}, headers=KEY))
    talk.send(bytes([SILENT]) * 8000, "end")
    stream = talk.conversation.stream
    assert stream
    assert stream.received == 16_000


def test_a_header_is_missing() -> None:
    talk = Talk(Handshake("/shout"))
    assert talk.heard == ["no: the key is wrong"]
    assert talk.dialect.close == (4001, "forbidden")


@pytest.mark.parametrize(("message", "sentence"), [("hello", "can't understand 'hello'"), ("audio A", None)])
def test_its_own_words_for_errors_and_its_own_close_codes(message: str, sentence: str | None) -> None:
    talk = Talk(Handshake("/shout", headers=KEY))
    talk.send(message)
    assert talk.dialect.close is not None
    assert talk.dialect.close[0] == 4000
    if sentence:
        assert talk.heard[-1] == f"no: {sentence}"
    else:  # what the dialect did not foresee is a fault of the server's, and its details are not told
        assert talk.dialect.close[1] == "internal_error"


def test_a_reply_comes_in_its_place() -> None:
    talk = Talk(Handshake("/shout", headers=KEY))
    talk.send("now\nping\nnow\nping")
    assert talk.heard == ["welcome s1", "pong", "pong", b"\x06", b"\x06"]  # the engine comes after the message


def test_who_does_not_read_replies_is_given_up_too() -> None:
    talk = Talk(Handshake("/shout", headers=KEY), Limits(unsent_messages=64))
    talk.send("ping\n" * 200)
    assert talk.dialect.close == (4000, "slow_reader")
    assert len(talk.heard) <= 66


def test_one_message_may_hold_many_commands() -> None:
    half = len(CODES) // 3
    audio = [base64.b64encode(part).decode() for part in (CODES[:half], CODES[half:])]
    talk = Talk(Handshake("/shout", headers=KEY))
    talk.send(f"audio {audio[0]}\nnow\naudio {audio[1]}\nend")
    expected = finals(run_session(PCM, StreamConfig.preset("balanced"), flushes=[half]))
    assert [m for m in told(talk.heard) if isinstance(m, str)] == [*words([f.text for f in expected]), "bye"]
    assert told(talk.heard).count(b"\x06") == 2


async def test_over_a_socket_beside_the_native_protocol() -> None:
    """Also at a path where plain HTTP gets a page."""
    dialects: Mapping[str, type[Dialect]] = {**DIALECTS, "/shout": Shout, "/": Shout}
    async with Server(ServerConfig(port=0), [FakeRunner], dialects) as server:
        for path in ("/shout?rate=16000", "/"):
            assert await shouted(f"ws://127.0.0.1:{server.port}{path}") == [*words(TEXTS), b"\x06", "bye"]
        assert [final.text for final in await dictate(server, PCM, wire.Start())] == TEXTS
        assert (await get(server.port, "/"))[0] == 200
        assert await get(server.port, "/whisper") == (
            404,
            f"there is nothing here; streams are at {', '.join(dialects)}\n",
        )


async def shouted(url: str) -> list[str | bytes]:
    heard: list[str | bytes] = []
    async with connect(url, additional_headers=KEY, compression=None, proxy=None) as websocket:
        await send(websocket, *cut(CODES), "end")
        try:
            while True:
                heard.append(await websocket.recv())
        except ConnectionClosed:
            assert websocket.close_code == 1000
    return told(heard)
