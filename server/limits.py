"""What a client may have of a server. Each limit has a flag of `earshot serve`, and a line in PROTOCOL.md."""

from dataclasses import dataclass

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.config import RING_MS
from earshot_asr.engine.errors import ConfigError
from earshot_asr.server import wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Raises ConfigError for a value that is out of its range. None is no limit.

    streams            how many may be open at once; None: as many as the device was measured to hold
    per_address        how many connections one address may have
    message_bytes      size of a client's message, text or binary
    backlog_seconds    audio that may wait to be encoded; the socket is not read while there is more
    handshake_seconds  time for the HTTP headers, and then for the start of the stream
    idle_seconds       time without a message; does not count while the socket is not read
    longest_seconds    audio of one stream
    unsent_messages    how many messages may wait for a slow reader, outdated partials left out
    """

    streams: int | None = None
    per_address: int | None = 64
    message_bytes: int = wire.MESSAGE_BYTES
    backlog_seconds: Seconds = 10.0
    handshake_seconds: Seconds = 10.0
    idle_seconds: Seconds = 60.0
    longest_seconds: Seconds | None = None
    unsent_messages: int = 256

    def __post_init__(self) -> None:
        for name, low, high in (
            ("streams", 1, 1_000_000),
            ("per_address", 1, 1_000_000),
            ("message_bytes", wire.MESSAGE_BYTES, 16 * wire.MESSAGE_BYTES),
            ("backlog_seconds", 1, RING_MS / 1000),
            ("handshake_seconds", 1, 600),
            ("idle_seconds", 1, 86_400),
            ("longest_seconds", 1, 10**9),
            ("unsent_messages", 64, 100_000),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} is {value}; it must be between {low} and {high:g}")
