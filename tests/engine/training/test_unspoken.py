"""Text as it might be said: words of a dictionary, at the pace of recordings, labelled as recordings are."""

import lzma
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from earshot_asr.engine.audio import FrameGrid
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.manifest import UNIT
from earshot_asr.engine.training.labels import Labels, label
from earshot_asr.engine.training.spelling import Alphabet
from earshot_asr.engine.training.unspoken import LONGEST, Imagined, Unspoken, durations, read_lexicon
from tests.engine.training.material import SYMBOLS, VOCABULARY, aligned, corpus

GRID = FrameGrid(480, 720)
LEXICON = """\
;;; a comment
cab K AE1 B
abba AE B AH0
abba(2) AA B AH
knee N IY1
bee B IY
rare ZH IY
"""
SAID = aligned(
    ("CAB", 10, [("K", 5), ("AE", 9), ("B", 6)]),
    ("KNEE", 33, [("N", 7), ("IY", 40)]),
    ("ABBA", 80, [("AA", 8), ("B", 6), ("AH", 4)]),
)


@pytest.fixture
def lexicon(tmp_path: Path) -> Path:
    path = tmp_path / "lexicon.dict"
    path.write_text(LEXICON)
    return path


@pytest.fixture
def text(tmp_path: Path, lexicon: Path) -> Unspoken:
    path = tmp_path / "text.txt.xz"
    with lzma.open(path, "wt") as file:
        file.write("Cab, abba!\n\nKNEE BEE KNEE\nCAB UNKNOWN\nRARE BEE\n")
    return Unspoken([path], lexicon)


def imagined(text: Unspoken) -> tuple[Imagined, Labels]:
    whole = corpus([("CAB KNEE ABBA", SAID)])
    labels = Labels.of(whole, Alphabet(VOCABULARY))
    return text.prepare(whole, labels), labels


def test_a_dictionary(lexicon: Path) -> None:
    known = read_lexicon(lexicon)
    assert known["ABBA"] == [("AE", "B", "AH"), ("AA", "B", "AH")]
    assert known["CAB"] == [("K", "AE", "B")]
    assert len(known) == 5


def test_sentences_with_words_that_it_lacks_are_left_out(text: Unspoken) -> None:
    assert (len(text.ends), text.left_out) == (3, 1)
    assert imagined(text)[0].left_out == 1  # RARE has a phone that no recording has
    assert [text.words[id] for id in text.ids] == ["CAB", "ABBA", "KNEE", "BEE", "KNEE", "RARE", "BEE"]


def test_lengths_are_those_of_recordings() -> None:
    lengths, gaps = durations([SAID])
    assert lengths["B"] == [6, 6]
    assert lengths["IY"] == [LONGEST]  # 40 are no phone any more
    assert sorted(gaps.tolist()) == [0, 0, 3]


def test_rows_say_the_text_and_are_labelled_as_recordings_are(text: Unspoken) -> None:
    """Each sentence whole, but for the ends of a row; phones in the order of the dictionary; letters beside them."""
    source, labels = imagined(text)
    frames = 200
    plan, said = source.draw(np.random.default_rng(0), 8, GRID.span(0, frames)[1])
    targets = label(plan, said, GRID, frames, 2, VOCABULARY.blank)
    assert targets.symbols.shape == targets.phones.shape == (8, frames)
    assert said.phones == labels.phones
    rows = np.split(targets.ids, np.cumsum(targets.lengths)[:-1])
    for ids, phones in zip(rows, targets.phones, strict=True):
        words = "".join(SYMBOLS[id] for id in ids).strip("|").split("|")
        assert set(words[1:-1]) <= {"CAB", "ABBA", "KNEE", "BEE"}
        heard = [said.phones[n] for n in phones if n > 0]
        assert set(heard) <= {"K", "AE", "B", "N", "IY", "AA", "AH"}
    whole = " ".join("".join(SYMBOLS[id] for id in ids) for ids in rows)
    assert "KNEE|BEE|KNEE" in whole and "CAB|ABBA" in whole
    assert "RARE" not in whole and "|BEE|BEE" not in whole


def test_letters_are_written_while_their_phones_are_said(text: Unspoken) -> None:
    source, _ = imagined(text)
    plan, said = source.draw(np.random.default_rng(1), 4, GRID.span(0, 120)[1])
    delay = 2
    targets = label(plan, said, GRID, 120, delay, VOCABULARY.blank)
    sayers = {"N": "N", "B": "B", "C": "K"}
    seen = 0
    for symbols, phones in zip(targets.symbols, targets.phones, strict=True):
        for frame in np.flatnonzero(symbols != VOCABULARY.blank)[1:-1]:
            letter = SYMBOLS[symbols[frame]]
            if letter in sayers:  # phones are as late as letters; a letter is there for two frames
                near = {said.phones[n] for n in phones[max(0, frame - 3) : frame + 3] if n >= 0}
                assert sayers[letter] in near
                seen += 1
    assert seen > 20


def test_a_draw_is_a_function_of_the_generator(text: Unspoken) -> None:
    source, _ = imagined(text)
    (plan, said), (again, same), (_, other) = (
        source.draw(np.random.default_rng(seed), 3, 50 * UNIT) for seed in (0, 0, 1)
    )
    assert np.array_equal(plan.source, again.source)
    assert np.array_equal(said.phone, same.phone) and np.array_equal(said.letter_at, same.letter_at)
    assert not np.array_equal(said.phone, other.phone)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_rare_words_come_more_often(tmp_path: Path, lexicon: Path, alpha: float) -> None:
    path = tmp_path / "sentences"
    path.write_text("CAB\n" * 80 + "BEE\n" * 8 + "CAB BEE\n")
    source, _ = imagined(Unspoken([path], lexicon, alpha=alpha))
    rng = np.random.default_rng(0)
    drawn = Counter(tuple(source._words[word] for word in source._sentence(rng)) for _ in range(9000))
    odds = np.array([80 * 81 ** (alpha - 1), 8 * 9 ** (alpha - 1), (81 ** (alpha - 1) + 9 ** (alpha - 1)) / 2])
    found = [drawn[sentence] for sentence in [("CAB",), ("BEE",), ("CAB", "BEE")]]
    assert found == pytest.approx(9000 * odds / odds.sum(), rel=0.15, abs=20)


def test_rows_begin_and_end_in_mid_word(text: Unspoken) -> None:
    source, _ = imagined(text)
    plan, said = source.draw(np.random.default_rng(2), 60, GRID.span(0, 40)[1])
    phones = label(plan, said, GRID, 40, 0, VOCABULARY.blank).phones
    speaking = (phones > 0).mean(0)  # in each frame, over rows
    for edge in (speaking[:3], speaking[-3:]):
        assert edge.mean() > 0.8 * speaking.mean()


def test_bad_input(tmp_path: Path, lexicon: Path, text: Unspoken) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("UNKNOWN WORDS\n")
    (tmp_path / "words").write_text("hello\n")
    with pytest.raises(ConfigError, match=r"empty.txt: no line has only words that .*lexicon.dict knows"):
        Unspoken([empty], lexicon)
    with pytest.raises(ConfigError, match=r"can't read .*nothing.txt: No such file"):
        Unspoken([tmp_path / "nothing.txt"], lexicon)
    with pytest.raises(ConfigError, match="has no line like 'hello HH AH L OW'"):
        read_lexicon(empty.with_name("words"))
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\n")
    with pytest.raises(ConfigError, match="it must be UTF-8"):
        Unspoken([tmp_path / "bad.txt"], lexicon)
    other = Labels.of(whole := corpus([("NO", aligned(("NO", 5, [("n", 5), ("o", 5)])))]), Alphabet(VOCABULARY))
    with pytest.raises(ConfigError, match=r"no sentence can be said in the recordings' phones \(n, o, \.\.\.\)"):
        text.prepare(whole, other)
    letters = corpus([("CAB", aligned(("CAB", 5, [("C", 9), ("A", 9), ("B", 9)]), letters=True))])
    with pytest.raises(ConfigError, match="wants recordings aligned in phones"):
        text.prepare(letters, Labels.of(letters, Alphabet(VOCABULARY)))
