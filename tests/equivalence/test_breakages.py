"""The engine, broken on purpose: the test of the invariant that it breaks must fail. A table is in tests/README.md."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import settings

from earshot_asr.engine.audio import LogProbs, Pcm
from earshot_asr.engine.greedy import GreedyDecoder
from earshot_asr.engine.runner import TorchRunner, load_runner
from earshot_asr.engine.scheduler import Job, Scheduler
from earshot_asr.engine.session import Session
from earshot_asr.engine.utterance import Utterance
from earshot_asr.engine.windows import Window, WindowPlanner
from tests.engine import test_recognizer, test_runner, test_scheduler
from tests.equivalence import test_invariants
from tests.helpers import FakeRunner

decoder_feed, session_feed, session_accept, fake_run = (
    GreedyDecoder.feed,
    Session.feed,
    Session.accept,
    FakeRunner.run,
)


def feed_off_by_one(self: GreedyDecoder, log_probs: LogProbs) -> None:
    """The seam is one frame too late."""
    decoder_feed(self, log_probs[1:])


def feed_and_plan(self: Session, pcm: Pcm) -> int:
    """A hop window for whatever came with the message."""
    taken = session_feed(self, pcm)
    if self._planner and self._segment and self._segment.end is None and self.timing.hops:
        first, end = self._planner._emitted, self.info.grid.frames(self.received)
        if first < end:
            start = max(0, first - self.timing.left)
            window = Window(start, end - start, first, end, False, self.timing.provisional, self._segment.start)
            self._wanted.append(window)
            self._planner._emitted = end
    return taken


def no_hops(self: WindowPlanner, frames: int, until: int) -> Iterator[Window]:
    return iter(())


def run_with_neighbours(self: FakeRunner, windows: Sequence[Pcm]) -> list[LogProbs]:
    """What a window says depends on how many there are."""
    return [np.roll(log_probs, len(windows) - 1, axis=1) for log_probs in fake_run(self, windows)]


def kind_of_any_language(self: Scheduler, job: Job) -> tuple[int, str | None]:
    """A batch is computed in the language of its first window."""
    return self.ladder.rung(job.window.frames), None


def run_unmasked(self: TorchRunner, windows: Sequence[Pcm]) -> list[LogProbs]:
    """Padding is taken for audio."""
    longest = max(len(pcm) for pcm in windows)
    rows = [np.concatenate([pcm, np.zeros(longest - len(pcm), np.int16)]) for pcm in windows]
    return [self_run(self, [row])[0][: self.info.grid.frames(len(pcm))] for row, pcm in zip(rows, windows, strict=True)]


self_run = TorchRunner.run


def lose_flush(self: Session, sample: int) -> None:
    """A flush is taken note of, and that is all."""


def accept_and_listen(self: Session, window: Window, log_probs: LogProbs, utterance: Utterance | None = None) -> None:
    """The endpointer reads the hop frames: a blank among them makes it wait longer."""
    session_accept(self, window, log_probs, utterance)
    if window.kind == "hop" and (log_probs.argmax(-1) == self.info.vocabulary.blank).any():
        timing = self._endpointer.timing
        self._endpointer.timing = replace(timing, silence=timing.silence + 3)


BREAKAGES: dict[str, tuple[list[tuple[Any, str, Callable[..., Any]]], Callable[[], None]]] = {
    "a seam off by one": (
        [(GreedyDecoder, "feed", feed_off_by_one)],
        test_invariants.test_seams_lose_and_double_nothing,
    ),
    "windows planned per message": (
        [(Session, "feed", feed_and_plan), (WindowPlanner, "due", no_hops)],
        test_invariants.test_one_sample_at_a_time,
    ),
    "a leak between rows of a batch": (
        [(FakeRunner, "run", run_with_neighbours)],
        test_recognizer.test_company_makes_no_difference,
    ),
    "languages that share a batch": (
        [(Scheduler, "_kind", kind_of_any_language)],
        test_scheduler.test_a_batch_is_of_one_language_and_the_earliest_deadline_of_all_goes_first,
    ),
    "padding that leaks into a row": (
        [(TorchRunner, "run", run_unmasked)],
        lambda: test_runner.test_company_makes_no_difference(load_runner(device="cpu")),
    ),
    "a lost flush": (
        [(Session, "_flush", lose_flush)],
        test_invariants.test_no_last_word_is_lost,
    ),
    "an endpoint that reads hop frames": (
        [(Session, "accept", accept_and_listen)],
        test_invariants.test_superseded_hops_change_no_final,
    ),
}


SETTINGS = "_hypothesis_internal_use_settings"
"""Where hypothesis keeps those of a property: the ones of the profile that was loaded when it was defined."""


@pytest.mark.parametrize("name", BREAKAGES)
def test_each_breakage_is_caught(name: str) -> None:
    patches, check = BREAKAGES[name]
    with ExitStack() as broken:
        for each in patches:
            broken.enter_context(patch.object(*each))
        if hasattr(check, SETTINGS):
            broken.enter_context(patch.object(check, SETTINGS, settings.get_profile("broken on purpose")))
        with pytest.raises((AssertionError, ExceptionGroup)):
            check()
