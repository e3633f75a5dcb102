"""A client of any protocol, its conversation and a recognizer, in one thread and without sockets."""

import json
import struct
from typing import Any

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import EarshotError
from earshot_asr.engine.recognizer import Recognizer, StartPoint, Stream
from earshot_asr.server.conversation import Conversation
from earshot_asr.server.dialects.dialect import Dialect
from earshot_asr.server.handshake import Handshake
from earshot_asr.server.settings import Limits
from tests.helpers import FakeRunner


class Line:
    """dialect: what is spoken; target: path and query, as in /vosk?sample_rate=16000. `heard`: all that was sent."""

    def __init__(
        self,
        dialect: type[Dialect],
        target: str,
        runner: FakeRunner | None = None,
        limits: Limits | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.recognizer = Recognizer(runner or FakeRunner(), clock=lambda: 0.0)
        info, limits = self.recognizer.runner.info, dialect.limits(limits or Limits())
        self.conversation = Conversation("5e551on", info, "balanced", limits, self.open, self.prepare)
        self.dialect = dialect(self.conversation, Handshake.of(target, (headers or {}).items()))
        self.heard: list[str | bytes] = []
        self.dialect.begin()
        self.listen()

    def send(self, *messages: str | bytes | dict[str, Any], compute: bool = True) -> None:
        """Text, audio, or what is to be JSON; compute: the engine keeps up."""
        for message in messages:
            self.dialect.receive(json.dumps(message) if isinstance(message, dict) else message)
            self.listen()
            if compute:
                self.compute()

    def compute(self) -> None:
        """The engine does all that is due."""
        while self.recognizer.step() or self.conversation.hungry:
            self.conversation.update()
            self.listen()

    def tick(self, seconds: int = 1) -> None:
        """Time passes."""
        for _ in range(seconds):
            self.dialect.tick()
            self.listen()

    def listen(self) -> None:
        """The client reads."""
        self.heard += self.dialect.messages()

    @property
    def messages(self) -> list[Any]:
        """What was heard, from JSON."""
        return [json.loads(message) for message in self.heard]

    def open(self, config: StreamConfig, at: StartPoint | None) -> Stream:
        """See Conversation."""
        return self.recognizer.open(config, at)

    def prepare(self, config: StreamConfig) -> None:
        """See Conversation."""
        try:
            spoken = self.recognizer.runner.speaking(config.language)
        except EarshotError as error:
            self.conversation.mute(error)
        else:
            self.conversation.speak(spoken.info)


def chunks(pcm: Pcm, samples: int = 3200) -> list[bytes]:
    """Messages of so many samples; 3200 are 0.2 s."""
    return [pcm[at : at + samples].tobytes() for at in range(0, len(pcm), samples)]


def wav_header() -> bytes:
    """Of a file of 8 kHz, in front of samples that are said to have none."""
    form = struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16_000, 2, 16)
    return b"RIFF" + bytes(4) + b"WAVEfmt " + form + b"data" + bytes(4)
