"""Which protocol is spoken at which path."""

from collections.abc import Mapping

from earshot_asr.server import wire
from earshot_asr.server.dialects.dialect import Dialect
from earshot_asr.server.dialects.native import Native

DIALECTS: Mapping[str, type[Dialect]] = {
    wire.PATH: Native,
}
"""Path of the websocket handshake -> dialect."""
