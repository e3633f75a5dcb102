"""Results outlive whatever ends a sweep, and are never taken for those of something else."""

from pathlib import Path

import pytest

from earshot_asr.client.evaluate.sweep.results import Results, opened
from earshot_asr.client.evaluate.tally import Tally
from earshot_asr.engine.errors import ConfigError, OutputError
from tests.helpers import small_files

OF = {"model": "8ef7", "manifest": "0a1b"}
TALLY = Tally({"WER": (1, 4)}, {"word latency": [0.12344, 2.0], "staleness": [0.5]}, {"clips": 1})
KEPT = Tally({"WER": (1.0, 4.0)}, {"word latency": [0.1234, 2.0]}, {"clips": 1.0})


def kept(path: Path, of: dict[str, str] = OF) -> tuple[Results, list[str]]:
    said: list[str] = []
    return opened(path, of, said.append), said


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two results."""
    results, said = kept(tmp_path / "sweep.jsonl")
    assert not results.tallies and not said
    results.add("a", "x", TALLY)
    results.add("b", "x", TALLY)
    return results.path


def test_what_was_added_is_there_again(path: Path) -> None:
    results, said = kept(path)
    assert results.tallies == {("a", "x"): KEPT, ("b", "x"): KEPT}
    assert said == [f"{path}: goes on after 2 results"]


@pytest.mark.parametrize("lost", [1, 2, 30])
def test_a_line_that_was_not_written_to_its_end_is_played_again(path: Path, lost: int) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-lost])
    results, _ = kept(path)
    assert list(results.tallies) == [("a", "x")]
    results.add("b", "x", TALLY)
    assert path.read_bytes() == whole


def test_a_full_disk_is_said_and_spoils_nothing(path: Path) -> None:
    results, _ = kept(path)
    many = Tally({}, {"word latency": [0.1] * 5000}, {})
    with small_files(), pytest.raises(OutputError, match=rf"^can't write {path}: File too large$"):
        results.add("c", "x", many)
    assert kept(path)[0].tallies.keys() == {("a", "x"), ("b", "x")}


def test_those_of_another_model_are_put_aside(path: Path) -> None:
    before = path.read_bytes()
    results, said = kept(path, OF | {"model": "other", "manifest": "more"})
    assert not results.tallies
    assert said == [f"{path}: its results are of another model and manifest; begins anew, and keeps them as {path}.old"]
    assert Path(f"{path}.old").read_bytes() == before
    assert not kept(path, OF | {"model": "other", "manifest": "more"})[0].tallies


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"all the best", 1),
        (b'{"audio": "a.wav", "text": "A"}\n', 1),
        (b"\xff\xfe\x00\n", 1),
        (b"[" * 10**5 + b"\n", 1),
        (b'{"sweep": {"model": "8ef7", "manifest": "0a1b"}}\n{"clip": "a"}\n', 2),
        (b'{"sweep": {"model": "8ef7", "manifest": "0a1b"}}\n\n', 2),
    ],
)
def test_another_file_is_refused_and_stays_as_it_is(tmp_path: Path, content: bytes, line: int) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(content)
    with pytest.raises(
        ConfigError, match=rf"notes.jsonl, line {line}: not what a sweep writes; name another file with"
    ):
        kept(path)
    assert path.read_bytes() == content


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"^can't read {tmp_path}: Is a directory$"):
        kept(tmp_path)
