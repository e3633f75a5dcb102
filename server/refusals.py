"""Why a stream is ended by the server: an error has a code, for programs, and a sentence, for people."""

from collections.abc import Mapping
from types import MappingProxyType

from earshot_asr.engine.errors import ProtocolError

CLOSE_CODES: Mapping[str, int] = MappingProxyType(
    {
        "invalid_message": 1008,
        "language_unsupported": 1008,
        "start_expected": 1008,
        "start_repeated": 1008,
        "after_stop": 1008,
        "resume_unsupported": 1008,
        "resume_invalid": 1008,
        "fingerprint_mismatch": 1008,
        "start_timeout": 1008,
        "unauthorized": 1008,
        "publish_refused": 1008,
        "stream_too_long": 1008,
        "invalid_audio": 1003,
        "too_many_messages": 1008,
        "message_too_big": 1009,
        "internal_error": 1011,
        "shutting_down": 1012,
        "full": 1013,
        "language_unavailable": 1013,
        "too_many_connections": 1013,
        "too_many_streams": 1013,
        "channel_taken": 1013,
        "slow_reader": 1013,
        "idle": 1013,
        "silent": 1013,
    }
)
"""Every code that a conversation may end with, and the websocket close code that says the same.

After 1011, 1012 and 1013 a client may resume the stream; after the others it would be refused again.
"""


class Refused(ProtocolError):
    """The client asks for something that it may not have.

    code    one of CLOSE_CODES, or a code of the dialect's own
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
