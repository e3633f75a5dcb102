"""What the hub says that a repository holds: its commit, and each file with size and hash."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from earshot_asr.engine.errors import HubError
from earshot_asr.engine.hub.refusals import answer_seconds, answered, check_online, no_hub

COMMIT = re.compile(r"[0-9a-f]{40}")
HASHES = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})?")


@dataclass(frozen=True, slots=True)
class File:
    """A file of a repository.

    size      bytes; None: the hub did not say
    sha256    of a large file (Git LFS); empty for others
    git       the SHA-1 that Git gives a file that is not large; empty for others
    """

    name: str
    size: int | None = None
    sha256: str = ""
    git: str = ""

    @property
    def tag(self) -> str:
        """The hash that the hub and its cache call it by; empty: the hub did not say."""
        return self.sha256 or self.git


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a repository at a commit, by name."""

    commit: str
    files: Mapping[str, File]

    def matching(self, patterns: Iterable[str]) -> list[File]:
        """The files whose names match any of the patterns, such as `adapter.*.safetensors`."""
        patterns = list(patterns)
        return [file for name, file in self.files.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]


def ask(model: str, revision: str | None) -> Listing:
    """Asks the hub for a model's files at a branch, tag or commit; None: its newest. Raises HubError."""
    from huggingface_hub import HfApi, constants

    check_online()
    with answered(model, revision):
        api = HfApi(endpoint=constants.ENDPOINT, library_name="earshot")
        info = api.model_info(model, revision=revision, files_metadata=True, timeout=answer_seconds())
        if info.siblings is None or not isinstance(info.sha, str) or not COMMIT.fullmatch(info.sha):
            raise HubError(no_hub())
        files = [_file(sibling) for sibling in info.siblings if _is_inside(sibling.rfilename)]
        return Listing(info.sha, {file.name: file for file in files})


def _file(sibling: Any) -> File:
    large = sibling.lfs
    tags = {"sha256": large.sha256} if large else {"git": sibling.blob_id or ""}
    if not all(HASHES.fullmatch(tag) for tag in tags.values()):
        raise HubError(no_hub())
    return File(sibling.rfilename, large.size if large else sibling.size, **tags)


def _is_inside(name: str) -> bool:
    """Whether a file of that name lies in the folder that it is put into, whoever wrote the name."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in name
