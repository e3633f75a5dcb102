"""What counts as an error at a seam, and as a seam that is torn."""

from collections import Counter

import numpy as np

from earshot_asr.client.evaluate.take import SpokenWord
from earshot_asr.engine.audio import LogProbs
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.decoder import DecodeConfig
from earshot_asr.engine.transcription import plain
from tests.benchmarks.seams import Fault, Remembering, faults, measure, near, torn, words
from tests.helpers import VOCABULARY, FakeRunner, silence, speak

SAID = [SpokenWord(text, at, at + 0.4) for at, text in enumerate(["ONE", "TWO", "THREE"])]


def frames(text: str) -> LogProbs:
    """The symbols of frames, "_" for the blank."""
    probs = np.full((len(text), VOCABULARY.size), 0.001, np.float32)
    probs[range(len(text)), [VOCABULARY.symbols.index({"_": "<pad>"}.get(char, char)) for char in text]] = 0.9
    return np.log(probs)


def test_errors_have_the_times_of_their_words() -> None:
    heard = [SpokenWord("ONE", 0, 0.4), SpokenWord("ONE", 0.6, 0.8), SpokenWord("TWO", 1, 1.4)]
    assert faults(SAID, heard) == [Fault("doubled", 0.7), Fault("dropped", 2.2)]
    assert faults(SAID, []) == [Fault("dropped", at + 0.2) for at in range(3)]
    other = [SpokenWord("ONE", 0, 0.4), SpokenWord("TOO", 1, 1.4), SpokenWord("THREE", 2, 2.4)]
    assert faults(SAID, other) == [Fault("changed", 1.2)]


def test_an_error_is_at_a_seam_that_is_close_on_either_side() -> None:
    found = [Fault("doubled", 0.7), Fault("dropped", 2.2), Fault("changed", 5.0)]
    assert near(found, [0.6, 2.45]) == Counter(doubled=1)
    assert near(found, [2.3, 2.1, 0.0]) == Counter(dropped=1)
    assert near(found, []) == Counter()


def test_a_seam_is_torn_if_what_is_joined_reads_unlike_either_window() -> None:
    assert not torn(frames("A_B_C_D_"), frames("_A_B_C_D"), VOCABULARY)
    assert not torn(frames("A_B_C_D_"), frames("A_B_X_D_"), VOCABULARY)
    assert torn(frames("A_B_CC__"), frames("A___B_C_"), VOCABULARY)  # B doubled
    assert torn(frames("A____B_C"), frames("A__B___C"), VOCABULARY)  # B dropped


def test_what_is_the_same_at_any_seam_has_no_errors_there() -> None:
    pcm = np.concatenate([silence(2), speak("HELLO WORLD AGAIN", 3), silence(2), speak("GOOD BYE", 3), silence(2)])
    runner, config = Remembering(FakeRunner()), StreamConfig(commit="hop", decode=DecodeConfig(decoder="greedy"))
    said = words(plain(runner, [pcm], config.decode))
    row = measure(runner, pcm, said, config, 2)
    assert row.seams > 3 and row.joins > 2
    assert not row.torn and not any(row.extra.values())
