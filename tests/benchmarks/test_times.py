"""Words that are spliced at known samples, and how far off they are heard."""

import numpy as np

from earshot_asr.client.evaluate.take import SpokenWord
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from tests.benchmarks.times import alone, edges, figures, matched, spliced


def recorded(loud: int = 5000, noise: int = 1) -> Pcm:
    """A word of two parts with a silence of 0.1 s inside, and a click long before it, in noise."""
    pcm = np.random.default_rng(0).integers(-noise, noise + 1, SAMPLE_RATE).astype(np.int16)
    for first, end in ((500, 600), (6000, 8000), (9600, 12000)):
        pcm[first:end] = loud * (1 - 2 * (np.arange(end - first) // 8 % 2))
    return pcm


def test_a_word_lasts_from_its_onset_to_its_end_without_what_is_far_away() -> None:
    span = edges(recorded())
    assert span is not None
    assert abs(span[0] - 6000) <= 160 and abs(span[1] - 12000) <= 160


def test_a_recording_in_loud_noise_has_no_edges() -> None:
    assert edges(recorded(noise=200)) is None


def test_words_are_spliced_at_known_samples() -> None:
    pcm, said = spliced([("One", recorded()), ("two", recorded(noise=200)), ("three", recorded())])
    assert [word.text for word in said] == ["ONE", "THREE"]
    for word in said:
        here = pcm[round(word.start * SAMPLE_RATE) : round(word.end * SAMPLE_RATE)]
        assert abs(len(here) - 6000) <= 320 and np.abs(here[200:-200]).max() == 5000


def test_only_words_that_are_heard_rightly_count() -> None:
    said = [SpokenWord("ONE", 1, 1.5), SpokenWord("TWO", 3, 3.5), SpokenWord("SIX", 5, 5.5)]
    heard = [
        SpokenWord("ONE", 1.1, 1.4),
        SpokenWord("TOO", 3, 3.5),
        SpokenWord("SIX", 5, 5.2),
        SpokenWord("X", 5.3, 5.6),
    ]
    assert alone(said, heard) == [(said[0], heard[0])]
    assert matched(said, heard) == [(said[0], heard[0]), (said[2], heard[2])]


def test_late_is_positive() -> None:
    assert "start  +50.0  off  50.0  p90  50.0   end -100.0  off 100.0" in figures(
        [(SpokenWord("ONE", 1.0, 1.5), SpokenWord("ONE", 1.05, 1.4))]
    )
