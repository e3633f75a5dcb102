"""Formats final utterances as text, JSON, SRT or WebVTT: feed(utterance) for each, then finish(duration).

Writers do no I/O. They take finals of the engine and of the wire protocol alike.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from earshot_asr.engine import events
from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.engine.errors import ConfigError

LINE_CHARACTERS = 42
"""Maximum length of a line of SRT and WebVTT."""
CUE_LINE_COUNT = 2
"""Maximum number of lines of a cue, which is what is shown at one time."""
CUE_CHARACTERS = CUE_LINE_COUNT * LINE_CHARACTERS
MAX_CUE_MS = 7000
"""Maximum duration of a cue of several words."""
MIN_CUE_MS = 1000
"""A shorter cue is shown for this long if the next one does not begin earlier."""
MAX_PAUSE_MS = 1000
"""Maximum pause between two words of a cue."""


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


class CaptionWriter(Protocol):
    """Formats the utterances of one recording. Both methods return the text to be written next, which may be empty."""

    def feed(self, utterance: CaptionUtterance) -> str:
        """Takes the next utterance."""
        ...

    def finish(self, duration: Seconds) -> str:
        """Ends the recording, which is `duration` seconds long."""
        ...


def writer(format: str, file: str = "", channel: int | None = None) -> CaptionWriter:
    """The writer of a format for one recording, whose name is `file`, or for one of its channels, from 1 on.

    Raises ConfigError for an unknown format.
    """
    match format:
        case "text":
            return TextWriter(channel)
        case "json":
            return JsonWriter(file, channel)
        case "srt":
            return SrtWriter()
        case "vtt":
            return VttWriter()
    raise ConfigError(f"format is {format!r}; it must be text, json, srt or vtt")


class TextWriter:
    """Plain text, one utterance per line, behind the number of the channel if there is one."""

    def __init__(self, channel: int | None = None) -> None:
        self._before = "" if channel is None else f"{channel}: "

    def feed(self, utterance: CaptionUtterance) -> str:
        """Returns the line of the utterance."""
        return f"{self._before}{utterance.text}\n" if utterance.text else ""

    def finish(self, duration: Seconds) -> str:
        """Returns nothing."""
        return ""


class JsonWriter:
    """JSON lines: one object per recording or channel, written at its end."""

    def __init__(self, file: str, channel: int | None = None) -> None:
        self._of = {"file": file} if channel is None else {"file": file, "channel": channel}
        self._segments: list[dict[str, Any]] = []

    def feed(self, utterance: CaptionUtterance) -> str:
        """Keeps the utterance; returns nothing."""
        self._segments.append(
            {
                **_fields(utterance, "start", "end", "text", "confidence"),
                "words": [_fields(word, "text", "start", "end", "confidence") for word in utterance.words or ()],
            }
        )
        return ""

    def finish(self, duration: Seconds) -> str:
        """Returns the object."""
        text = " ".join(segment["text"] for segment in self._segments)
        whole = {**self._of, "duration": round(duration, 3), "text": text, "segments": self._segments}
        return json.dumps(whole, ensure_ascii=False) + "\n"


def _fields(of: object, *names: str) -> dict[str, Any]:
    return {name: getattr(of, name) for name in names}


class SrtWriter:
    """SubRip (.srt)."""

    def __init__(self) -> None:
        self._timer = CueTimer()
        self._number = 0

    def feed(self, utterance: CaptionUtterance) -> str:
        """Returns the utterance's cues."""
        return "".join(map(self._cue, self._timer.feed(utterance)))

    def finish(self, duration: Seconds) -> str:
        """Returns nothing."""
        return ""

    def _cue(self, cue: "Cue") -> str:
        self._number += 1
        lines = re.sub("--+>", "->", "\n".join(cue.lines))  # SubRip has no way to escape its arrow
        return f"{self._number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n{lines}\n\n"


class VttWriter:
    """WebVTT (W3C, 4 April 2019)."""

    def __init__(self) -> None:
        self._timer = CueTimer()
        self._header = "WEBVTT\n\n"

    def feed(self, utterance: CaptionUtterance) -> str:
        """Returns the utterance's cues, and the header before the first."""
        return self._take_header() + "".join(map(self._cue, self._timer.feed(utterance)))

    def finish(self, duration: Seconds) -> str:
        """Returns the header if there was no utterance."""
        return self._take_header()

    def _take_header(self) -> str:
        header, self._header = self._header, ""
        return header

    def _cue(self, cue: "Cue") -> str:
        lines = "\n".join(cue.lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n{lines}\n\n"


def _clock(ms: int, point: str) -> str:
    """Formats milliseconds as hh:mm:ss,mmm, with `point` in place of the comma."""
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{ms:03}"


# ---- cues


@dataclass(frozen=True, slots=True)
class Piece:
    """A word, or a part of a word that is longer than a line. `at`: index of its first character in the text."""

    text: str
    at: int
    start_ms: int
    end_ms: int

    @property
    def to(self) -> int:
        """Index of the character after its last."""
        return self.at + len(self.text)


@dataclass(frozen=True, slots=True)
class Cue:
    """Lines that are shown from `start_ms` to `end_ms`."""

    lines: tuple[str, ...]
    start_ms: int
    end_ms: int


class CueTimer:
    """Splits utterances into cues of at most two lines. Cues are in order, don't overlap, and last at least 1 ms."""

    def __init__(self) -> None:
        self._end_ms = 0

    def feed(self, utterance: CaptionUtterance) -> Iterator[Cue]:
        """The cues of an utterance. A short cue is shown longer, until the next one or the utterance's cut at most."""
        pieces = list(_pieces(utterance))
        spans = _cues(pieces)
        nexts = [pieces[begin].start_ms for begin, _ in spans[1:]] + [round(utterance.cut / SAMPLE_RATE * 1000)]
        for (begin, end), next_ms in zip(spans, nexts, strict=True):
            start_ms = max(pieces[begin].start_ms, self._end_ms)
            end_ms = max(pieces[end - 1].end_ms, min(start_ms + MIN_CUE_MS, next_ms), start_ms + 1)
            self._end_ms = end_ms
            yield Cue(_lines(pieces, begin, end), start_ms, end_ms)


def _pieces(utterance: CaptionUtterance) -> Iterator[Piece]:
    """The words, at their places in the text. An utterance without timed words gets words with estimated times."""
    at = position = 0
    for word in utterance.words or _spread(utterance):
        found = utterance.text.find(word.text, position)
        at += not found == position > 0 and at > 0
        position = max(found, position) + len(word.text)
        start_ms, end_ms = round(word.start * 1000), round(word.end * 1000)
        text = " ".join(word.text.split())
        for first in range(0, len(text), LINE_CHARACTERS):
            part = text[first : first + LINE_CHARACTERS]
            times = [start_ms + (end_ms - start_ms) * n // len(text) for n in (first, first + len(part))]
            yield Piece(part, at, *times)
            at += len(part)


def _spread(utterance: CaptionUtterance) -> Iterator[CaptionWord]:
    """The words of the text, with the utterance's duration divided in proportion to their lengths."""
    texts = utterance.text.split()
    seconds_per_letter = (utterance.end - utterance.start) / max(1, sum(map(len, texts)))
    start = utterance.start
    for text in texts:
        end = start + seconds_per_letter * len(text)
        yield events.Word(text, start, end, utterance.confidence)
        start = end


def _cues(pieces: list[Piece]) -> list[tuple[int, int]]:
    """Groups pieces into cues [begin, end): few of them, evenly filled, and ending where the speaker pauses.

    Minimizes the total cost by dynamic programming, as Knuth and Plass (1981) break lines.
    """
    costs = [0.0]  # [n]: the lowest cost of grouping the first n pieces
    begins = [0]  # [n]: where the last cue of that grouping begins
    for end in range(1, len(pieces) + 1):
        cost, begin = min((costs[begin] + _cost(pieces, begin, end), begin) for begin in _beginnings(pieces, end))
        costs.append(cost)
        begins.append(begin)
    spans = []
    end = len(pieces)
    while end:
        spans.append((begins[end], end))
        end = begins[end]
    return spans[::-1]


def _beginnings(pieces: list[Piece], end: int) -> Iterator[int]:
    """Where a cue that ends before piece `end` may begin, in descending order. One piece is always allowed."""
    yield end - 1
    for begin in range(end - 2, -1, -1):
        pause = pieces[begin + 1].start_ms - pieces[begin].end_ms
        duration = pieces[end - 1].end_ms - pieces[begin].start_ms
        if pause > MAX_PAUSE_MS or duration > MAX_CUE_MS or not _lines(pieces, begin, end):
            return
        yield begin


def _cost(pieces: list[Piece], begin: int, end: int) -> float:
    slack = 1 - _width(pieces, begin, end) / CUE_CHARACTERS
    pause = pieces[end].start_ms - pieces[end - 1].end_ms if end < len(pieces) else 0
    return slack**2 - 0.5 * min(max(pause, 0), MAX_PAUSE_MS) / MAX_PAUSE_MS


def _width(pieces: list[Piece], begin: int, end: int) -> int:
    return pieces[end - 1].to - pieces[begin].at


def _lines(pieces: list[Piece], begin: int, end: int) -> tuple[str, ...]:
    """One line, or two of about the same length, the second one longer if in doubt; none if the text is too long."""
    if _width(pieces, begin, end) <= LINE_CHARACTERS:
        return (_line(pieces, begin, end),)
    middle = (pieces[begin].at + pieces[end - 1].to) // 2
    near = bisect_left(pieces, middle, begin + 1, end, key=lambda piece: piece.at)
    splits = [
        (abs(below - above - 1), i)
        for i in range(max(begin + 1, near - 1), min(near + 2, end))
        if max(above := _width(pieces, begin, i), below := _width(pieces, i, end)) <= LINE_CHARACTERS
    ]
    if not splits:
        return ()
    _, i = min(splits)
    return _line(pieces, begin, i), _line(pieces, i, end)


def _line(pieces: list[Piece], begin: int, end: int) -> str:
    """The pieces as one line of text."""
    line = pieces[begin].text
    for before, piece in pairwise(pieces[begin:end]):
        line += " " * (piece.at - before.to) + piece.text
    return line
