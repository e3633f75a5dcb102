"""Tokens: the file that holds them, what an account may have, and who is turned away."""

import asyncio
import base64
import logging
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State

from earshot_asr.client.stream import ClientStream, StreamError
from earshot_asr.engine.errors import ConfigError
from earshot_asr.server import wire
from earshot_asr.server.accounts import ANYBODY, Account, Accounts, read
from earshot_asr.server.addresses import SPARE_CONNECTIONS
from earshot_asr.server.app import Server
from earshot_asr.server.refusals import Refused
from tests.server.loopback import GIVE_UP_SECONDS, get, hear, serving, until

ANNA, STAGE = "a" * 16, "b" * 40


def written(folder: Path, *lines: str) -> Path:
    path = folder / "tokens.txt"
    path.write_text("\n".join(lines))
    path.chmod(0o600)
    return path


@pytest.fixture
def tokens(tmp_path: Path) -> str:
    return str(written(tmp_path, "# who", "", f"{ANNA} anna 1 200", f"  {STAGE}\tstage - - publish=stage,keynote"))


def test_a_file_of_accounts(tokens: str) -> None:
    accounts = Accounts(tokens)
    assert accounts.required
    assert accounts.find(ANNA) == Account("anna", 1, 200)
    stage = accounts.find(STAGE)
    assert stage == Account("stage", None, None, frozenset({"stage", "keynote"}))
    assert stage.may_publish("keynote") and not stage.may_publish("hall")
    assert [accounts.find(each) for each in (None, "", ANNA[:-1], ANNA + "a", "#", "ü\ud800")] == [None] * 6


def test_without_a_file_nobody_needs_a_token() -> None:
    accounts = Accounts()
    assert not accounts.required
    assert accounts.find(None) is accounts.find("anything") is ANYBODY
    assert ANYBODY.may_publish("anything")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (f"{ANNA} anna 4", "line 2: 3 of the fields that it needs; a line is: TOKEN NAME STREAMS MESSAGES_A_SECOND"),
        (f"{ANNA} anna 4 200 publish=a b", "line 2: a line is: TOKEN"),
        ("secret anna 4 200", "line 2: the token has 6 characters; it needs 16"),
        (f"{ANNA}ä anna 4 200", "line 2: a token is made of letters, digits"),
        (f"{ANNA} anna -1 200", "line 2: STREAMS is '-1'; it must be between 0 and 1000000, or -"),
        (f"{ANNA} anna four 200", "line 2: STREAMS is 'four'"),
        (f"{ANNA} anna ² 200", "line 2: STREAMS is '²'"),
        (f"{ANNA} anna 4 1", "line 2: MESSAGES_A_SECOND is '1'; it must be between 100"),
        (f"{ANNA} anna 4 200 root", "line 2: 'root' is no right; publish=CHANNEL"),
        (f"{ANNA} anna 4 200 publish=", "is no right"),
        (f"{STAGE} anna 4 200", "line 2: this token is there already"),
    ],
)
def test_a_wrong_line_is_named_and_no_token_shown(tmp_path: Path, line: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as e:
        read(written(tmp_path, f"{STAGE} stage - -", line))
    assert complaint in str(e.value)
    assert ANNA not in str(e.value) and STAGE not in str(e.value) and "secret" not in str(e.value)


def test_files_that_are_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match=r"can't read the token file .*: No such file"):
        Accounts(str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="has no token"):
        Accounts(str(written(tmp_path, "# none yet")))
    (tmp_path / "tokens.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not text in UTF-8"):
        Accounts(str(tmp_path / "tokens.txt"))
    written(tmp_path, f"{ANNA} anna - -").chmod(0o644)
    Accounts(str(tmp_path / "tokens.txt"))
    assert "chmod 600" in caplog.text


@given(st.text(max_size=200))
def test_any_file_is_understood_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_text(text, encoding="utf-8", errors="replace")
    path.chmod(0o600)
    with suppress(ConfigError):
        assert read(path)


def test_streams_are_counted(tokens: str) -> None:
    accounts = Accounts(tokens)
    anna, stage = accounts.find(ANNA), accounts.find(STAGE)
    assert anna and stage
    accounts.enter(anna)
    accounts.enter(stage)
    accounts.enter(stage)
    with pytest.raises(Refused, match="anna has one stream, the most it may have"):
        accounts.enter(anna)
    accounts.leave(anna)
    accounts.enter(anna)


# ---- over real sockets


async def status(server: Server, path: str = wire.PATH, **headers: str) -> int:
    """HTTP status of a handshake with these headers; 101 if it goes well."""
    try:
        async with connect(f"ws://127.0.0.1:{server.port}{path}", additional_headers=headers, proxy=None):
            return 101
    except InvalidStatus as e:
        return e.response.status_code


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"user:{password}".encode()).decode()


async def test_who_has_no_token_is_turned_away(tokens: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(token_file=tokens) as server:
        assert await status(server) == 401
        assert await status(server, Authorization="Bearer wrong") == 401
        assert await status(server, Authorization=basic("wrong")) == 401
        assert await status(server, Authorization="Basic !!!") == 401
        assert await status(server, Authorization=f"Bearer {ANNA}") == 101
        assert await status(server, Authorization=basic(STAGE)) == 101
        assert (await get(server.port, "/healthz"))[0] == (await get(server.port, "/"))[0] == 200
        assert (await get(server.port, "/metrics"))[0] == 401
    refused = [record for record in caplog.records if record.message == "refused"]
    assert [record.fields["why"][:12] for record in refused[:2]] == ["a token is n", "the token is"]  # type: ignore[attr-defined]
    opened = [record.fields for record in caplog.records if record.message == "opened"]  # type: ignore[attr-defined]
    assert [(each["account"], each["address"], each["path"]) for each in opened] == [
        ("anna", "127.0.0.1", wire.PATH),
        ("stage", "127.0.0.1", wire.PATH),
    ]
    assert ANNA not in caplog.text and "wrong" not in caplog.text


async def test_a_browser_offers_its_token_as_a_subprotocol(tokens: str) -> None:
    async with serving(token_file=tokens) as server:
        offered = [wire.SUBPROTOCOL, wire.TOKEN_SUBPROTOCOL + STAGE]
        async with connect(server.url, subprotocols=offered, proxy=None) as websocket:  # type: ignore[arg-type]
            assert websocket.subprotocol == wire.SUBPROTOCOL
        with pytest.raises(InvalidStatus):
            await connect(server.url, subprotocols=[wire.SUBPROTOCOL, wire.TOKEN_SUBPROTOCOL + "x"], proxy=None)  # type: ignore[list-item]


async def test_metrics_have_a_port_of_their_own(tokens: str) -> None:
    async with serving(token_file=tokens, metrics_port=0) as server:
        own = server.ports["metrics_port"]
        assert (await get(own, "/metrics"))[0] == 200
        assert (await get(own, "/healthz"))[0] == 200
        assert (await get(own, wire.PATH))[0] == (await get(server.port, "/metrics"))[0] == 404


async def test_an_account_has_no_more_streams_than_it_may(tokens: str) -> None:
    async with serving(token_file=tokens) as server:
        async with ClientStream(server.url, token=ANNA):
            with pytest.raises(StreamError, match="anna has one stream"):
                async with ClientStream(server.url, token=ANNA, retry=0):
                    pass
            async with ClientStream(server.url, token=STAGE), ClientStream(server.url, token=STAGE):
                pass
        await until(lambda: not server.connections)
        async with ClientStream(server.url, token=ANNA, retry=0):
            pass


async def test_an_account_sends_no_more_messages_than_it_may(tokens: str) -> None:
    async with serving(token_file=tokens) as server:
        headers = {"Authorization": f"Bearer {ANNA}"}
        async with connect(server.url, additional_headers=headers, proxy=None) as websocket:
            await websocket.send(wire.encode(wire.Start()))
            with suppress(ConnectionClosed):
                for _ in range(300):
                    await websocket.send(wire.encode(wire.Keepalive()))
            last = (await hear(websocket))[-1]
    assert isinstance(last, wire.Error) and last.code == "too_many_messages"
    assert "more than 200 messages" in last.message


async def test_tokens_are_read_again(tokens: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(token_file=tokens) as server:
        async with (
            ClientStream(server.url, token=ANNA, retry=0) as anna,
            ClientStream(server.url, token=STAGE) as stage,
        ):
            Path(tokens).write_text("not a token file", encoding="utf-8")
            server.reload()
            assert "tokens: nothing has changed" in caplog.text and len(server.connections) == 2
            Path(tokens).write_text(f"{STAGE} stage - -\n{'c' * 16} carl 1 -\n", encoding="utf-8")
            server.reload()
            with pytest.raises(StreamError, match="the token was withdrawn"):
                await asyncio.wait_for(anext(anna), 10)
            await stage.stop()
            assert isinstance([message async for message in stage][-1], wire.Done)
        assert await status(server, Authorization=f"Bearer {ANNA}") == 401
        assert await status(server, Authorization="Bearer " + "c" * 16) == 101


async def test_viewers_of_a_token_that_is_withdrawn_are_disconnected(tokens: str) -> None:
    async with serving(token_file=tokens) as server:
        url = f"ws://127.0.0.1:{server.port}{wire.WATCH_PATH}stage"
        viewers = [
            await connect(url, additional_headers={"Authorization": f"Bearer {each}"}, proxy=None)
            for each in (ANNA, STAGE)
        ]
        await until(lambda: server.channels.viewers == 2)
        Path(tokens).write_text(f"{STAGE} stage - -\n", encoding="utf-8")
        server.reload()
        await asyncio.wait_for(viewers[0].wait_closed(), GIVE_UP_SECONDS)
        assert server.channels.viewers == 1 and viewers[1].state is State.OPEN
        await viewers[1].close()


async def test_an_account_has_not_many_more_connections_than_streams(tokens: str) -> None:
    """Those that have not begun a stream yet included."""
    async with serving(token_file=tokens) as server, AsyncExitStack() as stack:
        headers = {"Authorization": f"Bearer {ANNA}"}
        for _ in range(1 + SPARE_CONNECTIONS):
            await stack.enter_async_context(connect(server.url, additional_headers=headers, proxy=None))
        async with connect(server.url, additional_headers=headers, proxy=None) as one_more:
            (last,) = await hear(one_more)
            assert isinstance(last, wire.Error) and last.code == "too_many_streams"
        assert await status(server, Authorization=f"Bearer {STAGE}") == 101


async def test_another_token_of_the_same_name_is_another_token(tokens: str) -> None:
    async with serving(token_file=tokens) as server, ClientStream(server.url, token=ANNA, retry=0) as anna:
        Path(tokens).write_text(f"{'d' * 16} anna 1 200\n", encoding="utf-8")
        server.reload()
        with pytest.raises(StreamError, match="the token was withdrawn"):
            await asyncio.wait_for(anext(anna), 10)


async def test_the_client_says_what_is_wrong_with_a_token(tokens: str) -> None:
    async with serving(token_file=tokens) as server:
        with pytest.raises(StreamError, match="wants a token: --token, or EARSHOT_TOKEN"):
            async with ClientStream(server.url):
                pass
        with pytest.raises(StreamError, match="does not know this token"):
            async with ClientStream(server.url, token="wrong"):
                pass
