"""A whole utterance's text from its final window: a pure function, run where the window was computed."""

from dataclasses import dataclass

import numpy as np

from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid, LogProbs
from earshot_asr.engine.decoder import DecodedWord, NewDecoder
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.windows import Window

SPLIT_SECONDS = 5
"""An utterance without a pause is split within its last seconds, if it is twice as long."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """What a final window says.

    words     frames counted from the utterance's first
    frames    how many it has: where it was too long, the window says where it is split
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
    """The first of an utterance's frames at which it may be split: in its last seconds, and its second half."""
    return max(frames // 2, frames - SPLIT_SECONDS * SAMPLE_RATE // grid.hop)


def split_frame(log_probs: LogProbs, info: ModelInfo) -> int:
    """Where to split an utterance (T, V) that has no pause, in its last seconds: how many frames to keep, at least 1.

    In the longest run of blanks and word delimiters that holds a delimiter, behind it; else in the middle of the
    longest run of blanks; else behind the frame with the most blank.
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
