"""Which frames are encoded together, and when: whole numbers only.

[ left | hop | right ]      a hop window: the hop is stitched onto the last one, the right context is peeked at
[ margin | utterance ]      the final window of an utterance
"""

from collections.abc import Iterator
from dataclasses import dataclass

from earshot_asr.engine.config import Timing


@dataclass(frozen=True, slots=True)
class Window:
    """`frames` frames from frame `start` on are encoded; those in [emit_from, emit_to) count for good.

    final        ends an utterance
    droppable    a newer one may take over
    segment      the first frame of the utterance it is for; behind a split, two utterances may want the same frames
    split        ends an utterance that is too long: what the window says decides where
    """

    start: int
    frames: int
    emit_from: int
    emit_to: int
    final: bool
    droppable: bool
    segment: int
    split: bool = False

    def __post_init__(self) -> None:
        assert 0 <= self.start <= self.emit_from < self.emit_to <= self.end and self.segment <= self.emit_from, self

    @property
    def end(self) -> int:
        """The frame past the last."""
        return self.start + self.frames


def merge(older: Window, newer: Window) -> Window:
    """The newer hop window of a stream takes over: its new part reaches back to where the older one's began."""
    assert older.droppable and newer.droppable, (older, newer)
    assert (older.segment, older.emit_to) == (newer.segment, newer.emit_from), (older, newer)
    return Window(older.start, newer.end - older.start, older.emit_from, newer.emit_to, False, True, older.segment)


class WindowPlanner:
    """Plans the windows of one utterance, whose first frame is `start`, on the sample clock."""

    def __init__(self, timing: Timing, start: int) -> None:
        self.timing = timing
        self.start = start
        self._emitted = start

    @property
    def committed(self) -> int:
        """The frame past the last one that a hop window has committed, or will; the utterance can't end before."""
        return self.start if self.timing.provisional else self._emitted

    def due(self, frames: int, until: int) -> Iterator[Window]:
        """Hop windows that fell due by the time that `frames` frames of the stream are complete.

        None that begins at frame `until` or later: there is silence.
        """
        t = self.timing
        while t.hops and self._emitted < until and self._emitted + t.hop + t.right <= frames:
            first = max(0, self._emitted - t.left)
            end = self._emitted + t.hop + t.right
            window = Window(first, end - first, self._emitted, self._emitted + t.hop, False, t.provisional, self.start)
            self._emitted += t.hop
            yield window

    def last(self, end: int, *, split: bool = False) -> Window | None:
        """The final window of an utterance that ends before frame `end`; None if there is nothing left to emit.

        With `commit: utterance` it covers the whole utterance anew, else what no hop window has emitted.
        """
        t = self.timing
        emit_from, context = (self.start, t.margin) if t.provisional else (self._emitted, t.left)
        if end <= emit_from:
            return None
        first = max(0, emit_from - context)
        return Window(first, end - first, emit_from, end, True, False, self.start, split)
