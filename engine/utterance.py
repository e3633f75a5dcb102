"""Decodes a whole utterance from its final window: a pure function, called where the window was computed."""

from collections.abc import Iterator
from dataclasses import dataclass

from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid, LogProbs
from earshot_asr.engine.decoder import DecodedWord, NewDecoder
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.vocabulary import Piece, Vocabulary
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

    It is split after the first space in the longest run of blanks and spaces that has one, or else before the word that
    begins behind the longest run of blanks; else in the middle of the longest run of blanks; else after the frame with
    the highest probability of blank.
    """
    vocabulary = info.vocabulary
    first = split_from(len(log_probs), info.grid)
    ids = vocabulary.merged[log_probs[first:].argmax(-1)].tolist()
    spaces = [bool(vocabulary.pieces[id].before) and not vocabulary.pieces[id].text for id in ids]
    gaps = list(_gaps(ids, spaces, vocabulary))
    if not gaps:
        return first + int(log_probs[first:, vocabulary.blank].argmax()) + 1
    begin, end = max(gaps, key=lambda gap: (_parts_words(*gap, ids, spaces, vocabulary), gap[1] - gap[0], gap[0]))
    if True in spaces[begin:end]:
        return first + spaces.index(True, begin) + 1
    return first + max(1, (begin + end) // 2)


def _gaps(ids: list[int], spaces: list[bool], vocabulary: Vocabulary) -> Iterator[tuple[int, int]]:
    """The runs of blanks and spaces, and, as empty runs, where one word follows another without any."""
    begin = 0
    for at in range(len(ids) + 1):
        if at < len(ids) and (spaces[at] or ids[at] == vocabulary.blank):
            continue
        if begin < at or 0 < at < len(ids) and ids[at - 1] != ids[at] and _parts_words(at, at, ids, spaces, vocabulary):
            yield begin, at
        begin = at + 1


def _parts_words(begin: int, end: int, ids: list[int], spaces: list[bool], vocabulary: Vocabulary) -> bool:
    """Whether there are words before and after a run, not parts of one."""
    if True in spaces[begin:end]:
        return True
    before = vocabulary.pieces[ids[begin - 1]].text if begin else ""
    after = vocabulary.pieces[ids[end]] if end < len(ids) else Piece("", "", "")
    return bool(after.before) or vocabulary.begins(before, after.text)
