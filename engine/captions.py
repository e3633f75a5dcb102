"""Formats final utterances as text, JSON, SRT or WebVTT: feed(utterance) for each, then finish(duration).

Writers do no I/O. They take finals of the engine and of the wire protocol alike.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Protocol

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.cues import CaptionUtterance, Cue, CueTimer
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.scripts import join


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
        text = join(segment["text"] for segment in self._segments)
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
        """Returns the cues whose ends are known."""
        return self._written(self._timer.feed(utterance))

    def finish(self, duration: Seconds) -> str:
        """Returns the last cue, if it was kept."""
        return self._written(self._timer.finish(duration))

    def _written(self, cues: Iterable[Cue]) -> str:
        text = ""
        for cue in cues:
            self._number += 1
            lines = re.sub("--+>", "->", "\n".join(cue.lines))  # SubRip has no way to escape its arrow
            text += f"{self._number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n{lines}\n\n"
        return text


class VttWriter:
    """WebVTT (W3C, 4 April 2019)."""

    def __init__(self) -> None:
        self._timer = CueTimer()
        self._header = "WEBVTT\n\n"

    def feed(self, utterance: CaptionUtterance) -> str:
        """Returns the cues whose ends are known, and the header before the first."""
        return self._written(self._timer.feed(utterance))

    def finish(self, duration: Seconds) -> str:
        """Returns the last cue, if it was kept, and the header if there was no utterance."""
        return self._written(self._timer.finish(duration))

    def _written(self, cues: Iterable[Cue]) -> str:
        text, self._header = self._header, ""
        return text + "".join(map(vtt_cue, cues))


def vtt_cue(cue: Cue) -> str:
    """A cue, as WebVTT has it."""
    lines = "\n".join(cue.lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n{lines}\n\n"


def _clock(ms: int, point: str) -> str:
    """Formats milliseconds as hh:mm:ss,mmm, with `point` in place of the comma."""
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{ms:03}"
