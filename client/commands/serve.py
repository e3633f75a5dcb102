"""`earshot serve`: a server for streams over websockets."""

import asyncio
from enum import StrEnum
from typing import Annotated, Any

import typer

from earshot_asr.client.options import Device, DeviceOption, Latency, LatencyOption, ModelOption, RevisionOption

LIMITS_PANEL: dict[str, Any] = {"rich_help_panel": "Limits"}
EXAMPLES = """Examples:

  earshot serve

  earshot serve --model facebook/wav2vec2-base-960h --device cuda --latency low

  earshot serve --host 0.0.0.0 --port 80
"""


class LogFormat(StrEnum):
    """Formats of server.logs."""

    text = "text"
    json = "json"


HostOption = Annotated[
    str, typer.Option(help="Address to listen at. 127.0.0.1: this machine only; 0.0.0.0: all its networks.")
]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0: any free port.")]
DrainOption = Annotated[
    float,
    typer.Option(
        "--drain-seconds",
        min=0,
        help="After SIGTERM: seconds that open streams may go on until their next endpoint, the pause that ends an "
        "utterance.",
    ),
]
StreamsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Maximum number of open streams.",
        show_default="what the device can run, measured at the start",
        **LIMITS_PANEL,
    ),
]
PerAddressOption = Annotated[
    int,
    typer.Option(min=0, help="Maximum number of connections from one address; 0: no limit.", **LIMITS_PANEL),
]
MessageBytesOption = Annotated[
    int,
    typer.Option(min=65_536, max=1_048_576, help="Maximum size of a client's message, in bytes.", **LIMITS_PANEL),
]
BacklogOption = Annotated[
    float,
    typer.Option(
        "--backlog-seconds",
        min=1,
        max=30,
        help="Seconds of a stream's audio that may wait for the model; beyond that the server stops reading.",
        **LIMITS_PANEL,
    ),
]
HandshakeOption = Annotated[
    float,
    typer.Option(
        "--handshake-seconds",
        min=1,
        help="Seconds to wait for the HTTP headers, and again for the `start` message.",
        **LIMITS_PANEL,
    ),
]
IdleOption = Annotated[
    float,
    typer.Option(
        "--idle-seconds", min=1, help="Seconds without a message after which a stream is closed.", **LIMITS_PANEL
    ),
]
LongestOption = Annotated[
    float | None,
    typer.Option(
        "--longest-seconds",
        min=1,
        help="Maximum length of a stream, in seconds of audio.",
        show_default="no limit",
        **LIMITS_PANEL,
    ),
]
UnsentOption = Annotated[
    int,
    typer.Option(
        "--unsent-messages",
        min=64,
        help="Maximum number of finals waiting for a client that reads slowly; beyond that it is disconnected.",
        **LIMITS_PANEL,
    ),
]
LogFormatOption = Annotated[LogFormat, typer.Option(help="text: log lines for people; json: one object per line.")]
LogTextOption = Annotated[bool, typer.Option("--log-text", help="Log the transcripts, too.")]


def serve(
    model: ModelOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = Device.auto,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8765,
    latency: LatencyOption = Latency.balanced,
    drain: DrainOption = 30.0,
    streams: StreamsOption = None,
    per_address: PerAddressOption = 64,
    message_bytes: MessageBytesOption = 65_536,
    backlog: BacklogOption = 10.0,
    handshake: HandshakeOption = 10.0,
    idle: IdleOption = 60.0,
    longest: LongestOption = None,
    unsent: UnsentOption = 256,
    log_format: LogFormatOption = LogFormat.text,
    log_text: LogTextOption = False,
) -> None:
    """Serve streams over websockets until Ctrl-C. SIGTERM lets open streams finish their utterance first.

    The same port serves /healthz, /readyz, and /metrics for Prometheus. The protocol: server/PROTOCOL.md.
    """
    from earshot_asr.server.app import ServerConfig, build
    from earshot_asr.server.app import serve as run
    from earshot_asr.server.limits import Limits
    from earshot_asr.server.logs import configure

    configure(as_json=log_format is LogFormat.json)
    limits = Limits(
        streams=streams,
        per_address=per_address or None,
        message_bytes=message_bytes,
        backlog_seconds=backlog,
        handshake_seconds=handshake,
        idle_seconds=idle,
        longest_seconds=longest,
        unsent_messages=unsent,
    )
    config = ServerConfig(
        model=model,
        revision=revision,
        device=device,
        host=host,
        port=port,
        latency=latency,
        limits=limits,
        drain=drain,
        log_text=log_text,
    )
    asyncio.run(run(build(config)))
