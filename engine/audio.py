"""The units of the whole system: samples at 16 kHz, and frames, the steps of an encoder's output.

Positions are absolute integers, counted from the start of a stream. Seconds exist only in events.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000
"""Samples per second of all audio after the audio source."""

Pcm: TypeAlias = npt.NDArray[np.int16]
"""Mono samples at 16 kHz, shape (S,)."""
LogProbs: TypeAlias = npt.NDArray[np.float32]
"""Log-probabilities of symbols, shape (T, V)."""
Seconds: TypeAlias = float


def exact_div(a: int, b: int) -> int:
    """a / b; asserts that there is no remainder."""
    assert a % b == 0, (a, b)
    return a // b


def to_float(pcm: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """int16 samples -> float32 in [-1, 1)."""
    samples: npt.NDArray[np.float32] = np.multiply(pcm, np.float32(1 / 32768), dtype=np.float32)
    return samples


def to_pcm(samples: npt.NDArray[np.float32]) -> Pcm:
    """float32 samples -> int16, rounded to nearest, clipped at full scale."""
    pcm: Pcm = np.rint(samples * np.float32(32768)).clip(-32768, 32767).astype(np.int16)
    return pcm


def seconds(samples: int) -> Seconds:
    """A sample number in seconds, rounded to the nearest millisecond, half up. Events carry times of this form."""
    return (samples * 1000 + SAMPLE_RATE // 2) // SAMPLE_RATE / 1000


def from_ms(ms: float) -> int:
    """Milliseconds -> samples, rounded to nearest."""
    return round(ms * SAMPLE_RATE / 1000)


@dataclass(frozen=True, slots=True)
class FrameGrid:
    """Where the frames of an encoder lie: frame k is computed from the samples [hop k, hop k + field).

    Both are read from the checkpoint: 320 and 400 for wav2vec 2.0's convolutions, 320 and 560 for Wav2Vec2-BERT, 640
    and 560 with its usual adapter. The field of a model whose convolutions are padded may be shorter than its hop.
    """

    hop: int
    field: int

    def frames(self, samples: int) -> int:
        """How many frames are complete once `samples` samples have arrived."""
        return max(0, (samples - self.field) // self.hop + 1)

    def span(self, start: int, frames: int) -> tuple[int, int]:
        """The samples [first, end) that `frames` > 0 frames from frame `start` on are computed from."""
        assert frames > 0, frames
        first = start * self.hop
        return first, first + (frames - 1) * self.hop + self.field

    def from_ms(self, ms: float) -> int:
        """Milliseconds -> frames, rounded to nearest."""
        return round(from_ms(ms) / self.hop)
