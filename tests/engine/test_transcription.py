"""Recordings to utterances, as a stream or in plain passes, by a runner that reads loudness."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import earshot_asr
from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid
from earshot_asr.engine.config import Commit, StreamConfig
from earshot_asr.engine.errors import AudioError, CheckpointError, ConfigError
from earshot_asr.engine.events import Final
from earshot_asr.engine.transcription import LONGEST_PASS_SAMPLES, passes, plain, streamed
from tests.loudness import LoudnessRunner, say


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, 160_000), max_size=9), commit=st.sampled_from(get_args(Commit)))
def test_a_stream_does_not_depend_on_how_the_file_is_read(cuts: list[int], commit: Commit) -> None:
    config = StreamConfig(commit=commit, partials=False)
    pcm = say(".HELO WORLD.HOW IS IT. BYE")
    whole = list(streamed(LoudnessRunner(), config, [pcm]))
    pieces = np.split(pcm, sorted(min(cut, len(pcm)) for cut in cuts))
    assert list(streamed(LoudnessRunner(), config, pieces)) == whole
    assert [final.text for final in whole] == ["HELO WORLD", "HOW IS IT", "BYE"]


def test_what_is_longer_than_the_ring_may_come_at_once() -> None:
    finals = streamed(LoudnessRunner(), StreamConfig(partials=False), [say("HELO.BYE." * 30)])
    assert [final.text for final in finals] == ["HELO", "BYE"] * 30


@given(
    samples=st.integers(0, 100 * SAMPLE_RATE)
    | st.integers(-400, 400).map(lambda more: 30 * SAMPLE_RATE + more)
    | st.integers(-700, 700).map(lambda more: 54 * SAMPLE_RATE + more),
    cuts=st.lists(st.integers(0, 100 * SAMPLE_RATE), max_size=5),
    field=st.sampled_from([400, 560]),
)
def test_passes_keep_every_frame_once_with_context(samples: int, cuts: list[int], field: int) -> None:
    grid = FrameGrid(320, field)
    audio = (np.arange(samples) // grid.hop).astype(np.int16)  # every sample tells its frame
    kept: list[int] = []
    for pcm, keep in passes(np.split(audio, sorted(min(cut, samples) for cut in cuts)), grid):
        assert len(pcm) <= LONGEST_PASS_SAMPLES
        frames = [int(pcm[i * grid.hop]) for i in range(grid.frames(len(pcm)))]
        assert not kept or frames[0] + 150 == frames[keep][0] == kept[-1] + 1
        kept += frames[keep]
    assert kept == list(range(grid.frames(samples)))


def test_up_to_30_s_are_one_pass_and_more_are_several() -> None:
    runner = LoudnessRunner()
    (final,) = plain(runner, [say("HELO." * 16)])
    assert final.text == " ".join(["HELO"] * 16)
    assert runner.lengths == [16 * (4 * 4 + 75) * 320]
    (final,) = plain(runner, [say("HELO.BYE." * 30)])
    assert final.text == "HELO BYE " * 29 + "HELO BYE"
    assert runner.lengths[1:-1] == [LONGEST_PASS_SAMPLES] * (len(runner.lengths) - 2)
    assert all(a.end <= b.start for a, b in pairwise(final.words))


@pytest.mark.parametrize("heard", [plain, partial(streamed, config=StreamConfig(partials=False))])
def test_a_word_ends_where_its_sound_does(heard: Callable[..., Iterator[Final]]) -> None:
    """As an encoder with a delay of 0, which hears a frame from its own samples alone."""
    finals = list(heard(LoudnessRunner(), audio=[say(".HELO"), say(".BYE.")]))
    words = [word for final in finals for word in final.words]
    assert [word.text for word in words] == ["HELO", "BYE"]
    assert [round(100 * word.end) for word in words] == [150 + 32, 332 + 24]  # not up to 0.18 s later


def test_a_file_is_transcribed_with_one_call(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", say(".HELO WORLD.BYE"), SAMPLE_RATE)
    utterances = earshot_asr.transcribe(tmp_path / "a.flac", model=LoudnessRunner())
    assert [utterance.text for utterance in utterances] == ["HELO WORLD", "BYE"]


def test_several_readings_of_each_utterance(tmp_path: Path) -> None:
    path, runner = tmp_path / "a.flac", LoudnessRunner()
    soundfile.write(path, say(".HELO WORLD.BYE"), SAMPLE_RATE)
    for utterance in earshot_asr.transcribe(path, model=runner, alternatives=3):
        assert len(utterance.alternatives) == len({reading.text for reading in utterance.alternatives}) == 3
        assert utterance.alternatives[0].text == utterance.text
        shares = [reading.confidence for reading in utterance.alternatives]
        assert shares == sorted(shares, reverse=True) and sum(shares) <= 1.001
    assert not any(utterance.alternatives for utterance in earshot_asr.transcribe(path, model=runner))
    with pytest.raises(ConfigError, match="alternatives is 11; it must be between 1 and 10"):
        earshot_asr.transcribe(path, model=runner, alternatives=11)


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="latency is 'fast'"):
        earshot_asr.transcribe("a.flac", latency="fast")
    with pytest.raises(CheckpointError):
        earshot_asr.transcribe("a.flac", model=tmp_path / "none")
    with pytest.raises(AudioError, match=r"none\.flac"):
        list(earshot_asr.transcribe(tmp_path / "none.flac", model=LoudnessRunner()))


def test_a_file_that_is_cut_off_is_transcribed_as_far_as_it_goes_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, say("HELO WORLD." * 3), SAMPLE_RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(UserWarning, match=r"a\.flac: it is cut off, or damaged"):
        utterances = list(earshot_asr.transcribe(path, model=LoudnessRunner()))
    assert utterances[0].text == "HELO WORLD"
