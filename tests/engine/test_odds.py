"""What keeps noise from being words: a decoder's words, or none if they hardly outweigh silence."""

from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import log

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earshot_asr.engine.audio import LogProbs
from earshot_asr.engine.config import Commit, StreamConfig
from earshot_asr.engine.decoder import DecodeConfig, DecodedWord, decoder_factory
from earshot_asr.engine.events import Final, Partial
from earshot_asr.engine.odds import OddsGate, new_decoders
from earshot_asr.engine.session import Session
from tests.helpers import INFO, VOCABULARY, configs, fake_log_probs, finals, run_session, silence, speak

DECODERS = ("greedy", "beam")


def frames(*symbols: tuple[str, float]) -> LogProbs:
    """A frame for each symbol, with so much of the probability; half of what is left is blank."""
    probs = np.full((len(symbols), VOCABULARY.size), 1e-6)
    for row, (symbol, share) in zip(probs, symbols, strict=True):
        row[VOCABULARY.blank] = (1 - share) / 2
        row[VOCABULARY.symbols.index(symbol)] = share
    log_probs: LogProbs = np.log(probs).astype(np.float32)
    return log_probs


def babble(seed: int, count: int) -> LogProbs:
    """Frames (T, V) that are now sure, now in doubt, and often blank."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, VOCABULARY.size)) * rng.choice([1.0, 4.0], size=(count, 1))
    logits[rng.random(count) < 0.6, VOCABULARY.blank] += 9
    log_probs: npt.NDArray[np.float32] = (logits - np.logaddexp.reduce(logits, axis=1)[:, None]).astype(np.float32)
    return log_probs


@pytest.mark.parametrize("name", DECODERS)
def test_the_log_odds_of_a_word_are_those_of_its_symbols_against_blanks(name: str) -> None:
    decoder = decoder_factory(DecodeConfig(decoder=name), VOCABULARY)()
    decoder.feed(frames(("A", 0.8), ("A", 0.6), ("<pad>", 0.9), ("B", 0.9), ("|", 0.9), ("C", 0.7)))
    first, second = decoder.words()
    assert (first.text, second.text) == ("AB", "C")
    assert first.log_odds == pytest.approx(log(0.8 / 0.1) + log(0.6 / 0.2) + log(0.9 / 0.05), abs=1e-4)
    assert second.log_odds == pytest.approx(log(0.7 / 0.15), abs=1e-4)


def loud(words: list[DecodedWord], least: float) -> list[DecodedWord]:
    """The words, if they outweigh silence."""
    return words if sum(max(0.0, word.log_odds) for word in words) >= least else []


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from(DECODERS), st.floats(0.1, 100), st.lists(st.integers(0, 40), max_size=4))
def test_a_gate_says_all_that_its_decoder_says_or_nothing(seed: int, name: str, least: float, cuts: list[int]) -> None:
    """And what is settled stays, as it is for any decoder."""
    log_probs = babble(seed, 40)
    new_decoder = decoder_factory(DecodeConfig(decoder=name), VOCABULARY)
    plain, gate, settled, boundary = new_decoder(), OddsGate(new_decoder(), least), list[DecodedWord](), 0
    for start, end in pairwise([0, *sorted(cuts), 40]):
        ahead = gate.peek(log_probs[start:])
        assert ahead.words() == loud(plain.peek(log_probs[start:]).words(), least)
        plain.feed(log_probs[start:end])
        gate.feed(log_probs[start:end])
        assert gate.words() == gate.alternatives()[0].words == loud(plain.words(), least)
        assert gate.settled() == loud(plain.settled(), least)
        assert gate.settled()[: len(settled)] == settled
        assert boundary <= gate.boundary <= plain.boundary
        assert all(word.end <= gate.boundary for word in gate.settled())
        assert gate.settled() or all(gate.boundary <= word.start for word in plain.settled())
        settled, boundary = gate.settled(), gate.boundary


QUIET = replace(INFO, least_log_odds=40.0)
"""Of the fake model, that needs four letters."""


sharp = partial(fake_log_probs, edge=0)


@pytest.mark.parametrize("commit", ["utterance", "hop"])
def test_what_hardly_outweighs_silence_is_never_shown_nor_final(commit: Commit) -> None:
    pcm = np.concatenate([silence(1), speak("A"), silence(2), speak("A HE A YOU"), silence(2)])
    config = StreamConfig(commit=commit)
    assert [final.text for final in finals(run_session(pcm, config, encode=sharp))] == ["A", "A HE A YOU"]
    events = run_session(pcm, config, session=Session(QUIET, config), encode=sharp)
    assert [final.text for final in finals(events)] == ["A HE A YOU"]
    shown = [event for event in events if isinstance(event, Partial)]
    assert shown and all(event.segment > 2 * 16000 for event in shown)


def test_a_word_that_may_be_noise_is_neither_stable_nor_committed() -> None:
    """With `commit: hop` what is stable is a promise, which noise could not keep."""
    config = StreamConfig(commit="hop", stability="low")
    pcm = np.concatenate([silence(1), speak("A" + " " * 35)])
    plain, quiet = Session(INFO, config), Session(QUIET, config)
    shown, unsure = (run_session(pcm, config, session=s, finish=False, encode=sharp) for s in (plain, quiet))
    stable = [event for event in shown if isinstance(event, Partial) and event.stable]
    assert stable and not unsure
    assert plain.committed > quiet.committed == 16000, "where the word begins"


def test_what_is_committed_stays_where_a_word_that_may_be_noise_follows_spaces() -> None:
    session, committed = Session(QUIET, StreamConfig(commit="hop")), [0]
    pcm = np.concatenate([silence(1), speak(" " * 24 + "A" + " " * 24)])
    for piece in np.array_split(pcm, 50):
        run_session(piece, StreamConfig(), session=session, finish=False, encode=sharp)
        committed.append(session.committed)
    assert committed == sorted(committed)


@given(st.text("AB     ", min_size=1, max_size=40), configs(), st.floats(15, 60))
def test_what_is_stable_is_never_withdrawn(text: str, config: StreamConfig, least: float) -> None:
    """However much it takes to outweigh silence: what is stable of a segment begins all its later texts. Little is
    said, and at the end of each window more is heard that is not there."""
    pcm = np.concatenate([silence(1), speak(text), silence(1)])
    config = replace(config, commit="hop", partials=True)
    stable: dict[int, str] = {}
    for event in run_session(pcm, config, session=Session(replace(INFO, least_log_odds=least), config)):
        if isinstance(event, Partial | Final):
            promised = stable.pop(event.segment, "")
            assert event.text.startswith(promised)
            if isinstance(event, Partial):
                stable[event.segment] = event.text[: event.stable]
    assert not any(stable.values()), "what was promised became final"


def test_a_model_of_which_nothing_is_known_has_no_gate() -> None:
    assert not isinstance(new_decoders(INFO, DecodeConfig())(), OddsGate)
    assert isinstance(new_decoders(QUIET, DecodeConfig())(), OddsGate)
