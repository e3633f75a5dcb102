"""Alignments: made by PocketSphinx and by a model, written, gone on with."""

import argparse
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earshot_asr.engine.audio import FrameGrid, LogProbs
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.manifest import Alignment, read, read_alignments
from earshot_asr.engine.model import BUNDLED
from earshot_asr.engine.training.data import align
from earshot_asr.engine.training.data.align import add_arguments, by_ctc, line, resume, run
from earshot_asr.engine.training.data.pronounce import available
from earshot_asr.engine.training.data.spelling import LATE_FRAMES, Alphabet
from tests.engine.training.data.material import SYMBOLS, VOCABULARY, aligned, write
from tests.helpers import clips, shared

GRID = FrameGrid(320, 400)
ALPHABET = Alphabet(VOCABULARY)


def options(*args: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="earshot train align")
    add_arguments(parser)
    return parser.parse_args([str(arg) for arg in args])


def said(symbols: str) -> LogProbs:
    """Frames that say these with certainty, blanks as dots."""
    log_probs = np.full((len(symbols), len(SYMBOLS)), -9.0, np.float32)
    log_probs[np.arange(len(symbols)), [0 if c == "." else SYMBOLS.index(c) for c in symbols]] = -0.1
    return log_probs


def aligned_by_ctc(text: str, symbols: str, delay: int = 0) -> Alignment:
    found = by_ctc(text, said(symbols), ALPHABET, VOCABULARY, GRID, delay)
    assert isinstance(found, Alignment)
    return found


# ---- by a model


def test_words_and_letters_are_where_they_were_written() -> None:
    found = aligned_by_ctc("It’s, no", ".....II.T..'...SS....||...N.O...||.....")
    assert [(word.text, [letter for letter, _ in word.parts]) for word in found.words] == [
        ("IT'S", list("IT'S")),
        ("NO", list("NO")),
    ]
    assert found.letters
    middle = {n: ((n - LATE_FRAMES) * GRID.hop + GRID.field / 2) / 160 for n in (5, 8, 11, 15, 21, 26, 28)}
    its, no = found.words
    edges = np.cumsum([its.start, *(length for _, length in its.parts)])
    assert edges[1:-1] == pytest.approx([(middle[a] + middle[b]) / 2 for a, b in ((5, 8), (8, 11), (11, 15))], abs=0.51)
    assert its.start == max(0, round(middle[5] - align.REACH_UNITS))
    assert edges[-1] == pytest.approx(middle[15] + align.REACH_UNITS, abs=0.51)
    assert no.start == pytest.approx(middle[21], abs=0.51)  # where the word delimiter is
    assert no.start + no.length == pytest.approx(middle[28] + align.REACH_UNITS, abs=0.51)
    assert its.score == pytest.approx(-0.1 * align.SCORE_SCALE, abs=0.01)


def test_the_delay_is_taken_off() -> None:
    plain = aligned_by_ctc("AB C", "..........A.BB.|..C......")
    late = aligned_by_ctc("AB C", "..........A.BB.|..C......", delay=3)
    for a, b in zip(plain.words, late.words, strict=True):
        assert a.start - b.start == 6
        assert a.parts == b.parts


def test_a_wrong_text_has_a_bad_score() -> None:
    assert aligned_by_ctc("CAB", "...A..B..C....").score < -60


def test_what_no_model_can_align() -> None:
    few = by_ctc("AAA", said("A.A."), ALPHABET, VOCABULARY, GRID, 0)
    assert few == "more letters than frames"
    assert (
        by_ctc("12 ?", said("...."), ALPHABET, VOCABULARY, GRID, 0)
        == "nothing in the text is in the model's vocabulary"
    )


def test_crowded_letters_have_a_unit_each() -> None:
    found = aligned_by_ctc("ABC DE", "ABC|DE")
    for word in found.words:
        assert all(length >= 1 for _, length in word.parts)
        assert word.start >= 0
    assert found.words[1].start >= found.words[0].start + found.words[0].length


def test_by_the_bundled_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Close to PocketSphinx on real speech, in the median; what is something else is told apart by its score."""
    chosen = [clip for clip in clips("dev.jsonl", 400, "kathleen-arctic")][:5]
    rows = [{"audio": str(clip["audio"]), "text": clip["text"]} for clip in chosen]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(options(manifest, "--out", tmp_path / "a.jsonl", "--model", BUNDLED, "--device", "cpu"))
    found = read_alignments(tmp_path / "a.jsonl")
    assert len(found) == 5
    known = read_alignments(shared("speech") / "alignments.jsonl.xz")
    away = []
    for clip in chosen:
        ours = found[str(clip["audio"])]
        theirs = known[str(Path(clip["audio"]).relative_to(shared("speech")))]
        assert ours.letters and [w.text for w in ours.words] == [w.text for w in theirs.words]
        away += [abs(a.start - b.start) for a, b in zip(ours.words, theirs.words, strict=True)]
        assert ours.score > -50
    assert np.median(away) <= 4
    other = [rows[0] | {"text": rows[1]["text"]}]
    (tmp_path / "m.jsonl").write_text(json.dumps(other[0]))
    run(options(manifest, "--out", tmp_path / "b.jsonl", "--model", BUNDLED, "--device", "cpu"))
    assert read_alignments(tmp_path / "b.jsonl")[other[0]["audio"]].score < -50


# ---- by PocketSphinx

SPHINX = pytest.mark.skipif(find_spec("pocketsphinx") is None, reason="needs the package pocketsphinx")


@SPHINX
def test_by_pocketsphinx(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = clips("dev.jsonl", 400, "kathleen-arctic")[:2]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(row | {"audio": str(row["audio"])}) + "\n" for row in rows))
    known = read_alignments(shared("speech") / "alignments.jsonl.xz")
    for row in read(manifest):
        found = align._by_pocketsphinx(row)
        assert isinstance(found, Alignment), found
        theirs = known[str(row.path.relative_to(shared("speech")))]
        assert [word.text for word in found.words] == [word.text for word in theirs.words]
        assert not found.letters
        away = [abs(a.start - b.start) for a, b in zip(found.words, theirs.words, strict=True)]
        assert np.median(away) <= 1  # the same program; recordings are decoded without what precedes an Opus file
        assert found.score == pytest.approx(theirs.score, abs=3)


@SPHINX
def test_what_pocketsphinx_does_not_align(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"audio": "1.wav", "text": "!"},
        {"audio": "2.wav", "text": "oui", "lang": "fr"},
        {"audio": "3.wav", "text": "one", "lang": "en-GB"},
        {"audio": "4.wav", "text": "xqzw"},
    ]
    one, two, three, four = read(write(tmp_path, rows))
    assert align._by_pocketsphinx(one) == "nothing in the text can be said"
    assert align._by_pocketsphinx(two) == "PocketSphinx's model is English; give --model"
    assert isinstance(align._by_pocketsphinx(three), Alignment | str)
    monkeypatch.setattr(align, "available", lambda: False)
    assert "the program espeak-ng, if it were there" in str(align._by_pocketsphinx(four))
    (tmp_path / "3.wav").write_bytes(b"")
    assert "can't decode it" in str(align._by_pocketsphinx(three))


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(align, "find_spec", lambda name: None)
    manifest = write(tmp_path, [{"audio": "1.wav", "text": "one"}])
    with pytest.raises(ConfigError, match="alignment needs PocketSphinx, pip install pocketsphinx; or a model"):
        run(options(manifest, "--out", tmp_path / "a.jsonl"))


def test_entries_of_the_dictionary() -> None:
    assert align._entry("'CAFÉ'") == "cafe"
    assert align._entry("IT'S") == "it's"
    assert available() in (True, False)


# ---- the file


def test_lines_are_read_as_written(tmp_path: Path) -> None:
    phones = aligned(("ONE", 20, [("W", 10), ("N", 5)]), score=-9.4)
    letters = aligned(("ÜB", 3, [("Ü", 1), ("B", 2)]), letters=True)
    path = tmp_path / "a.jsonl"
    path.write_text(line("1.wav", phones) + "\n" + line("2.wav", letters) + "\n")
    assert '{"audio":"1.wav","words":[["ONE",20,-9,[["W",10],["N",5]]]]}' in path.read_text()
    found = read_alignments(path)
    assert found["2.wav"].letters and found["2.wav"].words[0].parts == (("Ü", 1), ("B", 2))
    assert found["1.wav"].words[0].score == -9


def test_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write(tmp_path, [{"audio": f"{n}.wav", "text": "one"} for n in range(4)])
    out = tmp_path / "new" / "a.jsonl"
    asked: list[str] = []

    def work(rows: Any, jobs: int) -> Any:
        for row in rows:
            asked.append(row.name)
            yield row, "no luck" if row.name == "2.wav" else aligned(("ONE", 1, [("W", 2)]))

    monkeypatch.setattr(align, "by_pocketsphinx", work)
    run(options(manifest, "--out", out))
    assert asked == ["0.wav", "1.wav", "2.wav", "3.wav"]
    assert list(read_alignments(out)) == ["0.wav", "1.wav", "3.wav"]
    assert "1 recordings were not aligned: no luck" in capsys.readouterr().err
    whole = out.read_bytes()
    out.write_bytes(whole[:-9])  # killed in the middle of a line
    asked.clear()
    run(options(manifest, "--out", out))
    assert asked == ["2.wav", "3.wav"]
    assert out.read_bytes() == whole
    assert "has 2 recordings already, 2 are left" in capsys.readouterr().err


def test_two_recordings_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (write(tmp_path / name, [{"audio": "1.wav", "text": "one"}]) for name in ("a", "b"))
    out = tmp_path / "a.jsonl"
    out.write_text(line("1.wav", aligned(("ONE", 1, [("W", 2)]))) + "\n")  # of either
    with pytest.raises(ConfigError, match=r"a/m.jsonl, line 1, and .*b/m.jsonl, line 1, have .* both called 1.wav"):
        run(options(one, other, "--out", out))
    monkeypatch.setattr(align, "by_pocketsphinx", lambda rows, jobs: pytest.fail("it is there"))
    run(options(one, one, "--out", out))


@pytest.mark.parametrize("content", ["hello\n", "[1]\n", '{"words": 1}\n'])
def test_a_file_of_something_else_stays(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(ConfigError, match="is there and is no file of alignments"):
        resume(path)
    assert path.read_text() == content
    with pytest.raises(ConfigError, match=r"a.jsonl.xz can't be appended to"):
        resume(tmp_path / "a.jsonl.xz")


def test_what_can_not_be_is_said(tmp_path: Path) -> None:
    manifest = write(tmp_path, [{"audio": "1.wav", "text": "one"}])
    with pytest.raises(ConfigError, match="--jobs is 0; it must be 1 or more"):
        run(options(manifest, "--out", tmp_path / "a.jsonl", "--jobs", "0"))
    with pytest.raises(ConfigError, match=r"can't write .*m.jsonl/a.jsonl: "):
        run(options(manifest, "--out", manifest / "a.jsonl"))


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options("--help")
    said = capsys.readouterr().out
    assert "`pip install pocketsphinx`" in " ".join(said.split())
    assert "example: earshot train align train.jsonl --out alignments.jsonl" in said
