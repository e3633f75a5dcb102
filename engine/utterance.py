"""Decodes a whole utterance from a window over it: a pure function, called where the window was computed."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid, LogProbs
from earshot_asr.engine.decoder import DecodedWord, Decoder, Hypothesis, NewDecoder
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
    readings  the likeliest ones, see Decoder.alternatives
    decoder   what decoded it; goes on from there if somebody speaks on
    """

    words: list[DecodedWord]
    frames: int
    readings: list[Hypothesis]
    decoder: Decoder = field(compare=False, repr=False)


def decode_utterance(window: Window, log_probs: LogProbs, info: ModelInfo, new_decoder: NewDecoder) -> Utterance:
    """Decodes the utterance of a window over all of it (T, V) by a fresh decoder; frames before it are dropped."""
    emitted = log_probs[window.segment - window.start : window.emit_to - window.start]
    if window.split:
        emitted = emitted[: split_frame(emitted, info)]
    decoder = new_decoder()
    decoder.feed(emitted)
    readings = decoder.alternatives()
    return Utterance(readings[0].words, len(emitted), readings, decoder)


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
    gaps = list(_gaps(ids, vocabulary))
    if not gaps:
        return first + int(log_probs[first:, vocabulary.blank].argmax()) + 1
    _, frames, begin = max(gaps)
    for at in range(begin, begin + frames):
        if vocabulary.pieces[ids[at]].before:
            return first + at + 1
    return first + max(1, begin + frames // 2)


def _gaps(ids: list[int], vocabulary: Vocabulary) -> Iterator[tuple[bool, int, int]]:
    """The runs of frames without letters: whether words are before and after it, its length, and its first frame.

    Where one word follows another without any, the run is empty.
    """
    pieces = [vocabulary.pieces[id] for id in ids] + [Piece("", "", "")]
    begin = 0
    for at, piece in enumerate(pieces):
        if at < len(ids) and not piece.text:
            continue
        before = pieces[begin - 1].text if begin else ""
        parts = any(p.before for p in pieces[begin : at + 1]) or vocabulary.begins(before, piece.text)
        if begin < at or (parts and 0 < at < len(ids) and ids[at - 1] != ids[at]):
            yield parts, at - begin, begin
        begin = at + 1
