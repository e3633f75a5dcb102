"""Which frames are encoded together, and when. All numbers are integers: frames of the stream.

[ left | hop | right ]      a hop window: its hop follows the last one's, its right context is only looked at
[ margin | utterance ]      the final window of an utterance

Where somebody pauses, a pause window takes all that was said, and a little of the silence behind it. If the pause lasts
until it ends the utterance, that was its final window already.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from earshot_asr.engine.config import Timing


@dataclass(frozen=True, slots=True)
class Window:
    """Encodes `frames` frames from frame `start` on. Those in [emit_from, emit_to) are decoded for good.

    final        the last window of an utterance
    droppable    a newer window of the utterance may take its place, under load
    segment      first frame of the utterance; after a split, windows of two utterances may have the same frames
    split        the utterance is too long: the window's log-probabilities decide where it ends
    pause        the utterance's last window, unless somebody speaks on
    """

    start: int
    frames: int
    emit_from: int
    emit_to: int
    final: bool
    droppable: bool
    segment: int
    split: bool = False
    pause: bool = False

    def __post_init__(self) -> None:
        assert 0 <= self.start <= self.emit_from < self.emit_to <= self.end and self.segment <= self.emit_from, self

    @property
    def end(self) -> int:
        """One past the last frame."""
        return self.start + self.frames

    @property
    def kind(self) -> str:
        """hop, pause or final."""
        return "final" if self.final else "pause" if self.pause else "hop"


def merge(older: Window, newer: Window) -> Window:
    """One window in the place of one that is droppable and the one that follows it: it emits the frames of both."""
    assert older.droppable and not newer.final, (older, newer)
    assert (older.segment, older.emit_to) == (newer.segment, newer.emit_from), (older, newer)
    start = min(older.start, newer.start)
    return replace(newer, start=start, frames=newer.end - start, emit_from=older.emit_from)


class WindowPlanner:
    """Plans the windows of one utterance, whose first frame is `start`, on the sample clock."""

    def __init__(self, timing: Timing, start: int) -> None:
        self.timing = timing
        self.start = start
        self._emitted = self._reach = start
        self._paused_at: int | None = None

    @property
    def committed(self) -> int:
        """One past the last frame that hop windows commit: the utterance can't end before it."""
        return self.start if self.timing.provisional else self._emitted

    def due(self, frames: int, until: int) -> Iterator[Window]:
        """The windows that are due once `frames` frames of the stream are complete: a hop window ends every hop.

        Until they have their full length, they are less sure of what they hear: they keep the more right context, the
        more they lack, and the first ones emit a frame each: of the pre-roll, in which nothing is said yet. No window
        has more left context than the final one.

        until    where the utterance would end if it were silent from now on: once that is reached there is a pause
        """
        t = self.timing
        while t.hops:
            reach = self._reach + t.hop
            if self._emitted < until <= min(frames, reach):
                yield self._pause(until)
            elif reach <= frames:
                self._reach = reach
                if self._emitted < until:  # else there is silence, which is not encoded
                    yield self._hop(reach)
            else:
                return

    def _hop(self, reach: int) -> Window:
        t = self.timing
        first = max(0, self._emitted - t.left, self.start - t.margin)
        lacking = t.left + t.hop + t.right - (reach - first)
        emit_to = max(self._emitted + 1, reach - max(t.right, lacking))
        window = Window(first, reach - first, self._emitted, emit_to, False, t.provisional, self.start)
        self._emitted = emit_to
        return window

    def _pause(self, until: int) -> Window:
        """With `commit: utterance` it covers the whole utterance, else what no hop window has emitted."""
        first, droppable = self._first(self._emitted), self.timing.provisional
        window = Window(first, until - first, self._emitted, until, False, droppable, self.start, pause=True)
        self._emitted = self._paused_at = until
        return window

    def last(self, end: int, *, split: bool = False) -> Window | None:
        """The final window of an utterance that ends before frame `end`; None if a pause window was it already.

        With `commit: utterance` it covers the whole utterance, else what no hop window has emitted.
        """
        emit_from = self.start if self.timing.provisional else self._emitted
        if end <= emit_from or end == self._paused_at:
            return None
        first = self._first(emit_from)
        return Window(first, end - first, emit_from, end, True, False, self.start, split)

    def _first(self, emit_from: int) -> int:
        """The first frame of a window: its left context, where hop windows commit, is theirs."""
        t = self.timing
        return max(0, self.start - t.margin, 0 if t.provisional else emit_from - t.left)
