"""Nothing lost, nothing doubled: streams whose connections are cut, against the same streams uncut. Real sockets."""

import asyncio
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earshot_asr.client.stream import ClientStream, Message, Reconnecting, Resumed, StreamError, Timeouts
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, seconds
from earshot_asr.engine.model import BUNDLED
from earshot_asr.engine.sources import open_file
from earshot_asr.server.app import Server, build
from earshot_asr.server.settings import Limits, ServerConfig
from earshot_asr.server.wire import Ack, Commit, Done, FinalMessage, PartialMessage
from tests.end_to_end.proxy import Cut, How, Proxy, Shape
from tests.helpers import INFO, FakeRunner, clips, noise, silence, speak
from tests.server.loopback import GIVE_UP_SECONDS, serving, until

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "earshot_asr" / "client" / "data" / "demo.flac"
HASTY = Timeouts(connect=1, silence=2.5, keepalive=0.5, close=0.5, first_wait=0.001, longest_wait=0.02)
POLICIES: tuple[Commit, ...] = ("utterance", "hop")
SAMPLE_BYTES = 2
TIMES_REAL_TIME = 20
"""Audio is sent so fast: as fast as it goes, a cut would come before the server has said anything."""
WORDS = ["IT", "WAS", "A", "BRIGHT", "COLD", "DAY", "AND", "THE", "CLOCKS", "WERE", "STRIKING", "THIRTEEN"]


@dataclass(frozen=True)
class Talk:
    """A recording, and where a flush comes, in bytes: it may be within a sample."""

    pcm: Pcm
    flushes: tuple[int, ...]
    commit: Commit

    async def tell(self, stream: ClientStream, rng: random.Random) -> None:
        """Sends all of it, in messages of any size."""
        data, at = self.pcm.tobytes(), 0
        for edge in (*self.flushes, len(data)):
            while at < edge:
                part = data[at : min(edge, at + rng.randint(1, 12_800))]
                await stream.send(part)
                await asyncio.sleep(len(part) / SAMPLE_BYTES / SAMPLE_RATE / TIMES_REAL_TIME)
                at += len(part)
            if edge < len(data):
                await stream.flush()
        await stream.stop()

    async def told(self, url: str | Sequence[str], seed: int = 0) -> list[Message]:
        """All that comes back."""
        async with (
            asyncio.timeout(GIVE_UP_SECONDS),
            ClientStream(url, commit=self.commit, timeouts=HASTY, retry=GIVE_UP_SECONDS) as stream,
        ):
            telling = asyncio.create_task(self.tell(stream, random.Random(seed)))
            messages = [message async for message in stream]
            await telling
            return messages


def babble(seed: int, commit: Commit, utterances: int = 8) -> Talk:
    """Words for the fake encoder, some within noise, with pauses of any length, and flushes within and between them."""
    rng = random.Random(seed)
    parts = [silence(rng.uniform(0, 0.5))]
    for _ in range(utterances):
        said = speak(" ".join(rng.choices(WORDS, k=rng.choice([1, 2, 3, 3, 5]))))
        loud = rng.choice([0.0, 0.0, 20.0])
        parts += [said + noise(len(said), np.random.default_rng(seed), loud), silence(rng.uniform(0.1, 2.5))]
    pcm = np.concatenate(parts)
    flushes = sorted(rng.sample(range(len(pcm) * SAMPLE_BYTES), rng.choice([0, 1, 3])))
    return Talk(pcm, tuple(flushes), commit)


def cuts(rng: random.Random, number: int) -> list[Cut]:
    """Cuts of every kind, at random; the first only when the stream is admitted."""
    made = []
    for n in range(number):
        how: How = rng.choices(("reset", "close", "silence"), (5, 4, 0.7))[0]
        least = 0 if n else 1500
        made.append(
            rng.choice(
                (
                    Cut(how, after=rng.randint(least, 40_000)),
                    Cut(how, after=rng.randint(least, 2_500), down=True),
                    Cut(how, finals=rng.choice([1, 1, 1, 2]), down=True),
                )
            )
        )
    return made


def finals(messages: Sequence[Message]) -> list[FinalMessage]:
    return [message for message in messages if isinstance(message, FinalMessage)]


def words(said: Sequence[FinalMessage]) -> int:
    return sum(len(final.text.split()) for final in said)


def check_continuity(messages: Sequence[Message], talk: Talk) -> None:
    """One stream, as if there had been one connection."""
    assert messages[-1] == Done(len(talk.pcm), seconds(len(talk.pcm)))
    acks = [(m.received, m.committed, m.cut) for m in messages if isinstance(m, Ack)]
    for counts in zip(*acks, strict=True):
        assert list(counts) == sorted(counts)
    told = finals(messages)
    assert [final.cut for final in told] == sorted({final.cut for final in told})
    if talk.commit == "hop":  # what is stable is promised
        promised: dict[int, str] = {}
        for message in messages:
            if isinstance(message, PartialMessage | FinalMessage):
                assert message.text.startswith(promised.get(message.segment, ""))
            if isinstance(message, PartialMessage):
                promised[message.segment] = message.text[: message.stable]


async def cut_and_uncut(
    talk: Talk, ports: Sequence[int], seed: int, number: int, shape: Shape = "as it comes"
) -> tuple[list[FinalMessage], list[Cut]]:
    """The same talk with and without cuts. What was said, and the cuts there were."""
    uncut = finals(await talk.told(f"ws://127.0.0.1:{ports[0]}", seed))
    async with Proxy(ports, cuts(random.Random(seed), number), shape) as proxy:
        messages = await talk.told(proxy.url, seed)
    check_continuity(messages, talk)
    assert [told(final) for final in finals(messages)] == [told(final) for final in uncut], seed
    return uncut, proxy.made


def told(final: FinalMessage) -> tuple[object, ...]:
    """All of a final; confidences as far as batches of other sizes leave them alone."""
    spoken = [(w.text, w.start, w.end, round(w.confidence, 2)) for w in final.words or ()]
    return final.segment, final.start, final.end, final.text, final.cut, round(final.confidence, 2), spoken


def summary(results: Sequence[tuple[list[FinalMessage], list[Cut]]]) -> tuple[int, Counter[str]]:
    """Words, and cuts by what they were. Printed as well."""
    said, made = sum(words(said) for said, _ in results), [cut for _, made in results for cut in made]
    kinds = Counter(cut.how for cut in made) + Counter("behind a final" for cut in made if cut.finals)
    print(f"\n{len(made)} cuts ({', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}), {said} words")
    return said, kinds


# ---- the fake encoder


async def test_200_cuts_lose_and_double_nothing() -> None:
    """At random times, by RST, FIN and silence; in handshakes, in frames, between a final and its ack."""
    talks = [babble(seed, POLICIES[seed % 2]) for seed in range(28)]
    talks[0] = replace(talks[0], pcm=speak(" ".join(WORDS * 8)), flushes=())  # never pauses, so it is split
    async with serving() as server:
        runs = (cut_and_uncut(talk, [server.port], seed, 14) for seed, talk in enumerate(talks))
        results = await asyncio.gather(*runs)
    said, made = summary(results)
    assert made["reset"] + made["close"] + made["silence"] >= 200
    assert min(made["reset"], made["close"], made["behind a final"]) >= 40
    assert made["silence"] >= 10
    assert said >= 100


async def test_a_line_cut_between_a_final_and_its_ack() -> None:
    """The final alone says where the cut is."""
    talk = babble(4, "utterance")
    async with serving() as server, Proxy([server.port], [Cut("close", finals=1, down=True)]) as proxy:
        messages = await talk.told(proxy.url)
        assert finals(messages) == finals(await talk.told(server.url))
    lost = next(n for n, message in enumerate(messages) if isinstance(message, Reconnecting))
    assert messages[lost - 1] == finals(messages)[0]


@pytest.mark.parametrize("shape", ["byte by byte", "joined"])
async def test_frames_in_other_pieces(shape: Shape) -> None:
    async with serving() as server:
        runs = [cut_and_uncut(babble(seed, POLICIES[seed], 2), [server.port], seed, 3, shape) for seed in range(2)]
        said, _ = summary(await asyncio.gather(*runs))
    assert said >= 5


async def test_a_stream_goes_on_at_another_server() -> None:
    """Every connection is to the other one of two."""
    async with serving() as a, serving() as b:
        runs = [cut_and_uncut(babble(seed, POLICIES[seed % 2]), [a.port, b.port], seed, 8) for seed in range(4)]
        results = await asyncio.gather(*runs)
    said, made = summary(results)
    assert made["reset"] + made["close"] >= 10
    assert said >= 40


@pytest.mark.parametrize("commit", POLICIES)
async def test_a_server_that_goes_down_hands_its_streams_on(commit: Commit) -> None:
    talk = babble(7, commit)
    async with serving() as a, serving() as b:
        whole = finals(await talk.told(a.url))
        telling = asyncio.create_task(talk.told([a.url, b.url]))
        await until(lambda: bool(a.connections))
        await asyncio.sleep(0.2)  # a third of the time that the talk takes
        await a.stop()
        messages = await telling
    check_continuity(messages, talk)
    assert finals(messages) == whole
    assert [m.reason for m in messages if isinstance(m, Reconnecting)] == ["server going down"]
    assert [m.url for m in messages if isinstance(m, Resumed)] == [b.url]


async def test_another_model_is_refused_by_name() -> None:
    other = FakeRunner(replace(INFO, name="other", fingerprint="0123456789"))
    async with serving() as a, serving(other) as b, Proxy([a.port, b.port], [Cut("reset", after=9000)]) as proxy:
        with pytest.raises(StreamError, match=r"began on another model than other") as caught:
            await babble(1, "utterance").told(proxy.url)
    assert caught.value.code == "fingerprint_mismatch"


async def test_another_configuration_is_refused_by_name() -> None:
    async with (
        serving() as a,
        serving(latency="accurate") as b,
        Proxy([a.port, b.port], [Cut("reset", after=9000)]) as proxy,
    ):
        with pytest.raises(StreamError, match=r"other settings than accurate") as caught:
            await babble(1, "utterance").told(proxy.url)
    assert caught.value.code == "fingerprint_mismatch"


# ---- processes


SERVER = """
import asyncio
from earshot_asr.server.app import Server, serve
from earshot_asr.server.settings import ServerConfig
from tests.helpers import FakeRunner
asyncio.run(serve(Server(ServerConfig(port={port}), [FakeRunner]), lambda server: print("ready", flush=True)))
"""


async def python(code: str, *arguments: str) -> Process:
    """A process of its own, with our packages."""
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", path + code, *arguments, stdout=PIPE, stderr=PIPE, cwd=ROOT
    )


@asynccontextmanager
async def process(port: int) -> AsyncIterator[Process]:
    """A server with the fake encoder, in a process of its own, that is ready."""
    server = await python(SERVER.format(port=port))
    try:
        assert server.stdout
        assert await server.stdout.readline() == b"ready\n"
        yield server
    finally:
        if server.returncode is None:
            server.kill()
        await server.communicate()


@pytest.mark.parametrize("commit", POLICIES)
async def test_kill_9_in_mid_sentence(commit: Commit, unused_tcp_port: int) -> None:
    """Of a real process, which is started anew at the same port."""
    talk = babble(3, commit)
    async with serving() as server:
        whole = finals(await talk.told(server.url))
    messages: list[Message] = []
    async with process(unused_tcp_port) as victim:
        url = f"ws://127.0.0.1:{unused_tcp_port}"
        async with (
            asyncio.timeout(GIVE_UP_SECONDS),
            ClientStream(url, commit=commit, timeouts=HASTY, retry=60) as stream,
        ):
            telling = asyncio.create_task(talk.tell(stream, random.Random(0)))
            while len(finals(messages)) < 2 or not isinstance(messages[-1], PartialMessage):  # somebody is speaking
                messages.append(await anext(stream))
            victim.kill()
            await victim.wait()
            async with process(unused_tcp_port):
                messages += [message async for message in stream]
            await telling
    check_continuity(messages, talk)
    assert finals(messages) == whole
    assert words(whole) >= 10
    assert any(isinstance(message, Resumed) for message in messages)


async def test_earshot_stream_resumes_by_itself_and_shows_it(tmp_path: Path) -> None:
    talk = babble(5, "utterance")
    soundfile.write(tmp_path / "talk.wav", talk.pcm, SAMPLE_RATE)
    async with serving() as server:
        whole = finals(await replace(talk, flushes=()).told(server.url))
        async with Proxy([server.port], [Cut("reset", finals=1, down=True), Cut("close", after=5000)]) as proxy:
            url = proxy.url
            arguments = ("stream", "--speed", "8", "--url", url, str(tmp_path / "talk.wav"))
            command = await python("from earshot_asr.client.cli import main; main()", *arguments)
            out, err = await command.communicate()
    assert command.returncode == 0, err
    assert out.decode().splitlines() == [final.text for final in whole]
    assert len(proxy.made) == 2
    lines = err.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["reconnecting", "resumed"] * 2
    assert lines[0].startswith("reconnecting (1): connection lost; ")
    assert lines[1].startswith(f"resumed at {url}/v1/stream; ")


async def test_retry_0_ends_with_the_connection(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", babble(5, "utterance").pcm, SAMPLE_RATE)
    async with serving() as server, Proxy([server.port], [Cut("reset", after=9000)]) as proxy:
        arguments = ("stream", "--retry", "0", "--url", proxy.url, str(tmp_path / "talk.wav"))
        command = await python("from earshot_asr.client.cli import main; main()", *arguments)
        _, err = await command.communicate()
    assert command.returncode == 1
    assert err.startswith(b"earshot: the connection to ")
    assert err.count(b"\n") == 1


# ---- the real model


def recording(path: str | Path, commit: Commit, seed: int) -> Talk:
    """A file, with two flushes somewhere."""
    with open_file(path) as audio:
        pcm = np.concatenate(list(audio))
    rng = random.Random(seed)
    return Talk(pcm, tuple(sorted(rng.sample(range(len(pcm) * SAMPLE_BYTES), 2))), commit)


@pytest.fixture
async def real() -> AsyncIterator[Server]:
    if not (BUNDLED / "model.safetensors").exists():
        pytest.skip("needs the bundled model")
    async with build(ServerConfig(port=0, device="cpu", limits=Limits(streams=20))) as server:  # however busy it is
        yield server


@pytest.mark.slow
async def test_the_bundled_recording(real: Server) -> None:
    said, made = summary([await cut_and_uncut(recording(DEMO, "hop", 1), [real.port], 1, 8)])
    assert made["reset"] + made["close"] >= 3
    assert said >= 20


@pytest.mark.slow
async def test_real_recordings(real: Server) -> None:
    rows = clips("dev.jsonl", 16)
    talks = [recording(row["audio"], POLICIES[n % 2], n) for n, row in enumerate(rows)]
    results = [await cut_and_uncut(talk, [real.port], seed, 6) for seed, talk in enumerate(talks)]
    said, made = summary(results)
    assert made["reset"] + made["close"] >= 30
    assert said >= 100


@pytest.mark.slow
async def test_kill_9_of_earshot_serve(tmp_path: Path, unused_tcp_port: int) -> None:
    """With the real model, and the command line on both sides."""
    port = str(unused_tcp_port)
    demo = str(DEMO)
    command = "from earshot_asr.client.cli import main; main()"

    async def heard(kill: bool) -> list[str]:
        server = await python(command, "serve", "--port", port, "--device", "cpu")
        assert server.stderr
        while b"listening" not in await server.stderr.readline():
            pass
        listener = await python(command, "stream", "--speed", "2", "--url", f"ws://127.0.0.1:{port}", demo)
        assert listener.stdout
        lines = [await listener.stdout.readline()]
        if kill:
            await asyncio.sleep(0.5)
            server.kill()
            await server.communicate()
            server = await python(command, "serve", "--port", port, "--device", "cpu")
        out, err = await listener.communicate()
        assert listener.returncode == 0, err
        assert kill == (b"resumed at" in err)
        server.send_signal(signal.SIGINT)
        await server.communicate()
        return [*(line.decode() for line in lines), *out.decode().splitlines(keepends=True)]

    uncut = await heard(kill=False)
    assert len(" ".join(uncut).split()) >= 20
    assert await heard(kill=True) == uncut
