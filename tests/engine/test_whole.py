"""Files that can't be written: the file is named, nothing is left of the new one, and the old one is as it was."""

import os
from pathlib import Path

import pytest

from earshot_asr.engine.errors import OutputError
from earshot_asr.engine.whole import check, replacing, write_text, writing
from tests.helpers import small_files

TOO_LONG = "x" * 10_000


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    for text in ("one", TOO_LONG, "caf\udce9"):
        write_text(path, text)
    assert path.read_bytes() == b"caf\\udce9"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    os.umask(mask := os.umask(0))
    return mask


@pytest.mark.parametrize("before", [None, "as it was"])
def test_a_full_disk_names_the_file_and_leaves_no_stump(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "page.html"
    if before is not None:
        path.write_text(before)
    with small_files(), pytest.raises(OutputError, match=rf"^can't write {path}: File too large$"):
        write_text(path, TOO_LONG)
    assert list(tmp_path.iterdir()) == ([] if before is None else [path])
    assert before is None or path.read_text() == before


def test_a_failure_of_what_writes_leaves_no_stump(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        with replacing(folder / "state", RuntimeError) as fresh:
            fresh.write_text("half")
            raise RuntimeError("basic_ios::clear: iostream error\nat line 3")

    with pytest.raises(OutputError, match=r"state: basic_ios::clear: iostream error$"):
        fail(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "page.html").symlink_to("there/page.html")
    write_text(tmp_path / "page.html", "text")
    assert (tmp_path / "page.html").is_symlink()
    assert (tmp_path / "there" / "page.html").read_text() == "text"


def test_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    write_text(Path(f"/dev/fd/{writer}"), "text")
    os.close(writer)
    assert os.read(reader, 100) == b"text"
    os.close(reader)


def test_what_is_open_already_is_written_to(tmp_path: Path) -> None:
    """As standard output that goes to a file."""
    with (tmp_path / "out").open("w") as file:
        write_text(Path(f"/dev/fd/{file.fileno()}"), "text")
        assert os.path.samestat(os.fstat(file.fileno()), (tmp_path / "out").stat())
    assert (tmp_path / "out").read_text() == "text"


def test_what_is_appended_names_its_file_too(tmp_path: Path) -> None:
    path = tmp_path / "log"
    full = pytest.raises(OutputError, match="log: File too large")
    with small_files(), full, writing(path), path.open("a") as log:
        log.write(TOO_LONG)


@pytest.mark.parametrize(("name", "reason"), [("no/x", "there is no folder"), ("", "it is a folder")])
def test_what_can_be_known_before_is_said_before(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(OutputError, match=f"^can't write .*: {reason}"):
        check(tmp_path / name)
    check(tmp_path / "page.html")
    check(Path("/dev/stdout"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_can_not_be_written_to_is_said_before(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="can't be written to"):
        check(tmp_path / "page.html")
    tmp_path.chmod(0o700)
