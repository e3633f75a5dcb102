"""Fingerprints: hashes of large files are kept, and never those of another content."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from earshot_asr.engine import fingerprint as module
from earshot_asr.engine.fingerprint import MOST_KEPT, SETTLED_SECONDS, fingerprint, sha256, store

LONG_AGO = 1_000_000_000 * 10**9


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of caches that is still empty; any file is large."""
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setattr(module, "KEPT_BYTES", 0)
    return tmp_path / "caches"


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose hashes are computed."""
    found: list[Path] = []
    compute = module._computed

    def noted(path: Path) -> str:
        found.append(path)
        return compute(path)

    monkeypatch.setattr(module, "_computed", noted)
    return found


def weights(folder: Path, content: bytes = b"weights", time_ns: int = LONG_AGO) -> Path:
    path = folder / "model.safetensors"
    path.write_bytes(content)
    os.utime(path, ns=(time_ns, time_ns))
    return path


def right(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_it_is_computed_once(tmp_path: Path, computed: list[Path]) -> None:
    path = weights(tmp_path)
    first = fingerprint(tmp_path, [path])
    assert [fingerprint(tmp_path, [path]), sha256(path)] == [first, right(b"weights")]
    assert computed == [path]
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / path.name).symlink_to(path)  # as in the hub's cache
    assert fingerprint(tmp_path / "link", [tmp_path / "link" / path.name]) == first
    assert computed == [path]


def test_any_change_is_seen(tmp_path: Path) -> None:
    assert sha256(weights(tmp_path)) == right(b"weights")
    assert sha256(weights(tmp_path, b"WEIGHTS", LONG_AGO + 1)) == right(b"WEIGHTS")  # as large as before
    assert sha256(weights(tmp_path, b"more weights")) == right(b"more weights")
    new = weights(tmp_path, b"MORE WEIGHTS", LONG_AGO + 2)
    assert sha256(new) == right(b"MORE WEIGHTS")
    other = tmp_path / "other"
    other.write_bytes(b"NEWEST BYTES")
    os.utime(other, ns=(LONG_AGO + 2, LONG_AGO + 2))
    other.replace(new)  # as large and as old, and yet another file
    assert sha256(new) == right(b"NEWEST BYTES")


def test_a_file_that_was_just_written_is_not_kept(tmp_path: Path, computed: list[Path]) -> None:
    """Whoever writes it twice within a tick of the clock gives it the same time twice."""
    now = time.time_ns()
    path = weights(tmp_path, b"one", now)
    assert sha256(path) == right(b"one")
    assert sha256(weights(tmp_path, b"two", now)) == right(b"two")
    weights(tmp_path, b"two", now - int((SETTLED_SECONDS + 1) * 1e9))
    assert [sha256(path), sha256(path)] == [right(b"two")] * 2
    assert len(computed) == 3


def test_small_files_leave_no_trace(tmp_path: Path, caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", 8)
    assert sha256(weights(tmp_path)) == right(b"weights")
    assert not caches.exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"x": 1}', b'{"x": [1, 2, 3, "no hash"]}', b"[" * 10**5]
)
def test_what_was_kept_and_is_damaged_is_made_again(tmp_path: Path, content: bytes, computed: list[Path]) -> None:
    path = weights(tmp_path)
    store().parent.mkdir(parents=True)
    store().write_bytes(content)
    assert [sha256(path), sha256(path)] == [right(b"weights")] * 2
    assert computed == [path]


def test_where_nothing_can_be_kept_it_is_computed(tmp_path: Path, caches: Path, computed: list[Path]) -> None:
    path = weights(tmp_path)
    caches.write_bytes(b"a file, where a folder should be: it stops root as well, unlike a folder that is read-only")
    assert [sha256(path), sha256(path)] == [right(b"weights")] * 2
    assert computed == [path, path]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
def test_a_folder_that_is_read_only(tmp_path: Path, caches: Path) -> None:
    caches.mkdir(mode=0o500)
    assert sha256(weights(tmp_path)) == right(b"weights")


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    for number in range(MOST_KEPT + 3):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        sha256(weights(folder))
    kept = json.loads(store().read_text(encoding="utf-8"))
    assert len(kept) == MOST_KEPT
    assert list(kept)[-1] == str(tmp_path / f"{MOST_KEPT + 2}" / "model.safetensors")


def test_where_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store() == tmp_path / "caches" / "earshot" / "hashes.json"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert store() == tmp_path / "home" / "earshot" / "hashes.json"
    monkeypatch.delenv("HF_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert store() == Path.home() / ".cache" / "earshot" / "hashes.json"
