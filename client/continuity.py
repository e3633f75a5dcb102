"""Joins the messages of successive connections into one sequence without repetitions. No I/O.

A server that resumes a stream starts again at the last cut, the sample before which all text is final, and repeats its
messages about the audio after it. Partials that the reader has seen are left out, and the counts in acks never go back.
"""

from earshot_asr.server.wire import Ack, FinalMessage, PartialMessage, Ready, ServerMessage


class Continuity:
    """Takes the messages of a stream as they arrive, and returns those that the reader should see."""

    def __init__(self) -> None:
        self.cut = 0
        """The newest cut, in samples: the reader has all text before it."""
        self._ack = Ack(0, 0, 0)
        self._open: PartialMessage | None = None  # the newest partial of an utterance that has no final yet
        self._seen: tuple[int, float] | None = None  # segment and end of the newest partial before the resumption

    def resumed(self) -> None:
        """The next messages come from another connection, which starts again at the cut."""
        self._seen = (self._open.segment, self._open.end) if self._open else None

    def filter(self, message: ServerMessage) -> list[ServerMessage]:
        """Takes a message of the server, and returns the messages for the reader."""
        match message:
            case Ready():
                return []
            case PartialMessage():
                return self._partial(message)
            case FinalMessage() if message.cut <= self.cut:
                return []
            case FinalMessage():
                return [*(w for w in self._cut_at(message.cut) if w.segment != message.segment), message]
            case Ack():
                was = self._ack
                self._ack = Ack(
                    max(was.received, message.received),
                    max(was.committed, message.committed),
                    max(was.cut, message.cut),
                )
                return [*self._cut_at(message.cut), self._ack]
            case _:
                return [message]

    def _partial(self, partial: PartialMessage) -> list[ServerMessage]:
        if partial.segment < self.cut or (self._seen and (partial.segment, partial.end) <= self._seen):
            return []
        self._open, self._seen = partial, None
        return [partial]

    def _cut_at(self, cut: int) -> list[PartialMessage]:
        """Closes the open utterance if it is before the cut. If it got no final, returns an empty partial for it."""
        self.cut = max(self.cut, cut)
        if self._open is None or self._open.segment >= cut:
            return []
        was, self._open, self._seen = self._open, None, None
        return [PartialMessage(was.segment, was.start, was.end, "", 0)] if was.text else []
