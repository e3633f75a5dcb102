"""One sequence of messages out of those of several connections: nothing twice, nothing that goes back. Sans-I/O.

A server that resumes a stream says again what it says of the audio behind the cut. Of that, partials that a reader has
seen already are left out, and counts stay where they are until they are passed.
"""

from earshot_asr.server.wire import Ack, Final, Partial, Ready, ServerMessage


class Continuity:
    """Takes a stream's messages as they come, and gives those that its reader is to see."""

    def __init__(self) -> None:
        self.cut = 0
        """The newest cut: all text before it was told."""
        self._ack = Ack(0, 0, 0)
        self._open: Partial | None = None  # the newest one, of an utterance that has no final yet
        self._seen: tuple[int, float] | None = None  # until a partial is newer than this, it is a repetition

    def resumed(self) -> None:
        """What comes now comes from another connection, which begins again at the cut."""
        self._seen = (self._open.segment, self._open.end) if self._open else None

    def tell(self, message: ServerMessage) -> list[ServerMessage]:
        """A message that has come -> what is to be told."""
        match message:
            case Ready():
                return []
            case Partial():
                return self._partial(message)
            case Final() if message.cut <= self.cut:
                return []
            case Final():
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

    def _partial(self, partial: Partial) -> list[ServerMessage]:
        if partial.segment < self.cut or (self._seen and (partial.segment, partial.end) <= self._seen):
            return []
        self._open, self._seen = partial, None
        return [partial]

    def _cut_at(self, cut: int) -> list[Partial]:
        """Closes what is open before the cut. Returns its withdrawal, where there was no final."""
        self.cut = max(self.cut, cut)
        if self._open is None or self._open.segment >= cut:
            return []
        was, self._open, self._seen = self._open, None, None
        return [Partial(was.segment, was.start, was.end, "", 0)] if was.text else []
