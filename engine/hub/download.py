"""Downloads files of a commit into the cache: one that broke off is resumed, and each is checked by its hash.

What comes is written at once, to a file beside the place where it belongs: an interrupted download loses nothing.
"""

import hashlib
import logging
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earshot_asr.engine.errors import CheckpointError, HubError
from earshot_asr.engine.hub.cache import Copy, cache_folder
from earshot_asr.engine.hub.listing import File, Listing
from earshot_asr.engine.hub.progress import Progress, shown, size
from earshot_asr.engine.hub.refusals import (
    answer_seconds,
    answered,
    check_online,
    http_errors,
    no_hub,
    sentence,
    stall_seconds,
)

if TYPE_CHECKING:
    from hashlib import _Hash

log = logging.getLogger("earshot_asr.engine.hub")

TRIES, PAUSE_SECONDS = 3, 1.0
"""How often in a row a download may break off without a byte; and how long to wait before it goes on."""
PART = ".earshot.incomplete"
"""Ending of the name of what has come so far. The hub's own programs know files named *.incomplete as such."""


def fetch(model: str, listing: Listing, files: Iterable[File], progress: Progress | None = None) -> int:
    """Downloads those files of a commit that are not in the cache. Returns how many bytes that took.

    Raises HubError, and CheckpointError if there is no room for them, or if one is not what the hub said.
    """
    copy = Copy.of(model)
    missing = [file for file in files if not copy.has(listing.commit, file)]
    if not missing:
        return 0
    check_online()
    described = [_described(model, listing.commit, file) for file in missing]
    parts = [copy.blob(each.tag + PART) for each in described]
    total, here = sum(each.size or 0 for each in described), sum(_length(part) for part in parts)
    _check_room(copy.folder, total - here)
    with shown(model, progress) as tell:
        transfer = _Transfer(model, listing.commit, copy, tell, total, here)
        try:
            for each in described:
                transfer.get(each)
        except KeyboardInterrupt:
            log.warning("interrupted; %s of %s are kept, the next try goes on from there", size(transfer.here), model)
            raise
    return transfer.came


@dataclass(frozen=True, slots=True)
class _Content:
    """A file's content, what the cache calls it, and its size. Without a hash, only the size is checked."""

    file: File
    tag: str

    @property
    def size(self) -> int | None:
        """Bytes; None: the hub does not say."""
        return self.file.size


def _digest_of(file: File) -> "_Hash | None":
    """What computes the hash of a file's bytes that the hub named; None if it named none."""
    if file.sha256:
        return hashlib.sha256()
    if file.git and file.size is not None:
        return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    return None


class _Transfer:
    """Downloads contents one after the other, and tells how far it is."""

    def __init__(self, model: str, commit: str, copy: Copy, tell: Progress, total: int, here: int) -> None:
        self._model, self._commit, self._copy, self._tell = model, commit, copy, tell
        self._total, self.here, self.came = total, here, 0
        tell(here, total)

    def get(self, content: _Content) -> None:
        """Downloads a content and gives it its name. Raises HubError, CheckpointError."""
        blob = self._copy.blob(content.tag)
        try:
            with _locked(self._copy.lock(content.tag)):
                if not blob.exists() or content.size not in (None, blob.stat().st_size):
                    self._complete(content, blob)
                self._copy.put(self._commit, content.file.name, blob)
        except http_errors() as error:
            said = sentence(error, self._model, self._commit, stall_seconds())
            kept = f"; {size(self.here)} of {size(self._total)} have come, and are kept" if self.here else ""
            raise HubError(said + kept) from None
        except OSError as error:
            raise CheckpointError(f"can't write {error.filename or blob}: {error.strerror or error}") from None

    def _complete(self, content: _Content, blob: Path) -> None:
        """Downloads what is missing of a content, checks it and moves it to its place."""
        blob.parent.mkdir(parents=True, exist_ok=True)
        part = blob.with_name(blob.name + PART)
        if content.size is not None and _length(part) > content.size:
            part.unlink()
        tries = TRIES
        while content.size is None or _length(part) < content.size or not part.exists():
            before = self.came
            try:
                self._stream(content, part)
                break
            except http_errors() as error:
                tries = TRIES if self.came > before else tries - 1
                if tries <= 0 or hasattr(error, "response"):  # the hub says no, which does not change
                    raise
                log.info("%s: the download broke off (%s); it goes on", self._model, type(error).__name__)
                time.sleep(PAUSE_SECONDS)
        if not matches(part, content.file):
            part.unlink()
            raise CheckpointError(wrong(self._model, content.file))
        part.replace(blob)

    def _stream(self, content: _Content, part: Path) -> None:
        """Appends what comes to a file. Raises http_errors(), OSError."""
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        start = _length(part)
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        url = _url(self._model, self._commit, content.file.name)
        session: Any = get_session()
        with (
            session.stream("GET", url, headers=headers, timeout=stall_seconds(), follow_redirects=True) as response,
            part.open("ab", buffering=0) as file,
        ):
            hf_raise_for_status(response)
            if start and response.status_code != 206:  # it begins anew
                file.truncate(0)
                self.here -= start
            for chunk in response.iter_bytes():
                file.write(chunk)
                self.came += len(chunk)
                self.here += len(chunk)
                self._tell(self.here, self._total)


def matches(path: Path, file: File) -> bool:
    """Whether the bytes in a file are those that the hub named. Raises OSError."""
    if file.size not in (None, path.stat().st_size):
        return False
    digest = _digest_of(file)
    if digest is None:
        return True
    with path.open("rb") as content:
        return hashlib.file_digest(content, lambda: digest).hexdigest() == file.tag


def wrong(model: str, file: File) -> str:
    """What is said of a file that is not what the hub named."""
    kind = "SHA-256" if file.sha256 else "hash"
    return f"{model}: {file.name} has another {kind} than the hub names ({file.tag[:12]}...); it was removed: try again"


def _described(model: str, commit: str, file: File) -> _Content:
    """A file's content; the hub is asked for its tag and size if it did not list them."""
    if file.tag and file.size is not None:
        return _Content(file, file.tag)
    from huggingface_hub import constants, get_hf_file_metadata

    with answered(model, commit):
        url = _url(model, commit, file.name)
        about = get_hf_file_metadata(url, timeout=answer_seconds(), endpoint=constants.ENDPOINT)
        tag = about.etag or ""
        if not tag or not tag.isalnum():
            raise HubError(no_hub())
    sha256 = tag if len(tag) == 64 else ""
    return _Content(File(file.name, about.size, sha256), tag)


def _url(model: str, commit: str, name: str) -> str:
    from huggingface_hub import constants, hf_hub_url

    return str(hf_hub_url(model, name, revision=commit, endpoint=constants.ENDPOINT))


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _check_room(folder: Path, wanted: int) -> None:
    there = next((each for each in (folder, *folder.parents) if each.is_dir()), Path("/"))
    if (free := shutil.disk_usage(there).free) < wanted:
        raise CheckpointError(
            f"the download needs {size(wanted)}, and {size(free)} are free in the cache, {cache_folder()}; make room, "
            "or let HF_HOME name a folder elsewhere"
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keeps other programs, which do the same, from downloading a content at the same time."""
    from huggingface_hub.utils import WeakFileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(path):
        yield
