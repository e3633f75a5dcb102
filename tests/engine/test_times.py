"""When words are said, to the sample."""

import numpy as np
import pytest

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.decoder import DecodedWord
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.times import Loudness, Meter, powers, timed
from tests.helpers import GRID, VOCABULARY, tone

INFO = ModelInfo("fake", "", GRID, VOCABULARY, emission_delay=3)
A, B, C = (DecodedWord(text, start, end, 0.9) for text, start, end in (("A", 10, 12), ("B", 14, 15), ("C", 40, 41)))
MIDDLE = 40
"""Of a field, less the middle of a hop."""


def spans(*words: DecodedWord, start: int = 0, end: int = 100, loudness: Loudness | None = None) -> list[list[int]]:
    times = timed(words, INFO, start, end, loudness)
    return [[round(16000 * word.start), round(16000 * word.end)] for word in times]


def of(pcm: Pcm) -> Loudness:
    meter = Meter()
    assert len(np.concatenate(list(meter.listen([pcm[:1000], pcm[1000:]])))) == len(pcm)
    return meter


def square(samples: int) -> Pcm:
    return (1 - 2 * (np.arange(samples) // 8 % 2)).astype(np.int16)


def test_a_word_begins_before_its_first_symbol_and_lasts_to_the_next_word_or_180_ms() -> None:
    begin = [320 * (frame - 3) + MIDDLE for frame in (10, 14, 40)]
    end = [begin[1], 320 * 12 + MIDDLE + 2880, 320 * 38 + MIDDLE + 2880]
    assert np.array(spans(A, B, C)) == pytest.approx(np.array([begin, end]).T, abs=8)  # rounded to milliseconds


def test_words_stay_within_their_utterance() -> None:
    assert spans(DecodedWord("A", 0, 2, 0.9), DecodedWord("B", 18, 20, 0.9), start=50, end=70)[0][0] == 50 * 320
    assert spans(DecodedWord("A", 0, 2, 0.9), DecodedWord("B", 18, 20, 0.9), start=50, end=70)[1][1] == 70 * 320


def test_silence_at_the_edges_of_a_word_is_not_part_of_it() -> None:
    pcm = np.concatenate([tone(0, 320 * 9), tone(5, 320), tone(0, 320), tone(5, 480), tone(0, 20000)])
    assert spans(A, loudness=of(pcm)) == [[320 * 9, 320 * 11 + 480]]  # the silence inside is


@pytest.mark.parametrize("pcm", [tone(5, 40000), tone(0, 40000)])
def test_where_nothing_is_louder_than_the_rest_symbols_alone_count(pcm: Pcm) -> None:
    assert spans(A, B, C, loudness=of(pcm)) == spans(A, B, C)


def test_33_db_below_the_loudest_block_is_silent() -> None:
    for quiet, silent in ((25, False), (20, True)):
        pcm = np.concatenate([quiet * square(320 * 12), 1000 * square(320), quiet * square(20000)])
        assert (spans(A, loudness=of(pcm)) == [[320 * 12, 320 * 13]]) == silent


def test_the_power_of_a_block_does_not_depend_on_others_nor_on_an_offset() -> None:
    pcm = np.random.default_rng(0).integers(-20000, 20000, 800).astype(np.int16)
    assert powers(pcm)[2:].tolist() == powers(pcm[320:]).tolist() == powers(pcm[320:] + np.int16(900)).tolist()
    assert len(powers(pcm[:799])) == 4


def test_the_powers_of_hours_are_not_copied_for_each_word() -> None:
    loudness = of(square(4000))
    assert np.shares_memory(loudness(0, 20), loudness(0, 20))


def test_no_words_have_no_times() -> None:
    assert timed([], INFO, 0, 10) == ()
