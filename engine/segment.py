"""One utterance: the frames of its windows stitched into one timeline, and their text.

Frames before a window's right context are fed to the decoder, once and in order. The right context is only peeked at.
"""

import math
from collections.abc import Sequence
from itertools import takewhile

from earshot_asr.engine.audio import LogProbs, seconds
from earshot_asr.engine.config import Timing
from earshot_asr.engine.decoder import DecodedWord, Hypothesis, NewDecoder, joined
from earshot_asr.engine.display import Display
from earshot_asr.engine.events import Alternative, Final, Partial
from earshot_asr.engine.evidence import Evidence
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.times import Loudness, timed
from earshot_asr.engine.utterance import Utterance, decode_utterance, split_from
from earshot_asr.engine.windows import Window

ANY_WORD = DecodedWord("x", 0, 0, 1.0)
"""What may follow: clean_up_tokenization_spaces joins the words before and after an apostrophe that stands alone."""


class Segment:
    """Takes windows with their log-probabilities, in any order, also repeatedly; gives partials, and at most one final.

    start      its first frame
    end        one past its last frame, once that is known
    split      it was too long: its last window decides where it ends
    flushed    a flush ends it
    settled    one past the last frame that was fed to the decoder
    complete   all windows have come; `end` is the cut
    loudness   of the stream's audio, by which words are timed; None: by their symbols alone
    """

    def __init__(
        self,
        info: ModelInfo,
        timing: Timing,
        new_decoder: NewDecoder,
        start: int,
        loudness: Loudness | None = None,
    ) -> None:
        self.info = info
        self.timing = timing
        self.new_decoder = new_decoder
        self._loudness = loudness
        self.start = self.settled = start
        self.end: int | None = None
        self.split = self.flushed = False
        self.complete = False
        self._decoder = new_decoder()
        self._waiting: dict[int, tuple[Window, LogProbs, Utterance | None]] = {}
        self._paused: tuple[int, Utterance] | None = None  # what was said before the last pause, and where it ended
        self._partials: list[Partial] = []
        self._shown = ""
        self._words: list[DecodedWord] = []
        self._readings: Sequence[Hypothesis] = ()
        self._display = Display(timing.calm)
        self._evidence = Evidence(info.vocabulary, timing) if timing.provisional else None

    # ---- in

    def close(self, end: int, *, split: bool = False, flushed: bool = False) -> None:
        """Sets its end, which is known from the audio, or from where a flush stands in it."""
        self.end = end
        self.split, self.flushed = split, flushed
        self._complete_if_settled()

    def accept(self, window: Window, log_probs: LogProbs, utterance: Utterance | None = None) -> None:
        """Takes a window's log-probabilities (T, V). A window that came before, or is out of date, changes nothing.

        utterance: the result of decode_utterance for a window over a whole utterance; None: it is decoded here.
        """
        assert len(log_probs) == window.frames, (window, log_probs.shape)
        if self.timing.provisional and (window.final or window.pause):
            utterance = utterance or decode_utterance(window, log_probs, self.info, self.new_decoder)
            if window.final:
                self._finish(utterance.words, self.start + utterance.frames, utterance.readings)
                return
            self._paused = max(self._paused or (0, utterance), (window.end, utterance), key=lambda at: at[0])
        if window.emit_from >= self.settled:
            self._waiting[window.emit_from] = window, log_probs, utterance
        while (next_one := self._waiting.pop(self.settled, None)) is not None:
            self._stitch(*next_one)
        self._complete_if_settled()

    def _stitch(self, window: Window, log_probs: LogProbs, utterance: Utterance | None) -> None:
        self.settled = window.emit_to
        if utterance:
            self._hear_again(utterance, log_probs[window.segment - window.start :])
            return
        emitted = window.emit_to - window.start
        new = log_probs[window.emit_from - window.start : emitted]
        if self._evidence:
            self._evidence.judge(self._decoder.settled(), log_probs[:emitted], window.start - self.start)
            self._evidence.feed(new)
        self._decoder.feed(new)
        if self.timing.partials and not window.final:
            heard, settled = self._decoder.peek(log_probs[emitted:]).words(), len(self._decoder.settled())
            self._show(self._display.update(heard, settled, window.end - self.start), window.end)

    def _hear_again(self, utterance: Utterance, log_probs: LogProbs) -> None:
        """Takes a window over all that was said before a pause (T, V), in the place of what the hop windows said."""
        assert self._evidence
        self._decoder = utterance.decoder
        self._evidence.restart(len(utterance.words), log_probs)
        self._show(self._display.update(utterance.words, len(utterance.words), utterance.frames), self.settled)

    def _complete_if_settled(self) -> None:
        if self.complete or self.end is None:
            return
        if self.timing.provisional:
            if self._paused and self._paused[0] == self.end:
                _, utterance = self._paused
                self._finish(utterance.words, self.end, utterance.readings)
            return
        if self.settled < self.end:
            return
        if self.split and self.promised >= self.start + split_from(self.settled - self.start, self.timing.grid):
            self._finish(
                self._decoder.settled(), self.promised
            )  # what follows the last word boundary was not committed
        else:
            readings = self._decoder.alternatives()
            self._finish(readings[0].words, self.settled, readings)

    def _finish(self, words: list[DecodedWord], end: int, readings: Sequence[Hypothesis] = ()) -> None:
        self._words, self._readings = words, readings
        self.end = self.settled = end
        self.complete = True
        self._waiting.clear()

    # ---- out

    @property
    def promised(self) -> int:
        """The frame of the last settled word boundary: with `commit: hop`, the text before it will not change."""
        return self.start + self._decoder.boundary

    def partials(self) -> list[Partial]:
        """The partials since the last call."""
        partials, self._partials = self._partials, []
        return partials

    def final(self) -> Final | None:
        """The final; None if no word was said."""
        assert self.complete and self.end is not None
        if not self._words:
            return None
        words = timed(self._words, self.info, self.start, self.end, self._loudness)
        log_probs = [math.log(max(w.confidence, 1e-30)) for w in self._words]
        return Final(
            segment=self.start * self.timing.grid.hop,
            start=words[0].start,
            end=words[-1].end,
            text=joined(self._words, self.info.vocabulary),
            confidence=round(math.exp(sum(log_probs) / len(log_probs)), 4),
            words=words,
            cut=self.end * self.timing.grid.hop,
            flushed=self.flushed,
            split=self.split,
            alternatives=self._alternatives(),
        )

    def _alternatives(self) -> tuple[Alternative, ...]:
        if len(self._readings) < 2:
            return ()
        texts = (
            (joined(reading.words, self.info.vocabulary), math.exp(reading.log_prob)) for reading in self._readings
        )
        return tuple(Alternative(text, round(share, 4)) for text, share in texts)

    def withdraw(self) -> None:
        """No word was said after all: an empty partial takes back what was shown."""
        if self._shown:
            self._show([], self.settled)

    def _show(self, words: list[DecodedWord], end: int) -> None:
        """Adds a partial after a window that ends before frame `end`; none if there is no text and there was none."""
        text = joined(words, self.info.vocabulary)
        if not self.timing.partials or not (text or self._shown):
            return
        hop = self.timing.grid.hop
        reach = (end - 1) * hop + self.timing.grid.field
        stable = self._stable_characters(text, words) if words else 0
        begin = self.start * hop
        spoken = timed(words, self.info, self.start, end, self._loudness) if self.timing.partial_words else None
        self._partials.append(Partial(begin, seconds(begin), seconds(reach), text, stable, spoken))
        self._shown = text

    def _stable_characters(self, text: str, words: list[DecodedWord]) -> int:
        """How many characters of the text of these words are those of stable ones, whatever word comes next."""
        words = words[: self._evidence.stable if self._evidence else len(self._decoder.settled())]
        alone, followed = (joined(some, self.info.vocabulary) for some in (words, [*words, ANY_WORD]))
        return sum(1 for _ in takewhile(lambda three: len(set(three)) == 1, zip(text, alone, followed, strict=False)))
