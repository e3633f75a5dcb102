"""The JavaScript client over real sockets: exact audio, connections that are cut, finals as of the Python client."""

import asyncio
import base64
import random
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from earshot_asr.server.wire import Commit
from tests.end_to_end.proxy import Cut, Proxy
from tests.end_to_end.test_resume import POLICIES, Talk, babble, finals, process
from tests.helpers import silence, speak
from tests.server.loopback import GIVE_UP_SECONDS, serving
from tests.server.page.browser import Browser, chromium

pytestmark = pytest.mark.slow
UNCUT = Cut("close", after=10**12)
TELL = """
    const { Stream } = await import("/page/client.js");
    const [audio, flushes, speed, options] = values;
    const bytes = Uint8Array.from(atob(audio), (char) => char.charCodeAt(0));
    const timeouts = { silence: 2.5, keepalive: 0.5, close: 0.5, firstWait: 0.01, longestWait: 0.5 };
    const stream = new Stream(location.origin, { retry: 60, timeouts, ...options });
    window.told = [];
    const telling = (async () => {
        for (let at = 0, n = 0; at < bytes.length; ) {
            const edge = Math.min(...flushes.filter((flush) => flush > at), bytes.length);
            const part = bytes.subarray(at, Math.min(edge, at + 1 + ((n++ * 7919) % 12800)));
            await stream.send(part);
            at += part.length;
            if (flushes.includes(at)) await stream.flush();
            await new Promise((resolve) => setTimeout(resolve, part.length / 32 / speed));
        }
        stream.stop();
    })();
    const reading = (async () => {
        for await (const message of stream) window.told.push(message);
        await telling;
    })();
    window.outcome = reading.then(() => null, (error) => `${error.name}: ${error.message}`);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


class Switch:
    """Cuts for a proxy: none until `on`, so that the page itself comes through."""

    def __init__(self, cuts: list[Cut]) -> None:
        self.on = False
        self._cuts = iter(cuts)

    def __iter__(self) -> "Switch":
        return self

    def __next__(self) -> Cut:
        return next(self._cuts, UNCUT) if self.on else UNCUT


async def tell(browser: Browser, talk: Talk, speed: float = 20) -> None:
    """Begins to say it, so many times as fast as in reality, the browser being at a page of the server."""
    audio = base64.b64encode(talk.pcm.tobytes()).decode()
    await asyncio.to_thread(browser.run_module, TELL, audio, talk.flushes, speed, {"commit": talk.commit})


async def all_told(browser: Browser) -> list[dict[str, Any]]:
    """All that the stream says, to its end."""
    failure, messages = await asyncio.to_thread(browser.run_module, "return [await window.outcome, window.told]")
    assert failure is None
    assert isinstance(messages, list)
    return messages


def only_finals(messages: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    kept = ("segment", "start", "end", "text", "cut", "flushed")
    return [tuple(message[name] for name in kept) for message in messages if message["type"] == "final"]


async def expected(url: str, talk: Talk) -> list[tuple[Any, ...]]:
    """The finals that the Python client has, uncut."""
    said = finals(await talk.told(url))
    return [(each.segment, each.start, each.end, each.text, each.cut, each.flushed) for each in said]


def assert_continuous(messages: list[dict[str, Any]], commit: Commit) -> None:
    """One stream, as if there had been one connection: counts never go back, nor do partials."""
    acks = [(m["received"], m["committed"], m["cut"]) for m in messages if m["type"] == "ack"]
    for counts in zip(*acks, strict=True):
        assert list(counts) == sorted(counts)
    assert messages[-1]["type"] == "done"
    assert not any(message["type"] == "ready" for message in messages)
    promised: dict[int, str] = {}
    ends: dict[int, float] = {}
    for message in messages:
        if message["type"] in ("partial", "final") and commit == "hop":
            assert message["text"].startswith(promised.get(message["segment"], ""))
        if message["type"] == "partial" and message["text"]:
            promised[message["segment"]] = message["text"][: message["stable"]]
            assert message["end"] >= ends.get(message["segment"], 0)
            ends[message["segment"]] = message["end"]


@pytest.mark.parametrize("commit", POLICIES)
@pytest.mark.parametrize("seed", range(3))
async def test_connections_are_cut_and_no_word_is_lost(browser: Browser, commit: Commit, seed: int) -> None:
    talk, rng = babble(100 + seed, commit, 16), random.Random(seed)
    hows = rng.choices(("reset", "close"), k=8)
    cuts = [Cut(how, after=rng.randint(1500, 500_000)) for how in hows]  # type: ignore[arg-type]  # later than the context
    cuts[1:3] = [Cut("silence", after=9000), Cut("reset", finals=1, down=True)]
    switch = Switch(cuts)
    async with serving() as server, Proxy([server.port], switch) as proxy:
        whole = await expected(server.url, talk)
        await asyncio.to_thread(browser.open, proxy.url.replace("ws", "http") + "/healthz")
        await asyncio.to_thread(browser.run_module, 'await import("/page/client.js")')
        switch.on = True
        await tell(browser, talk)
        messages = await all_told(browser)
    assert only_finals(messages) == whole
    assert_continuous(messages, commit)
    kinds = [message["type"] for message in messages]
    assert kinds.count("resumed") >= 3 and kinds.count("reconnecting") >= 3
    assert len(proxy.made) >= 3


@pytest.mark.parametrize("commit", POLICIES)
async def test_kill_9_in_mid_sentence(browser: Browser, commit: Commit, unused_tcp_port: int) -> None:
    """Of a real process, which is started anew at the same port."""
    talk = babble(3, commit)
    async with serving() as server:
        whole = await expected(server.url, talk)
    async with process(unused_tcp_port) as victim:
        await asyncio.to_thread(browser.open, f"http://localhost:{unused_tcp_port}/healthz")
        await tell(browser, talk, speed=4)
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while not await heard(browser):
                await asyncio.sleep(0.02)
        victim.kill()
        await victim.wait()
        async with process(unused_tcp_port):
            messages = await all_told(browser)
    assert only_finals(messages) == whole
    assert_continuous(messages, commit)
    assert [message["type"] for message in messages].count("resumed") == 1


async def heard(browser: Browser) -> bool:
    """Whether somebody is speaking, after so many finals that the first audio is forgotten."""
    script = """
        const told = window.told ?? [];
        return told.filter(({ type }) => type === "final").length >= 5 && told.at(-1).type === "partial";
    """
    return bool(await asyncio.to_thread(browser.run, script))


@asynccontextmanager
async def at_server(browser: Browser, **settings: Any) -> Any:
    async with serving(**settings) as server:
        await asyncio.to_thread(browser.open, f"http://localhost:{server.port}/healthz")
        yield server


async def failure(browser: Browser, script: str, *values: Any) -> list[Any]:
    """Code and sentence of the StreamError that it throws."""
    body = f"""
        const {{ Stream }} = await import("/page/client.js");
        try {{
            {script}
        }} catch (error) {{
            return [error.name, error.code ?? null, error.message];
        }}
    """
    answer: list[Any] = await asyncio.to_thread(browser.run_module, body, *values)
    return answer


READ = "for await (const message of stream) last = message;"


async def test_what_is_wrong_is_said_in_a_sentence(browser: Browser) -> None:
    async with at_server(browser):
        for options, code, words in (
            ('{ language: "Elvish" }', "language_unsupported", "null"),
            ("{ stabilty: 1 }", "invalid_message", "stabilty"),
        ):
            script = f"const stream = new Stream(location.origin, {options}); let last; {READ}"
            name, got, sentence = await failure(browser, script)
            assert (name, got) == ("StreamError", code)
            assert words in sentence
        for url, words in (("localhost:8765", "one looks like"), ("", "one looks like"), ("ws://:9", "one looks like")):
            name, got, sentence = await failure(browser, "new Stream(values[0])", url)
            assert (got, words in sentence) == ("invalid", True), sentence
        assert (await failure(browser, "new Stream(location.origin, { keep: 1 })"))[0] == "RangeError"
        script = "const stream = new Stream(location.origin); stream.stop(); await stream.send(new Int16Array(1))"
        assert (await failure(browser, script))[1] == "after_stop"
        script = "await new Stream(location.origin).send([1, 2])"
        assert "Int16Array" in (await failure(browser, script))[2]


async def test_a_server_that_is_not_there(browser: Browser, unused_tcp_port: int) -> None:
    async with at_server(browser):
        script = f"const stream = new Stream(values[0], {{ retry: 0 }}); let last; {READ}"
        name, code, sentence = await failure(browser, script, f"ws://localhost:{unused_tcp_port}")
    assert (name, code) == ("StreamError", "unreachable")
    assert "earshot serve" in sentence


async def test_a_server_that_comes_later_is_waited_for(browser: Browser, unused_tcp_port: int) -> None:
    talk = babble(5, "hop", 2)
    async with serving() as present:
        whole = await expected(present.url, talk)
    async with process(unused_tcp_port) as server:
        await asyncio.to_thread(browser.open, f"http://localhost:{unused_tcp_port}/healthz")
        await asyncio.to_thread(browser.run_module, 'await import("/page/client.js")')
        server.kill()
        await server.wait()
    await tell(browser, talk)
    await asyncio.sleep(0.5)
    async with process(unused_tcp_port):
        messages = await all_told(browser)
    kinds = [message["type"] for message in messages]
    assert kinds[0] == "waiting" and "connected" in kinds and kinds[-1] == "done"
    assert only_finals(messages) == whole


async def test_a_closed_stream_is_over_at_once(browser: Browser) -> None:
    """Whatever it is doing: also while it waits for a server, or for room."""
    script = """
        const { Stream } = await import("/page/client.js");
        const ended = [], Socket = WebSocket;
        let made = 0;
        window.WebSocket = class extends Socket {
            constructor(...values) {
                super(...values);
                made += 1;
            }
        };
        for (const url of [location.origin, values[0]]) {
            const stream = new Stream(url);
            stream.send(new Int16Array(1600));
            setTimeout(() => stream.close(), 300);
            for await (const message of stream) if (message.type === "final") ended.push(message);
            ended.push(await stream.send(new Int16Array(1)).catch((error) => error.code));
        }
        const before = made;
        await new Promise((resolve) => setTimeout(resolve, 2000));
        window.WebSocket = Socket;
        return [...ended, made - before];
    """
    async with at_server(browser) as server:
        assert await asyncio.to_thread(browser.run_module, script, "ws://localhost:9") == ["closed", "closed", 0]
        async with asyncio.timeout(20):
            while server.connections:
                await asyncio.sleep(0.01)


async def test_messages_are_short_and_audio_that_is_sent_ahead_waits(browser: Browser) -> None:
    """Sending faster than it is taken waits, with no more than 10 s unsent here; frames hold 0.1 s at most."""
    script = """
        const { Stream } = await import("/page/client.js");
        const sizes = [], send = WebSocket.prototype.send;
        WebSocket.prototype.send = function (data) {
            if (data instanceof Uint8Array) sizes.push(data.length);
            return send.call(this, data);
        };
        const stream = new Stream(location.origin, { partials: false, keep: 60 });
        stream.play((async function* () {
            for (let n = 0; n < 200; n += 1) yield new Int16Array(8000);
        })());
        let done;
        for await (const message of stream) done = message;
        WebSocket.prototype.send = send;
        return [Math.max(...sizes), sizes.reduce((sum, size) => sum + size, 0), done.received];
    """
    async with at_server(browser):
        assert await asyncio.to_thread(browser.run_module, script) == [3200, 200 * 16_000, 200 * 8000]


async def test_a_flush_is_answered(browser: Browser) -> None:
    script = """
        const { Stream } = await import("/page/client.js");
        const stream = new Stream(location.origin);
        await stream.send(Uint8Array.from(atob(values[0]), (char) => char.charCodeAt(0)));
        await stream.flush();
        for await (const message of stream) {
            if (message.type === "final") return [message.flushed, stream.ready.model, stream.kept < 1];
        }
    """
    audio = base64.b64encode(speak("HELLO WORLD").tobytes() + silence(0.1).tobytes()).decode()
    async with at_server(browser):
        assert await asyncio.to_thread(browser.run_module, script, audio) == [True, "fake", True]
