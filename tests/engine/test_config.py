"""Settings are checked when they are made."""

from dataclasses import replace

import pytest

from earshot_asr.engine.config import PRESETS, StreamConfig, Timing
from earshot_asr.engine.errors import ConfigError
from tests.helpers import GRID


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hop_ms": 10}, "hop_ms is 10; it must be between 80 and 5000"),
        ({"left_ms": -1}, "left_ms is -1; it must be between 0 and 6000"),
        ({"longest_ms": 30_000}, "longest_ms is 30000; it must be between 1000 and 20000"),
        ({"tail_ms": 700}, "tail_ms is 700; it must be at most silence_ms, 520"),
        ({"commit": "word"}, "commit is 'word'; it must be 'utterance' or 'hop'"),
        ({"stability": "rock"}, "stability is 'rock'; it must be one of low, medium, high"),
    ],
)
def test_a_setting_out_of_range_is_named(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        StreamConfig(**settings)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_presets() -> None:
    low, balanced, accurate = (StreamConfig.preset(name) for name in PRESETS)
    assert low.hop_ms < balanced.hop_ms < accurate.hop_ms
    assert low.silence_ms < balanced.silence_ms < accurate.silence_ms
    assert StreamConfig.preset("low", commit="hop", partials=False).commit == "hop"
    with pytest.raises(ConfigError, match="latency is 'fast'; it must be one of low, balanced, accurate"):
        StreamConfig.preset("fast")


def test_the_silence_that_ends_an_utterance_is_the_streams_own() -> None:
    for name in PRESETS:
        usual = StreamConfig.preset(name)
        assert StreamConfig.preset(name, endpoint_ms=usual.silence_ms) == usual
        assert StreamConfig.preset(name, endpoint_ms=2000) == replace(usual, silence_ms=2000)
        short = StreamConfig.preset(name, endpoint_ms=100)
        assert short == replace(usual, silence_ms=100, tail_ms=100)  # no more is kept than has to come
    for wrong in (99, 5001, -1):
        with pytest.raises(ConfigError) as error:
            StreamConfig.preset("low", endpoint_ms=wrong)
        assert str(error.value) == f"endpoint_ms is {wrong}; it must be between 100 and 5000"


@pytest.mark.parametrize("name", PRESETS)
def test_the_ring_holds_the_longest_utterance_and_its_context(name: str) -> None:
    timing = Timing.of(StreamConfig.preset(name), GRID, 200, 0)
    assert timing.context + (timing.longest + timing.silence + timing.preroll + 150) * GRID.hop < timing.ring


def test_lengths_in_frames() -> None:
    timing = Timing.of(StreamConfig(), GRID, 203, 0)
    assert (timing.hop, timing.left, timing.right, timing.silence, timing.longest) == (20, 200, 32, 26, 1000)
    assert timing.context == 203 * 320
    contexts = [Timing.of(StreamConfig(stability=each), GRID, 0, 0).calm.context for each in ("low", "medium", "high")]
    assert contexts == [0, 7, 14]
    assert not Timing.of(StreamConfig(partials=False), GRID, 0, 0).hops
    assert Timing.of(StreamConfig(partials=False, commit="hop"), GRID, 0, 0).hops
