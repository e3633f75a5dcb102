"""What every protocol has to provide to be spoken here."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar

from earshot_asr.server.conversation import WAITING, Conversation
from earshot_asr.server.handshake import Handshake, Page
from earshot_asr.server.notices import Notice, Refusal, Reply
from earshot_asr.server.refusals import CLOSE_CODES, Refused
from earshot_asr.server.settings import Limits

REASON_BYTES = 123
"""As much of a reason a close frame can hold."""


class Dialect(ABC):
    """Turns the messages of one client into calls of its conversation, and the conversation's notices into messages.

        dialect.begin()                         # when the handshake is over
        dialect.receive(message)                # unless conversation.blocked
        for message in dialect.messages(): ...  # to be sent, in order
        if dialect.close: ...                   # when all that is sent

    A subclass writes on_handshake, on_text, on_binary and say. In the first three it may call the conversation's open,
    feed, flush and finish, and reply(); and it may raise Refused (its code and sentence are said), another
    ProtocolError or ConfigError (said as invalid_message), AudioError (invalid_audio). Whatever else it raises is a
    fault of the server.
    """

    close_codes: ClassVar[Mapping[str, int]] = CLOSE_CODES
    """The close code for each code of a refusal; a subclass adds its own codes."""
    message_bytes: ClassVar[int | None] = None
    """Maximum size of a client's message; None: the setting of the server."""
    has_keepalive: ClassVar[bool] = True
    """Whether a client can say that a stream without audio is still wanted. If not, it may be quiet for as long as
    others may be silent, before its first message, too."""
    credential_comes_later: ClassVar[bool] = False
    """Whether the token comes in a message: then authorize() is to be called before the stream is opened."""

    def __init__(self, conversation: Conversation, handshake: Handshake) -> None:
        self.conversation = conversation
        self.handshake = handshake
        self.why = ""
        """Why the stream was refused, in a sentence."""

    # ---- called while the handshake is answered; none of these raises

    @classmethod
    def credential(cls, handshake: Handshake) -> str | None:
        """The token in the handshake, if there is one."""
        return handshake.authorization

    @classmethod
    def subprotocol(cls, handshake: Handshake) -> str | None:
        """Which of the sub-protocols that the client offers is spoken."""
        return None

    @classmethod
    def refusal(cls, handshake: Handshake) -> Page | None:
        """The answer in place of the websocket, where the request asks for what this protocol refuses at once."""
        return None

    @classmethod
    def unauthorized(cls, sentence: str) -> Page | None:
        """The answer to a client without a valid token, if this protocol has its own."""
        return None

    # ---- called by the connection; none of these raises

    @classmethod
    def limits(cls, limits: Limits) -> Limits:
        """What of the server's limits holds for a client of this protocol."""
        if cls.message_bytes is not None:
            limits = replace(limits, message_bytes=cls.message_bytes)
        if not cls.has_keepalive:
            limits = replace(limits, handshake_seconds=limits.silent_seconds, idle_seconds=limits.silent_seconds)
        return limits

    def begin(self) -> None:
        """The handshake is over."""
        self.conversation.attempt(self.on_handshake)

    def receive(self, message: str | bytes) -> None:
        """A text message (str) or a binary one (bytes) came from the client."""
        if isinstance(message, str):
            self.conversation.receive(size_bytes(message), lambda: self.on_text(message))
        else:
            self.conversation.receive(size_bytes(message), lambda: self.on_binary(message))

    def tick(self) -> None:
        """TICK_SECONDS have passed. A subclass may do more, within attempt()."""
        self.conversation.tick()

    def messages(self) -> list[str | bytes]:
        """The messages to send now, in order; each is handed out once."""
        messages: list[str | bytes] = []
        for each in self.conversation.outbox.take():
            if isinstance(each, Reply):
                messages.append(each.message)
                continue
            if isinstance(each, Refusal):
                self.why = each.sentence
            messages.extend(self.say(each))
        return messages

    def client_gone(self) -> bool:
        """The client has gone. Whether its stream is to be finished all the same, as others are told of it, too."""
        return False

    @property
    def close(self) -> tuple[int, str] | None:
        """Close code and reason once the conversation has ended, to be acted on after messages(); None before."""
        if not self.conversation.ended:
            return None
        return self.close_frame(self.conversation.error)

    # ---- used by the dialect

    def reply(self, message: str | bytes) -> None:
        """Sends a message that no notice stands for, such as the answer to a ping, after all notices so far.

        Raises Refused if the client does not read.
        """
        self.conversation.outbox.put(Reply(message))

    def authorize(self, token: str | None) -> None:
        """The client's token has come, in a message. Raises Refused if it is not valid, or comes behind the start."""
        if self.conversation.state is not WAITING:  # the stream counts for the account that it was opened for
            raise Refused("start_repeated", "the stream was started already; a connection has only one")
        self.conversation.authorize(token)

    # ---- written by each dialect

    def close_frame(self, error: str | None) -> tuple[int, str]:
        """Close code and reason for a conversation that ended with that error, or without one."""
        return (1000, "") if error is None else (self.close_codes[error], error)

    @abstractmethod
    def on_handshake(self) -> None:
        """Before any message: a dialect that takes its settings from path, query or headers opens the stream here."""

    @abstractmethod
    def on_text(self, text: str) -> None:
        """A text message of the client."""

    @abstractmethod
    def on_binary(self, data: bytes) -> None:
        """A binary message of the client."""

    @abstractmethod
    def say(self, notice: Notice) -> Iterable[str | bytes]:
        """The messages, any number, that tell the client of a notice."""


def as_reason(sentence: str) -> str:
    """As much of a sentence as a close frame can hold."""
    return sentence.encode(errors="replace")[:REASON_BYTES].decode(errors="ignore")


def size_bytes(message: str | bytes) -> int:
    """Bytes of a message on the wire."""
    return len(message) if isinstance(message, bytes) else len(message.encode(errors="surrogatepass"))
