"""A protocol for tests, as unlike the native one as the seam allows: settings in the query, words instead of JSON."""

import base64
from collections.abc import Iterable, Mapping
from typing import ClassVar

from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import ProtocolError
from earshot_asr.engine.events import Final, Partial
from earshot_asr.engine.sources import RawFormat
from earshot_asr.server import refusals
from earshot_asr.server.admission import StreamRequest
from earshot_asr.server.dialects.dialect import Dialect
from earshot_asr.server.notices import Admitted, Finished, FlushAnswered, Notice, Progress, Refusal, Remark
from earshot_asr.server.refusals import Refused


class Shout(Dialect):
    """ws://HOST:PORT/shout?rate=8000 with the header `X-Key: sesame`; audio is mu-law, bare or in base64."""

    close_codes: ClassVar[Mapping[str, int]] = {code: 4000 for code in refusals.CLOSE_CODES} | {"forbidden": 4001}

    def on_handshake(self) -> None:
        if self.handshake.headers.get("x-key") != "sesame":
            raise Refused("forbidden", "the key is wrong")
        rate = int(self.handshake.query.get("rate", ["16000"])[-1])
        config = StreamConfig.preset(self.conversation.latency)
        self.conversation.open(StreamRequest(config=config, audio=RawFormat("mulaw", rate)))

    def on_text(self, text: str) -> None:
        for command in text.splitlines():
            match command.split():
                case ["audio", data]:
                    self.conversation.feed(base64.b64decode(data))
                case ["now"]:
                    self.conversation.flush()
                case ["end"]:
                    self.conversation.finish()
                case ["ping"]:
                    self.reply("pong")
                case _:
                    raise ProtocolError(f"can't understand {command!r}")

    def on_binary(self, data: bytes) -> None:
        self.conversation.feed(data)

    def say(self, notice: Notice) -> Iterable[str | bytes]:
        match notice:
            case Admitted():
                return [f"welcome {notice.session}"]
            case Partial():
                return [f"{notice.text}?"]
            case Final():
                return [f"{word.text}!" for word in notice.words]
            case FlushAnswered():
                return [b"\x06"]
            case Progress() | Remark():
                return []
            case Finished():
                return ["bye"]
            case Refusal():
                return [f"no: {notice.sentence}"]
