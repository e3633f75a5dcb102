"""No window is computed twice, and the clock does not tell."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earshot_asr.client.evaluate.sweep.memory import Memory, Remembering
from earshot_asr.client.evaluate.virtual import Playback
from earshot_asr.engine.audio import LogProbs, Pcm, Seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.model import Runner
from tests.helpers import GRID, FakeRunner, configs, speak, utterances

BLOCK = 1600
COSTS_SECONDS = (0.0, 0.00113, 0.01137)
"""Of a frame; odd, so that no window is due just when another is done: rounding would decide which goes first."""


@dataclass
class Bench(FakeRunner):
    """Each frame costs `frame` seconds, on a stopwatch of its own."""

    frame: Seconds = 0.0
    time: Seconds = 0.0
    seen: list[bytes] = field(default_factory=list)

    def run(self, windows: Sequence[Pcm]) -> list[LogProbs]:
        self.time += self.frame * sum(GRID.frames(len(pcm)) for pcm in windows)
        self.seen += [pcm.tobytes() for pcm in windows]
        return super().run(windows)

    def stopwatch(self) -> Seconds:
        return self.time


def play(runner: Runner, memory: Memory | Bench, pcm: Pcm, config: StreamConfig) -> Playback:
    playback = Playback(runner, config, pcm, BLOCK, memory.stopwatch, rest=0.0)
    playback.run()
    return playback


@settings(max_examples=15)
@given(utterances(), configs(), st.sampled_from(COSTS_SECONDS), st.sampled_from([0, 10**5, 10**9]))
def test_what_was_known_leaves_when_it_would_have_left(
    pcm: Pcm, config: StreamConfig, frame: Seconds, most_bytes: int
) -> None:
    """Also where windows are late and others take their places, and where much is forgotten."""
    alone, bench = Bench(frame=frame), Bench(frame=frame)
    memory = Memory(bench.stopwatch, rest=0.0, most_bytes=most_bytes)
    wanted = play(alone, alone, pcm, config)
    for _ in range(2):
        played = play(Remembering(bench, memory), memory, pcm, config)
        assert [event for _, event in played.heard] == [event for _, event in wanted.heard]
        assert [at for at, _ in played.heard] == pytest.approx([at for at, _ in wanted.heard])
        assert played.work == pytest.approx(wanted.work)
    if most_bytes == 10**9:
        assert len(bench.seen) == len(set(bench.seen))


def test_settings_share_windows() -> None:
    pcm, bench = np.concatenate([speak("ONE TWO THREE FOUR", blocks=5), np.zeros(16_000, np.int16)]), Bench()
    memory = Memory(bench.stopwatch, rest=0.0)
    play(Remembering(bench, memory), memory, pcm, StreamConfig.preset("low", stability="low"))
    windows = len(bench.seen)
    play(Remembering(bench, memory), memory, pcm, StreamConfig.preset("low", stability="high"))
    assert len(bench.seen) == windows > 5
    play(Remembering(bench, memory), memory, pcm, StreamConfig.preset("low", commit="hop"))
    assert len(bench.seen) <= windows + 1  # the last one alone may be another


def test_what_is_forgotten_is_what_was_asked_for_longest_ago() -> None:
    bench, memory = Bench(), Memory(rest=0.0)
    runner = Remembering(bench, memory)
    a, b, c = (speak(text) for text in ("AA", "BB", "CC"))
    memory.most_bytes = 2 * runner.run([a])[0].nbytes
    runner.run([b])
    runner.run([a, a])
    runner.run([c])  # b is forgotten
    assert len(bench.seen) == 3
    runner.run([a, c])
    assert len(bench.seen) == 3
    assert np.array_equal(runner.run([b])[0], FakeRunner().run([b])[0])
    assert len(bench.seen) == 4


def test_a_runner_is_what_it_was() -> None:
    bench = Bench()
    known = Remembering(bench, Memory()).speaking(None)
    assert (known.info, known.device, known.ladder, known.batch_frames) == (
        bench.info,
        bench.device,
        bench.ladder,
        bench.batch_frames,
    )
