"""What a viewer sees of an utterance that is not final yet: which of the words heard so far are shown, and when.

A word at the end of a window is cut off, or misheard for want of what follows: of words that a window shows at once,
one in five is heard again as it was if less than 80 ms follow it, and four in five from 240 ms on.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from earshot_asr.engine.config import Calm
from earshot_asr.engine.decoder import DecodedWord

Texts = tuple[str, ...]


class _Place(NamedTuple):
    """A stretch of time in which words are shown, or heard, or both: none of them overlaps those of another place."""

    shown: list[DecodedWord]
    heard: list[DecodedWord]

    @property
    def rivals(self) -> tuple[Texts, Texts]:
        """What is shown, and what was heard instead."""
        return tuple(word.text for word in self.shown), tuple(word.text for word in self.heard)


class Display:
    """Decides which words to show. Depends on nothing but the hypotheses of the windows, in their order.

    A word is shown once `context` frames of its window follow it. A word that is shown makes way for another one
    that was heard twice in a row, or that the decoder has settled on; settled words are always shown.
    """

    def __init__(self, calm: Calm) -> None:
        self.calm = calm
        self._shown: list[DecodedWord] = []
        self._rivals: set[tuple[Texts, Texts]] = set()  # of the window before

    def update(self, heard: Sequence[DecodedWord], settled: int, end: int) -> list[DecodedWord]:
        """The words to show after a window.

        heard      all words of the utterance, as heard up to this window
        settled    so many of them, the first, will not change
        end        one past the window's last frame
        """
        ready = max([settled, *(n for n, word in enumerate(heard, 1) if word.end + self.calm.context <= end)])
        if self.calm.hysteresis:
            self._shown = [*heard[:settled], *self._rest(heard, settled, ready)]
        else:
            self._shown = list(heard[:ready])
        return self._shown

    def _rest(self, heard: Sequence[DecodedWord], settled: int, ready: int) -> list[DecodedWord]:
        """What to show behind the words that are settled."""
        first = heard[settled - 1].end if settled else 0
        held_back = {id(word) for word in heard[ready:]}
        rest: list[DecodedWord] = []
        rivals: set[tuple[Texts, Texts]] = set()
        for place in _places([word for word in self._shown if word.start >= first], heard[settled:]):
            whole = not any(id(word) in held_back for word in place.heard)
            before, now = place.rivals
            if whole and (not (before and now) or before == now or place.rivals in self._rivals):
                rest += place.heard
                continue
            rest += place.shown
            if whole:
                rivals.add(place.rivals)
        self._rivals = rivals
        return rest


def _places(shown: Sequence[DecodedWord], heard: Sequence[DecodedWord]) -> Iterator[_Place]:
    """Groups words that overlap in time, in order."""
    words = sorted([*((word.start, 0, word) for word in shown), *((word.start, 1, word) for word in heard)], key=_order)
    place, end = _Place([], []), 0
    for start, kind, word in words:
        if start >= end and (place.shown or place.heard):
            yield place
            place = _Place([], [])
        place[kind].append(word)
        end = max(end, word.end)
    if place.shown or place.heard:
        yield place


def _order(item: tuple[int, int, DecodedWord]) -> tuple[int, int]:
    return item[:2]
