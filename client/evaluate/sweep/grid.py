"""The settings of a sweep: the presets with both policies and each stability, and what lies around them."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from earshot_asr.client.evaluate.options import Options
from earshot_asr.engine.config import PRESETS, RANGES_MS, Commit, Latency, Stability, StreamConfig

VARIED = ("calm_ms", "hop_ms", "right_ms", "left_ms")
"""What is changed of a preset, one value at a time. The first one leaves the windows as they are."""
FACTORS = (0.5, 1.5)


@dataclass(frozen=True, slots=True)
class Setting:
    """A preset, or one of which a value is changed.

    changed    the value's name in StreamConfig; empty: none is
    value      what it is then
    """

    latency: Latency
    commit: Commit
    stability: Stability
    changed: str = ""
    value: int = 0

    @property
    def name(self) -> str:
        """The preset, and what is changed of it: "balanced, hop 240 ms"."""
        return f"{self.latency}, {self.changed.removesuffix('_ms')} {self.value} ms" if self.changed else self.latency

    def config(self, options: Options) -> StreamConfig:
        """The configuration of its streams."""
        preset = replace(options, latency=self.latency, commit=self.commit, stability=self.stability).config
        change: dict[str, Any] = {self.changed: self.value} if self.changed else {}
        return replace(preset, **change)

    def mark(self, options: Options) -> str:
        """Differs where the configurations do."""
        return hashlib.sha256(repr(self.config(options)).encode()).hexdigest()[:16]


def grid(
    latencies: Sequence[Latency] = (), commits: Sequence[Commit] = (), stabilities: Sequence[Stability] = ()
) -> list[Setting]:
    """All settings, or those of some presets, policies or stabilities. Those with the same windows follow one another.

    Values are changed with stability medium, or else the first one given.
    """
    calm = stabilities or get_args(Stability)
    middle: Stability = "medium" if "medium" in calm else calm[0]
    settings = []
    for latency in latencies or get_args(Latency):
        policies = commits or get_args(Commit)
        settings += [Setting(latency, commit, stability) for commit in policies for stability in calm]
        settings += [Setting(latency, commit, middle, *change) for change in _changes(latency) for commit in policies]
    return settings


def _changes(latency: Latency) -> Iterator[tuple[str, int]]:
    """Each value of a preset that is varied, times FACTORS, as far as its range allows."""
    preset = StreamConfig(**PRESETS[latency])
    for name in VARIED:
        value, (least, most) = getattr(preset, name), RANGES_MS[name]
        tried = dict.fromkeys(min(max(round(factor * value), least), most) for factor in FACTORS)
        yield from ((name, each) for each in tried if each != value)
