"""The invariants of a session, each under a test of its name. tests/README.md says which breakage each one catches."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import groupby
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import earshot_asr.engine.session
from earshot_asr.engine.audio import FrameGrid, LogProbs, Pcm
from earshot_asr.engine.config import Commit, StreamConfig, Timing
from earshot_asr.engine.decoder import DecodeConfig, NewDecoder
from earshot_asr.engine.endpoint import EnergyGate
from earshot_asr.engine.events import Event, Final, Flushed, Partial
from earshot_asr.engine.greedy import GreedyDecoder
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.segment import Segment
from earshot_asr.engine.session import Session
from earshot_asr.engine.times import Loudness
from earshot_asr.engine.utterance import Utterance, split_frame
from earshot_asr.engine.vocabulary import Vocabulary
from earshot_asr.engine.windows import Window
from tests.helpers import (
    GREEDY,
    GRID,
    INFO,
    VOCABULARY,
    configs,
    drain,
    fake_log_probs,
    finals,
    pieces,
    plain_text,
    positions,
    run_session,
    silence,
    speak,
    utterances,
)

HOP = GRID.hop
COMMITS: tuple[Commit, ...] = ("utterance", "hop")


# ---- 1. one clock


@given(pcm=utterances(), config=configs(), blocks=st.integers(1, 100))
def test_one_clock(pcm: Pcm, config: StreamConfig, blocks: int) -> None:
    """Silence before it moves all that a stream says by its length, and changes nothing else."""
    early = np.concatenate([silence(5), pcm])
    late = np.concatenate([silence(5), np.zeros(blocks * HOP, np.int16), pcm])
    assert [shifted(event, blocks * HOP) for event in run_session(early, config)] == run_session(late, config)


def shifted(event: Event, samples: int) -> Event:
    """The event of a stream that begins so many samples later, a whole number of milliseconds."""
    if isinstance(event, Flushed):
        return Flushed(event.cut + samples)
    later = samples / 16000
    start, end, segment = round(event.start + later, 3), round(event.end + later, 3), event.segment + samples
    words = tuple(replace(w, start=round(w.start + later, 3), end=round(w.end + later, 3)) for w in event.words or ())
    if isinstance(event, Partial):
        return replace(event, start=start, end=end, segment=segment, words=words or event.words)
    return replace(event, start=start, end=end, segment=segment, cut=event.cut + samples, words=words)


# ---- 2. every frame is committed exactly once


@given(pcm=utterances(), config=configs(), data=st.data())
def test_every_frame_is_committed_exactly_once(pcm: Pcm, config: StreamConfig, data: st.DataObject) -> None:
    """Segments follow each other without overlap, and cover all that is said; nothing comes after a segment's final."""
    flushes = data.draw(positions(pcm, 3))
    decoders: list[GreedyDecoder] = []

    def new_decoder() -> GreedyDecoder:
        decoders.append(GreedyDecoder(VOCABULARY, DecodeConfig(), None))
        return decoders[-1]

    session = Session(INFO, config, new_decoder)
    with recorded_segments() as segments:
        events = run_session(pcm, config, flushes=flushes, session=session)
    covered = [k for segment in segments for k in range(segment.start, segment.end or 0)]
    assert covered == sorted(set(covered))
    for segment in segments:
        length = (segment.end or 0) - segment.start
        if config.commit == "utterance":
            window, utterance = segment.whole[-1]
            assert any(decoder._frame == length and decoder.words() == utterance.words for decoder in decoders)
            last = segment.start + length
            assert last == window.emit_to or (segment.split and last < window.emit_to)
        else:
            assert isinstance(segment._decoder, GreedyDecoder)
            fed = segment._decoder._frame
            assert fed == length or (fed > length and segment.split)
    assert session.cut == session.committed == GRID.frames(len(pcm)) * HOP
    voiced = EnergyGate(HOP).feed(pcm[: len(pcm) // HOP * HOP].reshape(-1, HOP))
    cuts = {s.end for s in segments} | {event.cut // HOP for event in events if isinstance(event, Flushed)}
    for k in range(2, GRID.frames(len(pcm))):
        if all(voiced[k - 2 : k + 1]) and not cuts & {k - 1, k}:
            assert k in covered, "three voiced blocks in a row between cuts, and no utterance"
    ends = [0]
    for event in events:
        if isinstance(event, Final):
            assert event.text and event.words
            assert (event.segment // HOP, event.cut // HOP) in [(s.start, s.end) for s in segments]
        ends.append(event.cut if isinstance(event, Final | Flushed) else ends[-1])
        assert isinstance(event, Flushed) or event.segment >= ends[-2], "something came after its final"
    assert ends == sorted(ends)


class Recorded(Segment):
    """whole: its windows over the whole utterance, and what they were decoded to, elsewhere."""

    def __init__(
        self, info: ModelInfo, timing: Timing, new_decoder: NewDecoder, start: int, loudness: Loudness | None
    ) -> None:
        super().__init__(info, timing, new_decoder, start, loudness)
        self.whole: list[tuple[Window, Utterance]] = []

    def accept(self, window: Window, log_probs: LogProbs, utterance: Utterance | None = None) -> None:
        if utterance:
            assert window.segment == self.start
            self.whole.append((window, utterance))
        super().accept(window, log_probs, utterance)


@contextmanager
def recorded_segments() -> Iterator[list[Recorded]]:
    """All segments that are begun, with words or without."""
    segments: list[Recorded] = []

    class Listed(Recorded):
        def __init__(
            self, info: ModelInfo, timing: Timing, new_decoder: NewDecoder, start: int, loudness: Loudness | None
        ) -> None:
            super().__init__(info, timing, new_decoder, start, loudness)
            segments.append(self)

    with patch.object(earshot_asr.engine.session, "Segment", Listed):
        yield segments


@given(pcm=utterances(), config=configs(), data=st.data())
def test_seams_lose_and_double_nothing(pcm: Pcm, config: StreamConfig, data: st.DataObject) -> None:
    """With an encoder that looks at nothing but the frame itself, the words are those of the frames in a row."""
    frames, config = fake_log_probs(pcm, edge=0), replace(config, decode=GREEDY)
    for final in finals(run_session(pcm, config, flushes=data.draw(positions(pcm, 2)), encode=frame_by_frame)):
        assert final.text == plain_text(frames[final.segment // HOP : final.cut // HOP])


def frame_by_frame(pcm: Pcm) -> LogProbs:
    """The fake encoder without its edges."""
    return fake_log_probs(pcm, edge=0)


# ---- 3. the transcript is a pure function of the audio


@given(pcm=utterances(), config=configs(), data=st.data())
def test_transcript_is_a_pure_function_of_the_audio(pcm: Pcm, config: StreamConfig, data: st.DataObject) -> None:
    """However the audio is cut into messages, every event is the same: partials, too."""
    flushes = data.draw(positions(pcm, 2))
    whole = run_session(pcm, config, flushes=flushes)
    assert run_session(pcm, config, flushes=flushes, cuts=data.draw(positions(pcm, 30))) == whole
    assert run_session(pcm, config, flushes=flushes, cuts=range(0, len(pcm), 160)) == whole


def test_one_sample_at_a_time() -> None:
    pcm = np.concatenate([silence(0.3), speak("AB CD"), silence(0.4)])
    config = StreamConfig(silence_ms=200, tail_ms=100, hop_ms=160, stability="low")
    events = run_session(pcm, config)
    assert finals(events)
    assert run_session(pcm, config, cuts=range(1, len(pcm))) == events


# ---- 4. identity


@given(pcm=utterances(), config=configs(), data=st.data())
def test_identity_with_one_plain_pass(pcm: Pcm, config: StreamConfig, data: st.DataObject) -> None:
    """With commit: utterance a final says what one plain pass over its window does; no code of the engine's is used."""
    config = StreamConfig(
        **{name: getattr(config, name) for name in config.__slots__} | {"commit": "utterance", "decode": GREEDY}
    )
    with recorded_segments() as segments:
        events = run_session(pcm, config, flushes=data.draw(positions(pcm, 2)))
    split = {segment.start for segment in segments if segment.split}
    for final in finals(events):
        start, end = final.segment // HOP, final.cut // HOP
        margin = min(start, round(config.margin_ms / 20))
        last = start + round(config.longest_ms / 20) if start in split else end
        window = pcm[(start - margin) * HOP : (last - 1) * HOP + GRID.field]
        log_probs = fake_log_probs(window)[margin : margin + end - start]
        assert final.text == plain_text(log_probs)
        certainty = float(np.exp(log_probs.max()))  # the fake encoder is as sure of every frame of a window
        assert abs(final.confidence - certainty) < 2e-4
        assert all(abs(word.confidence - certainty) < 2e-4 for word in final.words)


# ---- 6. bounded


@given(pcm=utterances(), config=configs())
@settings(max_examples=10)
def test_bounded_memory(pcm: Pcm, config: StreamConfig) -> None:
    """However long a stream, what is held of it is its context, the open utterance and what waits to be computed."""
    session = Session(INFO, config)
    most = session.timing.context + (session.timing.longest + 2 * session.timing.silence + 100) * HOP
    for _ in range(6):
        run_session(np.concatenate([pcm, silence(1.5)]), config, session=session, finish=False)
        assert session._ring.end - session._ring.start <= most
        assert len(session._voiced) * HOP <= most
        assert len(session._line) <= 1
        assert not session._wanted and not session._flushes
        assert not any(isinstance(item, Segment) and item._waiting for item in session._line)
    assert session._ring._pcm.nbytes == 960_000


@given(pcm=utterances(), config=configs())
def test_bounded_work(pcm: Pcm, config: StreamConfig) -> None:
    """What is encoded for a second of audio has a bound: the windows' overlap, twice where an utterance is split."""
    encoded = 0

    def encode(window: Pcm) -> LogProbs:
        nonlocal encoded
        encoded += GRID.frames(len(window))
        return fake_log_probs(window)

    timing = Session(INFO, config).timing
    run_session(pcm, config, encode=encode)
    overlap = (timing.left + timing.hop + timing.right) / timing.hop
    around = (timing.margin + timing.preroll + timing.tail) / (timing.attack + timing.silence)
    assert encoded <= (GRID.frames(len(pcm)) + timing.left + 100) * (2 * overlap + 2 * around + 4)


@given(config=configs(), text=st.text("AB C", min_size=1, max_size=8).filter(lambda s: s.split()))
def test_no_last_word_is_lost(config: StreamConfig, text: str) -> None:
    """The end of a stream is the end of its last utterance: no silence has to be sent."""
    pcm = np.concatenate([silence(0.5), speak(" ".join(text.split()), 3)])
    events = run_session(pcm, config)
    assert finals(events)
    assert GRID.frames(len(pcm)) - finals(events)[-1].cut // HOP <= 1


# ---- 7. windows are stateless


@given(pcm=utterances(), config=configs(), seed=st.integers(0, 1000))
def test_windows_are_stateless(pcm: Pcm, config: StreamConfig, seed: int) -> None:
    """Windows computed late, in any order, some of them twice, give the same finals."""
    rng = random.Random(seed)
    session = Session(INFO, config)
    queue: list[tuple[Window, Pcm]] = []
    events: list[Event] = []

    def take() -> None:
        while (window := session.next_window()) is not None:
            if session.wants(window):
                queue.append((window, session.samples(window)))

    for piece in np.array_split(pcm, 7):
        while len(piece):
            piece = piece[session.feed(piece) :]
            take()
            if len(piece) or rng.random() < 0.5:
                rng.shuffle(queue)
                for window, samples in queue[: rng.randint(0, len(queue))] + queue[:2]:
                    session.accept(window, fake_log_probs(samples))
    session.finish()
    for _ in range(100):
        take()
        rng.shuffle(queue)
        for window, samples in queue:
            session.accept(window, fake_log_probs(samples))
    assert session.done
    events += session.events()
    assert finals(events) == finals(run_session(pcm, config))


# ---- resuming at a cut


@given(pcm=utterances(), config=configs(), data=st.data())
def test_a_session_started_at_a_cut_is_the_same_session(pcm: Pcm, config: StreamConfig, data: st.DataObject) -> None:
    """run(audio) = run(audio up to a later point) + run from any cut there was."""
    later = data.draw(st.integers(0, len(pcm)))
    first, cuts = Session(INFO, config), {0}
    for piece in pieces(pcm[:later], range(0, later, 1000)):
        run_session(piece, config, session=first, finish=False)
        cuts.add(first.cut)
    cut = data.draw(st.sampled_from(sorted(cuts)))
    begin = max(0, cut - first.timing.context)
    for flushes in ([], [f for f in data.draw(positions(pcm, 2)) if f > later]):
        second = Session(INFO, config, cut=cut, from_sample=begin)
        rest = run_session(pcm[begin:], config, flushes=[f - begin for f in flushes], session=second)
        whole = run_session(pcm, config, flushes=flushes)
        assert texts(rest) == [event for event in texts(whole) if event.segment >= cut]


@given(pcm=utterances(), config=configs(), data=st.data())
def test_a_session_started_at_the_cut_of_a_flush_is_the_same_session(
    pcm: Pcm, config: StreamConfig, data: st.DataObject
) -> None:
    """Also where a flush is sent again whose answer did not come through."""
    flushes = data.draw(positions(pcm, 3))
    whole = run_session(pcm, config, flushes=flushes)
    cut = data.draw(st.sampled_from([0] + [event.cut for event in whole if isinstance(event, Final | Flushed)]))
    begin = max(0, cut - Session(INFO, config).timing.context)
    second = Session(INFO, config, cut=cut, from_sample=begin)
    rest = run_session(pcm[begin:], config, flushes=[f - begin for f in flushes if f > cut], session=second)
    assert texts(rest) == [event for event in texts(whole) if event.segment >= cut]


def texts(events: list[Event]) -> list[Partial | Final]:
    """All but the answers to flushes."""
    return [event for event in events if not isinstance(event, Flushed)]


# ---- any model


GRIDS = [(320, 560), (160, 400), (320, 1300), (640, 560), (1280, 160)]
"""Hops and fields; a field is shorter than the hop where convolutions are padded."""


@pytest.mark.parametrize("grid", [FrameGrid(hop, field) for hop, field in GRIDS])
@given(pcm=utterances(), config=configs(), data=st.data())
@settings(max_examples=12)
def test_any_grid_and_no_delimiter(grid: FrameGrid, pcm: Pcm, config: StreamConfig, data: st.DataObject) -> None:
    """Hop and field are the model's, and its script may have no words."""
    info = replace(INFO, grid=grid, vocabulary=replace(VOCABULARY, delimiter=data.draw(st.sampled_from([None, 1]))))
    encode = partial(fake_log_probs, grid=grid)
    whole = run_session(pcm, config, session=Session(info, config), encode=encode)
    cuts = data.draw(positions(pcm, 5))
    assert run_session(pcm, config, session=Session(info, config), encode=encode, cuts=cuts) == whole
    cut = data.draw(st.sampled_from([0] + [final.cut for final in finals(whole)]))
    begin = max(0, cut - Session(info, config).timing.context)
    second = Session(info, config, cut=cut, from_sample=begin)
    rest = run_session(pcm[begin:], config, session=second, encode=encode)
    assert texts(rest) == [event for event in texts(whole) if event.segment >= cut]


# ---- hop policy


@given(pcm=utterances(), config=configs())
def test_stable_is_a_promise_with_commit_hop(pcm: Pcm, config: StreamConfig) -> None:
    """With commit: hop the first `stable` characters of a partial begin the final, and end at a word's end."""
    config = StreamConfig(**{name: getattr(config, name) for name in config.__slots__} | {"commit": "hop"})
    events = run_session(pcm, config)
    texts = {final.segment: final.text for final in finals(events)}
    for event in events:
        if not isinstance(event, Final | Flushed) and event.stable:
            assert texts[event.segment].startswith(event.text[: event.stable])
            assert (texts[event.segment] + " ")[event.stable] == " "


@given(pcm=utterances(), config=configs(), lower=st.booleans(), cuts=st.data())
@settings(max_examples=30)
def test_stable_is_a_promise_in_any_script(pcm: Pcm, config: StreamConfig, lower: bool, cuts: st.DataObject) -> None:
    """Chinese, Thai with its marks, Greek with its final sigma, and English whose spaces are cleaned up, in one."""
    symbols = ("<pad>", "|", *"你好世界，。「のゃーกเ่ΣΑΒ.,'snt", "n't", "'s", "a", "b", "É")
    assert len(symbols) == VOCABULARY.size
    vocabulary = replace(VOCABULARY, symbols=symbols, lower=lower, clean=True)
    info = replace(INFO, vocabulary=vocabulary)
    config = StreamConfig(**{name: getattr(config, name) for name in config.__slots__} | {"commit": "hop"})
    events = run_session(pcm, config, session=Session(info, config))
    texts = {final.segment: final.text for final in finals(events)}
    for event in events:
        if not isinstance(event, Final | Flushed) and event.stable:
            assert texts[event.segment].startswith(event.text[: event.stable])
    again = cuts.draw(positions(pcm, 5))
    assert run_session(pcm, config, session=Session(info, config), cuts=again) == events


@given(pcm=utterances(), config=configs())
def test_superseded_hops_change_no_final(pcm: Pcm, config: StreamConfig) -> None:
    """With commit: utterance, partials may thin out, and finals stay the same to the letter."""
    config = StreamConfig(
        **{name: getattr(config, name) for name in config.__slots__} | {"commit": "utterance", "decode": GREEDY}
    )
    session = Session(INFO, config)
    at = 0
    while at < len(pcm):
        at += session.feed(pcm[at:])
        while (window := session.next_window()) is not None:
            if window.pause or not window.droppable:
                session.accept(window, fake_log_probs(session.samples(window)))
    session.finish()
    events = session.events() + drain(session)
    assert finals(events) == finals(run_session(pcm, config, cuts=range(0, len(pcm), 1600)))  # hops in time


# ---- splitting speech without a pause


def test_an_utterance_without_a_pause_is_split_at_a_word() -> None:
    text = " ".join(["ABC", "DEF", "GHI"] * 12)
    pcm = np.concatenate([silence(0.5), speak(text)])
    for commit in COMMITS:
        config = StreamConfig(longest_ms=3000, silence_ms=400, commit=commit)
        events = run_session(pcm, config)
        assert len(finals(events)) > 2
        heard = " ".join(final.text for final in finals(events)).split()
        wrong = [word for word in heard if word not in ("ABC", "DEF", "GHI")]
        assert len(wrong) <= 2, heard
        assert abs(len(heard) - 36) <= 2


def test_split_frame_prefers_a_delimiter_then_a_pause_then_the_most_blank() -> None:
    def rows(symbols: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        out = np.full((len(symbols), VOCABULARY.size), 0.01, np.float32)
        for k, char in enumerate(symbols):
            out[k, VOCABULARY.symbols.index({"_": "<pad>"}.get(char, char))] = 0.5
        return np.log(out)

    info = ModelInfo("fake", "", GRID, VOCABULARY)
    assert split_frame(rows("AB___CD_|_EF"), info) == 9
    assert split_frame(rows("ABCDE___F"), info) == 6
    most = rows("ABCD")
    most[2, VOCABULARY.blank] = np.log(0.3)
    assert split_frame(most, info) == 3


def test_split_frame_keeps_words_of_scripts_without_spaces_and_of_parts_whole() -> None:
    def split(symbols: tuple[str, ...], spoken: list[str]) -> int:
        out = np.full((len(spoken), len(symbols)), 0.01, np.float32)
        out[np.arange(len(spoken)), [symbols.index(symbol) for symbol in spoken]] = 0.5
        delimiter = symbols.index("|") if "|" in symbols else None
        return split_frame(np.log(out), ModelInfo("fake", "", GRID, Vocabulary(symbols, 0, delimiter)))

    thai = ("_", "|", "ก", "่", "a")
    assert split(thai, list("aaaaaaก___่ก_กก")) == 12  # not in the longest run: a mark follows it
    assert split(thai, list("aaaaaaกก่ก่aaaa")) == 11  # no blank at all: before the last word
    assert split(thai, list("aaaaaaa___a__กก")) == 12  # not in the middle of letters
    parts = ("_", " the", "re", " cat")
    assert split(parts, [*[" the"] * 6, "_", "_", "_", "re", " cat", "_", "re"]) == 10
    assert split(parts, [*[" the"] * 6, "_", "_", "re", "_", " cat", "_", "re"]) == 9


def test_the_tests_own_decoder() -> None:
    """The oracle merges repeats and drops blanks."""
    ids = [2, 2, 0, 2, 1, 1, 3, 0, 0]
    assert plain_text(np.eye(VOCABULARY.size, dtype=np.float32)[ids]) == "AA B"
    assert [i for i, _ in groupby(ids)] == [2, 0, 2, 1, 3, 0]
