"""What is said in a stretch of a recording: never a letter from outside, never one lost between two stretches."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.audio import FrameGrid
from earshot_asr.engine.manifest import UNIT_SAMPLES, Alignment
from earshot_asr.engine.training.data.labels import Labels, Plan, label
from earshot_asr.engine.training.data.spelling import LATE_FRAMES, Alphabet
from earshot_asr.engine.training.task import UNKNOWN
from tests.engine.training.data.material import SYMBOLS, VOCABULARY, aligned, corpus, ids, spelled

GRID = FrameGrid(320, 560)
HALF_CHARACTERS = GRID.field // 2
ALPHABET = Alphabet(VOCABULARY)
DELIMITER = SYMBOLS.index("|")


def labels(*alignments: Alignment) -> Labels:
    texts = (" ".join(word.text for word in alignment.words) for alignment in alignments)
    return Labels.of(corpus(list(zip(texts, alignments, strict=True))), ALPHABET)


def one_piece(start: int, frames: int, factor: float = 1.0) -> Plan:
    """A row that is a stretch of the file."""
    width = int(GRID.span(0, frames)[1] * factor) + 3
    source, row, begin, length = (np.array([n]) for n in (start, 0, 0, width))
    return Plan(source, row, begin, length, np.array([factor]), width)


def written(symbols: np.ndarray[tuple[int], np.dtype[np.int64]]) -> str:
    return "".join("." if id == 0 else SYMBOLS[id] for id in symbols)


def test_letters_of_a_recording() -> None:
    found = labels(aligned(("NO", 10, [("N", 4), ("OW", 6)]), ("IT", 22, [("IH", 2), ("T", 8)])))
    assert [SYMBOLS[id] for id in found.letter] == list("NO|IT|")
    units = [12, 17, 21, 23, 28, 33]  # the middle of each phone, and the unit behind the word
    assert found.letter_at.tolist() == [unit * UNIT_SAMPLES for unit in units]
    assert found.phones == ("SIL", "IH", "N", "OW", "T")
    said = [found.phones[n] for n in found.phone]
    assert said[9:21] == ["SIL", *["N"] * 4, *["OW"] * 6, "SIL"]
    assert said[22:33] == [*["IH"] * 2, *["T"] * 8, "SIL"]


def test_letters_aligned_by_a_model() -> None:
    """Their own time, no phones; also where letters are others than the vocabulary's."""
    found = labels(aligned(("ONE", 10, [("O", 4), ("N", 6), ("E", 2)]), letters=True))
    assert [SYMBOLS[id] for id in found.letter] == list("ONE|")
    assert found.letter_at.tolist() == [UNIT_SAMPLES * unit for unit in (12, 17, 21, 23)]
    assert found.phones == ()
    assert (found.phone[:52] == UNKNOWN).all()
    both = labels(aligned(("B", 2, [("B", 3)]), letters=True), aligned(("A", 2, [("EY", 3)])))
    assert both.phones == ("SIL", "EY")
    assert (both.phone[:35] == UNKNOWN).all()
    assert both.phone[35:41].tolist() == [0, 0, 1, 1, 1, 0]
    other = labels(aligned(("OÉN", 10, [("O", 4), ("É", 6), ("N", 2)]), letters=True))
    assert [SYMBOLS[id] for id in other.letter] == list("ON|")


def test_a_word_of_no_known_letter_and_one_at_the_end() -> None:
    found = labels(aligned(("12", 3, [("W", 5)]), ("A", 20, [("EY", 4000)])))
    assert [SYMBOLS[id] for id in found.letter] == ["A", "|"]
    late = corpus([("A", aligned(("A", 20, [("EY", 10)])))], units=30)
    assert Labels.of(late, ALPHABET).letter_at.max() == late.spans[0, 1] - 1


def test_frames_of_letters() -> None:
    """By hand: letters at 12, 17 and 21 units; frames are 2 units apart, the first one's centre is at 1.75."""
    found = labels(aligned(("NO", 10, [("N", 4), ("OW", 6)])))
    targets = label(one_piece(0, 20), found, GRID, 20, delay=0, blank=0)
    assert targets.ids.tolist() == ids("NO|")
    assert targets.lengths.tolist() == [3]
    assert written(targets.symbols[0]) == ".....NN.OO||........"  # 5.4, 7.9, 9.9
    late = label(one_piece(0, 20), found, GRID, 20, delay=3, blank=0)
    assert written(late.symbols[0]) == "........NN.OO||....."
    names = [found.phones[n] if n >= 0 else "?" for n in late.phones[0]]
    assert names == ["?"] * 3 + ["SIL"] * 5 + ["N"] * 2 + ["OW"] * 3 + ["SIL"] * 7


def test_crowded_letters_stay_in_order() -> None:
    """Of two letters in a frame the first one is there, and both are among the targets."""
    found = labels(aligned(("ABCD", 10, [("A", 1), ("B", 1), ("C", 1), ("D", 8)])))
    targets = label(one_piece(0, 20), found, GRID, 20, delay=0, blank=0)
    assert targets.ids.tolist() == ids("ABCD|")
    assert written(targets.symbols[0]) == ".....ACCDD||........"  # A and B at 5, C at 6
    fast = labels(aligned(("ABD", 10, [("A", 1), ("B", 1), ("D", 8)])))
    targets = label(one_piece(0, 20), fast, GRID, 20, delay=0, blank=0)
    assert written(targets.symbols[0]) == ".....ABDD.||........"


WORDS = st.lists(st.text("ABC", min_size=1, max_size=5), min_size=1, max_size=4).map(" ".join)


@given(WORDS, WORDS, st.integers(3, 12), st.sampled_from([0, 3]), st.floats(0.85, 1.2), st.data())
def test_letters_of_a_crop_are_those_whose_times_lie_inside(
    first: str, second: str, length: int, delay: int, factor: float, data: st.DataObject
) -> None:
    material = labels(spelled(first, length=length), spelled(second, length=length))
    end = len(material.phone) * UNIT_SAMPLES
    frames = data.draw(st.integers(delay + 2, 60))
    start = data.draw(st.integers(0, end))
    targets = label(one_piece(start, frames, factor), material, GRID, frames, delay, blank=0)
    low, high = start + factor * HALF_CHARACTERS, start + factor * (HALF_CHARACTERS + (frames - 1 - delay) * GRID.hop)
    inside = (material.letter_at >= low) & (material.letter_at < high)
    expected, times = material.letter[inside].tolist(), material.letter_at[inside].tolist()
    if expected and expected[0] == DELIMITER:
        expected, times = expected[1:], times[1:]
    assert targets.ids.tolist() == expected
    assert targets.lengths.tolist() == [len(expected)]
    assert set(targets.symbols[0].tolist()) <= {0, *expected}
    for at in times:
        frame = int(np.rint(((at - start) / factor - HALF_CHARACTERS) / GRID.hop + LATE_FRAMES + delay))
        assert delay <= frame < frames + 1
        assert targets.symbols[0, min(frame, frames - 1)] != 0


@given(WORDS, st.integers(3, 12), st.sampled_from([0, 3]), st.data())
def test_adjacent_crops_partition_the_letters(text: str, length: int, delay: int, data: st.DataObject) -> None:
    """Where one crop's last letters can be written, the next one's first ones begin."""
    material = labels(spelled(text, length=length))
    end = len(material.phone) * UNIT_SAMPLES
    sizes = data.draw(st.lists(st.integers(delay + 2, 30), min_size=1, max_size=8))
    starts = np.cumsum([0] + [(frames - 1 - delay) * GRID.hop for frames in sizes]).tolist()
    found: list[int] = []
    for start, frames in zip(starts, sizes, strict=False):
        targets = label(one_piece(start, frames), material, GRID, frames, delay, blank=0)
        found += targets.ids.tolist()
    inside = (material.letter_at >= HALF_CHARACTERS) & (material.letter_at < min(end, starts[-1] + HALF_CHARACTERS))
    expected = material.letter[inside].tolist()
    without = [id for id in found if id != DELIMITER]
    assert without == [id for id in expected if id != DELIMITER]
    assert found.count(DELIMITER) <= expected.count(DELIMITER)


def test_rows_of_several_pieces() -> None:
    """The end of a recording, a pause, the beginning of another; a row of silence; in the order of time."""
    first, second = spelled("AB", start=10, length=6), spelled("C", start=5, length=6)
    both = corpus([("AB", first), ("C", second)])
    material = Labels.of(both, ALPHABET)
    frames = 45
    width = GRID.span(0, frames)[1] + 3
    cut, pause = 16 * UNIT_SAMPLES, 20 * UNIT_SAMPLES  # at the beginning of B
    tail = int(both.spans[0, 1]) - cut
    rest = width - tail - pause
    plan = Plan(
        source=np.array([cut, -1, both.spans[1, 0], -1]),
        row=np.array([0, 0, 0, 1]),
        begin=np.array([0, tail, tail + pause, 0]),
        length=np.array([tail, pause, rest, width]),
        factor=np.ones(2),
        width=width,
    )
    targets = label(plan, material, GRID, frames, delay=0, blank=0)
    assert targets.ids.tolist() == ids("B|C|")
    assert targets.lengths.tolist() == [4, 0]
    assert not targets.symbols[1].any()
    assert not targets.phones[1].any()
    at = (tail + pause + 8 * UNIT_SAMPLES - HALF_CHARACTERS) / GRID.hop  # of C
    assert targets.symbols[0, round(at + LATE_FRAMES)] == SYMBOLS.index("C")
    assert targets.phones[0, round(at)] == material.phones.index("C")
    silent = slice(-(-tail // GRID.hop), (tail + pause) // GRID.hop - 2)
    assert not targets.phones[0, silent].any()
    rows = plan.gather(torch.from_numpy(both.samples)).numpy()
    assert np.array_equal(rows[0, :tail], both.samples[cut : both.spans[0, 1]])
    assert not rows[0, tail : tail + pause].any()
    assert np.array_equal(rows[0, tail + pause :][:rest], both.samples[both.spans[1, 0] :][:rest])
    assert not rows[1].any()


def test_a_crop_does_not_begin_with_a_delimiter() -> None:
    material = labels(spelled("AB C", start=10, length=6, gap=8))
    starts = range(0, int(material.letter_at[-1]), 800)
    for start in starts:
        found = label(one_piece(start, 40), material, GRID, 40, 0, blank=0).ids.tolist()
        assert not found or found[0] != DELIMITER
        assert not any(a == b == DELIMITER for a, b in pairwise(found))


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_speed_moves_labels(factor: float) -> None:
    found = labels(aligned(("NO", 40, [("N", 20), ("OW", 20)])))
    targets = label(one_piece(0, 80, factor), found, GRID, 80, 0, blank=0)
    first = int(np.argmax(targets.symbols[0] != 0))
    assert first == round((50 * UNIT_SAMPLES / factor - HALF_CHARACTERS) / GRID.hop + LATE_FRAMES)
    assert int((targets.phones[0] == found.phones.index("N")).sum()) == pytest.approx(10 / factor, abs=1)
