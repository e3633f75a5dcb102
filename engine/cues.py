"""Cues: utterances cut into what is shown at one time, where a viewer can read it. No I/O.

A cue ends where the speaker pauses or a phrase ends, and stays into the pause that follows until it can be read.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

from rich.cells import cell_len, chop_cells

from earshot_asr.engine import events, scripts
from earshot_asr.engine.audio import SAMPLE_RATE, Seconds

CUE_LINE_COUNT = 2
"""Maximum number of lines of a cue, which is what is shown at one time."""
GAP_MS = 80
"""Minimum gap between two cues, two frames of 25 a second, by which a viewer sees that the text is another."""
MAX_CUE_MS = 7000
"""Maximum duration of a cue of several words."""
MIN_CUE_MS = 1000
"""A shorter cue is shown for this long if the next one does not begin earlier."""
MAX_PAUSE_MS = 1000
"""Maximum pause between two words of a cue."""
CLEAR_PAUSE_MS = 500
"""A pause that ends a phrase for certain."""

SENTENCE_END, CLAUSE_END = tuple(".?!…。？！।؟"), tuple(",;:–—、，；：،؛")
OPENING = frozenset({
    "a", "an", "the", "this", "these", "that", "those", "which", "who", "whom", "whose", "what", "where", "when",
    "while", "if", "because", "although", "though", "unless", "until", "since", "than", "as", "and", "or", "but",
    "nor", "so", "yet", "of", "to", "in", "on", "at", "by", "for", "with", "from", "into", "onto", "upon", "about",
    "after", "before", "between", "through", "during", "under", "over", "without", "within", "against", "among",
    "toward", "towards", "per", "my", "your", "his", "her", "its", "our", "their", "is", "are", "was", "were",
    "be", "been", "am", "has", "have", "had", "do", "does", "did", "will", "would", "can", "could", "shall",
    "should", "may", "might", "must", "not", "no", "very",
})  # fmt: skip
"""English words with which a phrase begins, or which lean on the next word: a cue is not to end with one."""
ROUGH, RUSHED = 1.5, 3.0
"""Weights, beside that of an unfilled cue, of an end in mid-phrase, and of text that is faster than can be read."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What fits, and what can be read. A full-width character, of Chinese, Japanese or Korean, has two columns.

    line_columns                  maximum width of a line of SRT and WebVTT
    reading_columns_per_second    a cue is shown for long enough to be read so fast, spaces counted, if the next one
                                  does not begin earlier
    """

    line_columns: int
    reading_columns_per_second: int

    @property
    def cue_columns(self) -> int:
        """Maximum width of a cue's lines, added."""
        return CUE_LINE_COUNT * self.line_columns

    def reading_ms(self, columns: int) -> int:
        """How long a cue of so many columns is to be shown."""
        return max(MIN_CUE_MS, -(-columns * 1000 // self.reading_columns_per_second))


LATIN = Limits(42, 17)
FULL_WIDTH = {"[\u3041-\u30ff]": Limits(26, 8), "[\uac00-\ud7a3]": Limits(32, 24), "[\u3400-\u9fff]": Limits(32, 18)}
"""By characters that a text has: Japanese, Korean, Chinese. As Netflix's guides to timed text have it: 13, 16 and 16
full-width characters a line; 4, 12 and 9 a second."""


def limits_of(text: str) -> Limits:
    """The limits for the script of a text."""
    return next((limits for letters, limits in FULL_WIDTH.items() if re.search(letters, text)), LATIN)


class CaptionWord(Protocol):
    """A word of an utterance; times in seconds."""

    @property
    def text(self) -> str: ...
    @property
    def start(self) -> Seconds: ...
    @property
    def end(self) -> Seconds: ...
    @property
    def confidence(self) -> float: ...


class CaptionUtterance(Protocol):
    """A final, of the engine or of the wire protocol. All words of later finals are after sample `cut`."""

    @property
    def start(self) -> Seconds: ...
    @property
    def end(self) -> Seconds: ...
    @property
    def text(self) -> str: ...
    @property
    def confidence(self) -> float: ...
    @property
    def cut(self) -> int: ...
    @property
    def words(self) -> Sequence[CaptionWord] | None: ...


@dataclass(frozen=True, slots=True)
class Piece:
    """A word, or a part of a word that is longer than a line. `at`: the column in which it begins in the text."""

    text: str
    at: int
    start_ms: int
    end_ms: int

    @property
    def to(self) -> int:
        """The column after its last."""
        return self.at + cell_len(self.text)


@dataclass(frozen=True, slots=True)
class Cue:
    """Lines that are shown from `start_ms` to `end_ms`."""

    lines: tuple[str, ...]
    start_ms: int
    end_ms: int


class CueTimer:
    """Splits utterances into cues of at most two lines. Cues are in order, GAP_MS apart, and last at least 1 ms.

    A cue whose reading takes longer than its utterance is known to be followed by silence is kept until the next
    utterance, or the end.
    """

    def __init__(self) -> None:
        self._open: Cue | None = None  # it ends when it has been read, if nothing comes before
        self._spoken_ms = 0  # the end of its last word
        self._free_ms = 0  # no cue begins before

    def feed(self, utterance: CaptionUtterance) -> Iterator[Cue]:
        """The cues of an utterance whose ends are known, the one kept before them first."""
        limits = limits_of(utterance.text)
        pieces = list(_pieces(utterance, limits))
        cut_ms = round(utterance.cut / SAMPLE_RATE * 1000)
        for begin, end in _spans(pieces, cut_ms, limits):
            yield from self._close(pieces[begin].start_ms - GAP_MS)
            start_ms = max(pieces[begin].start_ms, self._free_ms)
            self._spoken_ms = max(pieces[end - 1].end_ms, start_ms + 1)
            read_ms = start_ms + limits.reading_ms(_width(pieces, begin, end))
            self._open = Cue(_lines(pieces, begin, end, limits), start_ms, max(self._spoken_ms, read_ms))
        yield from self.silent(utterance.cut)

    def silent(self, cut: int) -> Iterator[Cue]:
        """No word was said since the last utterance and before sample `cut`: a cue that has been read is known."""
        if self._open is not None and self._open.end_ms <= round(cut / SAMPLE_RATE * 1000) - GAP_MS:
            yield from self._close(self._open.end_ms)

    @property
    def kept_from_ms(self) -> int | None:
        """Where the cue begins that is kept; None: there is none."""
        return None if self._open is None else self._open.start_ms

    def finish(self, duration: Seconds) -> Iterator[Cue]:
        """The cue that was kept, if there is one. It ends with the recording, or with its last word."""
        yield from self._close(max(round(duration * 1000), self._spoken_ms))

    def _close(self, latest_ms: int) -> Iterator[Cue]:
        """The open cue, which ends at `latest_ms` at the latest."""
        if self._open is not None:
            cue = replace(self._open, end_ms=max(self._open.start_ms + 1, min(self._open.end_ms, latest_ms)))
            self._open, self._free_ms = None, cue.end_ms + GAP_MS
            yield cue


# ---- words


def _pieces(utterance: CaptionUtterance, limits: Limits) -> Iterator[Piece]:
    """The words, at their places in the text. An utterance without timed words gets words with estimated times."""
    at = position = 0
    for word in utterance.words or _spread(utterance):
        found = utterance.text.find(word.text, position)
        at += not found == position > 0 and at > 0
        position = max(found, position) + len(word.text)
        start_ms, end_ms = round(word.start * 1000), round(word.end * 1000)
        text = " ".join(word.text.split())
        first = 0
        for part in chop_cells(text, limits.line_columns):
            times = [start_ms + (end_ms - start_ms) * n // len(text) for n in (first, first + len(part))]
            yield Piece(part, at, *times)
            first += len(part)
            at += cell_len(part)


def _spread(utterance: CaptionUtterance) -> Iterator[CaptionWord]:
    """The words of the text, with the utterance's duration divided in proportion to their lengths."""
    texts = scripts.split(utterance.text)
    seconds_per_letter = (utterance.end - utterance.start) / max(1, sum(map(len, texts)))
    start = utterance.start
    for text in texts:
        end = start + seconds_per_letter * len(text)
        yield events.Word(text, start, end, utterance.confidence)
        start = end


# ---- cues


def _spans(pieces: list[Piece], cut_ms: int, limits: Limits) -> list[tuple[int, int]]:
    """Groups pieces into cues [begin, end): few, evenly filled, ending with phrases, and not faster than can be read.

    Minimizes the total cost by dynamic programming, as Knuth and Plass (1981) break lines.
    """
    costs = [0.0]  # [n]: the lowest cost of grouping the first n pieces
    begins = [0]  # [n]: where the last cue of that grouping begins
    for end in range(1, len(pieces) + 1):
        next_ms = pieces[end].start_ms if end < len(pieces) else cut_ms
        rough = _roughness(pieces, end)
        cost, begin = min(
            (costs[begin] + _cost(pieces, begin, end, next_ms, limits) + ROUGH * rough, begin)
            for begin in _beginnings(pieces, end, limits)
        )
        costs.append(cost)
        begins.append(begin)
    spans = []
    end = len(pieces)
    while end:
        spans.append((begins[end], end))
        end = begins[end]
    return spans[::-1]


def _beginnings(pieces: list[Piece], end: int, limits: Limits) -> Iterator[int]:
    """Where a cue that ends before piece `end` may begin, in descending order. One piece is always allowed."""
    yield end - 1
    for begin in range(end - 2, -1, -1):
        pause = pieces[begin + 1].start_ms - pieces[begin].end_ms
        duration = pieces[end - 1].end_ms - pieces[begin].start_ms
        if pause > MAX_PAUSE_MS or duration > MAX_CUE_MS or not _splits(pieces, begin, end, limits):
            return
        yield begin


def _cost(pieces: list[Piece], begin: int, end: int, next_ms: int, limits: Limits) -> float:
    """How far a cue is from a full one that can be read before `next_ms`."""
    width = _width(pieces, begin, end)
    missing_ms = limits.reading_ms(width) - (next_ms - GAP_MS - pieces[begin].start_ms)
    return (1 - width / limits.cue_columns) ** 2 + RUSHED * max(missing_ms, 0) / 1000


def _roughness(pieces: list[Piece], end: int) -> float:
    """How unwelcome an end before piece `end` is: from 0, where a sentence ends, to 1.5, in mid-phrase."""
    if end == len(pieces) or pieces[end - 1].text.endswith(SENTENCE_END):
        return 0.0
    if pieces[end - 1].text.endswith(CLAUSE_END):
        return 0.1
    pause = min(max(pieces[end].start_ms - pieces[end - 1].end_ms, 0) / CLEAR_PAUSE_MS, 1.0)
    leaning = 0.5 * _opens(pieces[end - 1])
    return (1 - 0.25 * _opens(pieces[end])) * (1 - pause) + leaning


def _opens(piece: Piece) -> bool:
    return piece.text.lower() in OPENING


# ---- lines


def _width(pieces: list[Piece], begin: int, end: int) -> int:
    return pieces[end - 1].to - pieces[begin].at


def _splits(pieces: list[Piece], begin: int, end: int, limits: Limits) -> list[int]:
    """Where the second of two lines may begin; `end` for one line; none if the text is too long."""
    if _width(pieces, begin, end) <= limits.line_columns:
        return [end]
    first = bisect_left(pieces, pieces[end - 1].to - limits.line_columns, begin + 1, end, key=lambda piece: piece.at)
    last = bisect_left(pieces, pieces[begin].at + limits.line_columns + 1, begin + 1, end, key=lambda piece: piece.to)
    return list(range(first, min(last, end - 1) + 1))


def _lines(pieces: list[Piece], begin: int, end: int, limits: Limits) -> tuple[str, ...]:
    """One line, or two of similar length, the first of which ends with a phrase."""
    splits = _splits(pieces, begin, end, limits)
    if splits == [end]:
        return (_line(pieces, begin, end),)

    def cost(i: int) -> float:
        uneven = (_width(pieces, i, end) - _width(pieces, begin, i) - 1) / limits.line_columns
        return uneven**2 + ROUGH * _roughness(pieces, i)

    i = min(splits, key=cost)
    return _line(pieces, begin, i), _line(pieces, i, end)


def _line(pieces: list[Piece], begin: int, end: int) -> str:
    """The pieces as one line of text."""
    line = pieces[begin].text
    for before, piece in pairwise(pieces[begin:end]):
        line += " " * (piece.at - before.to) + piece.text
    return line
