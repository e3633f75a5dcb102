"""Recordings in which nobody speaks, played again and again."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from earshot_asr.client.evaluate.quiet import rounds
from earshot_asr.client.evaluate.recordings import recording
from earshot_asr.client.evaluate.take import Clip

RAMP = (100 * np.arange(160)).astype(np.int16).repeat(100)  # one second
SPOKEN = Clip("b.wav", "dev", "Hello", (Path("not-played.wav"),))


@pytest.fixture
def noise(tmp_path: Path) -> Clip:
    soundfile.write(tmp_path / "a.wav", RAMP, 16_000)
    return Clip("a.wav", "noise", "", (tmp_path / "a.wav",), ())


def test_once_as_they_are(noise: Clip) -> None:
    assert list(rounds([SPOKEN, noise], (), None)) == list(rounds([noise, SPOKEN], (0.0,), 0)) == [SPOKEN, noise]


def test_rounds_of_all_gains_until_the_minutes_are_full(noise: Clip) -> None:
    played = list(rounds([noise, SPOKEN, noise], (-20, 0, 10), 13 / 60))
    assert played[0] == SPOKEN
    quiet = played[1:]
    assert len(quiet) == 3 * 3 * 2  # a round of three gains of two clips has six seconds
    assert [clip.gain for clip in quiet[:6]] == [-20, -20, 0, 0, 10, 10]
    assert len({clip.begin for clip in quiet}) == 3
    assert quiet[0].name == "a.wav, -20 dB" and quiet[-1].name == "a.wav, +10 dB, round 3"


def test_all_of_a_recording_is_played_from_wherever_it_begins(noise: Clip) -> None:
    *_, last = rounds([noise], (), 3 / 60)
    pcm = recording(last)
    first = round(16_000 * last.begin)
    assert 0 < first < 16_000
    assert np.array_equal(pcm, np.concatenate([RAMP[first:], RAMP[:first]]))


def test_louder_and_softer(noise: Clip) -> None:
    soft, same, loud = (recording(clip) for clip in rounds([noise], (-20, 0, 10), None))
    assert np.array_equal(same, RAMP)
    assert np.abs(soft - RAMP / 10).max() <= 0.5
    assert np.abs(loud - np.minimum(RAMP * 10**0.5, 32767)).max() <= 1  # clipped, and not wrapped
