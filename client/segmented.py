"""Writes live captions into a folder, in segments that a player polls."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from earshot_asr.client.cased import Cased
from earshot_asr.client.live import Screen
from earshot_asr.client.options import Case, is_cased
from earshot_asr.client.stream import Message
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds
from earshot_asr.engine.errors import ConfigError, OutputError
from earshot_asr.engine.segments import PLAYLIST, Files, Segments
from earshot_asr.server.wire import Ack, Done, FinalMessage


@contextmanager
def segmented(folder: Path | None, case: Case | None, names: Sequence[str]) -> Iterator[list[Screen]]:
    """Yields what keeps a folder of captions, if one is wanted; see Cased for the names. Raises as SegmentFolder."""
    if folder is None:
        yield []
        return
    with closing(SegmentFolder(folder)) as kept:
        yield [Cased(kept, names) if is_cased(case, captions=True) else kept]


class SegmentFolder:
    """Keeps a folder of segments and their playlist up to date. A Screen.

    folder    is made if it is not there

    Raises ConfigError if captions are there already, OutputError if it can't be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments = Segments()
        self._samples = 0
        self._ended = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise OutputError(f"can't make the folder {folder}: {e.strerror}") from None
        if (folder / PLAYLIST).exists():
            raise ConfigError(f"there are captions in {folder} already; name another folder, or remove them")

    def hear(self, pcm: Pcm, dropped: Seconds, now: Seconds) -> None:
        """See Screen."""
        if self._segments.began is None and len(pcm):
            self._segments.began = datetime.now(UTC) - timedelta(seconds=len(pcm) / SAMPLE_RATE)
        self._samples += len(pcm)

    def show(self, message: Message, now: Seconds) -> None:
        """See Screen."""
        match message:
            case FinalMessage():
                self._write(self._segments.feed(message))
            case Ack():
                self._write(self._segments.silent(message.cut))
            case Done():
                self._finish(message.duration)

    def close(self) -> None:
        """Completes the captions if the stream ended early."""
        if self._samples:
            self._finish(self._samples / SAMPLE_RATE)

    def _finish(self, duration: Seconds) -> None:
        if not self._ended:
            self._ended = True
            self._write(self._segments.finish(duration))

    def _write(self, files: Files) -> None:
        """Each file appears whole, or not at all: players read at any time."""
        for name, text in files:
            new = self._folder / f".{name}.new"
            try:
                new.write_text(text, encoding="utf-8")
                os.replace(new, self._folder / name)
            except OSError as e:
                raise OutputError(f"can't write {self._folder / name}: {e.strerror}") from None
