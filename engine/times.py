"""When words are said: from the frames of their symbols, and from where the audio around them is silent.

A CTC model writes a symbol once, somewhere in its sound, and the last one often long before that sound ends. So a word
is taken to last from a little before its first symbol to well behind its last one, at most to the next word; and then
what is silent at its edges is taken off.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.audio import Pcm, from_ms, seconds
from earshot_asr.engine.decoder import DecodedWord
from earshot_asr.engine.events import Word
from earshot_asr.engine.model import ModelInfo

SOUND_SAMPLES = from_ms(180)
"""The sound of a word's last symbol goes on for so long behind it, at most."""
BLOCK_SAMPLES = from_ms(10)
"""Block b is the samples [b BLOCK_SAMPLES, (b + 1) BLOCK_SAMPLES)."""
SILENT_SHARE = 2000
"""A block at a word's edge is silent if the word's loudest one has so many times its power: 33 dB."""

Powers = npt.NDArray[np.float64]
Loudness = Callable[[int, int], Powers]
"""(first, end) -> the powers of the blocks [first, end)."""
Span = tuple[int, int]
"""First sample, and one past the last."""


def powers(pcm: Pcm) -> Powers:
    """The power of each block of samples (S,), those at the end that fill none left out; without what is very low.

    Sums of squared differences of neighbours: integers, hence the same on any machine.
    """
    blocks = pcm[: len(pcm) // BLOCK_SAMPLES * BLOCK_SAMPLES].reshape(-1, BLOCK_SAMPLES)
    changes = np.diff(blocks.astype(np.int32)).astype(np.float64)
    power: Powers = np.einsum("ij,ij->i", changes, changes)
    return power


class Meter:
    """The powers of the blocks of audio that goes by. A Loudness."""

    def __init__(self) -> None:
        self._parts: list[Powers] = []

    def listen(self, audio: Iterable[Pcm]) -> Iterator[Pcm]:
        """Passes audio on."""
        rest = np.zeros(0, np.int16)
        for pcm in audio:
            rest = np.concatenate([rest, pcm])
            self._parts.append(powers(rest))
            rest = rest[len(self._parts[-1]) * BLOCK_SAMPLES :]
            yield pcm

    def __call__(self, first: int, end: int) -> Powers:
        """See Loudness."""
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        return self._parts[0][first:end]


def timed(
    words: Sequence[DecodedWord], info: ModelInfo, start: int, end: int, loudness: Loudness | None = None
) -> tuple[Word, ...]:
    """Words with their times in seconds, which do not overlap. None begins before frame `start` or ends after `end`.

    start, end    from where the words' frames are counted, and where the utterance ends, as far as it was heard
    loudness      of the audio in between; None: nothing in it counts as silent
    """
    grid = info.grid
    first, last = start * grid.hop, (end - 1) * grid.hop + min(grid.hop, grid.field)

    def sample(frame: int) -> int:
        """A frame counts as the hop in the middle of its field, `emission_delay` frames earlier."""
        at = (start + frame - info.emission_delay) * grid.hop + (grid.field - grid.hop) // 2
        return min(max(first, at), last)

    begins = [*(sample(word.start) for word in words), last]
    spans = [
        (begin, min(sample(word.end) + SOUND_SAMPLES, behind))
        for word, (begin, behind) in zip(words, pairwise(begins), strict=True)
    ]
    if loudness is not None:
        spans = [_trimmed(span, loudness) for span in spans]
    return tuple(
        Word(word.text, seconds(begin), seconds(stop), round(word.confidence, 4))
        for word, (begin, stop) in zip(words, spans, strict=True)
    )


def _trimmed(span: Span, loudness: Loudness) -> Span:
    """Without the silent blocks at its edges."""
    begin, stop = span
    first, end = -(-begin // BLOCK_SAMPLES), stop // BLOCK_SAMPLES
    if first >= end:
        return span
    power = loudness(first, end)
    loud = np.flatnonzero(power * SILENT_SHARE > power.max())
    if not len(loud):
        return span
    before, behind = int(loud[0]), int(loud[-1]) + 1
    return (
        (first + before) * BLOCK_SAMPLES if before else begin,
        (first + behind) * BLOCK_SAMPLES if behind < len(power) else stop,
    )
