"""The virtual clock: with a stopwatch that shows known costs, messages leave at times that can be worked out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earshot_asr.client.evaluate.take import TimedEvent
from earshot_asr.client.evaluate.virtual import Playback, due
from earshot_asr.engine.audio import SAMPLE_RATE, LogProbs, Pcm, Seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.events import Final, Partial
from tests.helpers import INFO, FakeRunner, configs, finals, run_session, silence, speak, transcript, utterances

BLOCK = 1600
CONFIG = StreamConfig(
    hop_ms=400, left_ms=1000, right_ms=200, silence_ms=640, tail_ms=200, preroll_ms=200, stability="low"
)
SPEECH = np.concatenate([silence(1), speak("ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT", blocks=5), silence(2)])


@dataclass
class Bench(FakeRunner):
    """A runner whose batches cost what `cost` says, on a stopwatch of its own, which `reading` moves on as well."""

    cost: Callable[[int], Seconds] = lambda batch: 0.0
    reading: Seconds = 0.0
    time: Seconds = 0.0
    batches: int = 0
    readings: int = field(default=0)

    def run(self, windows: Sequence[Pcm]) -> list[LogProbs]:
        self.time += self.cost(self.batches)
        self.batches += 1
        return super().run(windows)

    def stopwatch(self) -> Seconds:
        self.time += self.reading
        self.readings += 1
        return self.time


def play(bench: Bench, pcm: Pcm = SPEECH, config: StreamConfig = CONFIG, block: int = BLOCK) -> Playback:
    playback = Playback(bench, config, pcm, block, bench.stopwatch)
    playback.run()
    return playback


def times(heard: Sequence[TimedEvent]) -> list[Seconds]:
    return [at for at, _ in heard]


FREE = play(Bench())


def test_what_costs_nothing_leaves_with_the_block_that_made_it_due() -> None:
    seen = [event.end for _, event in FREE.heard if isinstance(event, Partial)]
    left = [at for at, event in FREE.heard if isinstance(event, Partial)]
    assert len(seen) >= 8
    *hops, pause = np.diff(left)
    assert hops == pytest.approx([0.4] * len(hops))
    assert 0 < pause < 0.4
    assert all(end <= at < end + (BLOCK + 320) / SAMPLE_RATE for end, at in zip(seen, left, strict=True))
    assert FREE.work == 0


def test_finals_are_due_when_they_leave_if_computing_takes_no_time() -> None:
    assert due(INFO, CONFIG, SPEECH, BLOCK, FREE.outputs) == {
        event.segment: at for at, event in FREE.heard if isinstance(event, Final)
    }


def test_a_known_cost_delays_every_message_by_just_that() -> None:
    slower = play(Bench(cost=lambda batch: 0.07))
    assert [event for _, event in slower.heard] == [event for _, event in FREE.heard]
    *shown, final = times(FREE.heard)
    assert times(slower.heard) == pytest.approx([*(at + 0.07 for at in shown), final]), "the pause was heard before"
    assert slower.work == pytest.approx(0.07 * len(FREE.outputs))


def test_one_slow_batch_delays_what_waits_behind_it_and_nothing_else() -> None:
    """The third hop takes 0.55 s: the fourth, due 0.4 s after it, starts 0.15 s late; the fifth is in time again."""
    stalled = play(Bench(cost=lambda batch: 0.55 if batch == 2 else 0.02))
    late = np.subtract(times(stalled.heard), times(FREE.heard))
    assert late[:6] == pytest.approx([0.02, 0.02, 0.55, 0.17, 0.02, 0.02])


def test_a_device_that_is_too_slow_is_never_idle_and_changes_no_final() -> None:
    slow = play(Bench(cost=lambda batch: 1.0))
    assert times(slow.heard)[0] == pytest.approx(times(FREE.heard)[0] + 1.0)
    *partials, final = times(slow.heard)
    assert np.diff(partials) == pytest.approx(1.0)
    assert final == partials[-1], "the pause has lasted by the time that it was heard"
    assert len(slow.heard) < len(FREE.heard)
    assert slow.heard[-1].event == FREE.heard[-1].event


def test_the_loop_is_charged_too() -> None:
    bench = Bench(reading=0.001)
    charged = play(bench)
    assert charged.work == pytest.approx(bench.readings / 2 * 0.001)
    late = np.subtract(times(charged.heard), times(FREE.heard))
    assert late[:-1] == pytest.approx(0.004)  # feed, take, run, accept
    assert late[-1] == pytest.approx(0.001)  # feed: the final was there


def test_a_loop_that_is_too_slow_falls_behind() -> None:
    """A feed takes 0.15 s, and a block is 0.1 s."""
    behind = play(Bench(reading=0.15))
    fed = due(INFO, CONFIG, SPEECH, BLOCK, behind.outputs)[behind.heard[-1].event.segment]
    assert times(behind.heard)[-1] >= fed * 1.5


def test_the_loop_reads_while_the_device_computes() -> None:
    """Batches of 2 s, feeds of 1 ms: what comes meanwhile is read meanwhile."""
    playback = play(Bench(cost=lambda batch: 2.0, reading=0.001))
    first, second = times(playback.heard)[:2]
    assert second - first == pytest.approx(2.0 + 0.003)  # take, run, accept; no feed


def test_more_than_the_ring_holds_waits_outside() -> None:
    pcm = np.concatenate([speak("A LONG STORY ", blocks=4), silence(1)] * 20)
    assert len(pcm) > 40 * SAMPLE_RATE
    at_once = play(Bench(cost=lambda batch: 0.1), pcm, block=len(pcm))
    assert transcript([event for _, event in at_once.heard]) == transcript(run_session(pcm, CONFIG))


def test_nothing_at_all() -> None:
    assert play(Bench(), silence(0)).heard == []


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(utterances(), configs(), st.sampled_from([0.0, 0.05, 0.3, 2.0]), st.integers(160, 8000))
def test_the_clock_changes_no_final_and_nothing_is_due_later(
    pcm: Pcm, config: StreamConfig, cost: Seconds, block: int
) -> None:
    slow = play(Bench(cost=lambda batch: cost, reading=1e-4), pcm, config, block)
    said = finals([event for _, event in slow.heard])
    assert said == finals(run_session(pcm, config))
    fell_due = due(INFO, config, pcm, block, slow.outputs)
    assert fell_due == due(INFO, config, pcm, block, play(Bench(), pcm, config, block).outputs)
    assert [final.segment for final in said] == list(fell_due)
    assert all(at >= fell_due[event.segment] for at, event in slow.heard if isinstance(event, Final))
    assert times(slow.heard) == sorted(times(slow.heard))
