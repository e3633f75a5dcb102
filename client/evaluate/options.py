"""The options of `earshot evaluate`."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from earshot_asr.client.evaluate.manifest import Selection
from earshot_asr.engine.audio import from_ms
from earshot_asr.engine.config import Commit, Latency, Stability, StreamConfig
from earshot_asr.engine.decoder import DecodeConfig, Hotword


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of an evaluation.

    model, language, revision, device    what transcribes the streams
    latency, commit, endpoint_ms, stability    of the streams, see StreamConfig.preset
    lm, hotwords                         see load_runner and DecodeConfig
    selection, alignments, join          of the clips, see manifest.load
    wall, url                            stream in real time over a socket, to `url` or a local server
    against, whisper_model               names from peers.PEERS; the folder of the Whisper model
    seed                                 random seed of the confidence intervals
    block_ms                             length of the blocks in which audio arrives
    """

    model: str | None = None
    language: str | None = None
    revision: str | None = None
    device: str = "auto"
    latency: Latency = "balanced"
    commit: Commit = "utterance"
    endpoint_ms: int | None = None
    lm: str | None = None
    hotwords: tuple[Hotword, ...] = ()
    stability: Stability = "medium"
    selection: Selection = field(default_factory=Selection)
    alignments: Path | None = None
    join: Collection[str] = ()
    wall: bool = False
    url: str | None = None
    against: Collection[str] = ()
    whisper_model: Path | None = None
    seed: int = 0
    block_ms: int = 100

    @property
    def config(self) -> StreamConfig:
        """The configuration of each stream."""
        return StreamConfig.preset(
            self.latency,
            commit=self.commit,
            endpoint_ms=self.endpoint_ms,
            stability=self.stability,
            decode=self.decode,
        )

    @property
    def decode(self) -> DecodeConfig:
        """How words are decoded."""
        return DecodeConfig(hotwords=self.hotwords)

    @property
    def block_samples(self) -> int:
        """Length of the blocks in which audio arrives."""
        return from_ms(self.block_ms)
