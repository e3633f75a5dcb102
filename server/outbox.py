"""What waits until the client reads it."""

from earshot_asr.engine.events import Final, Partial
from earshot_asr.server.notices import FlushAnswered, Notice, Progress, Reply
from earshot_asr.server.refusals import Refused

SLOW_READER_NOTICES = 32
"""From this many unsent notices on, a new partial or progress replaces the older ones that it makes obsolete."""


class Outbox:
    """A bounded queue: a slow reader misses outdated partials and progress, but never a final.

    limit    a client that leaves this many notices and replies unread is given up
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._unsent: list[Notice | Reply] = []

    def __len__(self) -> int:
        return len(self._unsent)

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return len(self._unsent) >= self._limit

    def put(self, notice: Notice | Reply) -> None:
        """Adds a notice or reply. Raises Refused (slow_reader) when, with it, the limit is reached."""
        if len(self._unsent) >= SLOW_READER_NOTICES:
            self._unsent = [old for old in self._unsent if not _replaces(notice, old)]
        self._unsent.append(notice)
        # Progress replaces its like, and the kinds that are not named here come once: they can't pile up.
        if isinstance(notice, Partial | Final | FlushAnswered | Reply) and self.full:
            raise Refused("slow_reader", f"{self._limit} messages were not read")

    def take(self) -> list[Notice | Reply]:
        """What to send now, in order; each is handed out once."""
        unsent, self._unsent = self._unsent, []
        return unsent


def _replaces(new: Notice | Reply, old: Notice | Reply) -> bool:
    match new, old:
        case Progress(), Progress():
            return True
        case Partial(), Partial():
            return new.segment == old.segment
        case _:
            return False
