"""Audio as it comes, over real sockets: containers, packets, several channels, and what decoders do that break."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.events import Final
from earshot_asr.engine.recognizer import Recognizer
from earshot_asr.engine.sources import RawFormat
from earshot_asr.engine.sources.compressed import Compressed
from earshot_asr.server import wire
from earshot_asr.server.admission import StreamRequest
from earshot_asr.server.conversation import Conversation
from earshot_asr.server.decoding import ProcessDecoder
from earshot_asr.server.intake import CompressedIntake
from earshot_asr.server.notices import FlushAnswered, Remark
from earshot_asr.server.settings import Limits
from earshot_asr.server.wire import Error, FinalMessage, Start
from tests.engine.sources.made import written
from tests.helpers import FakeRunner, silence, speak
from tests.server.loopback import (
    GIVE_UP_SECONDS,
    connected,
    cut,
    dictate,
    finals,
    hear,
    send,
    serving,
    talk,
    text,
    until,
)

SAID = "HELLO THERE"
PCM: Pcm = np.concatenate([silence(0.5), speak(SAID), silence(1.5), speak("GENERAL"), silence(0.3)])
OTHER: Pcm = np.concatenate([silence(1.0), speak("KENOBI"), silence(9)])[: len(PCM)]
FLAC, WAV = (written(PCM, 16_000, format=each) for each in ("FLAC", "WAV"))
CONTAINER = Start(encoding="container")


@pytest.mark.parametrize("data", [FLAC, WAV])
@pytest.mark.parametrize("size", [997, 64_000])
async def test_a_container_is_heard_as_its_samples_are(data: bytes, size: int) -> None:
    async with serving() as server:
        plain = await dictate(server, PCM)
        heard, code = await talk(server, CONTAINER, *cut(data, size), wire.Stop())
        assert code == 1000 and finals(heard) == plain
        ready = heard[0]
        assert isinstance(ready, wire.Ready) and not ready.resumable
        await until(lambda: not server.connections)


async def test_captions_come_while_the_container_grows() -> None:
    async with serving() as server, connected(server, CONTAINER) as websocket:
        for part in cut(WAV[: len(WAV) * 3 // 4], 3200):
            await websocket.send(part)
        async with asyncio.timeout(20):
            while not isinstance(message := wire.decode_server(await websocket.recv()), FinalMessage):
                pass
        assert message.text == SAID


async def test_a_flush_is_carried_out_where_it_stands() -> None:
    half = 44 + 2 * 14_400  # in mid-utterance
    async with serving() as server:
        heard, code = await talk(
            server, CONTAINER, *cut(WAV[:half], 3200), wire.Flush(), *cut(WAV[half:], 3200), wire.Stop()
        )
        plain, _ = await talk(
            server, Start(), *cut(WAV[44:half], 3200), wire.Flush(), *cut(WAV[half:], 3200), wire.Stop()
        )
    assert code == 1000 and finals(heard)[0].flushed
    assert text(heard) == text(plain)


@pytest.mark.parametrize(
    ("start", "data", "complaint"),
    [
        (CONTAINER, b"no audio at all " * 999, "can't decode audio: it is in no known format"),
        (Start(encoding="opus"), b"\xff" * 400, "message 1 is no packet of Opus"),
        (Start(encoding="container", channels=2, channel="each"), FLAC, "there is no channel 2: there is but one"),
    ],
)
async def test_what_can_not_be_decoded_ends_the_stream(start: Start, data: bytes, complaint: str) -> None:
    async with serving() as server:
        heard, code = await talk(server, start, data, wire.Stop())
        last = heard[-1]
        assert code == 1003 and isinstance(last, Error) and last.code == "invalid_audio"
        assert complaint in last.message
        assert text([*(await talk(server, Start(), *cut(PCM.tobytes()), wire.Stop()))[0]]) == f"{SAID} GENERAL"


async def test_how_many_channels_a_container_has_is_to_be_said() -> None:
    async with serving() as server:
        heard, code = await talk(server, Start(encoding="container", channel="each"), FLAC)
    last = heard[-1]
    assert code == 1008 and isinstance(last, Error) and "how many the container has" in last.message


async def test_what_is_damaged_is_heard_as_far_as_it_goes_and_that_is_said() -> None:
    async with serving() as server:
        heard, code = await talk(server, CONTAINER, *cut(FLAC[: len(FLAC) * 2 // 3]), wire.Stop())
    assert code == 1000 and text(heard).startswith(SAID)
    (warning,) = [message for message in heard if isinstance(message, wire.Warning)]
    assert warning.code == "audio" and warning.message


def decoders() -> set[int]:
    """The processes that decode for this one."""
    done = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "sources.compressed"], capture_output=True, check=False
    )
    return set(map(int, done.stdout.split()))


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGXCPU])
async def test_a_decoder_that_dies_ends_its_stream_and_no_other(number: int) -> None:
    async with serving() as server, connected(server, CONTAINER) as one, connected(server, CONTAINER) as two:
        for websocket in (one, two):
            await send(websocket, *cut(WAV[: len(WAV) // 2]))
        await until(lambda: len(decoders()) == 2)
        os.kill(decoders().pop(), number)
        ends = [asyncio.create_task(websocket.wait_closed()) for websocket in (one, two)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        dead, alive = (one, two) if one.close_code else (two, one)
        last = (await hear(dead))[-1]
        assert isinstance(last, Error) and last.code == "invalid_audio"
        assert ("takes too long" if number == signal.SIGXCPU else "makes its decoder fail") in last.message
        await send(alive, *cut(WAV[len(WAV) // 2 :]), wire.Stop())
        assert text(await hear(alive)) == f"{SAID} GENERAL"
        await asyncio.gather(*ends)
        await until(lambda: not decoders())


async def test_who_goes_leaves_no_process_behind() -> None:
    async with serving() as server:
        async with connected(server, CONTAINER) as websocket:
            await send(websocket, *cut(FLAC[: len(FLAC) // 2]))
            await until(lambda: bool(decoders()))
            websocket.transport.abort()
        await until(lambda: not decoders() and not server.connections)


async def test_a_client_that_is_ahead_is_held_back() -> None:
    """Ten minutes of silence are a few kilobytes: they are not decoded before there is room for them."""
    flac = written(np.concatenate([PCM, silence(600)]), 16_000, format="FLAC")
    async with serving() as server:
        heard, code = await talk(server, CONTAINER, *cut(flac), wire.Stop())
    assert code == 1000 and text(heard) == f"{SAID} GENERAL"


async def test_a_wrong_declaration_is_said_and_the_stream_goes_on() -> None:
    async with serving() as server:
        heard, code = await talk(server, Start(), *cut(WAV), wire.Stop())
        assert code == 1000 and text(heard).endswith("GENERAL")
    (warning,) = [message for message in heard if isinstance(message, wire.Warning)]
    assert warning.code == "format" and "the header of a WAV file" in warning.message


async def test_audio_that_comes_too_slowly_is_said() -> None:
    alone = TwoLanes(RawFormat("pcm_s16le", 16_000), each=False)
    for _ in range(30):
        alone.do(lambda: alone.conversation.feed(bytes(2 * 8000)))
        alone.conversation.tick()
    (remark,) = [notice for notice in alone.conversation.outbox.take() if isinstance(notice, Remark)]
    assert "8000 samples have come a second, but 16000 Hz was declared" in remark.sentence


# ---- several channels


def stereo(left: Pcm, right: Pcm) -> bytes:
    return np.stack([left, right], axis=1).tobytes()


async def test_two_channels_are_two_transcripts_with_their_names() -> None:
    async with serving() as server:
        alone = [await dictate(server, pcm) for pcm in (PCM, OTHER)]
        start = Start(channels=2, channel="each")
        heard, code = await talk(server, start, *cut(stereo(PCM, OTHER)), wire.Stop())
        assert code == 1000
        for channel, expected in enumerate(alone, 1):
            mine = [final for final in finals(heard) if final.channel == channel]
            assert [(final.start, final.text) for final in mine] == [(final.start, final.text) for final in expected]
        partials = [m for m in heard if isinstance(m, wire.PartialMessage)]
        assert {partial.channel for partial in partials} == {1, 2}
        acks = [m for m in heard if isinstance(m, wire.Ack)]
        assert all(a.cut <= a.committed <= a.received for a in acks) and acks[-1].received == len(PCM)
        flac = written(np.stack([PCM, OTHER], axis=1), 16_000, format="FLAC")
        start = Start(encoding="container", channels=2, channel="each")
        packed, code = await talk(server, start, *cut(flac), wire.Stop())
        assert code == 1000 and finals(packed) == finals(heard)


async def test_each_channel_takes_the_place_of_a_stream() -> None:
    async with serving(limits=Limits(streams=2)) as server:
        heard, code = await talk(server, Start(channels=3, channel="each"))
        last = heard[-1]
        assert code == 1013 and isinstance(last, Error) and last.code == "full"
        async with connected(server, Start(channels=2, channel="each")) as websocket:
            await websocket.recv()
            assert server.engine_loop and server.engine_loop.streams == 2
        await until(lambda: not server.engine_loop or not server.engine_loop.streams)


class TwoLanes:
    """A conversation and a recognizer, in one thread and without sockets."""

    def __init__(self, audio: RawFormat, *, each: bool) -> None:
        self.recognizer = Recognizer(FakeRunner(), clock=lambda: 0.0)
        self.conversation = conversation = Conversation(
            "s", self.recognizer.runner.info, "balanced", Limits(), self.recognizer.open, lambda config: None
        )
        request = StreamRequest(config=StreamConfig.preset("balanced"), audio=audio, each=each)
        conversation.attempt(lambda: conversation.open(request))

    def do(self, act: Callable[[], None]) -> None:
        self.conversation.receive(1, act)
        while self.recognizer.step():
            self.conversation.update()

    def hear(self, data: bytes, frame_bytes: int, cuts: Collection[int], flushes: Collection[int]) -> None:
        """Cut behind some bytes, flushed behind some samples."""
        flushed = {each * frame_bytes for each in flushes}
        marks = sorted({0, len(data), *cuts, *flushed})
        for a, b in pairwise(marks):
            self.do(lambda part=data[a:b]: self.conversation.feed(part))  # type: ignore[misc]
            if b in flushed:
                self.do(self.conversation.flush)
        self.do(self.conversation.finish)
        assert self.conversation.ended and self.conversation.error is None

    def told(self) -> tuple[dict[int | None, list[str]], int]:
        """The finals of each channel, and how many flushes were answered."""
        texts: dict[int | None, list[str]] = {}
        answered = 0
        for notice in self.conversation.outbox.take():
            match notice:
                case Final():
                    texts.setdefault(notice.channel, []).append(f"{notice.start} {notice.text}")
                case FlushAnswered():
                    answered += 1
        return texts, answered


@settings(max_examples=10)
@given(st.sets(st.integers(0, len(PCM) * 4), max_size=8), st.sets(st.integers(1, len(PCM) // 320), max_size=3))
def test_how_two_channels_are_cut_and_flushed_makes_no_difference(cuts: set[int], blocks: set[int]) -> None:
    """Each flush is answered once, and each channel has the text that it has alone with the same flushes."""
    flushes = [320 * block for block in blocks]  # samples are given out in blocks, so that levels can be judged
    both = TwoLanes(RawFormat(channels=2), each=True)
    both.hear(stereo(PCM, OTHER), 4, cuts, flushes)
    texts, answered = both.told()
    for channel, pcm in enumerate((PCM, OTHER), 1):
        alone = TwoLanes(RawFormat(), each=False)
        alone.hear(pcm.tobytes(), 2, [], flushes)
        assert alone.told() == ({None: texts[channel]}, answered)


async def test_a_decoder_that_was_taken_over_fills_no_memory() -> None:
    """It announces 4 GiB."""
    says = "import sys; sys.stdout.buffer.write(b'p' + b'\\xff' * 4 + bytes(1000))"
    ends: list[AudioError | None] = []

    class Taken(Compressed):
        @property
        def command(self) -> list[str]:
            return [sys.executable, "-c", says]

    class Hears(CompressedIntake):
        def __init__(self) -> None:
            pass

        def decoding_ended(self, fault: AudioError | None) -> None:
            ends.append(fault)

    decoder = ProcessDecoder(Taken(), Hears(), lambda: None)
    await asyncio.wait_for(decoder.wait_closed(), GIVE_UP_SECONDS)
    (fault,) = ends
    assert "makes its decoder fail" in str(fault)


async def test_a_fault_of_ours_while_it_is_decoded_ends_the_stream_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(decoder: ProcessDecoder, data: bytes) -> Pcm:
        raise ZeroDivisionError

    monkeypatch.setattr(ProcessDecoder, "_samples", fail)
    async with serving() as server:
        heard, code = await talk(server, CONTAINER, *cut(WAV), wire.Stop())
        last = heard[-1]
        assert code == 1003 and isinstance(last, Error) and "by a fault of the server" in last.message
        await until(lambda: not decoders())
