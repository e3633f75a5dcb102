"""A session as its user drives it; what holds for every stream is in tests/equivalence."""

from dataclasses import replace

import numpy as np
import pytest

from earshot_asr.engine.config import Commit, StreamConfig
from earshot_asr.engine.events import Final, Flushed, Partial
from earshot_asr.engine.session import Session
from tests.helpers import (
    GRID,
    INFO,
    drain,
    fake_log_probs,
    finals,
    noise,
    partials,
    run_session,
    silence,
    speak,
    transcript,
)

COMMITS: tuple[Commit, ...] = ("utterance", "hop")
CONFIG = StreamConfig(hop_ms=240, silence_ms=400, tail_ms=200, preroll_ms=200)


def test_two_utterances_are_two_finals() -> None:
    pcm = np.concatenate([silence(0.5), speak("HELLO YOU"), silence(0.8), speak("GOOD BYE"), silence(0.2)])
    events = run_session(pcm, CONFIG)
    assert [final.text for final in finals(events)] == ["HELLO YOU", "GOOD BYE"]
    assert transcript(events) == "HELLO YOU GOOD BYE"
    hello, _ = finals(events)
    assert hello.start == pytest.approx(0.5, abs=0.03)
    assert [word.text for word in hello.words] == ["HELLO", "YOU"]
    assert isinstance(events[-1], Flushed)


def test_partials_grow_while_somebody_speaks() -> None:
    session = Session(INFO, replace(CONFIG, left_ms=400, right_ms=200))
    said = []
    for chunk in np.array_split(np.concatenate([silence(0.3), speak("ONE TWO THREE FOUR", 4)]), 40):
        session.feed(chunk)
        said += drain(session)
    texts = [event.text for event in said if isinstance(event, Partial)]
    assert len(texts) > 4
    assert not finals(said)
    stable = [event.text[: event.stable] for event in said if isinstance(event, Partial)]
    assert stable[-1] == "ONE TWO"
    assert all("ONE TWO THREE FOUR".startswith(text) for text in stable)


def test_silence_says_nothing_and_encodes_nothing() -> None:
    session = Session(INFO, CONFIG)
    session.feed(silence(20))
    assert session.next_window() is None
    assert session.events() == []
    assert session.received - session.cut < 16000
    session.finish()
    assert session.done
    assert session.events() == [Flushed(session.cut)]


@pytest.mark.parametrize("loud", [20, 60, 200])
def test_a_final_does_not_wait_longer_where_a_stream_begins_with_noise(loud: float) -> None:
    """The floor of the noise is known by the time that a short utterance ends."""
    spoken = np.concatenate([silence(0.6), speak("ABC DEF GHI", 4)])
    pcm = np.concatenate([spoken, silence(3)]) + noise(len(spoken) + 48_000, np.random.default_rng(0), loud)
    session, heard = Session(INFO, StreamConfig(partials=False)), 0
    while heard < len(pcm) and not finals(drain(session)):
        heard += session.feed(pcm[heard : heard + 320])
    assert heard - len(spoken) < 0.8 * 16_000


@pytest.mark.parametrize("commit", COMMITS)
def test_the_last_window_ends_with_the_tail_of_an_utterance(commit: Commit) -> None:
    """However long the pause, no silence behind it is encoded."""
    spoken = np.concatenate([silence(0.5), speak("ABC DEF", 3)])
    silent = (len(spoken) + 16 * 200) // GRID.hop
    session = Session(INFO, StreamConfig(hop_ms=80, right_ms=80, silence_ms=2000, tail_ms=200, commit=commit))
    session.feed(np.concatenate([spoken, silence(1.9)]))
    ends, kinds = [], []
    while (window := session.next_window()) is not None:
        ends.append(window.end)
        kinds.append(window.kind)
        session.accept(window, fake_log_probs(session.samples(window)))
    assert kinds[-1] == "pause"
    assert silent - 2 <= ends[-1] == max(ends) <= silent


def test_a_flush_in_mid_word_ends_the_utterance_there() -> None:
    pcm = speak("ABC DEF", 4)
    at = len(pcm) // 2
    events = run_session(pcm, CONFIG, flushes=[at])
    kinds = [type(event) for event in events if not isinstance(event, Partial)]
    assert kinds == [Final, Flushed, Final, Flushed]
    first, second = finals(events)
    assert first.cut == second.segment == (at - 400) // 320 * 320 + 320


def test_without_partials_only_the_utterance_is_encoded() -> None:
    pcm = np.concatenate([silence(0.3), speak("ONE TWO THREE FOUR"), silence(1)])
    session = Session(INFO, StreamConfig(partials=False))
    session.feed(pcm)
    window = session.next_window()
    assert window is not None
    assert window.final
    assert session.next_window() is None
    session.accept(window, fake_log_probs(session.samples(window)))
    assert transcript(session.events()) == "ONE TWO THREE FOUR"


def test_finals_come_in_order_whichever_is_computed_first() -> None:
    session = Session(INFO, StreamConfig(partials=False, silence_ms=300, tail_ms=100))
    session.feed(np.concatenate([silence(0.2), speak("FIRST"), silence(0.5), speak("SECOND"), silence(0.5)]))
    first, second = session.next_window(), session.next_window()
    assert first is not None
    assert second is not None
    samples = session.samples(first), session.samples(second)
    session.accept(second, fake_log_probs(samples[1]))
    assert session.events() == []
    cut = session.cut
    session.accept(first, fake_log_probs(samples[0]))
    assert transcript(session.events()) == "FIRST SECOND"
    assert session.cut > cut
    assert not session.wants(first)
    session.accept(first, fake_log_probs(samples[0]))
    assert session.events() == []


def test_committed_is_what_is_promised_and_never_goes_back() -> None:
    for commit in COMMITS:
        session = Session(INFO, StreamConfig(hop_ms=240, longest_ms=6850, commit=commit))
        committed = [0]
        for chunk in np.array_split(speak("ABCDEFGHIJKLMNOPQRST AB " * 8, 3), 400):
            session.feed(chunk)
            promised = {event.segment for event in partials(drain(session)) if event.stable}
            committed.append(session.committed)
            assert session.cut <= session.committed <= session.received
            if promised and commit == "utterance":
                assert session.committed == session.cut
        assert committed == sorted(committed)
        assert len(set(committed)) >= (2 if commit == "utterance" else 4)


def test_a_flush_in_silence_encodes_no_more_than_the_tail() -> None:
    session = Session(INFO, StreamConfig(partials=False, tail_ms=100, silence_ms=640))
    session.feed(np.concatenate([silence(0.3), speak("ABC"), silence(0.5)]))
    session.flush()
    window = session.next_window()
    assert window is not None
    end = round(0.3 * 50) + len(speak("ABC")) // 320
    assert window.emit_to == end + 5


def test_no_cut_falls_into_an_onset() -> None:
    """Silence is not cut while what may be the beginning of a word is heard."""
    timing = Session(INFO, StreamConfig(preroll_ms=0)).timing
    for blocks in range(timing.silent_cut - 2, timing.silent_cut + 3):
        session = Session(INFO, StreamConfig(preroll_ms=0))
        session.feed(np.concatenate([np.zeros(blocks * 320, np.int16), speak("ABC"), silence(0.4)]))
        session.finish()
        assert transcript(drain(session)).endswith("BC")
        assert session.cut % 320 == 0


def test_without_partials_commit_hop_shows_none() -> None:
    pcm = np.concatenate([silence(0.3), speak("ONE TWO THREE FOUR"), silence(1)])
    events = run_session(pcm, StreamConfig(commit="hop", partials=False))
    assert transcript(events) == "ONE TWO THREE FOUR"
    assert not partials(events)


def test_silence_of_any_length_is_taken_at_once() -> None:
    session = Session(INFO, StreamConfig())
    assert session.feed(silence(100)) == 1_600_000
    assert session.next_window() is None


@pytest.mark.parametrize("commit", COMMITS)
@pytest.mark.parametrize("longest_ms", [1000, 3000, 7000])
def test_speech_without_words_or_pauses_is_split_all_the_same(commit: Commit, longest_ms: int) -> None:
    config = StreamConfig(longest_ms=longest_ms, commit=commit)
    for pcm in (speak("ABCDEFGHIJ" * 20), noise(160_000, np.random.default_rng(0), 300)):
        session = Session(INFO, config)
        events = run_session(np.concatenate([silence(0.5), pcm]), config, session=session)
        assert len(finals(events)) <= 2 * len(pcm) / (longest_ms * 16) + 2
        assert session.received - session.cut < 640


def test_a_full_ring_takes_no_more_until_windows_are_accepted() -> None:
    session = Session(INFO, StreamConfig(partials=False, longest_ms=3000))
    pcm = speak("ABC DEF " * 100)
    assert len(pcm) > 480_000
    taken = session.feed(pcm)
    assert taken == 480_000
    assert session.room == 0
    assert session.feed(pcm[taken:]) == 0
    drain(session)
    assert session.room > 100_000
    assert session.feed(pcm[taken:]) == len(pcm) - taken


def test_nothing_is_fed_after_the_end() -> None:
    session = Session(INFO, CONFIG)
    session.finish()
    with pytest.raises(AssertionError):
        session.feed(silence(1))


def test_partials_of_the_next_utterance_wait_for_the_final() -> None:
    pcm = np.concatenate([silence(0.2), speak("FIRST OF ALL", 4), silence(0.5), speak("SECOND ONE", 4)])
    session = Session(INFO, CONFIG)
    session.feed(pcm)
    held = []
    while (window := session.next_window()) is not None:
        if window.kind == "pause" and window.segment == 0:  # which turns out to be the first utterance's last one
            held.append((window, session.samples(window)))
        else:
            session.accept(window, fake_log_probs(session.samples(window)))
    assert len({event.segment for event in partials(session.events())}) == 1
    for window, samples in held:
        session.accept(window, fake_log_probs(samples))
    paused, final, *rest = session.events()
    assert isinstance(final, Final)
    assert isinstance(paused, Partial)
    assert paused.text == final.text == "FIRST OF ALL"
    assert paused.text[: paused.stable] == "FIRST OF"
    assert partials(rest)


def test_without_a_preroll_no_frame_is_cut_off_that_is_not_complete() -> None:
    """In silence the newest block ends before the frame that begins in it."""
    config = StreamConfig(preroll_ms=0, hop_ms=80, left_ms=0, right_ms=0, margin_ms=0, silence_ms=100, tail_ms=51)
    session = Session(INFO, config)
    session.feed(np.zeros(8040, np.int16))
    assert session.cut <= GRID.frames(8040) * GRID.hop
    session.finish()
    assert session.cut == GRID.frames(8040) * GRID.hop
