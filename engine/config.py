"""Settings, checked when they are made; milliseconds outside, frames inside."""

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from earshot_asr.engine.audio import FrameGrid, from_ms
from earshot_asr.engine.decoder import DecodeConfig
from earshot_asr.engine.errors import ConfigError

Commit = Literal["utterance", "hop"]
"""When text becomes final: at the end of an utterance, from a window over all of it; or hop by hop."""
Latency = Literal["low", "balanced", "accurate"]
Stability = Literal["low", "medium", "high"]
"""Whether partials show words sooner, or change less."""

RING_MS = 30_000
"""How much audio of a stream is kept: the longest utterance, its context, and a few seconds more."""

ATTACK_MS = 60
"""So much speech in a row opens an utterance."""
SILENT_CUT_MS = 500
"""In silence, a cut follows every so often."""


LEAST_ENDPOINT_MS, MOST_ENDPOINT_MS = 100, 5000
"""How little, and how much, silence may end an utterance."""
RANGES_MS = {
    "hop_ms": (80, 5000),
    "left_ms": (0, 6000),
    "right_ms": (0, 5000),
    "calm_ms": (0, 5000),
    "margin_ms": (0, 5000),
    "silence_ms": (LEAST_ENDPOINT_MS, MOST_ENDPOINT_MS),
    "preroll_ms": (0, 1000),
    "tail_ms": (0, 1000),
    "longest_ms": (1000, 20_000),
}
"""The least and the most of each length of a StreamConfig."""

DEFAULT_DECODE = DecodeConfig()


@dataclass(frozen=True, slots=True)
class Calm:
    """How calm partials are.

    context          frames that must follow a word before it is shown
    hysteresis       whether a word that is shown stays until another one was heard twice in its place
    confirmations    windows that must hear a settled word again before it is stable, with `commit: utterance`
    agreement        share of the windows that must have heard a disputed word again if, once no window will, it is no
                     longer to hold up those behind it
    """

    context: int
    hysteresis: bool
    confirmations: int
    agreement: float


CALM: dict[str, dict[str, Any]] = {
    "low": dict(waits=0, hysteresis=False, confirmations=2, agreement=0.0),
    "medium": dict(waits=1, hysteresis=True, confirmations=3, agreement=1.0),
    "high": dict(waits=2, hysteresis=True, confirmations=5, agreement=1.0),
}
"""What `stability` stands for. waits: times `calm_ms` that must follow a word before it is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """How one stream is cut into windows and utterances.

    hop_ms                how often a partial comes while somebody speaks
    left_ms, right_ms     context that a hop window has on either side of its hop; less at the start of an utterance
    calm_ms               audio that must follow a word before a partial shows it, with `stability: medium`
    margin_ms             left context of the final window of an utterance
    silence_ms            silence that ends an utterance
    preroll_ms, tail_ms   audio kept before the first and after the last voiced block of an utterance
    longest_ms            an utterance without a pause is split at about this length
    commit                `utterance`: at its end an utterance is encoded once more, as a whole, and that is the final;
                          `hop`: the text of a hop is final once its right context is there
    partials              whether partials are wanted; with `commit: utterance` and none, hop windows are not run at all
    stability             whether partials show words at once (low), or later and change less; no final depends on it
    partial_words         whether partials have their words with times and confidences, too
    decode                how words are decoded from log-probabilities
    language              one of the model's, by any of its names; None: the one that its runner speaks
    """

    hop_ms: int = 400
    left_ms: int = 4000
    right_ms: int = 640
    calm_ms: int = 140
    margin_ms: int = 640
    silence_ms: int = 520
    preroll_ms: int = 320
    tail_ms: int = 320
    longest_ms: int = 20_000
    commit: Commit = "utterance"
    partials: bool = True
    stability: Stability = "medium"
    partial_words: bool = False
    decode: DecodeConfig = DEFAULT_DECODE
    language: str | None = None

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES_MS.items():
            _check(name, getattr(self, name), least, most)
        if self.tail_ms > self.silence_ms:
            raise ConfigError(f"tail_ms is {self.tail_ms}; it must be at most silence_ms, {self.silence_ms}")
        if self.commit not in ("utterance", "hop"):
            raise ConfigError(f"commit is {self.commit!r}; it must be 'utterance' or 'hop'")
        if self.stability not in CALM:
            raise ConfigError(f"stability is {self.stability!r}; it must be one of {', '.join(CALM)}")

    @classmethod
    def preset(
        cls,
        latency: str,
        *,
        commit: Commit = "utterance",
        partials: bool = True,
        stability: Stability = "medium",
        partial_words: bool = False,
        decode: DecodeConfig = DEFAULT_DECODE,
        language: str | None = None,
        endpoint_ms: int | None = None,
    ) -> Self:
        """The settings of a preset: low, balanced or accurate.

        endpoint_ms    silence that ends an utterance; None: the preset's

        Raises ConfigError for any other name, and for an endpoint_ms out of range.
        """
        if latency not in PRESETS:
            raise ConfigError(f"latency is {latency!r}; it must be one of {', '.join(PRESETS)}")
        config = cls(
            **PRESETS[latency],
            commit=commit,
            partials=partials,
            stability=stability,
            partial_words=partial_words,
            decode=decode,
            language=language,
        )
        if endpoint_ms is None:
            return config
        _check("endpoint_ms", endpoint_ms, LEAST_ENDPOINT_MS, MOST_ENDPOINT_MS)
        return replace(config, silence_ms=endpoint_ms, tail_ms=min(config.tail_ms, endpoint_ms))


def _check(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{name} is {value}; it must be between {least} and {most}")


PRESETS: dict[str, dict[str, Any]] = {
    "low": dict(hop_ms=240, left_ms=2960, right_ms=320, calm_ms=100, silence_ms=440, tail_ms=240),
    "balanced": {},
    "accurate": dict(hop_ms=640, left_ms=5600, right_ms=1280, calm_ms=320, silence_ms=800),
}


@dataclass(frozen=True, slots=True)
class Timing:
    """A StreamConfig on a model's frame grid: lengths in frames, except `context`, which is in samples.

    attack         voiced blocks in a row that open an utterance
    silent_cut     blocks of silence after which there is a cut
    hops           whether hop windows are run
    partials       whether their text is shown
    partial_words  whether that has words with times
    calm           how calm it is
    provisional    whether the final window replaces what hop windows said (`commit: utterance`)
    context        samples before a cut that a session needs in order to start there
    """

    grid: FrameGrid
    hop: int
    left: int
    right: int
    margin: int
    silence: int
    preroll: int
    tail: int
    longest: int
    attack: int
    silent_cut: int
    hops: bool
    partials: bool
    partial_words: bool
    calm: Calm
    provisional: bool
    context: int

    @classmethod
    def of(cls, config: StreamConfig, grid: FrameGrid, lookback: int, emission_delay: int) -> Self:
        """lookback: blocks that the voice detector looks back; emission_delay: of the model, in frames.

        engine.session.timing_of knows both.
        """
        left, margin = grid.from_ms(config.left_ms), grid.from_ms(config.margin_ms)
        return cls(
            grid=grid,
            hop=max(1, grid.from_ms(config.hop_ms)),
            left=left,
            right=grid.from_ms(config.right_ms),
            margin=margin,
            silence=grid.from_ms(config.silence_ms),
            preroll=grid.from_ms(config.preroll_ms),
            tail=max(grid.from_ms(config.tail_ms), emission_delay + 1),
            longest=grid.from_ms(config.longest_ms),
            attack=max(1, grid.from_ms(ATTACK_MS)),
            silent_cut=max(1, grid.from_ms(SILENT_CUT_MS)),
            hops=config.partials or config.commit == "hop",
            partials=config.partials,
            partial_words=config.partial_words,
            calm=_calm(grid, config.calm_ms, **CALM[config.stability]),
            provisional=config.commit == "utterance",
            context=max(left, margin, lookback) * grid.hop,
        )

    @property
    def ring(self) -> int:
        """Capacity of the ring in samples."""
        return from_ms(RING_MS)


def _calm(grid: FrameGrid, calm_ms: int, *, waits: int, **rules: Any) -> Calm:
    return Calm(context=grid.from_ms(waits * calm_ms), **rules)
