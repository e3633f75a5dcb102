"""The fingerprint of a checkpoint, over all of its bytes. Hashes of large files are kept, as they take seconds."""

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from earshot_asr.engine.errors import CheckpointError, EarshotError
from earshot_asr.engine.files import MOST_JSON_BYTES, SETTINGS, present
from earshot_asr.engine.whole import write_text

KEPT_BYTES = 16 << 20
"""Hashes of smaller files are not kept: they take less than 50 ms."""
MOST_KEPT = 100
"""Hashes that are kept, those that were added last."""
SETTLED_SECONDS = 2.0
"""A file that was changed more recently could be changed again without its time being another."""


def fingerprint(folder: Path, files: list[Path]) -> str:
    """16 hex digits of the SHA-256 over names and bytes of settings and weights. Raises CheckpointError."""
    digest = hashlib.sha256()
    for path in [*(folder / name for name in SETTINGS), *files]:
        if present(path):
            if path.suffix == ".json" and path.stat().st_size > MOST_JSON_BYTES:
                raise CheckpointError(f"{path} is larger than {MOST_JSON_BYTES >> 20} MB, the most that JSON may have")
            digest.update(json.dumps([path.name, sha256(path)]).encode())
    return digest.hexdigest()[:16]


def sha256(path: Path) -> str:
    """The SHA-256 of a file: the one that was kept, if the file's size, time and inode are the same."""
    about = path.stat()
    if about.st_size < KEPT_BYTES:
        return _computed(path)
    state = [about.st_size, about.st_mtime_ns, about.st_ino]
    name = os.path.realpath(path)
    kept = _read(store())
    if (known := kept.get(name)) is not None and known[:-1] == state:
        return str(known[-1])
    content = _computed(path)
    if time.time() - about.st_mtime > SETTLED_SECONDS:
        others = [(each, value) for each, value in kept.items() if each != name][1 - MOST_KEPT :]
        _write(store(), {**dict(others), name: [*state, content]})
    return content


def store() -> Path:
    """The file where hashes are kept: in `earshot` in HF_HOME if that is set, else in the user's folder of caches."""
    if home := os.environ.get("HF_HOME"):
        caches = Path(home)
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache"))
    return Path(os.path.expanduser(caches)) / "earshot" / "hashes.json"


def _computed(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> dict[str, list[int | str]]:
    """What was kept; nothing if it can't be read, or is not what _write wrote."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) and all(_is_entry(value) for value in kept.values()) else {}


def _is_entry(value: object) -> bool:
    if not (isinstance(value, list) and len(value) == 4):
        return False
    *state, content = value
    return all(type(number) is int for number in state) and isinstance(content, str) and len(content) == 64


def _write(path: Path, kept: dict[str, list[int | str]]) -> None:
    """Keeps hashes for the next start. Where that is not possible, they are computed again."""
    with suppress(OSError, EarshotError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(kept, indent=0))
