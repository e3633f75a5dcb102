"""How far a download is: a bar in a terminal, and now and then a line where the log is wanted."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

log = logging.getLogger("earshot_asr.engine.hub")

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes that are here, and the bytes in all."""
SHOWN_BYTES = 1_000_000
"""Less is downloaded in silence."""
LINE_SECONDS = 10.0


@contextmanager
def shown(name: str, progress: Progress | None = None) -> Iterator[Progress]:
    """Yields what shows how far the download of a model is: `progress` if it is given.

    Otherwise, whoever wants a log at level INFO gets lines of it, and whoever looks at a terminal a bar.
    """
    if progress is not None:
        yield progress
    elif log.isEnabledFor(logging.INFO):
        yield _Lines(name)
    elif sys.stderr is not None and sys.stderr.isatty():
        with _bar(name) as bar:
            yield bar
    else:
        yield lambda here, total: None


class _Lines:
    def __init__(self, name: str) -> None:
        self._name, self._next, self._last = name, 0.0, -1

    def __call__(self, here: int, total: int) -> None:
        now = time.monotonic()
        if total < SHOWN_BYTES or here == self._last or (now < self._next and here < total):
            return
        self._next, self._last = now + LINE_SECONDS, here
        log.info("%s: %s of %s are here", self._name, size(here), size(total))


@contextmanager
def _bar(name: str) -> Iterator[Progress]:
    from tqdm import tqdm

    bar: tqdm | None = None

    def update(here: int, total: int) -> None:
        nonlocal bar
        if bar is None and total >= SHOWN_BYTES:
            bar = tqdm(total=total, initial=here, desc=name, unit="B", unit_scale=True, file=sys.stderr, leave=False)
        if bar is not None:
            bar.update(here - bar.n)

    try:
        yield update
    finally:
        if bar is not None:
            bar.close()


def size(count: int) -> str:
    """A number of bytes for people: 1.2 GB."""
    for unit, bytes in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= bytes:
            return f"{count / bytes:.1f} {unit}"
    return f"{count} bytes"
