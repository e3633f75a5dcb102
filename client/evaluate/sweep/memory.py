"""Windows that are computed once, however many settings share them, and are charged each time they are asked for."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from earshot_asr.client.evaluate.virtual import REST_SECONDS, Stopwatch
from earshot_asr.engine.audio import LogProbs, Pcm, Seconds
from earshot_asr.engine.model import Ladder, ModelInfo, Runner

MOST_BYTES = 256 << 20
"""So much of the model's output is kept; then what was asked for longest ago is forgotten."""

Key: TypeAlias = tuple[str | None, bytes]
"""A language, and the digest of a window's samples."""


class Computed(NamedTuple):
    """The model's output for a window (T, V), and the seconds that computing it took."""

    log_probs: LogProbs
    seconds: Seconds


@dataclass(slots=True)
class Memory:
    """What was computed, and a stopwatch on which what was known takes as long as it took the first time.

    rest    seconds to sleep before windows are computed, see virtual.REST_SECONDS; the stopwatch does not show them
    """

    clock: Stopwatch = time.perf_counter
    rest: Seconds = REST_SECONDS
    most_bytes: int = MOST_BYTES
    _kept: dict[Key, Computed] = field(default_factory=dict)  # what was asked for last is the last
    _bytes: int = 0
    _owed: Seconds = 0.0

    def stopwatch(self) -> Seconds:
        """The clock, plus the time that was saved."""
        return self.clock() + self._owed

    def run(self, runner: Runner, windows: Sequence[Pcm]) -> list[LogProbs]:
        """The output of a runner for each window; computes those that it does not know."""
        began = self.clock()
        keys = [(runner.info.language, hashlib.blake2b(pcm.tobytes()).digest()) for pcm in windows]
        unknown = {key: pcm for key, pcm in zip(keys, windows, strict=True) if key not in self._kept}
        if unknown:
            self._compute(runner, unknown)
        known = [self._kept.pop(key) for key in dict.fromkeys(keys)]
        self._kept.update(zip(dict.fromkeys(keys), known, strict=True))
        computed = [self._kept[key] for key in keys]
        self._forget()
        self._owed += sum(each.seconds for each in computed) - (self.clock() - began)
        return [each.log_probs for each in computed]

    def clear(self) -> None:
        """Forgets all windows."""
        self._kept.clear()
        self._bytes = 0

    def _compute(self, runner: Runner, windows: dict[Key, Pcm]) -> None:
        """Computes windows as one batch. Each is charged its share of the frames."""
        time.sleep(self.rest)
        began = self.clock()
        outputs = runner.run(list(windows.values()))
        frame = (self.clock() - began) / max(1, sum(map(len, outputs)))
        for key, output in zip(windows, outputs, strict=True):
            self._kept[key] = Computed(output, frame * len(output))
            self._bytes += output.nbytes

    def _forget(self) -> None:
        while self._bytes > self.most_bytes:
            self._bytes -= self._kept.pop(next(iter(self._kept))).log_probs.nbytes


@dataclass(frozen=True, slots=True)
class Remembering:
    """A runner that computes no window twice. See Runner."""

    runner: Runner
    memory: Memory

    @property
    def info(self) -> ModelInfo:
        """See Runner."""
        return self.runner.info

    @property
    def device(self) -> str:
        """See Runner."""
        return self.runner.device

    @property
    def ladder(self) -> Ladder:
        """See Runner."""
        return self.runner.ladder

    @property
    def batch_frames(self) -> int:
        """See Runner."""
        return self.runner.batch_frames

    def speaking(self, language: str | None) -> "Remembering":
        """See Runner."""
        return Remembering(self.runner.speaking(language), self.memory)

    def run(self, windows: Sequence[Pcm]) -> list[LogProbs]:
        """See Runner."""
        return self.memory.run(self.runner, windows)
