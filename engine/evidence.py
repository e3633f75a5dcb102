"""How sure it is that the final will have a word, with `commit: utterance`: whether newer windows hear it again."""

from collections.abc import Sequence

from earshot_asr.engine.audio import LogProbs
from earshot_asr.engine.config import Timing
from earshot_asr.engine.decoder import DecodeConfig, DecodedWord
from earshot_asr.engine.greedy import GreedyDecoder
from earshot_asr.engine.vocabulary import Vocabulary

EDGE_MS, SHIFT_MS = 100, 60
"""Words that begin so early in a window are not judged by it; of the same word the start may differ a little."""
DISSENT = 2
"""So many windows that hear a word again make up for one that does not."""


class Evidence:
    """Judges the settled words of an utterance by the windows after them, which have more right context.

    Compares what is heard letter by letter, which costs little, whatever decoder makes the words.

    stable    so many words, the first, are expected in the final
    """

    def __init__(self, vocabulary: Vocabulary, timing: Timing) -> None:
        self.stable = 0
        self._vocabulary = vocabulary
        self._calm = timing.calm
        self._edge, self._shift = (max(1, timing.grid.from_ms(ms)) for ms in (EDGE_MS, SHIFT_MS))
        self._first_heard = self._listener()
        self._scores: list[int] = []  # of each settled word

    def feed(self, log_probs: LogProbs) -> None:
        """The frames (T, V) that the utterance's decoder is fed."""
        self._first_heard.feed(log_probs)

    def judge(self, words: Sequence[DecodedWord], log_probs: LogProbs, first: int) -> None:
        """Takes a newer window, up to where its right context begins.

        words    those that are settled
        first    the window's first frame, counted from the utterance's
        """
        self._scores += [0] * (len(words) - len(self._scores))
        if self.stable == len(words):
            return
        skipped = max(0, words[self.stable].start - self._edge - first)
        again = self._listener()
        again.feed(log_probs[skipped:])
        before, now = self._first_heard.words(), [(word.text, word.start + first + skipped) for word in again.words()]
        for n, word in enumerate(words[self.stable :], self.stable):
            if word.start >= first + self._edge:
                same = all(self._in(now, each) for each in before if each.start < word.end and word.start < each.end)
                self._scores[n] = self._scores[n] + 1 if same else max(0, self._scores[n] - DISSENT)
        while self.stable < len(words) and self._counts(words[self.stable], self._scores[self.stable], first):
            self.stable += 1

    def _counts(self, word: DecodedWord, score: int, first: int) -> bool:
        """Whether a word was confirmed, or is disputed and, as the windows have moved on, will not be heard again."""
        past = first > 0 and word.start < first + self._edge
        return score >= self._calm.confirmations or (self._calm.forgiving and past)

    def _in(self, now: Sequence[tuple[str, int]], word: DecodedWord) -> bool:
        return any(text == word.text and abs(start - word.start) <= self._shift for text, start in now)

    def _listener(self) -> GreedyDecoder:
        return GreedyDecoder(self._vocabulary, DecodeConfig(decoder="greedy"), None)
