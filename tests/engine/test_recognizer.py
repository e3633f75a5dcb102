"""The loop: many streams through one runner."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.events import Event
from earshot_asr.engine.recognizer import Recognizer, Stream
from earshot_asr.engine.session import Session
from tests.helpers import (
    FakeRunner,
    Polyglot,
    configs,
    finals,
    partials,
    run_session,
    silence,
    speak,
    transcript,
    utterances,
)


class ManualClock:
    """Time stands still unless it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def run(recognizer: Recognizer, stream: Stream) -> list[Event]:
    while recognizer.step():
        pass
    return stream.events()


SPOKEN = st.sampled_from([None, "eng", "fr", "German"])


@given(st.lists(st.tuples(utterances(), configs(), SPOKEN), min_size=1, max_size=4), st.integers(1, 9))
@settings(max_examples=25)
def test_company_makes_no_difference(streams: list[tuple[Pcm, StreamConfig, str | None]], chunks: int) -> None:
    """Streams that share a recognizer, in any languages, say what each says alone, to the last partial."""
    clock = ManualClock()
    recognizer = Recognizer(Polyglot(), clock)
    opened = [recognizer.open(replace(config, language=language)) for _, config, language in streams]
    said: list[list[Event]] = [[] for _ in streams]
    for n in range(chunks):
        for stream, (pcm, _, _) in zip(opened, streams, strict=True):
            piece = np.array_split(pcm, chunks)[n]
            while len(piece):
                piece = piece[stream.feed(piece) :]
                if len(piece):
                    recognizer.step()
        recognizer.step()
    for stream in opened:
        stream.finish()
    while recognizer.step():
        pass
    for events, stream in zip(said, opened, strict=True):
        events += stream.events()
        assert stream.done
    for events, (pcm, config, language) in zip(said, streams, strict=True):
        alone = Polyglot().speaking(language)
        session = Session(alone.info, config)
        assert events == run_session(pcm, config, session=session, encode=alone.encode)


def test_under_load_partials_thin_out_and_finals_stay() -> None:
    pcm = np.concatenate([speak("ONE TWO THREE FOUR FIVE SIX", 5), silence(1)])
    said = []
    for late in (0.0, 2.5):
        clock = ManualClock()
        recognizer = Recognizer(FakeRunner(), clock)
        stream = recognizer.open(StreamConfig(hop_ms=240))
        events: list[Event] = []
        for n, chunk in enumerate(np.array_split(pcm, 20)):
            stream.feed(chunk)
            clock.now += len(chunk) / 16000 + (late if n == 10 else 0)
            if not (late and n < 10):
                events += run(recognizer, stream)
        stream.finish()
        events += run(recognizer, stream)
        said.append(events)
        assert bool(recognizer.scheduler.superseded) == bool(late)
    assert finals(said[0]) == finals(said[1])
    assert 0 < len(partials(said[1])) < len(partials(said[0]))


def test_pauses_thin_out_under_load_and_finals_come_in_time() -> None:
    """A beat, each of whose gaps is a pause that ends nothing: the device could not compute all pause windows."""
    pcm = np.concatenate([np.concatenate([speak("AB", 1), silence(0.36)])] * 120)
    config, frames_a_second = StreamConfig(), 400
    clock = ManualClock()
    recognizer = Recognizer(FakeRunner(batch_frames=1), clock)
    stream = recognizer.open(config)
    events: list[Event] = []
    idle_from = began = clock.now
    for n, chunk in enumerate(np.array_split(pcm, len(pcm) // 320)):
        clock.now = began + n / 50
        assert stream.feed(chunk) == len(chunk)
        while idle_from <= clock.now and (batch := recognizer.take()) is not None:
            idle_from = max(idle_from, clock.now) + batch.jobs[0].window.frames / frames_a_second
            recognizer.accept(batch, batch.run(recognizer.runner))
        events += stream.events()
        assert stream.received - stream.committed < 25 * 16000, "an utterance is split at 20 s"
    stream.finish()
    assert finals(events + run(recognizer, stream)) == finals(run_session(pcm, config))
    assert recognizer.scheduler.superseded


def test_a_flush_in_a_pause_hurries_what_is_computed_of_it() -> None:
    """With a long `endpoint_ms`, it would have had time."""
    clock = ManualClock()
    recognizer = Recognizer(FakeRunner(batch_frames=1), clock)
    flushed, other = (recognizer.open(StreamConfig.preset("balanced", endpoint_ms=5000)) for _ in range(2))
    pcm = np.concatenate([speak("ONE TWO", 5), silence(0.35)])
    for stream in (other, flushed):
        for chunk in np.array_split(pcm, 40):
            stream.feed(chunk)
    clock.now += 0.01
    flushed.flush()
    said: list[Event] = []
    while not finals(said):
        assert recognizer.step()
        said += flushed.events()
    assert other.backlog > 0, "whose pause may last"


def test_a_live_stream_goes_before_one_that_was_sent_ahead() -> None:
    clock = ManualClock()
    recognizer = Recognizer(FakeRunner(), clock)
    recognizer.scheduler.batch_frames = 1
    ahead, live = recognizer.open(StreamConfig()), recognizer.open(StreamConfig())
    pcm = np.concatenate([speak("ONE TWO THREE", 5), silence(1)])
    ahead.feed(np.concatenate([pcm] * 4))
    for chunk in np.array_split(pcm, 20):
        live.feed(chunk)
        clock.now += len(chunk) / 16000
    order = []
    while (batch := recognizer.take()) is not None:
        order += [job.stream for job in batch.jobs]
        recognizer.accept(batch, batch.run(recognizer.runner))
    live_last = max(n for n, stream in enumerate(order) if stream == live.number)
    assert sum(stream == ahead.number for stream in order[:live_last]) <= len(order) / 3
    assert order[-1] == ahead.number


def test_a_fast_clock_and_a_late_start_are_forgiven() -> None:
    """A live stream's windows stay urgent: after a long first message, and with a clock that runs fast, for an hour."""
    clock = ManualClock()
    recognizer = Recognizer(FakeRunner(), clock)
    stream = recognizer.open(StreamConfig(partials=False))
    stream.feed(silence(1.5))
    second = np.concatenate([speak("ABC"), silence(0.8)])
    for _ in range(600):
        for chunk in np.array_split(second, 8):
            clock.now += len(chunk) / 16000 / 1.001
            stream.feed(chunk)
            (queue,) = recognizer.scheduler._queues.values() or [()]
            for job in queue:
                late = job.deadline - clock.now
            while recognizer.step():
                pass
    assert late < 0.4


def test_a_closed_stream_is_passed_over() -> None:
    recognizer = Recognizer(FakeRunner())
    gone, stays = recognizer.open(StreamConfig(partials=False)), recognizer.open(StreamConfig(partials=False))
    for stream in (gone, stays):
        stream.feed(np.concatenate([silence(0.3), speak("ABC DEF"), silence(1)]))
    batch = recognizer.take()
    assert batch is not None
    assert len(batch.jobs) == 2
    gone.close()
    gone.close()
    assert recognizer.accept(batch, batch.run(recognizer.runner)) == [stays]
    assert transcript(stays.events()) == "ABC DEF"
    assert not recognizer.step()


def test_text_is_as_stale_as_the_newest_sample_it_was_made_from() -> None:
    clock = ManualClock()
    recognizer = Recognizer(FakeRunner(), clock)
    stream = recognizer.open(StreamConfig())
    began = clock.now
    pcm = np.concatenate([speak("SO IT BEGINS", 4), silence(2)])
    expected = None
    for at in range(0, len(pcm), 1600):
        clock.now = began + (at + 1600) / 16_000
        stream.feed(pcm[at : at + 1600])
        while (batch := recognizer.take()) is not None:
            assert all(job.due == clock.now for job in batch.jobs)
            recognizer.accept(batch, batch.run(recognizer.runner))
            expected = None if batch.jobs[-1].window.final else clock.now
        assert stream.staleness == (None if expected is None or stream.resting else clock.now - expected)
    assert stream.resting
    assert stream.staleness is None


def test_a_stream_that_pauses_is_not_stale() -> None:
    clock = ManualClock()
    recognizer = Recognizer(FakeRunner(), clock)
    stream = recognizer.open(StreamConfig())
    stream.feed(speak("SO IT BEGINS", 4))
    run(recognizer, stream)
    clock.now += 0.75
    assert stream.staleness == 0.75
    clock.now += 0.5
    assert stream.staleness is None


def test_the_backlog_is_what_came_since_the_oldest_waiting_window_fell_due() -> None:
    recognizer = Recognizer(FakeRunner(), ManualClock())
    stream = recognizer.open(StreamConfig())
    stream.feed(speak("SO IT BEGINS", 4))
    job = recognizer.scheduler.oldest(stream.number)
    assert job is not None
    assert stream.backlog == stream.received - stream.timing.grid.span(job.window.start, job.window.frames)[1] > 0
    run(recognizer, stream)
    assert stream.backlog == 0
