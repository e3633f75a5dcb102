"""Earliest deadline first, batches of about one length, late hops merged."""

from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.model import Ladder
from earshot_asr.engine.scheduler import MOST_MERGED_HOPS, Job, Scheduler
from earshot_asr.engine.windows import Window


def hop(number: int, *, droppable: bool = True, length: int = 40) -> Window:
    """The number-th hop window of ten frames of an utterance that begins at 0."""
    first = max(0, 10 * number + 10 - length)
    return Window(first, 10 * number + 10 - first, 10 * number, 10 * number + 10, False, droppable, 0)


def final(end: int = 100) -> Window:
    return Window(0, end, 0, end, True, False, 0)


def scheduler(batch_frames: int = 1000) -> Scheduler:
    return Scheduler(batch_frames, Ladder(step=16))


def test_the_earliest_deadline_goes_first() -> None:
    s = scheduler(batch_frames=1)
    for stream, deadline in ((1, 3.0), (2, 1.0), (3, 2.0)):
        s.add(Job(stream, hop(0), deadline))
    assert [s.take(0)[0].stream for _ in range(3)] == [2, 3, 1]
    assert s.take(0) == []
    assert len(s) == 0


def test_windows_of_about_one_length_share_a_batch() -> None:
    s = scheduler()
    s.add(Job(1, final(100), 1.0))
    s.add(Job(2, final(40), 2.0))
    s.add(Job(3, final(99), 3.0))
    assert [job.stream for job in s.take(0)] == [1, 3]
    assert [job.stream for job in s.take(0)] == [2]


def test_a_batch_has_a_bound_and_one_long_window_still_runs() -> None:
    s = scheduler(batch_frames=250)
    for stream in range(5):
        s.add(Job(stream, final(100), float(stream)))
    s.add(Job(9, final(900), 9.0))
    assert [[job.stream for job in s.take(0)] for _ in range(4)] == [[0, 1], [2, 3], [4], [9]]


def test_the_jobs_of_a_stream_stay_in_order_and_hurry_for_the_most_urgent() -> None:
    s = scheduler(batch_frames=1)
    s.add(Job(1, hop(0), 5.0))
    s.add(Job(1, final(20), 1.0))
    s.add(Job(2, hop(0), 2.0))
    assert [(job.stream, job.window.final) for job in (s.take(0)[0], s.take(0)[0], s.take(0)[0])] == [
        (1, False),
        (1, True),
        (2, False),
    ]


def test_nothing_is_superseded_in_time() -> None:
    s = scheduler(batch_frames=1)
    for n in range(3):
        s.add(Job(1, hop(n), 10.0 + n))
    assert [s.take(0)[0].window for _ in range(3)] == [hop(0), hop(1), hop(2)]
    assert s.superseded == 0


def test_late_hops_are_merged_up_to_a_limit() -> None:
    s = scheduler(batch_frames=1)
    for n in range(6):
        s.add(Job(1, hop(n), n / 10))
    merged = s.take(now=100)[0]
    assert merged.hops == MOST_MERGED_HOPS == 4
    assert (merged.window.start, merged.window.emit_from, merged.window.emit_to) == (0, 0, 40)
    assert s.take(100)[0].window.emit_to == 60
    assert s.superseded == 4


def test_a_late_hop_gives_way_to_its_final() -> None:
    s = scheduler(batch_frames=1)
    s.add(Job(1, hop(0), 1.0))
    s.add(Job(1, final(20), 2.0))
    assert s.take(now=100)[0].window == final(20)
    assert len(s) == 0


def pause(emit_from: int, end: int, segment: int = 0) -> Window:
    return Window(segment, end - segment, emit_from, end, False, True, segment, pause=True)


def test_a_late_pause_gives_way_to_what_follows_in_its_utterance() -> None:
    s = scheduler(batch_frames=1)
    for n, window in enumerate((pause(0, 10), hop(1), hop(2), hop(3), pause(40, 45), pause(45, 50), hop(5), hop(6))):
        s.add(Job(1, window, float(n)))
    assert s.take(now=100)[0] == Job(1, Window(0, 70, 0, 70, False, True, 0), 7.0, hops=3)
    s.add(Job(1, pause(0, 10), 1.0))
    s.add(Job(1, final(20), 2.0))
    assert s.take(now=100)[0].window == final(20)
    assert len(s) == 0


def test_a_pause_that_ended_its_utterance_gives_way_to_nothing() -> None:
    for after in (pause(10, 20, segment=10), Window(10, 10, 10, 20, True, False, 10)):
        s = scheduler(batch_frames=1)
        s.add(Job(1, pause(0, 10), 1.0))
        s.add(Job(1, after, 2.0))
        assert [s.take(now=100)[0].window for _ in range(2)] == [pause(0, 10), after]
        assert s.superseded == 0


def test_commit_hop_is_never_thinned() -> None:
    s = scheduler(batch_frames=1)
    for n in range(3):
        s.add(Job(1, hop(n, droppable=False), 0.0))
    assert [s.take(now=100)[0].window.emit_from for _ in range(3)] == [0, 10, 20]


def test_a_batch_is_of_one_language_and_the_earliest_deadline_of_all_goes_first() -> None:
    """However many streams another language has, and however late they are: nobody's language starves."""
    s = scheduler()
    for stream in range(20):
        s.add(Job(stream, final(100), 5.0 + stream, language="eng"))
    s.add(Job(50, final(100), 5.5, language="fra"))
    s.add(Job(51, final(99), 9.5, language="fra"))
    s.add(Job(52, final(100), 7.5))
    batches = [(batch[0].language, [job.stream for job in batch]) for batch in iter(lambda: s.take(100), [])]
    assert batches == [
        ("eng", [*range(8)]),
        ("fra", [50, 51]),
        (None, [52]),
        ("eng", [*range(8, 16)]),
        ("eng", [*range(16, 20)]),
    ]


def test_a_dropped_stream_is_forgotten() -> None:
    s = scheduler()
    s.add(Job(1, hop(0), 1.0))
    s.add(Job(2, hop(0), 2.0))
    s.drop(1)
    s.drop(7)
    assert [job.stream for job in s.take(0)] == [2]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(0, 10), st.integers(1, 300)), max_size=40),
    st.integers(1, 600),
    st.floats(0, 10),
)
def test_every_job_is_taken_once(jobs: list[tuple[int, float, int]], batch_frames: int, now: float) -> None:
    s = scheduler(batch_frames)
    spoken = ("eng", "fra", None)
    added = [Job(stream, final(frames), deadline, language=spoken[stream % 3]) for stream, deadline, frames in jobs]
    for job in added:
        s.add(job)
    taken = []
    while batch := s.take(now):
        assert len({(s.ladder.rung(job.window.frames), job.language) for job in batch}) == 1
        assert len(batch) == 1 or sum(s.ladder.rung(job.window.frames) for job in batch) <= batch_frames
        taken += batch
    assert sorted(map(repr, taken)) == sorted(map(repr, added))
    for stream in range(6):
        assert [job for job in taken if job.stream == stream] == [job for job in added if job.stream == stream]


@given(st.integers(1, 3000))
def test_the_ladder_pads_little(frames: int) -> None:
    rung = Ladder().rung(frames)
    assert 0 <= rung - frames < max(16, frames / 4)
    assert Ladder().rung(rung) == rung
