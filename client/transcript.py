"""The transcript of one recording, piece by piece, and what a terminal shows of it meanwhile."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds
from earshot_asr.engine.captions import writer
from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources import FileSource
from earshot_asr.engine.text import printable
from earshot_asr.engine.transcription import Method

Channel = int | Literal["mix", "each"]
"""A channel, from 1 on; all mixed; or each by itself."""


class Written:
    """The transcript of a file, piece by piece.

    update    of the progress bar: called with `total` and `completed` seconds
    """

    def __init__(
        self,
        path: Path,
        method: Method,
        format: str,
        opened: Callable[..., FileSource],
        update: Callable[..., None],
    ) -> None:
        self.damage: list[str] = []
        """What could not be read, once all has been transcribed."""
        self.notes: list[str] = []
        """What a reader of the transcript should know."""
        self._path, self._method, self._format, self._opened, self._update = path, method, format, opened, update

    def pieces(self, channel: Channel) -> Iterator[str]:
        """The transcript as it is wanted."""
        return self.each() if channel == "each" else self.one(None if channel == "mix" else channel)

    def one(self, channel: int | None) -> Iterator[str]:
        """The transcript of one channel; None: of all as one."""
        captions = writer(self._format, str(self._path))
        with self._opened(self._path, channel=channel) as source:
            for final in self._method(self._heard(source)):
                yield captions.feed(final)
            yield captions.finish(self._seconds)

    def each(self) -> Iterator[str]:
        """The transcripts of all channels, one after the other, in the order of time where they have lines."""
        with self._opened(self._path) as source:
            if not source.again:
                name = printable(str(self._path))
                raise AudioError(f"{name}: a pipe can be read only once, not for each channel; save it to a file")
            channels = range(1, max(1, source.channels) + 1)
        pieces: list[tuple[Seconds, str]] = []
        for channel in channels:
            captions = writer(self._format, str(self._path), channel)
            with self._opened(self._path, channel=channel) as source:
                pieces += [(final.start, captions.feed(final)) for final in self._method(self._heard(source))]
                pieces.append((self._seconds, captions.finish(self._seconds)))
        yield "".join(text for _, text in sorted(pieces, key=lambda piece: piece[0]))

    def _heard(self, source: FileSource) -> Iterator[Pcm]:
        self._seconds = 0.0
        self._update(total=source.duration)
        for pcm in source:
            yield pcm
            self._seconds += len(pcm) / SAMPLE_RATE
            self._update(completed=self._seconds)
        self.notes += [note for note in source.notes if note not in self.notes]
        self.damage += [source.damage] if source.damage and source.damage not in self.damage else []


def complain(console: Console, text: str) -> None:
    """A line for the user."""
    console.print(f"earshot: {text}", markup=False, highlight=False, soft_wrap=True)


def progress_bar(console: Console) -> Progress:
    """A bar for each file, while its context is entered; nothing where there is no terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=False,
    )
