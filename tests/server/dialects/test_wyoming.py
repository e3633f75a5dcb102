"""Wyoming: events cut anywhere, what is answered, bad input, and its own package's client over a real socket."""

import asyncio
import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event as TheirEvent
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.errors import ConfigError
from earshot_asr.server.app import Server
from earshot_asr.server.dialects.wyoming import EVENT_BYTES, HEADER_BYTES, Event, Events
from earshot_asr.server.settings import Limits, ServerConfig
from tests.helpers import Polyglot, clips, silence, speak
from tests.server.loopback import GIVE_UP_SECONDS, dictate, serving, until

PCM: Pcm = np.concatenate([silence(0.5), speak("HELLO THERE"), silence(1.5), speak("GENERAL"), silence(0.3)])
FORMAT = {"rate": 16_000, "width": 2, "channels": 1}

EVENTS = st.lists(
    st.builds(
        Event,
        st.sampled_from(["audio-chunk", "describe", "ü"]),
        st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
        st.binary(max_size=100),
    ),
    max_size=5,
)


@given(EVENTS, st.lists(st.integers(0, 1000)))
def test_how_events_are_cut_makes_no_difference(events: list[Event], at: list[int]) -> None:
    data = b"".join(event.encoded() for event in events)
    cuts = sorted({min(each, len(data)) for each in at} | {0, len(data)})
    framing = Events()
    found = [message for a, b in itertools.pairwise(cuts) for message in framing.feed(data[a:b])]
    assert [Event.decoded(message) for message in found] == events


@given(st.binary(max_size=300))
def test_any_bytes_are_cut_somewhere(data: bytes) -> None:
    messages = Events().feed(data)
    assert data.startswith(b"".join(messages))


def test_what_is_too_big_is_not_kept() -> None:
    framing = Events()
    assert framing.feed(b"x" * (HEADER_BYTES - 1)) == []
    assert framing.feed(b"x") == [b"x" * HEADER_BYTES]
    header = json.dumps({"type": "audio-chunk", "payload_length": EVENT_BYTES}).encode() + b"\n"
    assert framing.feed(header) == [header]


# ---- over real sockets


async def heard(port: int, *events: TheirEvent) -> list[TheirEvent]:
    """What comes back until the server closes."""
    async with AsyncTcpClient("127.0.0.1", port) as client, asyncio.timeout(GIVE_UP_SECONDS):
        for event in events:
            await client.write_event(event)
        found = []
        while (event := await client.read_event()) is not None:
            found.append(event)
        return found


def spoken(pcm: Pcm, size: int = 2048, **format: int) -> list[TheirEvent]:
    """The events of an utterance, as Home Assistant sends them."""
    format = FORMAT | format
    data = pcm.tobytes()
    chunks = [AudioChunk(**format, audio=data[at : at + size]).event() for at in range(0, len(data), size)]
    return [AudioStart(**format).event(), *chunks, AudioStop().event()]


def text_of(events: list[TheirEvent]) -> str:
    assert events[-1].type == "transcript", events[-1]
    return Transcript.from_event(events[-1]).text


async def test_a_transcript_and_before_it_its_words_as_they_are_said() -> None:
    async with serving(wyoming_port=0) as server:
        native = " ".join(final.text for final in await dictate(server, PCM))
        found = await heard(server.ports["wyoming_port"], Transcribe(language=None).event(), *spoken(PCM))
        assert text_of(found) == native == "HELLO THERE GENERAL"
        assert TranscriptStart.is_type(found[0].type) and TranscriptStop.is_type(found[-2].type)
        chunks = [TranscriptChunk.from_event(event).text for event in found[1:-2]]
        assert len(chunks) >= 2 and "".join(chunks) == native
        await until(lambda: not server.connections)


@pytest.mark.parametrize("size", [2, 320, 100_000])
async def test_the_text_does_not_depend_on_the_size_of_chunks(size: int) -> None:
    pcm = PCM if size > 2 else PCM[:4000]
    async with serving(wyoming_port=0, limits=Limits(messages_per_second=1_000_000)) as server:
        port = server.ports["wyoming_port"]
        assert text_of(await heard(port, *spoken(pcm, size))) == text_of(await heard(port, *spoken(pcm)))


async def test_nothing_said_is_an_empty_transcript() -> None:
    async with serving(wyoming_port=0) as server:
        assert text_of(await heard(server.ports["wyoming_port"], *spoken(silence(1)))) == ""
        assert text_of(await heard(server.ports["wyoming_port"], *spoken(silence(0)))) == ""


async def test_what_the_service_is() -> None:
    async with (
        serving(Polyglot(), wyoming_port=0) as server,
        AsyncTcpClient("127.0.0.1", server.ports["wyoming_port"]) as client,
    ):
        await client.write_event(Describe().event())
        event = await client.read_event()
        assert event
        (program,) = Info.from_event(event).asr
        assert program.supports_transcript_streaming and program.requires_external_vad and program.installed
        assert program.models[0].languages == list(Polyglot().info.languages)
        await client.write_event(Ping("still there?").event())
        event = await client.read_event()
        assert event and Pong.from_event(event).text == "still there?"
        await client.write_event(TheirEvent("synthesize", {"text": "unknown here"}))
        for event in spoken(PCM):
            await client.write_event(event)
        while (event := await client.read_event()) and event.type != "transcript":
            pass
        assert event


async def test_a_language_is_taken_or_refused() -> None:
    async with serving(Polyglot(), wyoming_port=0) as server:
        port = server.ports["wyoming_port"]
        known = Polyglot().info.languages[-1]
        found = await heard(port, Transcribe(language=known).event(), *spoken(PCM))
        assert Transcript.from_event(found[-1]).language == known
        found = await heard(port, Transcribe(language="tlh").event(), AudioStart(**FORMAT).event())
        assert Error.from_event(found[-1]).code == "language_unsupported"
    async with serving(wyoming_port=0) as server:  # it does not say what it speaks
        found = await heard(server.ports["wyoming_port"], Transcribe(language="en").event(), *spoken(PCM))
        assert text_of(found)


def framed(**header: Any) -> bytes:
    return json.dumps(header).encode() + b"\n"


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "the header of an event has to be a JSON object"),
        (b"[]\n", "the header of an event has to be a JSON object"),
        (framed(data={}), "an event has no `type`"),
        (framed(type="describe", data=[]), "the header of an event"),
        (framed(type="describe", data_length="x"), "`data_length` and `payload_length` have to be numbers"),
        (framed(type="describe", payload_length=-1), "have to be numbers"),
        (framed(type="describe", data_length=3) + b"no!", "the data of an event has to be a JSON object"),
        (framed(type="audio-chunk", payload_length=EVENT_BYTES), "an event of more than 1048576 bytes"),
        (b"x" * HEADER_BYTES, "the header of an event has to be a JSON object"),
        (b"[" * HEADER_BYTES, "the header of an event has to be a JSON object"),
        (framed(type="audio-start", data={"rate": 16000}), "audio needs `rate`, `width` and `channels`"),
        (framed(type="audio-start", data=FORMAT | {"width": 7}), "`width` is 7; it must be one of"),
        (framed(type="audio-start", data=FORMAT | {"rate": 1}), "1"),
        (framed(type="audio-start", data=FORMAT | {"channels": 99}), "99"),
        (framed(type="audio-stop"), "the stream was not started yet"),
        (framed(type="transcribe", data={"language": 1}), "`language` has to be a text"),
        (framed(type="transcribe", data={"transcript_names": "Ada"}), "`transcript_names` has to be a list of texts"),
        (
            framed(type="audio-start", data=FORMAT) + framed(type="audio-start", data=FORMAT | {"rate": 8000}),
            "the audio changed from",
        ),
        (framed(type="audio-start", data=FORMAT) + framed(type="transcribe"), "`transcribe` has to come before"),
        (
            framed(type="audio-chunk", data=FORMAT, payload_length=3) + b"abc" + framed(type="audio-stop"),
            "audio ends within a sample",
        ),
    ],
)
async def test_bad_input_is_named_and_costs_nobody_anything(data: bytes, complaint: str) -> None:
    async with serving(wyoming_port=0) as server:
        port = server.ports["wyoming_port"]
        other = asyncio.create_task(heard(port, *spoken(PCM)))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(), GIVE_UP_SECONDS)
        writer.close()
        error = [Event.decoded(message) for message in Events().feed(answer)][-1]
        assert error.type == "error" and complaint in error.data["text"], error
        assert text_of(await other) == "HELLO THERE GENERAL"
        await until(lambda: not server.connections)


async def test_who_goes_in_the_middle_or_says_nothing_leaves_nothing_behind() -> None:
    async with serving(wyoming_port=0, limits=Limits(handshake_seconds=1)) as server:
        port = server.ports["wyoming_port"]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(type="audio-start", data=FORMAT))
        await until(lambda: bool(server.engine_loop and server.engine_loop.streams))
        writer.transport.abort()
        await until(lambda: not server.connections)
        assert server.engine_loop and not server.engine_loop.streams
        (error,) = await heard(port)
        assert Error.from_event(error).code == "start_timeout"


async def test_one_address_has_no_more_than_it_may() -> None:
    async with serving(wyoming_port=0, limits=Limits(streams=8, per_address=1)) as server:
        port = server.ports["wyoming_port"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: bool(server.connections))
        (error,) = await heard(port)
        assert Error.from_event(error).code == "too_many_connections"
        writer.close()
        await reader.read()


async def test_too_many_events_are_refused() -> None:
    async with serving(wyoming_port=0, limits=Limits(messages_per_second=100)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.ports["wyoming_port"])
        writer.write(framed(type="audio-start", data=FORMAT) + framed(type="noise") * 1000)
        answer = await asyncio.wait_for(reader.read(), GIVE_UP_SECONDS)
        assert b"too_many_messages" in answer.splitlines()[-1]
        writer.close()


async def test_the_server_goes_down() -> None:
    async with serving(wyoming_port=0) as server:
        async with AsyncTcpClient("127.0.0.1", server.ports["wyoming_port"]) as client:
            await client.write_event(AudioStart(**FORMAT).event())
            await until(lambda: bool(server.engine_loop and server.engine_loop.streams))
            stopping = asyncio.create_task(server.stop())
            while (event := await client.read_event()) and event.type != "error":
                pass
            assert event and Error.from_event(event).code == "shutting_down"
        await asyncio.wait_for(stopping, GIVE_UP_SECONDS)


def test_who_has_no_tokens_is_not_let_in_from_outside() -> None:
    with pytest.raises(ConfigError, match="Wyoming knows no tokens; say --insecure"):
        ServerConfig(host="0.0.0.0", token_file="tokens.txt", wyoming_port=10300)


@pytest.mark.slow
async def test_real_speech() -> None:
    from earshot_asr.client.files import FileAudio
    from earshot_asr.server.app import build

    (clip,) = clips("dev.jsonl", 1)
    pcm = np.concatenate([block async for block in FileAudio(clip["audio"], 0)])
    server: Server
    async with build(ServerConfig(port=0, wyoming_port=0, device="cpu")) as server:
        found = await heard(server.ports["wyoming_port"], Transcribe(language="en").event(), *spoken(pcm))
        assert Transcript.from_event(found[-1]).language == "en"
        assert text_of(found) == "".join(TranscriptChunk.from_event(event).text for event in found[1:-2])
        assert len(text_of(found).split()) > 3
