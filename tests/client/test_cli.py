"""The command line as a shell sees it: what is printed where, and the exit status."""

import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner
from websockets.asyncio.server import ServerConnection

from earshot_asr.client.cli import app, main
from earshot_asr.client.options import RETRY_SECONDS, Commit, live_commit
from earshot_asr.engine.errors import ConfigError
from earshot_asr.server import wire
from tests.client.scripted import listening, say

ROOT = Path(__file__).parents[2]


def earshot(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    """Runs the command in this process; its exit status."""
    monkeypatch.setattr(sys, "argv", ["earshot", *arguments])
    with pytest.raises(SystemExit) as exit:
        main()
    return exit.value.code


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["stream", "nowhere.wav"], "nowhere.wav: there is no such file"),
        (["stream", "--url", "http://h", "{wav}"], "'http://h' is not the URL of a server"),
        (
            ["stream", "--retry", "0", "--url", "ws://127.0.0.1:{port}", "{wav}"],
            "no server at ws://127.0.0.1:{port}/v1/stream: start",
        ),
        (["serve", "--host", "", "--port", "0"], "host is empty"),
        (["serve", "--insecure", "--host", "a..b", "--port", "0"], "'a..b': not a host name"),
        (["transcribe", "--rate", "1", "{wav}"], "sample rate is 1 Hz"),
    ],
)
def test_what_a_user_can_mend_is_one_line_on_standard_error(
    arguments: list[str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wav: Path,
    unused_tcp_port: int,
) -> None:
    filled = [argument.format(wav=wav, port=unused_tcp_port) for argument in arguments]
    assert earshot(*filled, monkeypatch=monkeypatch) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("earshot: ")
    assert err.count("\n") == 1
    assert complaint.format(port=unused_tcp_port) in err


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    import numpy as np
    import soundfile

    soundfile.write(tmp_path / "talk.wav", np.zeros(1600, np.int16), 16_000)
    return tmp_path / "talk.wav"


@pytest.mark.parametrize(
    "arguments",
    [
        ["listen"],
        ["stream"],
        ["stream", "--speed", "-1", "talk.wav"],
        ["stream", "--format", "doc", "talk.wav"],
        ["stream", "--retry", "-1", "talk.wav"],
        ["stream", "--partials", "talk.wav"],
        ["mic", "--partials", "--format", "srt"],
        ["serve", "--port", "99999"],
        ["serve", "--latency", "none"],
        ["mic", "--url", "ws://h:1", "--latency", "low"],
        ["mic", "--url", "ws://h:1", "--revision", "v1"],
        ["transcribe"],
        ["stream", "--endpoint-ms", "99", "talk.wav"],
        ["transcribe", "--endpoint-ms", "5001", "talk.wav"],
        ["evaluate", "--endpoint-ms", "half a second", "dev.jsonl"],
    ],
)
def test_wrong_usage_is_exit_status_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_the_command_line_is_as_patient_as_the_library() -> None:
    from earshot_asr.client.stream import RETRY_SECONDS as OF_THE_LIBRARY

    assert RETRY_SECONDS == OF_THE_LIBRARY


def test_command_line_and_protocol_take_the_endpoints_that_the_engine_takes() -> None:
    from earshot_asr.client import options
    from earshot_asr.engine import config
    from earshot_asr.server import wire

    ranges = {(place.LEAST_ENDPOINT_MS, place.MOST_ENDPOINT_MS) for place in (options, wire, config)}
    assert len(ranges) == 1


@pytest.mark.parametrize("given", [None, 250])
@pytest.mark.parametrize(
    ("command", "target"),
    [
        (("stream", "{wav}"), "live.caption"),
        (("transcribe", "{wav}"), "transcribe.transcribe"),
        (("evaluate", "{wav}"), "evaluate.evaluate.evaluate"),
    ],
)
def test_the_endpoint_of_a_stream_reaches_it(
    given: int | None, command: tuple[str, ...], target: str, monkeypatch: pytest.MonkeyPatch, wav: Path
) -> None:
    called: list[object] = []

    def taken(*arguments: object, **options: object) -> int:
        called.append(options.get("endpoint_ms", getattr(arguments[-1], "endpoint_ms", None)))
        return 0

    async def heard(*arguments: object, **options: object) -> bool:
        return bool(taken(*arguments, **options))

    monkeypatch.setattr(f"earshot_asr.client.{target}", heard if target == "live.caption" else taken)
    asked = () if given is None else ("--endpoint-ms", str(given))
    assert earshot(*(part.format(wav=wav) for part in command), *asked, monkeypatch=monkeypatch) in (0, None)
    assert called == [given]


def test_version() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert re.fullmatch(r"earshot \d+\.\d+\.\d+\S*\n", done.output)


def test_every_command_explains_itself() -> None:
    commands = [command.callback.__name__ for command in app.registered_commands if command.callback]
    assert commands == ["demo", "serve", "mic", "stream", "transcribe", "evaluate", "train"]
    for command in commands:
        done = CliRunner().invoke(app, [command, "--help"])
        assert done.exit_code == 0
        assert f"earshot {command}" in done.output


@pytest.mark.parametrize(("given", "whole"), [([], False), (["--whole"], True), (["--offline"], True)])
def test_a_whole_file_in_one_pass_by_its_name_and_its_old_one(
    given: list[str], whole: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, object] = {}
    monkeypatch.setattr("earshot_asr.client.transcribe.transcribe", lambda files, **more: options.update(more) or 0)
    assert earshot("transcribe", "talk.wav", *given, monkeypatch=monkeypatch) == 0
    assert options["whole"] is whole
    notice = "earshot: --offline is called --whole now; the old name goes with the next version\n"
    assert capsys.readouterr().err == (notice if given == ["--offline"] else "")


def test_the_old_name_is_not_in_the_help() -> None:
    shown = CliRunner().invoke(app, ["transcribe", "--help"], env={"COLUMNS": "200"}).output
    assert "--whole" in shown and "--offline" not in shown


def test_mic_takes_a_revision(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def local_server(console: object, **options: object) -> None:
        raise ConfigError(f"{options['model']} at {options['revision']}")

    monkeypatch.setattr("earshot_asr.client.live.local_server", local_server)
    monkeypatch.setattr("earshot_asr.client.microphone.Microphone", lambda *_: None)
    assert earshot("mic", "--model", "acme/small", "--revision", "v1", monkeypatch=monkeypatch) == 1
    assert capsys.readouterr().err == "earshot: acme/small at v1\n"


def test_a_missing_recording_of_the_demo_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("earshot_asr.client.demo.RECORDING_FILE", "gone.flac")
    assert earshot("demo", monkeypatch=monkeypatch) == 1
    assert "gone.flac" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "stability"), [([], "medium"), (["--stability", "high"], "high")])
def test_the_demo_takes_a_stability(
    given: list[str], stability: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    @asynccontextmanager
    async def local_server(console: object, **options: object) -> AsyncIterator[str]:
        async def refuse(socket: ServerConnection) -> None:
            asked.append(wire.decode_client(await socket.recv()))
            await say(socket, wire.Error("full", "come back tomorrow"))

        async with listening(refuse) as url:
            yield url

    monkeypatch.setattr("earshot_asr.client.demo.local_server", local_server)
    assert earshot("demo", *given, monkeypatch=monkeypatch) == 1
    assert "come back tomorrow" in capsys.readouterr().err
    assert [start.stability for start in asked if isinstance(start, wire.Start)] == [stability]


@pytest.mark.parametrize(
    ("asked", "captions", "commit"),
    [
        (None, True, "hop"),
        (None, False, "utterance"),
        (Commit.utterance, True, "utterance"),
        (Commit.hop, False, "hop"),
    ],
)
def test_live_captions_are_final_hop_by_hop_unless_asked_otherwise(
    asked: Commit | None, captions: bool, commit: str
) -> None:
    assert live_commit(asked, captions) == commit
