"""The voice detector and the endpointer, block by block."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.config import StreamConfig, Timing
from earshot_asr.engine.endpoint import Endpointer, EnergyGate
from tests.helpers import GRID, noise, silence

HOP = GRID.hop


def blocks(pcm: Pcm) -> Pcm:
    return pcm[: len(pcm) // HOP * HOP].reshape(-1, HOP)


LOOKBACK = EnergyGate(HOP).lookback


def endpointer(cut: int = 0, **settings: int) -> Endpointer:
    return Endpointer(Timing.of(StreamConfig(**settings), GRID, 0, 0), cut)  # type: ignore[arg-type]


ATTACK, SILENT_CUT = endpointer().timing.attack, endpointer().timing.silent_cut


@given(
    st.lists(st.tuples(st.integers(20, 120), st.sampled_from([0, 3, 30, 300, 3000])), min_size=1, max_size=12),
    st.data(),
)
def test_the_gate_looks_back_no_further_than_it_says(parts: list[tuple[int, int]], data: st.DataObject) -> None:
    """A gate that has heard only the newest `lookback` blocks judges as one that has heard all."""
    rng = np.random.default_rng(0)
    heard = blocks(np.concatenate([noise(n * HOP, rng, loud) for n, loud in parts]))
    judged = EnergyGate(HOP).feed(heard)
    start = data.draw(st.integers(0, len(heard) - 1))
    begin = max(0, start - LOOKBACK)
    late = EnergyGate(HOP, stream_start=begin == 0)
    again = [voiced for block in heard[begin:] for voiced in late.feed(block[None])]
    assert again[start - begin :] == judged[start:]


def energy_of(block: list[int]) -> int:
    """As the class describes it, in integers without bounds."""
    sums = [sum(block[first : first + 8]) for first in range(0, len(block), 8)]
    return sum((a - 2 * b + c) ** 2 for a, b, c in zip(sums, sums[1:], sums[2:], strict=False))


@pytest.mark.parametrize("hop", [320, 640, 1280, 300, 321])
def test_energies_are_exact_up_to_full_scale(hop: int) -> None:
    """The decisions are the same on any machine, whatever adds the numbers up, and however blocks come together."""
    rng, square = np.random.default_rng(0), np.where(np.arange(hop) // 8 % 2, 32767, -32768)
    heard = np.array([square, *rng.integers(-32768, 32768, (5, hop)), *rng.integers(-3, 4, (5, hop))], np.int16)
    energies = [energy_of(block) for block in heard.tolist()]
    for count in range(len(heard) + 1):
        gate = EnergyGate(hop)
        assert gate.energies(heard[:count]) + gate.energies(heard[count:]) == energies


def test_steady_noise_becomes_silence_and_what_rises_above_it_is_voice() -> None:
    rng = np.random.default_rng(0)
    gate = EnergyGate(HOP)
    assert not any(gate.feed(blocks(noise(16000 * 8, rng, 100)))[LOOKBACK:])
    assert all(gate.feed(blocks(noise(8000, rng, 400))))


def test_digital_silence_rumble_and_offset_are_silence() -> None:
    gate = EnergyGate(HOP)
    rumble = (3000 * np.sin(2 * np.pi * 8 * np.arange(16000) / 16000)).astype(np.int16)
    assert not any(gate.feed(blocks(np.concatenate([np.zeros(16000, np.int16), rumble]))))
    assert not any(gate.feed(blocks(np.full(16000, 1234, np.int16))))


def test_what_is_said_at_once_is_heard() -> None:
    rng = np.random.default_rng(0)
    assert all(EnergyGate(HOP).feed(blocks(noise(3200, rng, 200))))


def test_noise_that_a_stream_begins_with_passes_for_speech_little_longer_than_a_second() -> None:
    rng = np.random.default_rng(0)
    for loud in (5, 50, 500, 5000):
        voiced = EnergyGate(HOP).feed(blocks(noise(16000 * 6, rng, loud)))
        assert voiced[0]
        assert np.mean(voiced[24000 // HOP :]) < 0.01


def syllables(count: int, loud: float, hertz: float = 700) -> Pcm:
    """A tone that is there for 140 ms of every 240."""
    tone = loud * np.sqrt(2) * np.sin(2 * np.pi * hertz * np.arange(7 * HOP) / 16000)
    return np.tile(np.concatenate([tone, np.zeros(5 * HOP)]), count).astype(np.int16)


def said(gate: EnergyGate, pcm: Pcm) -> float:
    """The share of the blocks of syllables that are voiced."""
    voiced = np.array(gate.feed(blocks(pcm)))
    return float(voiced[np.arange(len(voiced)) % 12 < 7].mean())


def test_who_begins_at_once_is_heard_over_noise_and_as_long_as_he_speaks() -> None:
    rng = np.random.default_rng(0)
    for length in (1, 5, 20):
        speech = syllables(4 * length, 1000)
        for loud in (1, 10, 100):
            assert said(EnergyGate(HOP), speech + noise(len(speech), rng, loud)) == 1


def test_a_voice_is_heard_through_hiss_as_loud_as_it() -> None:
    rng = np.random.default_rng(0)
    gate = EnergyGate(HOP)
    gate.feed(blocks(noise(16000 * 5, rng, 300)))
    speech = syllables(10, 300)
    assert said(gate, speech + noise(len(speech), rng, 300)) > 0.95


def test_a_very_low_voice_is_heard() -> None:
    """40 dB below a voice as loud as most."""
    gate = EnergyGate(HOP)
    gate.feed(blocks(silence(3)))
    assert said(gate, syllables(10, 5)) == 1


def test_an_utterance_has_preroll_and_tail() -> None:
    e = endpointer(preroll_ms=100, tail_ms=60, silence_ms=200)
    for voiced in [False] * 20 + [True] * 10 + [False] * 9:
        e.feed(voiced)
    assert (e.start, e.end) == (15, None)
    e.feed(False)
    assert e.end == 33


def test_a_pause_shorter_than_silence_is_bridged() -> None:
    e = endpointer(silence_ms=200, tail_ms=100)
    for voiced in [True] * 5 + [False] * 9 + [True] + [False] * 9:
        e.feed(voiced)
    assert e.end is None


def test_clicks_open_nothing_but_a_flush_makes_them_an_utterance() -> None:
    e = endpointer(preroll_ms=0)
    for _ in range(5):
        for voiced in [False] * 3 + [True] * (ATTACK - 1):
            e.feed(voiced)
    assert e.start is None
    e.finish()
    assert e.start == 25 - (ATTACK - 1)


def test_in_silence_cuts_follow_a_preroll_behind() -> None:
    e = endpointer(cut=100, preroll_ms=200)
    for _ in range(SILENT_CUT + 9):
        e.feed(False)
    assert e.silent_cut is None
    e.feed(False)
    assert e.silent_cut == 100 + SILENT_CUT
    assert SILENT_CUT * HOP < 16000, "at least every second"


@given(st.lists(st.booleans(), max_size=200), st.integers(0, 400), st.integers(100, 600))
def test_no_utterance_reaches_before_its_cut_or_beyond_what_was_heard(
    voiced: list[bool], preroll_ms: int, silence_ms: int
) -> None:
    e = endpointer(cut=7, preroll_ms=preroll_ms, silence_ms=silence_ms, tail_ms=100)
    for v in voiced:
        e.feed(v)
        if e.start is not None:
            assert e.start >= 7
        if e.end is not None:
            assert e.start is not None
            assert e.start < e.end <= GRID.frames(e.block * HOP)
            break
