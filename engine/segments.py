"""Live WebVTT in segments, as players of HLS poll it (RFC 8216, 3.5): a file every few seconds, and a growing playlist.

No I/O: the methods return the files to write, in that order, by name. A segment is written once, when all cues that
are shown in it are known; a cue that is shown in two is in both. Times count from the start of the stream.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.engine.captions import vtt_cue
from earshot_asr.engine.cues import GAP_MS, CaptionUtterance, Cue, CueTimer

SEGMENT_MS = 6000
"""Length of a segment; Apple's recommendation."""
PLAYLIST = "captions.m3u8"
HEADER = "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0\n\n"

Files = Iterator[tuple[str, str]]
"""Names of files and what they hold."""


class Segments:
    """Cuts the captions of a stream into segments.

    began    when its first sample was recorded, by which a player finds the place in a video; None: it is not known
    """

    def __init__(self, began: datetime | None = None) -> None:
        self.began = began
        self._timer = CueTimer()
        self._cues: list[Cue] = []  # that are shown in segments to come
        self._lengths_ms: list[int] = []  # of the segments so far
        self._known_ms = 0

    def feed(self, utterance: CaptionUtterance) -> Files:
        """Takes the next utterance."""
        self._cues += self._timer.feed(utterance)
        yield from self._reached(utterance.cut)

    def silent(self, cut: int) -> Files:
        """All before sample `cut` was told, and no word since the last utterance."""
        self._cues += self._timer.silent(cut)
        yield from self._reached(cut)

    def finish(self, duration: Seconds) -> Files:
        """The stream has ended: the last segment is as long as it is."""
        self._cues += self._timer.finish(duration)
        end_ms = max([round(duration * 1000), *(cue.end_ms for cue in self._cues)])
        yield from self._written(end_ms // SEGMENT_MS)
        if (rest := end_ms - SEGMENT_MS * len(self._lengths_ms)) > 0:
            yield self._segment(rest)
        yield PLAYLIST, self._playlist(ended=True)

    def _reached(self, cut: int) -> Files:
        """A cue may still come that begins at `cut`, or where the kept one does, or a little earlier."""
        known = round(cut / SAMPLE_RATE * 1000)
        kept = self._timer.kept_from_ms
        self._known_ms = max(self._known_ms, known if kept is None else min(known, kept))
        yield from self._written((self._known_ms - GAP_MS) // SEGMENT_MS)

    def _written(self, count: int) -> Files:
        """Segments, until there are so many; then the playlist."""
        if len(self._lengths_ms) >= count:
            return
        while len(self._lengths_ms) < count:
            yield self._segment(SEGMENT_MS)
        yield PLAYLIST, self._playlist(ended=False)

    def _segment(self, length_ms: int) -> tuple[str, str]:
        number = len(self._lengths_ms)
        start_ms = number * SEGMENT_MS
        end_ms = start_ms + length_ms
        self._lengths_ms.append(length_ms)
        text = HEADER + "".join(vtt_cue(cue) for cue in self._cues if cue.start_ms < end_ms)
        self._cues = [cue for cue in self._cues if cue.end_ms > end_ms]
        return _name(number), text

    def _playlist(self, *, ended: bool) -> str:
        return "\n".join([*self._lines(), *(["#EXT-X-ENDLIST"] if ended else []), ""])

    def _lines(self) -> Iterable[str]:
        yield from ("#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{SEGMENT_MS // 1000}")
        yield from ("#EXT-X-MEDIA-SEQUENCE:0", "#EXT-X-PLAYLIST-TYPE:EVENT")
        if self.began is not None:
            began = self.began.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            yield f"#EXT-X-PROGRAM-DATE-TIME:{began}"
        for number, length_ms in enumerate(self._lengths_ms):
            yield f"#EXTINF:{length_ms / 1000:.3f},"
            yield _name(number)


def _name(number: int) -> str:
    return f"captions-{number:06}.vtt"
