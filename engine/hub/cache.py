"""The cache where models of the hub are, which other programs share; and what Earshot keeps there of each.

Its layout is the hub's: models--ORG--NAME has blobs, named by their hashes, and snapshots/COMMIT, whose files are links
to them. Beside them lies our record: which commit is the one to use, and what the hub said that it holds.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from earshot_asr.engine.errors import CheckpointError, EarshotError
from earshot_asr.engine.files import has_weights, read_json
from earshot_asr.engine.hub.listing import COMMIT, HASHES, File, Listing
from earshot_asr.engine.whole import write_text

RECORD_FILE = "earshot.json"


def cache_folder() -> Path:
    """Where models of the hub are: HF_HUB_CACHE, or `hub` in HF_HOME."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a model's copy in the cache.

    pinned     the commit to use where no revision is asked for
    listings   by commit: what the hub said that it holds
    """

    pinned: str | None = None
    listings: Mapping[str, Listing] = field(default_factory=dict)

    def to_json(self) -> str:
        """See from_json."""
        listings = {
            commit: {file.name: [file.size, file.sha256, file.git] for file in listing.files.values()}
            for commit, listing in self.listings.items()
        }
        return json.dumps({"pinned": self.pinned, "listings": listings}, indent=0)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Raises ValueError, TypeError, KeyError or AttributeError for what to_json did not write."""
        listings = {
            commit: Listing(commit, {name: _file(name, *values) for name, values in files.items()})
            for commit, files in content["listings"].items()
        }
        pinned = content["pinned"]
        if not all(COMMIT.fullmatch(commit) for commit in [*listings, *([pinned] if pinned else [])]):
            raise ValueError
        return cls(pinned, listings)


def _file(name: str, size: int | None, sha256: str, git: str) -> File:
    if not (size is None or type(size) is int) or not HASHES.fullmatch(sha256) or not HASHES.fullmatch(git):
        raise ValueError
    return File(name, size, sha256, git)


@dataclass(frozen=True, slots=True)
class Copy:
    """A model's copy in the cache, which need not be there yet."""

    folder: Path

    @classmethod
    def of(cls, model: str) -> Self:
        """The copy of a model by its hub id."""
        return cls(cache_folder() / f"models--{model.replace('/', '--')}")

    def snapshot(self, commit: str) -> Path:
        """The folder with the files of a commit."""
        return self.folder / "snapshots" / commit

    def blob(self, tag: str) -> Path:
        """The content that has a hash."""
        return self.folder / "blobs" / tag

    def lock(self, tag: str) -> Path:
        """The file that a program locks while it downloads a content."""
        return self.folder.parent / ".locks" / self.folder.name / f"{tag}.lock"

    def has(self, commit: str, file: File) -> bool:
        """Whether a file is here, as large as it should be."""
        try:
            size = (self.snapshot(commit) / file.name).stat().st_size
        except (OSError, ValueError):
            return False
        return file.size is None or size == file.size

    def content(self, commit: str, file: File) -> Path | None:
        """Where a file's content is, whether or not it has its name in this commit yet; None: not here."""
        if self.has(commit, file):
            return self.snapshot(commit) / file.name
        blob = self.blob(file.tag)
        return blob if file.tag and blob.is_file() and file.size in (None, blob.stat().st_size) else None

    def put(self, commit: str, name: str, blob: Path) -> None:
        """Gives a content its name in a commit. Raises OSError."""
        from huggingface_hub import constants

        path = self.snapshot(commit) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            path.unlink()
        if not constants.HF_HUB_DISABLE_SYMLINKS:
            with suppress(OSError):  # Windows has links for some users only
                path.symlink_to(os.path.relpath(blob, path.parent))
                return
        blob.replace(path)

    def drop(self, commit: str, file: File) -> None:
        """Removes a file and its content. Raises OSError."""
        path = self.snapshot(commit) / file.name
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        if file.tag:
            self.blob(file.tag).unlink(missing_ok=True)

    def commit_of(self, revision: str | None) -> str | None:
        """The commit that a branch or tag was when it was last asked for; None if it never was."""
        if revision and COMMIT.fullmatch(revision):
            return revision
        try:
            commit = (self.folder / "refs" / (revision or "main")).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        return commit if COMMIT.fullmatch(commit) else None

    def record(self) -> Record:
        """What is known of it; nothing if that can't be read."""
        try:
            return Record.from_json(read_json(self.folder / RECORD_FILE))
        except (CheckpointError, ValueError, TypeError, KeyError, AttributeError):
            return Record()

    def keep(self, listing: Listing, revision: str | None, *, pin: bool) -> None:
        """Keeps what the hub said of a commit; pin: it is the one to use. A cache that is read-only is no error."""
        before = self.record()
        pinned = listing.commit if pin else before.pinned
        after = Record(pinned, {**before.listings, listing.commit: listing})
        with suppress(EarshotError, OSError):
            if after != before:
                write_text(self.folder / RECORD_FILE, after.to_json())
            if not COMMIT.fullmatch(revision or "main") and self.commit_of(revision) != listing.commit:
                ref = self.folder / "refs" / (revision or "main")
                ref.parent.mkdir(parents=True, exist_ok=True)
                write_text(ref, listing.commit)


@dataclass(frozen=True, slots=True)
class Cached:
    """A model in the cache, at a commit.

    bytes     that its files take
    pinned    whether it is the commit that is used where no revision is asked for
    whole     whether its weights are here, too
    """

    hub_id: str
    commit: str
    bytes: int
    folder: Path
    pinned: bool
    whole: bool


def cached() -> list[Cached]:
    """The models in the cache, by name, each commit by itself."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repos = [repo for repo in scan_cache_dir(cache_folder()).repos if repo.repo_type == "model"]
    except CacheNotFound:
        return []
    found = [
        Cached(
            repo.repo_id,
            revision.commit_hash,
            revision.size_on_disk,
            revision.snapshot_path,
            Copy.of(repo.repo_id).record().pinned == revision.commit_hash,
            _is_whole(revision.snapshot_path),
        )
        for repo in repos
        for revision in repo.revisions
    ]
    return sorted(found, key=lambda each: (each.hub_id, not each.pinned, each.commit))


def _is_whole(folder: Path) -> bool:
    try:
        return has_weights(folder)
    except CheckpointError:  # what can't be read has to be downloaded again
        return False


def remove(model: str) -> int:
    """Removes a model from the cache, all commits of it. Returns the bytes that are free now.

    Raises CheckpointError if it is not there, or can't be removed.
    """
    folder = Copy.of(model).folder
    if not re.fullmatch(r"models--[\w.-]+", folder.name) or not folder.is_dir():
        raise CheckpointError(f"{model} is not in the cache, {cache_folder()}")
    count = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise CheckpointError(f"{error.filename or folder} can't be removed: {error.strerror}") from None
    shutil.rmtree(folder.parent / ".locks" / folder.name, ignore_errors=True)
    return count
