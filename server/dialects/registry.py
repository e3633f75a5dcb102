"""Which protocol is spoken at which path, and at which port of its own."""

from collections.abc import Callable, Mapping

from earshot_asr.server import wire
from earshot_asr.server.dialects.deepgram import Deepgram
from earshot_asr.server.dialects.dialect import Dialect
from earshot_asr.server.dialects.native import Native
from earshot_asr.server.dialects.openai import Realtime
from earshot_asr.server.dialects.sherpa import Sherpa
from earshot_asr.server.dialects.twilio import Twilio
from earshot_asr.server.dialects.vosk import Vosk
from earshot_asr.server.dialects.whisperlive import WhisperLive
from earshot_asr.server.dialects.wyoming import Events, Wyoming
from earshot_asr.server.tcp import Framing

DIALECTS: Mapping[str, type[Dialect]] = {
    wire.PATH: Native,
    "/v1/realtime": Realtime,
    "/vosk": Vosk,
    "/v1/listen": Deepgram,
    "/sherpa": Sherpa,
    "/whisperlive": WhisperLive,
    "/v1/twilio": Twilio,
}
"""Path of the websocket handshake on the server's port -> dialect."""
PORTS: Mapping[str, type[Dialect]] = {
    "vosk_port": Vosk,
    "sherpa_port": Sherpa,
    "whisperlive_port": WhisperLive,
}
"""Setting that names a port, as `vosk_port` -> dialect that is spoken there at every path."""
TCP_PORTS: Mapping[str, tuple[type[Dialect], Callable[[], Framing]]] = {
    "wyoming_port": (Wyoming, Events),
}
"""Setting that names a port -> dialect that is spoken there over plain TCP, and what cuts its messages."""
