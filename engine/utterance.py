"""Decodes a whole utterance from its final window: a pure function, called where the window was computed."""

from dataclasses import dataclass

import numpy as np

from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid, LogProbs
from earshot_asr.engine.decoder import DecodedWord, NewDecoder
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.windows import Window

SPLIT_SECONDS = 5
"""An utterance that is too long is split within its last so many seconds, and within its second half."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """A decoded utterance.

    words     their frames are counted from the utterance's first
    frames    its length; shorter than the window's if it was split
    """

    words: list[DecodedWord]
    frames: int


def decode_utterance(window: Window, log_probs: LogProbs, info: ModelInfo, new_decoder: NewDecoder) -> Utterance:
    """Decodes the utterance of a final window (T, V) by a fresh decoder; frames before the utterance are dropped."""
    emitted = log_probs[window.emit_from - window.start : window.emit_to - window.start]
    if window.split:
        emitted = emitted[: split_frame(emitted, info)]
    decoder = new_decoder()
    decoder.feed(emitted)
    return Utterance(decoder.words(), len(emitted))


def split_from(frames: int, grid: FrameGrid) -> int:
    """The first frame at which an utterance may be split."""
    return max(frames // 2, frames - SPLIT_SECONDS * SAMPLE_RATE // grid.hop)


def split_frame(log_probs: LogProbs, info: ModelInfo) -> int:
    """How many frames (at least 1) of an utterance (T, V) without a pause to keep when it is split.

    It is split after the delimiter in the longest run of blanks and word delimiters that has one; else in the middle
    of the longest run of blanks; else after the frame with the highest probability of blank.
    """
    vocabulary = info.vocabulary
    first = split_from(len(log_probs), info.grid)
    ids = log_probs[first:].argmax(-1)
    delimiter = ids == (-1 if vocabulary.delimiter is None else vocabulary.delimiter)
    quiet = delimiter | (ids == vocabulary.blank)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    runs = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    if not runs:
        return first + int(log_probs[first:, vocabulary.blank].argmax()) + 1
    begin, end = max(runs, key=lambda run: (bool(delimiter[run[0] : run[1]].any()), run[1] - run[0], run[0]))
    if delimiter[begin:end].any():
        return first + int(begin + delimiter[begin:end].argmax()) + 1
    return first + max(1, int(begin + end) // 2)
