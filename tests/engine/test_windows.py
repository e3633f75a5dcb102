"""Windows fall due at fixed frames, follow each other without a gap, and merge."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.config import StreamConfig, Timing
from earshot_asr.engine.windows import Window, WindowPlanner, merge
from tests.helpers import GRID, configs


def timing(config: StreamConfig) -> Timing:
    return Timing.of(config, GRID, 0, 0)


def test_hop_windows_of_an_utterance() -> None:
    planner = WindowPlanner(timing(StreamConfig(hop_ms=400, left_ms=400, right_ms=200)), 30)
    assert list(planner.due(49, until=999)) == []
    assert list(planner.due(50, until=999)) == [Window(10, 40, 30, 40, False, True, 30)]
    assert list(planner.due(90, until=999)) == [
        Window(20, 50, 40, 60, False, True, 30),
        Window(40, 50, 60, 80, False, True, 30),
    ]
    assert planner.last(95) == Window(0, 95, 30, 95, True, False, 30)


def test_a_short_window_keeps_the_more_right_context_and_sees_no_more_than_the_final_one() -> None:
    planner = WindowPlanner(timing(StreamConfig(hop_ms=200, left_ms=1000, right_ms=100, margin_ms=400)), 100)
    assert list(planner.due(160, until=999)) == [
        Window(80, 30, 100, 101, False, True, 100),
        Window(80, 40, 101, 102, False, True, 100),
        Window(80, 50, 102, 115, False, True, 100),
        Window(80, 60, 115, 135, False, True, 100),
        Window(85, 65, 135, 145, False, True, 100),
        Window(95, 65, 145, 155, False, True, 100),
    ]
    assert planner.last(160) == Window(80, 80, 100, 160, True, False, 100)


def test_the_last_window_of_commit_hop_is_what_is_left() -> None:
    planner = WindowPlanner(timing(StreamConfig(hop_ms=400, left_ms=1000, right_ms=200, commit="hop")), 30)
    assert [w.droppable for w in planner.due(70, until=999)] == [False, False]
    assert planner.committed == 60
    assert planner.last(95) == Window(10, 85, 60, 95, True, False, 30)
    assert planner.last(60) is None


def test_silence_is_not_encoded() -> None:
    planner = WindowPlanner(timing(StreamConfig(hop_ms=400, left_ms=0, right_ms=0)), 0)
    assert [w.emit_to for w in planner.due(200, until=41)] == [20, 40, 41]
    assert [w.emit_to for w in planner.due(250, until=241)] == [220, 240, 241], "hops end where they always do"


def test_a_pause_window_takes_all_that_was_said_and_is_the_last_one_if_the_pause_lasts() -> None:
    config = StreamConfig(hop_ms=400, left_ms=200, right_ms=200, margin_ms=200)
    planner = WindowPlanner(timing(config), 30)
    assert [w.emit_to for w in planner.due(89, until=90)] == [40, 60]
    assert list(planner.due(90, until=90)) == [Window(20, 70, 60, 90, False, True, 30, pause=True)]
    assert planner.last(90) is None
    assert planner.last(85) == Window(20, 65, 30, 85, True, False, 30), "a flush may end it before"
    assert list(planner.due(139, until=150)) == [
        Window(80, 30, 90, 100, False, True, 30),
        Window(90, 40, 100, 120, False, True, 30),
    ], "what follows is heard in hops again"
    assert planner.last(140) == Window(20, 120, 30, 140, True, False, 30)


def test_with_commit_hop_a_pause_window_commits_what_is_left() -> None:
    config = StreamConfig(hop_ms=400, left_ms=600, right_ms=200, commit="hop")
    planner = WindowPlanner(timing(config), 30)
    windows = list(planner.due(90, until=90))
    assert [(w.kind, w.droppable) for w in windows] == [("hop", False), ("hop", False), ("pause", False)]
    assert planner.committed == 90
    assert planner.last(90) is planner.last(80) is None


def test_without_hop_windows_there_are_no_pause_windows() -> None:
    planner = WindowPlanner(timing(StreamConfig(partials=False)), 30)
    assert list(planner.due(90, until=90)) == []
    assert planner.last(90) == Window(0, 90, 30, 90, True, False, 30)


@given(configs(), st.integers(0, 500), st.lists(st.integers(0, 500), max_size=20).map(sorted))
def test_due_windows_tile_the_timeline_however_often_one_asks(
    config: StreamConfig, start: int, asked: list[int]
) -> None:
    planner = WindowPlanner(timing(config), start)
    windows = [window for frames in asked for window in planner.due(start + frames, until=10**6)]
    emitted, t = start, planner.timing
    for n, window in enumerate(windows, 1):
        assert (window.emit_from, window.segment) == (emitted, start)
        assert window.end == start + n * t.hop
        context = max(t.right, t.left + t.hop + t.right - window.frames)
        assert window.emit_to == max(emitted + 1, window.end - context)
        assert window.start == max(0, emitted - t.left, start - t.margin)
        emitted = window.emit_to
    if asked:
        once = WindowPlanner(timing(config), start)
        assert list(once.due(start + asked[-1], until=10**6)) == windows


def test_a_newer_window_takes_over() -> None:
    older, newer = Window(0, 60, 30, 50, False, True, 30), Window(10, 70, 50, 70, False, True, 30)
    assert merge(older, newer) == Window(0, 80, 30, 70, False, True, 30)
    pause, after = Window(0, 75, 50, 75, False, True, 30, pause=True), Window(20, 70, 75, 80, False, True, 30)
    assert merge(older, pause) == Window(0, 75, 30, 75, False, True, 30, pause=True)
    assert merge(pause, after) == Window(0, 90, 50, 80, False, True, 30)
    for wrong in ((newer, older), (pause, Window(20, 70, 75, 80, False, True, 75))):
        with pytest.raises(AssertionError):
            merge(*wrong)
    with pytest.raises(AssertionError):
        merge(older, Window(10, 70, 50, 70, True, False, 30))


def test_a_window_emits_only_what_it_holds() -> None:
    with pytest.raises(AssertionError):
        Window(10, 5, 10, 16, False, True, 10)
