"""Bad input of every kind, from the bytes of TCP up: each has its error and its close code, and nobody else notices."""

import asyncio
import json
import logging
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Opcode

from earshot_asr.server import logs, wire
from earshot_asr.server.app import Server
from earshot_asr.server.dialects.native import CLOSE_CODES
from earshot_asr.server.settings import Limits
from earshot_asr.server.visitor import READ_BYTES, Visitor
from tests.helpers import silence, speak
from tests.server.dialects.test_native import NAN, REFUSED, START
from tests.server.loopback import connected, cut, dictate, finals, get, hear, send, serving, talk, text, until

SPEECH = np.concatenate([silence(0.2), speak("WELL I NEVER"), silence(0.8), speak("DID YOU"), silence(0.2)])
TEXTS = ["WELL I NEVER", "DID YOU"]
AUDIO = SPEECH.tobytes()
SOME = AUDIO[:16_000]
"""Within a word: what is behind a stop comes before the end."""
STOP = '{"type":"stop"}'
FLOAT = '{"type":"start","encoding":"pcm_f32le"}'
ROOM = Limits(streams=32)
"""Nothing is measured."""
ANY_PACE = Limits(streams=32, messages_per_second=1_000_000)


@pytest.fixture(autouse=True)
def clean_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No traceback and no error in the log, whatever a client does."""
    caplog.set_level(logging.INFO)
    yield
    records = caplog.get_records("call")
    assert not [record.getMessage() for record in records if record.exc_info or record.levelno >= logging.ERROR]


@asynccontextmanager
async def beside_others(limits: Limits = ROOM) -> AsyncIterator[Server]:
    """A server that has other clients, too. They are in mid-sentence meanwhile, and get the finals they get alone."""
    async with serving(limits=limits) as server:
        alone = await dictate(server, SPEECH)
        assert [final.text for final in alone] == TEXTS
        over = asyncio.Event()
        others = [asyncio.create_task(hesitating(server, over, size)) for size in (3001, 9999)]
        await until(lambda: len(server.connections) == len(others))
        try:
            yield server
        finally:
            over.set()
            heard = await asyncio.gather(*others)
        assert heard == [alone] * len(others)


async def hesitating(server: Server, over: asyncio.Event, size: int) -> list[wire.FinalMessage]:
    """The finals of a stream that says its last word when all is over."""
    messages = cut(AUDIO, size)
    middle = 2 * len(messages) // 3
    async with connected(server, wire.Start()) as websocket:
        listening = asyncio.create_task(hear(websocket))
        for message in messages[:middle]:
            await send(websocket, message)
            await asyncio.sleep(0.001)
        await over.wait()
        await send(websocket, *messages[middle:], wire.Stop())
        heard = await listening
        assert isinstance(heard[-1], wire.Done)
        return finals(heard)


def nested(depth: int, begin: str, end: str) -> str:
    return begin * depth + "1" + end * depth


def start_with(fields: str) -> str:
    return f'{{"type":"start",{fields}}}'


HUGE = str(10**40)
MESSAGES: list[tuple[str, list[str | bytes], str]] = [
    ("an empty text", [""], "invalid_json"),
    ("white space", [" \n\t"], "invalid_json"),
    ("half an object", ["{"], "invalid_json"),
    ("single quotes", ["{'type':'start'}"], "invalid_json"),
    ("a trailing comma", ['{"type":"start",}'], "invalid_json"),
    ("two objects", [START + START], "invalid_json"),
    ("a byte order mark", ["\ufeff" + START], "invalid_json"),
    ("half a surrogate pair", ['{"type":"\\ud800"}'], "invalid_json"),
    ("half a surrogate pair in a name", [start_with('"\\udc00":1')], "invalid_json"),
    ("NaN", [start_with('"sample_rate":NaN')], "invalid_json"),
    ("infinity", [start_with('"sample_rate":Infinity')], "invalid_json"),
    ("an array", ['[{"type":"start"}]'], "invalid_message"),
    ("a string", ['"start"'], "invalid_message"),
    ("a number", ["16000"], "invalid_message"),
    ("null", ["null"], "invalid_message"),
    ("true", ["true"], "invalid_message"),
    ("an object without a type", ["{}"], "invalid_message"),
    ("a type that is null", ['{"type":null}'], "invalid_message"),
    ("a type that is a number", ['{"type":1}'], "invalid_message"),
    ("a type that is an array", ['{"type":["start"]}'], "invalid_message"),
    ("a type in capitals", ['{"type":"START"}'], "invalid_message"),
    ("a type of the server", ['{"type":"ready"}'], "invalid_message"),
    ("two types", [start_with('"type":"stop"')], "invalid_message"),
    ("a very long type", [f'{{"type":"{"x" * 60_000}"}}'], "invalid_message"),
    ("deep arrays", ["[" * 60_000], "invalid_message"),
    ("deep objects", [nested(8000, '{"a":', "}")], "invalid_json"),
    ("deep arrays in a field", [start_with(f'"hotwords":{nested(20_000, "[", "]")}')], "invalid_message"),
    ("a deep unknown field", [start_with(f'"x":{nested(20_000, "[", "]")}')], "invalid_message"),
    ("an unknown field", [start_with('"model":"large"')], "invalid_message"),
    ("an unknown field named NUL", [start_with('"\\u0000":1')], "invalid_message"),
    ("an unknown field of keepalive", [START, '{"type":"keepalive","at":1}'], "invalid_message"),
    ("an unknown field of stop", [START, '{"type":"stop","now":true}'], "invalid_message"),
    ("encoding: number", [start_with('"encoding":1')], "invalid_message"),
    ("encoding: null", [start_with('"encoding":null')], "invalid_message"),
    ("encoding: in capitals", [start_with('"encoding":"PCM_S16LE"')], "invalid_message"),
    ("sample_rate: null", [start_with('"sample_rate":null')], "invalid_message"),
    ("sample_rate: true", [start_with('"sample_rate":true')], "invalid_message"),
    ("sample_rate: fraction", [start_with('"sample_rate":16000.5')], "invalid_message"),
    ("sample_rate: negative", [start_with('"sample_rate":-16000')], "invalid_message"),
    ("sample_rate: 10**40", [start_with(f'"sample_rate":{HUGE}')], "invalid_message"),
    ("sample_rate: -10**40", [start_with(f'"sample_rate":-{HUGE}')], "invalid_message"),
    ("sample_rate: 1e400", [start_with('"sample_rate":1e400')], "invalid_message"),
    ("channels: zero", [start_with('"channels":0')], "invalid_message"),
    ("channels: string", [start_with('"channels":"1"')], "invalid_message"),
    ("channels: array", [start_with('"channels":[1]')], "invalid_message"),
    ("language: number", [start_with('"language":1')], "invalid_message"),
    ("language: any", [start_with('"language":"\\u0007é"')], "language_unsupported"),
    ("hotwords: null", [start_with('"hotwords":null')], "invalid_message"),
    ("hotwords: object", [start_with('"hotwords":{"text":"a"}')], "invalid_message"),
    ("hotwords: numbers", [start_with('"hotwords":["a",1]')], "invalid_message"),
    ("hotwords: no text", [start_with('"hotwords":[{"weight":1}]')], "invalid_message"),
    ("hotwords: weight 1e400", [start_with('"hotwords":[{"text":"a","weight":1e400}]')], "invalid_message"),
    ("hotwords: unknown field", [start_with('"hotwords":[{"text":"a","x":1}]')], "invalid_message"),
    ("hotwords: empty", [start_with('"hotwords":["a"," "]')], "hotwords_refused"),
    ("hotwords: weight -1", [start_with('"hotwords":[{"text":"a","weight":-1}]')], "hotwords_refused"),
    ("hotwords: long", [start_with(f'"hotwords":["{"a" * 101}"]')], "hotwords_refused"),
    ("hotwords: many", [start_with(f'"hotwords":{json.dumps(["a"] * 1001)}')], "hotwords_refused"),
    ("alternatives: 0", [start_with('"alternatives":0')], "invalid_message"),
    ("alternatives: 11", [start_with('"alternatives":11')], "invalid_message"),
    ("partials: number", [start_with('"partials":1')], "invalid_message"),
    ("words: string", [start_with('"words":"yes"')], "invalid_message"),
    ("commit: unknown", [start_with('"commit":"word"')], "invalid_message"),
    ("commit: null", [start_with('"commit":null')], "invalid_message"),
    ("resume: true", [start_with('"resume":true')], "invalid_message"),
    ("resume: empty", [start_with('"resume":{}')], "invalid_message"),
    ("resume: 10**40", [start_with(f'"resume":{{"cut":{HUGE},"from_sample":0,"fingerprint":""}}')], "invalid_message"),
    ("resume: 1e400", [start_with('"resume":{"cut":0,"from_sample":1e400,"fingerprint":""}')], "invalid_message"),
    ("resume: no print", [start_with('"resume":{"cut":0,"from_sample":0,"fingerprint":""}')], "fingerprint_mismatch"),
    ("an empty binary first", [b""], "start_expected"),
    ("an odd number of bytes", [START, AUDIO[:12_345], STOP], "invalid_audio"),
    ("half a float", [FLOAT, bytes(4 * 99 + 3), STOP], "invalid_audio"),
    ("half a frame of two channels", [start_with('"channels":2'), bytes(4 * 99 + 2), STOP], "invalid_audio"),
    ("NaN samples", [FLOAT, bytes(4 * 16_000), NAN], "invalid_audio"),
    ("infinite samples", [FLOAT, np.array([0.1, -np.inf], "<f4").tobytes()], "invalid_audio"),
    ("start again, with audio between", [START, SOME, START], "start_repeated"),
    ("stop twice", [START, SOME, STOP, STOP], "after_stop"),
    ("nonsense after stop", [START, SOME, STOP, "oops"], "invalid_json"),
]


@pytest.mark.parametrize(("messages", "code"), [case[1:] for case in MESSAGES], ids=[case[0] for case in MESSAGES])
async def test_messages(messages: list[str | bytes], code: str) -> None:
    async with beside_others() as server:
        heard, closed = await talk(server, *messages)
    *_, error = heard
    assert isinstance(error, wire.Error)
    assert (error.code, closed) == (code, CLOSE_CODES[code])
    assert len(error.message) < 500
    assert not [message for message in heard[:-1] if isinstance(message, wire.Error | wire.Done)]


async def test_all_of_them_at_once_and_what_else_the_protocol_refuses() -> None:
    cases = MESSAGES + [(name, list(sent), code) for name, sent, code, _ in REFUSED]
    async with beside_others(Limits(streams=1000, per_address=None)) as server:
        ends = await asyncio.gather(*(talk(server, *messages) for _, messages, _ in cases))
        await until(lambda: len(server.connections) == 2)
    for (name, _, code), (heard, closed) in zip(cases, ends, strict=True):
        error = heard[-1]
        assert isinstance(error, wire.Error), name
        assert (error.code, closed) == (code, CLOSE_CODES[code]), name


# ---- frames


def frame(
    opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True, length: int | None = None
) -> bytes:
    """A frame of a client, well-formed or not. `length`: what it says to have."""
    size = len(data) if length is None else length
    if size < 126:
        said, extended = size, b""
    elif size < 2**16:
        said, extended = 126, size.to_bytes(2, "big")
    else:
        said, extended = 127, size.to_bytes(8, "big")
    head = bytes([fin << 7 | rsv << 4 | opcode, masked << 7 | said])
    return head + extended + (bytes(4) if masked else b"") + data


PIECES = frame(Opcode.BINARY, bytes(2), fin=False)
FRAMES = [
    ("a reserved bit", frame(Opcode.BINARY, bytes(2), rsv=0b100), 1002),
    ("another reserved bit", frame(Opcode.TEXT, b"{}", rsv=0b001), 1002),
    ("a reserved opcode", frame(0x3, bytes(2)), 1002),
    ("a reserved control opcode", frame(0xB), 1002),
    ("no mask", frame(Opcode.BINARY, bytes(2), masked=False), 1002),
    ("2**62 bytes announced", frame(Opcode.BINARY, length=2**62), 1009),
    ("2**64 - 1 bytes announced", frame(Opcode.BINARY, length=2**64 - 1), 1009),
    ("a frame twice as long as messages may be", frame(Opcode.BINARY, bytes(2 * wire.MESSAGE_BYTES + 1)), 1009),
    ("many frames together as long", PIECES + frame(Opcode.CONT, bytes(1000), fin=False) * 132, 1009),
    ("a continuation of nothing", frame(Opcode.CONT, bytes(2)), 1002),
    ("a message within a message", PIECES + frame(Opcode.TEXT, b"{}"), 1002),
    ("a ping in pieces", frame(Opcode.PING, b"x", fin=False), 1002),
    ("a long ping", frame(Opcode.PING, bytes(126)), 1002),
    ("half a close code", frame(Opcode.CLOSE, b"\x03"), 1002),
    ("a close code that none may send", frame(Opcode.CLOSE, (1005).to_bytes(2, "big")), 1002),
    ("a close within a message", PIECES + frame(Opcode.CLOSE, (1000).to_bytes(2, "big")), 1002),
    ("a close reason that is no text", frame(Opcode.CLOSE, (1000).to_bytes(2, "big") + b"\xff"), 1007),
    ("a text that is no UTF-8", frame(Opcode.TEXT, b'{"type":"\xff"}'), 1007),
    ("an unfinished character", frame(Opcode.TEXT, b'{"type":"\xc3', fin=False) + frame(Opcode.CONT, b'("}'), 1007),
    ("a surrogate in UTF-8", frame(Opcode.TEXT, b'{"type":"\xed\xa0\x80"}'), 1007),
    ("noise", random.Random(1).randbytes(5000), 1002),
]


@pytest.mark.parametrize(("data", "code"), [case[1:] for case in FRAMES], ids=[case[0] for case in FRAMES])
async def test_frames(data: bytes, code: int) -> None:
    async with beside_others() as server, connected(server, wire.Start()) as websocket:
        await websocket.recv()
        websocket.transport.write(data)
        assert not await hear(websocket)
        assert websocket.close_code == code
        await until(lambda: len(server.connections) == 2)


async def test_a_client_that_leaves_within_a_frame() -> None:
    async with beside_others() as server, connected(server, wire.Start()) as websocket:
        websocket.transport.write(frame(Opcode.BINARY, bytes(10), length=1000))
        websocket.transport.write_eof()
        await until(lambda: len(server.connections) == 2)


# ---- what is odd, but right


async def said(server: Server, data: bytes) -> list[wire.FinalMessage]:
    """The finals of a stream in frames of its own, which has to end well."""
    async with connected(server) as websocket:
        websocket.transport.write(data)
        heard = await hear(websocket)
    assert isinstance(heard[-1], wire.Done), heard[-1]
    return finals(heard)


def in_frames(opcode: int, data: bytes, size: int, between: bytes = b"") -> bytes:
    """A message in many frames, with others `between` them."""
    parts = cut(data, size)
    last = len(parts) - 1
    return between.join(frame(Opcode.CONT if n else opcode, part, fin=n == last) for n, part in enumerate(parts))


async def test_messages_in_many_frames_with_pings_between() -> None:
    pings = frame(Opcode.PING, b"still there?") + frame(Opcode.PING)
    data = in_frames(Opcode.TEXT, START.encode(), 1, pings)
    for message in cut(AUDIO, 9999):
        data += in_frames(Opcode.BINARY, message, 101, pings)
    data += in_frames(Opcode.TEXT, STOP.encode(), 2, pings)
    async with beside_others(ANY_PACE) as server:
        assert await said(server, data) == await dictate(server, SPEECH)


async def test_frames_and_messages_without_anything_in_them() -> None:
    nothing = frame(Opcode.BINARY)
    hollow = frame(Opcode.BINARY, fin=False) + frame(Opcode.CONT, fin=False) * 10
    data = frame(Opcode.TEXT, START.encode()) + nothing * 100
    for message in cut(AUDIO, 640):
        data += hollow + frame(Opcode.CONT, message) + nothing
    async with beside_others(ANY_PACE) as server:
        assert await said(server, data + nothing + frame(Opcode.TEXT, STOP.encode())) == await dictate(server, SPEECH)


async def test_ten_thousand_tiny_messages() -> None:
    pcm = np.concatenate([silence(0.2), speak("OH NO"), silence(0.2)])
    assert len(pcm) > 10_000
    tiny = b"".join(frame(Opcode.BINARY, part) for part in cut(pcm.tobytes(), 2))
    data = frame(Opcode.TEXT, START.encode()) + tiny + frame(Opcode.TEXT, STOP.encode())
    async with beside_others(ANY_PACE) as server:
        heard = await said(server, data)
        assert [final.text for final in heard] == ["OH NO"]
        assert heard == await dictate(server, pcm)


async def test_a_hundred_thousand_pings() -> None:
    half = len(AUDIO) // 2
    async with beside_others(ANY_PACE) as server:
        alone = await dictate(server, SPEECH)
        async with connected(server, wire.Start()) as websocket:
            listening = asyncio.create_task(hear(websocket))
            await send(websocket, *cut(AUDIO[:half]))
            websocket.transport.write(frame(Opcode.PING) * 100_000)
            await (await websocket.ping())
            await send(websocket, *cut(AUDIO[half:]), wire.Stop())
            heard = await listening
    assert finals(heard) == alone
    assert isinstance(heard[-1], wire.Done)


async def test_a_flood_is_read_in_small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is in one of them holds up all the others."""
    portions: list[int] = []
    async with beside_others(ANY_PACE) as server, connected(server, wire.Start()) as websocket:
        await websocket.recv()
        (connection,) = [c for c in server.connections if c.conversation.stream and not c.conversation.stream.received]
        assert isinstance(connection._line, Visitor)
        receive = connection._line.data_received

        def received(data: bytes) -> None:
            portions.append(len(data))
            receive(data)

        monkeypatch.setattr(connection._line, "data_received", received)
        flood = frame(Opcode.BINARY, bytes(2)) * 20_000
        websocket.transport.write(flood)
        await until(lambda: sum(portions) == len(flood))
    assert max(portions) <= READ_BYTES


async def test_pings_of_one_who_has_gone_leave_no_lines_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """asyncio would have one for each that it can't answer."""
    logs.configure(as_json=False)
    logging.root.addHandler(caplog.handler)
    async with serving(limits=ROOM) as server:
        for _ in range(5):
            async with connected(server, wire.Start()) as websocket:
                await websocket.recv()
                websocket.transport.write(frame(Opcode.PING) * 3000)
                websocket.transport.abort()
            await until(lambda: not server.connections)
    assert len(caplog.records) < 50


# ---- handshakes


def handshake(
    *,
    method: str = "GET",
    path: str = wire.PATH,
    http: str = "HTTP/1.1",
    version: str = "13",
    key: str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    more: str = "",
) -> bytes:
    return (
        f"{method} {path} {http}\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: {version}\r\n{key}{more}\r\n"
    ).encode()


CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303") + random.Random(2).randbytes(192)
HANDSHAKES = [
    ("noise", random.Random(3).randbytes(5000) + b"\r\n\r\n", 400),
    ("empty lines", b"\r\n\r\n", 400),
    ("one word", b"hello\r\n\r\n", 400),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ("HTTP/1.0", handshake(http="HTTP/1.0"), 505),
    ("a path that is no ASCII", handshake(path="/ä"), 400),
    ("a header without a colon", handshake(more="oops\r\n"), 400),
    ("a header with NUL", handshake(more="X: \0\r\n"), 400),
    ("a body", handshake(more="Content-Length: 5\r\n") + b"hello", 400),
    ("a body in chunks", handshake(more="Transfer-Encoding: chunked\r\n"), 400),
    ("no end of a line", b"G" * 100_000, 414),
    ("a long path", handshake(path="/" + "x" * 10_000), 414),
    ("a long header", handshake(more=f"X: {'x' * 10_000}\r\n"), 431),
    ("many headers", handshake(more="X: x\r\n" * 1000), 431),
    ("another path", handshake(path="/v2/stream"), 404),
    ("another method", handshake(method="POST"), 405),
    ("no key", handshake(key=""), 400),
    ("a short key", handshake(key="Sec-WebSocket-Key: YQ==\r\n"), 400),
    ("two keys", handshake(key="Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" * 2), 400),
    ("another version", handshake(version="8"), 400),
    ("another protocol", handshake(more="Upgrade: h2c\r\n"), 426),
    ("no websocket", f"GET {wire.PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), 426),
]


@pytest.mark.parametrize(("data", "status"), [case[1:] for case in HANDSHAKES], ids=[case[0] for case in HANDSHAKES])
async def test_handshakes(data: bytes, status: int) -> None:
    async with beside_others() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(data)
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        assert int(answer.split()[1]) == status
        assert (await get(server.port, "/healthz"))[0] == 200


async def test_tls_on_the_plain_port() -> None:
    """Which may look like the beginning of a line."""
    async with beside_others(Limits(streams=32, handshake_seconds=1)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(CLIENT_HELLO)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()


async def test_compression_is_not_agreed_to() -> None:
    async with serving(limits=ROOM) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(handshake(more="Sec-WebSocket-Extensions: permessage-deflate\r\n"))
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"extensions" not in answer.lower()


# ---- random sequences; without sockets: tests/server/test_sequences.py


WRONG = [sent for _, sent, _ in MESSAGES if len(sent) == 1]
STEPS: st.SearchStrategy[list[str | bytes]] = st.one_of(
    st.integers(1, 9999).map(lambda size: [AUDIO[:size]]),
    st.sampled_from([[START], [STOP], ['{"type":"flush"}'], ['{"type":"keepalive"}'], [b""], [AUDIO[:40_000]]]),
    st.sampled_from(WRONG),
    st.binary(max_size=50).map(lambda data: [data]),
    st.text(max_size=50).map(lambda said: [said]),
)


@settings(max_examples=20, deadline=None)
@given(scripts=st.lists(st.lists(STEPS, max_size=12), min_size=1, max_size=8), started=st.booleans())
def test_random_messages_disturb_nobody(scripts: list[list[list[str | bytes]]], started: bool) -> None:
    async def all_at_once() -> None:
        async with beside_others() as server:
            ends = await asyncio.gather(
                *(talk(server, *[START] * started, *(m for step in script for m in step), STOP) for script in scripts)
            )
            for heard, closed in ends:
                assert [m for m in heard if isinstance(m, wire.Error | wire.Done)] == heard[-1:]
                if isinstance(heard[-1], wire.Error):
                    assert closed == CLOSE_CODES[heard[-1].code]
                    assert closed < 1011
                else:
                    assert closed == 1000

    asyncio.run(all_at_once())


@pytest.mark.slow
async def test_noise_behind_a_handshake() -> None:
    async with beside_others() as server:
        for seed in range(300):
            async with connected(server, wire.Start() if seed % 2 else None) as websocket:
                websocket.transport.write(random.Random(seed).randbytes(seed * 10) + os.urandom(8))
                websocket.transport.write_eof()
                heard = await hear(websocket)
                assert text(heard) == ""
        await until(lambda: len(server.connections) == 2)
