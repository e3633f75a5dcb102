"""One speaks, many read: what viewers are told, also those that come late, read slowly, or see a stream resumed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from earshot_asr.client.stream import ClientStream, StreamError
from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.events import Final
from earshot_asr.server import channels, wire
from earshot_asr.server.app import Server
from earshot_asr.server.settings import Limits
from earshot_asr.server.wire import Error, FinalMessage, PartialMessage, ServerMessage, Start, Watching
from tests.helpers import silence, speak
from tests.server.loopback import GIVE_UP_SECONDS, connected, cut, get, hear, send, serving, talk, until

TEXTS = ["HELLO THERE", "GENERAL", "KENOBI"]
PCM: Pcm = np.concatenate([silence(0.5), *(part for text in TEXTS for part in (speak(text), silence(1.5)))])
ROOM = Limits(streams=16)


@asynccontextmanager
async def watching(server: Server, channel: str = "stage", **headers: str) -> AsyncIterator[ClientConnection]:
    url = f"ws://127.0.0.1:{server.port}{wire.WATCH_PATH}{channel}"
    async with connect(url, additional_headers=headers, max_queue=None, proxy=None) as viewer:
        yield viewer


async def told(viewer: ClientConnection, finals: int) -> list[ServerMessage]:
    """What a viewer hears up to so many finals."""
    messages: list[ServerMessage] = []
    async with asyncio.timeout(GIVE_UP_SECONDS):
        while sum(isinstance(message, FinalMessage) for message in messages) < finals:
            messages.append(wire.decode_server(await viewer.recv()))
    return messages


def texts(messages: list[ServerMessage]) -> list[str]:
    return [message.text for message in messages if isinstance(message, FinalMessage)]


async def test_viewers_read_what_the_speaker_reads_and_nobody_else_does() -> None:
    async with (
        serving(limits=ROOM) as server,
        watching(server) as one,
        watching(server) as two,
        watching(server, "elsewhere") as other,
    ):
        heard, code = await talk(server, Start(publish="stage"), *cut(PCM.tobytes()), wire.Stop())
        assert code == 1000
        for viewer in (one, two):
            messages = await told(viewer, len(TEXTS))
            assert texts(messages) == texts(heard) == TEXTS
            assert messages[:2] == [Watching("stage", live=False), Watching("stage", live=True)]
            partials = [message for message in messages if isinstance(message, PartialMessage)]
            assert partials and set(partials) <= {m for m in heard if isinstance(m, PartialMessage)}
            assert wire.decode_server(await viewer.recv()) == Watching("stage", live=False)
        assert wire.decode_server(await other.recv()) == Watching("elsewhere", live=False)
        await talk(server, Start(), *cut(PCM.tobytes()), wire.Stop())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(other.recv(), 0.1)


async def test_who_comes_late_gets_the_last_finals_and_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "REMEMBERED_FINALS", 2)
    async with serving(limits=ROOM) as server, connected(server, Start(publish="stage")) as speaker:
        await send(speaker, *cut(PCM.tobytes()))
        async with asyncio.timeout(GIVE_UP_SECONDS):
            seen: list[str] = []
            while len(seen) < len(TEXTS):
                message = wire.decode_server(await speaker.recv())
                seen += texts([message])
        async with watching(server) as viewer:
            messages = await told(viewer, 2)
            assert messages == [Watching("stage", live=True), *messages[1:]] and texts(messages) == TEXTS[-2:]
            await send(speaker, *cut(PCM.tobytes()), wire.Stop())
            assert texts(await told(viewer, len(TEXTS))) == TEXTS
        await hear(speaker)


async def test_viewers_that_come_and_go_while_much_is_said_miss_nothing() -> None:
    async def view(server: Server, after: float) -> list[str]:
        await asyncio.sleep(after)
        async with watching(server) as viewer:
            return texts(await told(viewer, len(TEXTS)))

    async with serving(limits=ROOM) as server, connected(server, Start(publish="stage")) as speaker:
        await until(lambda: bool(server.connections))
        views = [asyncio.create_task(view(server, after / 50)) for after in range(20)]
        for part in cut(PCM.tobytes(), 9600):
            await speaker.send(part)
            await asyncio.sleep(0.02)
        await send(speaker, wire.Flush())
        assert [await each for each in views] == [TEXTS] * len(views)
        await send(speaker, wire.Stop())
        await hear(speaker)
        await until(lambda: server.channels.viewers == 0)


async def test_a_channel_has_one_stream_and_a_resumed_one_has_it_again() -> None:
    async with serving(limits=ROOM) as server, watching(server) as viewer:
        async with ClientStream(server.url, publish="stage") as stream:
            with pytest.raises(StreamError, match="another stream publishes to stage now"):
                async with ClientStream(server.url, publish="stage", retry=0):
                    pass
            for part in cut(PCM.tobytes(), 3200):
                await stream.send(part)
            finals = 0
            while finals < 2:
                finals += isinstance(await anext(stream), FinalMessage)
            for connection in list(server.connections):
                connection.abort()
            await stream.stop()
            messages = [message async for message in stream]
        assert isinstance(messages[-1], wire.Done)
        assert texts(await told(viewer, len(TEXTS))) == TEXTS
        with suppress(TimeoutError):
            while True:
                assert not isinstance(wire.decode_server(await asyncio.wait_for(viewer.recv(), 0.3)), FinalMessage)


async def test_what_was_told_before_a_stream_broke_is_not_told_again() -> None:
    """Also if the speaker has not heard it, and comes back only after the server has seen that it was gone."""

    def final(number: int) -> Final:
        return Final(number * 16_000, float(number), number + 0.5, f"{number}", 0.9, (), (number + 1) * 16_000)

    async with serving(limits=ROOM) as server, watching(server) as viewer:
        await until(lambda: server.channels.viewers == 1)
        first = server.channels.publish("stage", resumed=False)
        for number in (1, 2):
            first.tell(final(number))
        first.close()
        second = server.channels.publish("stage", resumed=True)
        for number in (2, 3):
            second.tell(final(number))
        assert texts(await told(viewer, 3)) == ["1", "2", "3"]
        third = server.channels.publish("stage", resumed=True)  # while the server has the old connection
        second.tell(final(4))
        third.tell(final(5))
        second.close()
        assert texts(await told(viewer, 1)) == ["5"]
        third.close()
        server.channels.publish("stage", resumed=False).tell(final(1))
        assert texts(await told(viewer, 1)) == ["1"]


async def test_what_viewers_know_is_not_said_again_by_a_stream_that_comes_back() -> None:
    """Its speaker may not have heard what the server had told already."""
    async with serving(limits=ROOM) as server, watching(server) as viewer:
        async with connected(server, Start(publish="stage")) as speaker:
            ready = wire.decode_server(await speaker.recv())
            assert isinstance(ready, wire.Ready)
            await send(speaker, *cut(PCM.tobytes()))
            heard = await told(speaker, 2)
            speaker.transport.abort()
        await until(lambda: not server.connections)
        first = next(message for message in heard if isinstance(message, FinalMessage))
        begin = max(0, first.cut - ready.context)
        resume = wire.Resume(first.cut, begin, ready.fingerprint)
        again, code = await talk(
            server, Start(publish="stage", resume=resume), *cut(PCM[begin:].tobytes()), wire.Stop()
        )
        assert code == 1000 and texts(again) == TEXTS[1:]
        await talk(server, Start(publish="stage"), *cut(PCM.tobytes()), wire.Stop())
        assert texts(await told(viewer, 2 * len(TEXTS))) == 2 * TEXTS


async def test_who_does_not_read_is_sent_away_and_costs_nobody_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "UNREAD_BYTES", 1000)
    async with serving(limits=ROOM) as server, watching(server) as good, watching(server) as slow:
        await until(lambda: server.channels.viewers == 2)
        slow.transport.pause_reading()
        _, code = await talk(server, Start(publish="stage"), *cut(PCM.tobytes()), wire.Stop())
        assert code == 1000
        assert texts(await told(good, len(TEXTS))) == TEXTS
        (other,) = [each for each in server.channels.all() if each.remote_address != good.local_address]
        monkeypatch.setattr(type(other), "unread_bytes", property(lambda line: 2000 if line is other else 0))
        await talk(server, Start(publish="stage"), *cut(PCM.tobytes()), wire.Stop())
        await until(lambda: server.channels.viewers == 1)
        assert texts(await told(good, len(TEXTS))) == TEXTS
        slow.transport.abort()


async def test_what_viewers_send_means_nothing_unless_it_is_too_much() -> None:
    async with serving(limits=Limits(streams=16, messages_per_second=100)) as server:
        async with watching(server) as viewer:
            await viewer.send("hello")
            await viewer.send(b"\0" * 1000)
            await talk(server, Start(publish="stage"), *cut(PCM.tobytes()), wire.Stop())
            assert texts(await told(viewer, len(TEXTS))) == TEXTS
        async with watching(server) as flood:
            await send(flood, *["x"] * 200)
            await asyncio.wait_for(flood.wait_closed(), GIVE_UP_SECONDS)
        async with watching(server) as flood:
            await send(flood, *[bytes(60_000)] * 40)
            await asyncio.wait_for(flood.wait_closed(), GIVE_UP_SECONDS)
        await until(lambda: server.channels.viewers == 0)


async def test_limits_and_names() -> None:
    async with serving(limits=Limits(streams=16, per_address=2, viewers=3)) as server:
        async with watching(server), watching(server), watching(server):
            await until(lambda: server.channels.viewers == 3)
            with pytest.raises(InvalidStatus, match="503"):
                async with watching(server):
                    pass
            heard, code = await talk(server, Start(), *cut(PCM.tobytes()), wire.Stop())
            assert code == 1000  # viewers are not counted for their address
            assert "earshot_viewers 3.0" in (await get(server.port, "/metrics"))[1]
        for name in ("", "a/b", "x" * 65, "ü"):
            assert (await get(server.port, wire.WATCH_PATH + name))[0] in (404, 400)
        heard, _ = await talk(server, '{"type":"start","publish":"a b"}')
        last = heard[-1]
        assert isinstance(last, Error) and "publish" in last.message and "it must be 1 to 64 letters" in last.message


async def test_rights(tmp_path: Path) -> None:
    anna, stage, viewer = "a" * 16, "b" * 16, "c" * 16
    path = tmp_path / "tokens.txt"
    path.write_text(f"{anna} anna - -\n{stage} stage - - publish=stage\n{viewer} hall 0 -\n", encoding="utf-8")
    path.chmod(0o600)
    async with serving(limits=ROOM, token_file=str(path)) as server:
        with pytest.raises(InvalidStatus, match="401"):
            async with watching(server):
                pass
        with pytest.raises(StreamError, match="this token may not publish to stage"):
            async with ClientStream(server.url, token=anna, publish="stage", retry=0):
                pass
        with pytest.raises(StreamError, match="this token may not publish to hall"):
            async with ClientStream(server.url, token=stage, publish="hall", retry=0):
                pass
        with pytest.raises(StreamError, match="hall may only watch: its token has no streams"):
            async with ClientStream(server.url, token=viewer, retry=0):
                pass
        async with watching(server, Authorization=f"Bearer {viewer}") as one:
            async with ClientStream(server.url, token=stage, publish="stage") as stream:
                await stream.send(PCM)
                await stream.stop()
                assert isinstance([message async for message in stream][-1], wire.Done)
            assert texts(await told(one, len(TEXTS))) == TEXTS


async def test_the_server_goes_down_and_nothing_is_left() -> None:
    async with serving(limits=ROOM) as server:
        async with watching(server) as viewer:
            await until(lambda: server.channels.viewers == 1)
            await server.stop()
            assert await hear(viewer) in ([], [Watching("stage", live=False)]) and viewer.close_code == 1012
        assert not server.channels._channels
