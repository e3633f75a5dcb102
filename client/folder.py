"""Recordings to files of captions or transcripts beside one another: several at once, and where it was left off."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.progress import TaskID

from earshot_asr.client.transcript import Channel, Written, complain, progress_bar
from earshot_asr.engine.errors import CheckpointError, ConfigError, DeviceError, EarshotError, OutputError
from earshot_asr.engine.sources import FileSource
from earshot_asr.engine.text import printable
from earshot_asr.engine.transcription import Method

JOBS = 4
"""How many recordings are transcribed at once, if nothing else is said."""
_SUFFIXES = (
    "3gp aac ac3 aif aiff amr ape au avi caf flac flv m2ts m4a m4b m4v mka mkv mov mp2 mp3 mp4 mpeg mpg mpga mts mxf "
    "oga ogg ogv opus pcm raw s16 sph ts voc w64 wav weba webm wma wmv wv"
)
SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())
"""Ends of the names of what is transcribed in a folder, in small letters; a file that is named itself is always."""
EXTENSIONS = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}


def targets(files: Iterable[Path], out: Path, format: str) -> dict[Path, Path]:
    """The recordings among files and folders, in order, and the file in `out` that each becomes.

    A folder's files keep their places below it. Recordings that differ in their suffix only keep that.
    Raises ConfigError if two would become the same file, or a folder can't be read.
    """
    places = {source: place for named in files for source, place in sorted(_recordings(named))}
    wanted = Counter(place.with_suffix("") for place in places.values())
    found = {
        source: out / (place.with_suffix("") if wanted[place.with_suffix("")] == 1 else place)
        for source, place in places.items()
    }
    found = {source: target.with_name(target.name + EXTENSIONS[format]) for source, target in found.items()}
    for target, count in Counter(found.values()).items():
        if count > 1:
            raise ConfigError(f"{count} recordings would become {target}; transcribe them into folders of their own")
    return found


def _recordings(named: Path) -> Iterator[tuple[Path, Path]]:
    """Recordings, and their places below what was named."""
    if not named.is_dir():
        yield named, Path(named.name)
        return

    def fail(error: OSError) -> None:
        raise ConfigError(f"can't read the folder {error.filename}: {error.strerror}")

    for folder, _, names in os.walk(named, onerror=fail, followlinks=True):
        for name in names:
            path = Path(folder, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                yield path, path.relative_to(named)


class Interrupted(Exception):
    """The others stop, too."""


class Folder:
    """Transcribes recordings into files. Each is written when it is complete: one that is there is done.

    method     makes the utterances of a recording; called in several threads if `jobs` is more than 1
    opened     opens a recording, with the `channel` to read
    console    gets a line for each recording that failed, a bar if it is a terminal, and at last how many there were
    """

    def __init__(
        self,
        method: Method,
        *,
        format: str,
        opened: Callable[..., FileSource],
        channel: Channel,
        jobs: int,
        console: Console,
    ) -> None:
        self._method, self._format, self._opened, self._channel = method, format, opened, channel
        self._jobs, self._console = jobs, console
        self._stop = threading.Event()
        self._progress = progress_bar(console)
        self._failed = self._damaged = self._written = 0
        self._counting = threading.Lock()

    def transcribe(self, found: Mapping[Path, Path]) -> int:
        """Returns 1 if a recording failed or is damaged, else 0. Raises what would be the same for all of them."""
        todo = [(source, target) for source, target in found.items() if not _is_done(source, target)]
        with self._progress, ThreadPoolExecutor(self._jobs, "transcribe") as threads:
            whole = self._progress.add_task(f"{len(todo)} files", total=len(todo))
            futures = [threads.submit(self._one, source, target, whole) for source, target in todo]
            try:
                self._wait(futures)
            finally:
                self._stop.set()
                threads.shutdown(cancel_futures=True)
        self._tell(len(found), len(found) - len(todo))
        return int(bool(self._failed or self._damaged))

    def _wait(self, futures: Sequence["Future[None]"]) -> None:
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()

    def _one(self, source: Path, target: Path, whole: TaskID) -> None:
        task = self._progress.add_task(str(source), total=None)
        try:
            written = Written(source, self._method, self._format, self._opened, self._updating(task))
            _write(target, written.pieces(self._channel))
            for line in [*written.notes, *written.damage]:
                complain(self._console, f"{printable(str(source))}: {line}")
            with self._counting:
                self._written += 1
                self._damaged += bool(written.damage)
        except Interrupted:
            pass
        except (OutputError, CheckpointError, DeviceError):  # with the others it would be the same
            raise
        except EarshotError as e:
            complain(self._console, str(e))
            with self._counting:
                self._failed += 1
        finally:
            self._progress.remove_task(task)
            self._progress.advance(whole)

    def _updating(self, task: TaskID) -> Callable[..., None]:
        def update(**fields: float) -> None:
            if self._stop.is_set():
                raise Interrupted
            self._progress.update(task, **fields)  # type: ignore[arg-type]

        return update

    def _tell(self, count: int, there: int) -> None:
        parts = [f"{self._written} written"]
        parts += [f"{there} were there already"] if there else []
        parts += [f"{self._failed} failed"] if self._failed else []
        complain(self._console, f"{count} recordings: {', '.join(parts)}")


def _is_done(source: Path, target: Path) -> bool:
    """Whether a recording was transcribed, and is not newer than its transcript."""
    try:
        return target.stat().st_mtime >= source.stat().st_mtime
    except OSError:
        return False


def _write(target: Path, pieces: Iterable[str]) -> None:
    """Writes a file that is there when it is whole. Raises OutputError."""
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("w", encoding="utf-8") as file:
                for text in pieces:
                    file.write(text)
            os.replace(part, target)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
    except OSError as e:
        raise OutputError(f"can't write {target}: {e.strerror}") from None
