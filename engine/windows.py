"""Which frames are encoded together, and when. All numbers are integers: frames of the stream.

[ left | hop | right ]      a hop window: its hop follows the last one's, its right context is only looked at
[ margin | utterance ]      the final window of an utterance
"""

from collections.abc import Iterator
from dataclasses import dataclass

from earshot_asr.engine.config import Timing


@dataclass(frozen=True, slots=True)
class Window:
    """Encodes `frames` frames from frame `start` on. Those in [emit_from, emit_to) are decoded for good.

    final        the last window of an utterance
    droppable    a newer window may take its place, under load
    segment      first frame of the utterance; after a split, windows of two utterances may have the same frames
    split        the utterance is too long: the window's log-probabilities decide where it ends
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
        """One past the last frame."""
        return self.start + self.frames


def merge(older: Window, newer: Window) -> Window:
    """One hop window in the place of two that follow one another: it emits the frames of both."""
    assert older.droppable and newer.droppable, (older, newer)
    assert (older.segment, older.emit_to) == (newer.segment, newer.emit_from), (older, newer)
    return Window(older.start, newer.end - older.start, older.emit_from, newer.emit_to, False, True, older.segment)


class WindowPlanner:
    """Plans the windows of one utterance, whose first frame is `start`, on the sample clock."""

    def __init__(self, timing: Timing, start: int) -> None:
        self.timing = timing
        self.start = start
        self._emitted = self._reach = start

    @property
    def committed(self) -> int:
        """One past the last frame that hop windows commit: the utterance can't end before it."""
        return self.start if self.timing.provisional else self._emitted

    def due(self, frames: int, until: int) -> Iterator[Window]:
        """The hop windows that are due once `frames` frames of the stream are complete: one ends every hop.

        The first ones, which end before an utterance has a hop and its right context, emit a frame each: of the
        pre-roll, in which nothing is said yet. No window has more left context than the final one.

        None whose hop begins at frame `until` or later, where there is silence.
        """
        t = self.timing
        while t.hops and self._emitted < until and self._reach + t.hop <= frames:
            self._reach += t.hop
            emit_to = max(self._emitted + 1, self._reach - t.right)
            first = max(0, self._emitted - t.left, self.start - t.margin)
            yield Window(first, self._reach - first, self._emitted, emit_to, False, t.provisional, self.start)
            self._emitted = emit_to

    def last(self, end: int, *, split: bool = False) -> Window | None:
        """The final window of an utterance that ends before frame `end`; None if no frame is left to emit.

        With `commit: utterance` it covers the whole utterance, else what no hop window has emitted.
        """
        t = self.timing
        emit_from, context = (self.start, t.margin) if t.provisional else (self._emitted, t.left)
        if end <= emit_from:
            return None
        first = max(0, emit_from - context)
        return Window(first, end - first, emit_from, end, True, False, self.start, split)
