"""A whole file or stream: its containers, one after the other on one timeline."""

from collections.abc import Iterator
from contextlib import closing

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources.ahead import Ahead
from earshot_asr.engine.sources.container import Container, reason
from earshot_asr.engine.sources.converter import Samples
from earshot_asr.engine.sources.ogg import CAPTURE, ogg_streams
from earshot_asr.engine.sources.reader import Reader
from earshot_asr.engine.sources.timeline import Timeline

MPEG_PS = b"\0\0\1\xba"
"""How MPEG program streams begin: which tracks they have is only known when each has come."""


class Media:
    """What FFmpeg decodes of a file or a stream. Iterates over samples (C, S) and their rate.

    ahead    the bytes, from the first on
    whole    the same as a file that can seek, if it is one: more is known of it then
    track    the audio track to read, from 1 on; None: the one that players choose
    batch    length of the pieces in seconds; None: as suits a file, or a stream; 0: each frame is given out at once

    Raises AudioError at once for what is no audio, and for a track that isn't there.
    """

    def __init__(
        self,
        ahead: Ahead,
        timeline: Timeline,
        *,
        whole: Reader | None = None,
        track: int | None = None,
        batch: Seconds | None = None,
    ) -> None:
        self.damage = ""
        """What was wrong with what has been read."""
        self.notes: list[str] = []
        """What a listener should know of what has been read."""
        self._timeline = timeline
        self._batch = batch
        self._parts = self._containers(ahead, whole, track)
        self.duration: Seconds | None = None
        self._part: Container | None = next(self._parts)
        self.duration, self.channels = self.duration or self._part.duration, self._part.channels

    def __iter__(self) -> Iterator[tuple[Samples, int]]:
        """All that can be decoded. Raises AudioError if that is nothing."""
        failed: AudioError | None = None
        while (part := self._part) is not None:
            self._timeline.begin()
            try:
                for piece in part:
                    for samples in self._timeline.lay(piece.samples, piece.rate, piece.at):
                        yield samples, piece.rate
            except AudioError as e:
                failed = e
            except OSError as e:
                self.damage = f"it can't be read further: {reason(e)}"
            self.damage = self.damage or part.damage
            self.notes += [note for note in part.notes if note not in self.notes]
            part.close()
            self._part = self._next()
        if failed and self._timeline.end == 0:
            raise failed

    def _next(self) -> Container | None:
        try:
            return next(self._parts, None)
        except OSError as e:
            self.damage = f"it can't be read further: {reason(e)}"
            return None

    def close(self) -> None:
        """Lets go of what is open."""
        if self._part is not None:
            self._part.close()

    def _containers(self, ahead: Ahead, whole: Reader | None, track: int | None) -> Iterator[Container]:
        if ahead.peek(len(CAPTURE)) == CAPTURE:
            yield from self._chained(ahead, whole, track)
        elif whole is not None:
            yield Container(whole.rewound(), track=track)
        else:
            yield Container(ahead, live=ahead.peek(len(MPEG_PS)) != MPEG_PS, track=track, batch=self._batch)

    def _chained(self, ahead: Ahead, whole: Reader | None, track: int | None) -> Iterator[Container]:
        if whole is not None:  # the last page tells how long it is
            with closing(Container(whole.rewound(), track=track)) as container:
                self.duration = container.duration
            whole.rewound()
        begun = False
        for stream in ogg_streams(ahead.read):
            try:
                yield Container(stream, live=whole is None, track=track, batch=self._batch)
                begun = True
            except AudioError as e:
                if not begun:
                    raise
                self.damage = str(e)
            stream.drain()
            if stream.cut_off:
                self.damage = "its last page is missing"
