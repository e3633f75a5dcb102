"""Files that are written whole or not at all, and errors of writing that name the file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from earshot_asr.engine.errors import OutputError
from earshot_asr.engine.text import ESCAPES


@contextmanager
def writing(path: Path, *more: type[Exception]) -> Iterator[None]:
    """Turns OSError, and what else is given, into OutputError that names the file."""
    failures: tuple[type[Exception], ...] = (OSError, *more)
    try:
        yield
    except failures as e:
        raise OutputError(f"can't write {path}: {_reason(e)}") from None


@contextmanager
def replacing(path: Path, *more: type[Exception]) -> Iterator[Path]:
    """Yields the path of a new file, which takes the name `path` afterwards, when all of it is on the disk.

    more   what is raised, besides OSError, when it can't be written

    If it can't be, nothing of it is left, and a file of that name is as it was: raises OutputError. A link leads to the
    new file then. What is no regular file, as a pipe, and what is in /dev, as /dev/stdout, is written to as it is.
    """
    with writing(path, *more):
        if path.exists() and (not path.is_file() or Path("/dev") in path.absolute().parents):
            yield path
            return
        target = Path(os.path.realpath(path))
        fresh = target.with_name(f".{target.name}.new")
        try:
            yield fresh
            with fresh.open("rb") as file:
                os.fsync(file.fileno())
            fresh.replace(target)
        finally:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replaces a file by one with this text. Raises OutputError; the file is as it was then."""
    with replacing(path) as fresh:
        fresh.write_text(text, encoding="utf-8", errors=ESCAPES)


def check(path: Path) -> None:
    """Raises OutputError if a file can surely not be written: better said before the work than after."""
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"can't write {path}: there is no folder {folder}")
    if path.is_dir():
        raise OutputError(f"can't write {path}: it is a folder; give the name of a file")
    if not os.access(folder, os.W_OK) and (not path.exists() or path.is_file()):
        raise OutputError(f"can't write {path}: the folder {folder} can't be written to")


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).strip().split("\n", 1)[0]
