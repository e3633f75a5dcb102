"""The flags of `earshot serve` are the settings of a server, on the command line and in the environment."""

import os
from dataclasses import fields
from typing import Any
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from earshot_asr.client.cli import app
from earshot_asr.client.commands import serve
from earshot_asr.engine.config import PRESETS, RING_MS
from earshot_asr.server.settings import Limits, ServerConfig


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EARSHOT_")]:
        monkeypatch.delenv(name)


def told(*arguments: str, **environment: str) -> ServerConfig:
    """The configuration that the command builds a server of."""
    configs: list[ServerConfig] = []

    async def run(server: Any) -> None: ...

    with (
        patch("earshot_asr.server.app.build", configs.append),
        patch("earshot_asr.server.app.serve", run),
        patch("earshot_asr.server.logs.configure"),
    ):
        done = CliRunner().invoke(app, ["serve", *arguments], env=environment)
    assert done.exit_code == 0, done.output
    (config,) = configs
    return config


def word(value: object) -> str:
    return str(value[0] if isinstance(value, tuple) else value)


def test_without_flags_all_is_as_declared() -> None:
    assert told() == ServerConfig()


def test_each_field_is_a_flag_and_a_variable_and_the_flag_wins() -> None:
    others: dict[str, Any] = dict(
        model="a",
        language="de",
        revision="b",
        lm="none",
        device="cuda",
        host="::1",
        port=9,
        allow_host=("captions.example",),
        origin=("https://page.example",),
        trusted_proxy=("10.0.0.0/8",),
        token_file="c",
        tls_cert="d",
        tls_key="e",
        vosk_port=1,
        sherpa_port=2,
        whisperlive_port=3,
        wyoming_port=4,
        rest_port=5,
        metrics_port=6,
        latency="low",
        drain_seconds=1.5,
        log_format="json",
        streams=7,
        per_address=3,
        viewers=11,
        message_bytes=70_000,
        upload_bytes=80_000,
        messages_per_second=500,
        backlog_seconds=2.5,
        handshake_seconds=3.5,
        idle_seconds=4.5,
        silent_seconds=5.5,
        longest_seconds=99.0,
        unsent_messages=65,
    )
    names = {field.name for of in (ServerConfig, Limits) for field in serve.settings(of)}
    assert names == {field.name for of in (ServerConfig, Limits) for field in fields(of)} - {"limits"}
    assert names == others.keys() | {"log_text", "insecure"}
    limits = Limits(**{field.name: others[field.name] for field in fields(Limits)})
    rest = {name: value for name, value in others.items() if not hasattr(limits, name)}
    wanted = ServerConfig(limits=limits, log_text=True, insecure=True, **rest)
    flags = [part for name, value in others.items() for part in (f"--{name.replace('_', '-')}", word(value))]
    variables = {f"EARSHOT_{name.upper()}": word(value) for name, value in others.items()}
    assert told(*flags, "--log-text", "--insecure") == wanted
    assert told(EARSHOT_LOG_TEXT="1", EARSHOT_INSECURE="1", **variables) == wanted
    assert told("--port", "10", EARSHOT_PORT="9").port == 10
    assert not told("--no-log-text", EARSHOT_LOG_TEXT="1").log_text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "65535"),
        (["--latency", "fast"], "'balanced'"),
        (["--prot", "1"], "--port"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], message: str) -> None:
    wide = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    done = CliRunner().invoke(app, ["serve", *arguments], env=wide)
    assert done.exit_code == 2 and message in done.output, done.output


def test_what_settings_say_is_what_the_engine_has() -> None:
    """They load nothing of it, so it is written down twice."""
    known = {field.name: field.metadata["setting"] for of in (ServerConfig, Limits) for field in serve.settings(of)}
    assert known["latency"].choices == tuple(PRESETS)
    assert known["backlog_seconds"].high == RING_MS / 1000
