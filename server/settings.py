"""The settings of a server, each declared once: name, default, range, unit and help.

`earshot serve` makes a flag of each field, --idle-seconds of idle_seconds, and reads it from the environment as well,
from EARSHOT_IDLE_SECONDS. Loads nothing heavy, as `--help` needs it.
"""

import re
from dataclasses import dataclass, field, fields
from ipaddress import ip_address, ip_network
from typing import Any

from earshot_asr.engine.errors import ConfigError
from earshot_asr.server.wire import MESSAGE_BYTES

MOST_MESSAGE_BYTES = 32 * 1024 * 1024
"""Upper end of the range of message_bytes: the largest messages that a protocol has are of 15 MiB."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of a setting, besides its name, type and default.

    help        for `--help`; says the unit
    low, high   range of its numbers, ends included; None: no end
    choices     what a text may be; empty: anything
    metavar     what stands for a text in `--help`
    unset       what None means, in words
    """

    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    metavar: str | None = None
    unset: str = ""


def setting(default: Any, help: str, **more: Any) -> Any:
    """A field of a dataclass that is a setting; see Setting for the rest."""
    return field(default=default, metadata={"setting": Setting(help, **more)})


def check(settings: Any) -> None:
    """Raises ConfigError that names the first setting of a dataclass that is out of its range, and the range."""
    for each in fields(settings):
        known: Setting | None = each.metadata.get("setting")
        value = getattr(settings, each.name)
        if known is None or value is None:
            continue
        if known.choices and value not in known.choices:
            raise ConfigError(f"{each.name} is {value!r}; it must be one of {', '.join(known.choices)}")
        low, high = known.low, known.high
        if (low is not None and not low <= value) or (high is not None and not value <= high):
            raise ConfigError(f"{each.name} is {value}; it must be between {low:g} and {high:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client, or all of them together, may use of a server. PROTOCOL.md says what happens at each limit.

    None is no limit; for `streams`, as many as the device was measured to run; for `per_address`, a share of them.
    Raises ConfigError for a value that is out of its range.
    """

    streams: int | None = setting(
        None,
        "Maximum number of open streams.",
        low=1,
        high=1_000_000,
        unset="what the device can run, measured at the start",
    )
    per_address: int | None = setting(
        None,
        "Maximum number of connections from one address, unfinished handshakes counted too; 0: no limit.",
        low=0,
        high=1_000_000,
        unset="three quarters of the streams that fit, at least 2",
    )
    viewers: int = setting(1000, "Maximum number of viewers of published streams, all together.", low=0, high=1_000_000)
    message_bytes: int = setting(
        MESSAGE_BYTES, "Maximum size of a client's message, in bytes.", low=MESSAGE_BYTES, high=MOST_MESSAGE_BYTES
    )
    upload_bytes: int = setting(
        100 * 1024 * 1024,
        "Maximum size of a file that is sent to --rest-port, in bytes.",
        low=MESSAGE_BYTES,
        high=64 * 1024**3,
    )
    messages_per_second: int = setting(
        1000,
        "Maximum number of a client's messages in a second. Fragments and pings count too; audio of at least 80 bytes, "
        "10 ms of telephone, does not.",
        low=100,
        high=1_000_000,
    )
    backlog_seconds: float = setting(
        10.0,
        "Seconds of a stream's audio that may wait for the model; beyond that the server stops reading.",
        low=1,
        high=30,
    )
    handshake_seconds: float = setting(
        10.0, "Seconds to wait for the HTTP headers, and again for the `start` message.", low=1, high=86_400
    )
    idle_seconds: float = setting(
        60.0,
        "Seconds without a message after which a stream is closed; the time while the server does not read is not "
        "counted.",
        low=1,
        high=86_400,
    )
    silent_seconds: float = setting(
        600.0,
        "Seconds without audio after which a stream is closed, also if it sends keepalives; it may resume.",
        low=1,
        high=86_400,
    )
    longest_seconds: float | None = setting(
        None, "Maximum length of a stream, in seconds of audio.", low=1, high=10**9, unset="no limit"
    )
    unsent_messages: int = setting(
        256,
        "Maximum number of unsent messages of a client that reads slowly; beyond that it is disconnected.",
        low=64,
        high=100_000,
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where a server listens, what it runs, and what it allows. Raises ConfigError for a value out of its range."""

    model: str | None = setting(
        None,
        "Name of a model in `earshot models list`, its name on the hub, or the folder of a checkpoint.",
        metavar="NAME|HUB_ID|DIR",
        unset="the recommended one for --language, or the bundled one",
    )
    language: str | None = setting(
        None,
        "Language that is spoken: de, deu or German. Takes the model that is recommended for it; with --model, the "
        "weights that a model of several languages, like MMS, has for it. A stream may name another of its languages.",
        metavar="LANGUAGE",
        unset="the model's",
    )
    revision: str | None = setting(
        None,
        "Branch, tag or commit of a model on the hub.",
        metavar="REVISION",
        unset="the one that was pulled, else the newest",
    )
    lm: str | None = setting(
        None,
        "Language model of words: an ARPA or KenLM file, or a `language_model` folder; none: no language model.",
        metavar="FILE|DIR|none",
        unset="the model's own, if it has one",
    )
    device: str = setting(
        "auto",
        "Device that runs the model; auto: a GPU if there is one, else the CPU. Several, as cuda:0,cuda:1: each "
        "computes a part of the batches.",
        metavar="auto|cpu|cuda|cuda:N",
    )
    host: str = setting(
        "127.0.0.1",
        "Address to listen at. 127.0.0.1: this machine only; 0.0.0.0: all its networks.",
        metavar="ADDRESS",
    )
    allow_host: tuple[str, ...] = setting(
        (),
        "Name by which clients may call this server, besides the address it listens at and localhost. Repeatable.",
        metavar="NAME",
        unset="none",
    )
    origin: tuple[str, ...] = setting(
        (),
        "Origin of web pages that may connect, as https://captions.example, besides those of this server. Repeatable.",
        metavar="ORIGIN",
        unset="none",
    )
    trusted_proxy: tuple[str, ...] = setting(
        (),
        "Reverse proxy (address, or network as 10.0.0.0/8) whose X-Forwarded-For says where a client is. Repeatable.",
        metavar="ADDRESS",
        unset="none",
    )
    insecure: bool = setting(
        False,
        "Allow a --host that others can reach although they need no token: anyone who reaches it may stream.",
    )
    token_file: str | None = setting(
        None,
        "File of the tokens that clients need, a line each: TOKEN NAME STREAMS MESSAGES_A_SECOND, where - stands for "
        "the server's limit, and publish=CHANNEL behind it lets others read along; `openssl rand -hex 32` makes a "
        "token. SIGHUP has it read again.",
        metavar="FILE",
        unset="none: no token is needed",
    )
    tls_cert: str | None = setting(
        None,
        "Certificate chain (PEM): connections are encrypted, wss:// and https://. SIGHUP has it read again.",
        metavar="FILE",
        unset="no TLS",
    )
    tls_key: str | None = setting(
        None, "Private key (PEM) of the certificate.", metavar="FILE", unset="in the file of --tls-cert"
    )
    port: int = setting(8765, "Port to listen at; 0: any free port.", low=0, high=65_535)
    vosk_port: int | None = setting(
        None, "Port for clients of vosk-server, which has 2700.", low=0, high=65_535, unset="not opened"
    )
    sherpa_port: int | None = setting(
        None, "Port for clients of sherpa-onnx, which has 6006.", low=0, high=65_535, unset="not opened"
    )
    whisperlive_port: int | None = setting(
        None, "Port for clients of WhisperLive, which has 9090.", low=0, high=65_535, unset="not opened"
    )
    wyoming_port: int | None = setting(
        None,
        "Port for Home Assistant and others that speak Wyoming, usually 10300.",
        low=0,
        high=65_535,
        unset="not opened",
    )
    rest_port: int | None = setting(
        None,
        "Port for OpenAI's POST /v1/audio/transcriptions; needs `pip install aiohttp`.",
        low=0,
        high=65_535,
        unset="not opened",
    )
    metrics_port: int | None = setting(
        None,
        "Port of its own for /metrics, where no token is needed.",
        low=0,
        high=65_535,
        unset="that of --port, where a token is needed if there is a --token-file",
    )
    latency: str = setting(
        "balanced",
        "low shows words soonest; accurate makes the fewest errors.",
        choices=("low", "balanced", "accurate"),
    )
    drain_seconds: float = setting(
        30.0,
        "After SIGTERM: seconds that open streams may go on until their next endpoint, the pause that ends an "
        "utterance.",
        low=0,
        high=86_400,
    )
    log_format: str = setting(
        "text", "text: log lines for people; json: one object per line.", choices=("text", "json")
    )
    log_text: bool = setting(False, "Log the transcripts, too.")
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"(auto|cpu|cuda|cuda:\d+)(, *(cpu|cuda:\d+))*", self.device):
            raise ConfigError(f"device is {self.device!r}; it must be auto, cpu, cuda, cuda:N or a list")
        for origin in self.origin:
            if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin, re.IGNORECASE):
                raise ConfigError(f"origin is {origin!r}; it must be like https://captions.example")
        for proxy in self.trusted_proxy:
            try:
                ip_network(proxy, strict=False)
            except ValueError:
                raise ConfigError(f"trusted_proxy is {proxy!r}; it must be like 10.0.0.7 or 10.0.0.0/8") from None
        if not self.host:
            raise ConfigError("host is empty; 127.0.0.1 is this machine alone, 0.0.0.0 all its networks")
        if self.tls_key and not self.tls_cert:
            raise ConfigError("--tls-key needs --tls-cert: the certificate that the key belongs to")
        if not (self.insecure or self.token_file or is_loopback(self.host)):
            raise ConfigError(
                f"anyone who reaches {self.host} could stream here: give clients tokens with --token-file, or say "
                "--insecure if that is what you want"
            )
        if self.wyoming_port is not None and not (self.insecure or is_loopback(self.host)):
            raise ConfigError(
                f"anyone who reaches {self.host} could stream at --wyoming-port: Wyoming knows no tokens; say "
                "--insecure if that is what you want"
            )
        check(self)


def is_loopback(host: str) -> bool:
    """Whether this is an address, or a name, of this machine that others can't reach."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
