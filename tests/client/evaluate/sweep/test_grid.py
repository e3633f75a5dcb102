"""Which settings a sweep has."""

from dataclasses import asdict
from itertools import product

import pytest

from earshot_asr.client.evaluate.options import Options
from earshot_asr.client.evaluate.sweep.grid import VARIED, Setting, grid
from earshot_asr.engine.config import PRESETS, RANGES_MS, StreamConfig
from earshot_asr.engine.decoder import Hotword

OPTIONS = Options(endpoint_ms=300, hotwords=(Hotword("Ada"),))


def test_presets_are_points_with_both_policies_and_each_stability() -> None:
    presets = {(one.latency, one.commit, one.stability) for one in grid() if not one.changed}
    assert presets == set(product(PRESETS, ("utterance", "hop"), ("low", "medium", "high")))
    for latency, commit, stability in presets:
        preset = StreamConfig.preset(
            latency, commit=commit, stability=stability, endpoint_ms=300, decode=OPTIONS.decode
        )
        assert Setting(latency, commit, stability).config(OPTIONS) == preset


def test_around_each_lie_settings_with_one_value_changed() -> None:
    changed = [one for one in grid() if one.changed]
    for one in changed:
        config, preset = (asdict(each.config(OPTIONS)) for each in (one, Setting(one.latency, one.commit, "medium")))
        least, most = RANGES_MS[one.changed]
        assert [name for name in config if config[name] != preset[name]] == [one.changed]
        assert config[one.changed] == one.value and least <= one.value <= most
    assert {(one.latency, one.commit, one.changed) for one in changed} == set(
        product(PRESETS, ("utterance", "hop"), VARIED)
    )
    assert Setting("low", "hop", "medium", "hop_ms", 120).name == "low, hop 120 ms"


def test_none_is_there_twice() -> None:
    assert len({one.mark(OPTIONS) for one in grid()}) == len(grid()) == 66
    assert {one.mark(OPTIONS) for one in grid()}.isdisjoint(one.mark(Options()) for one in grid())


@pytest.mark.parametrize(
    ("stabilities", "around"), [((), "medium"), (("high",), "high"), (("low", "medium"), "medium")]
)
def test_some_alone(stabilities: tuple[str, ...], around: str) -> None:
    some = grid(["balanced"], ["hop"], stabilities)  # type: ignore[arg-type]
    assert {(one.latency, one.commit) for one in some} == {("balanced", "hop")}
    assert {one.stability for one in some if not one.changed} == set(stabilities or ("low", "medium", "high"))
    assert {one.stability for one in some if one.changed} == {around}
