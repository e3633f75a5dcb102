"""How sure it is that the final will have a word, with `commit: utterance`: whether newer windows hear it again."""

from collections.abc import Sequence
from dataclasses import dataclass

from earshot_asr.engine.audio import LogProbs
from earshot_asr.engine.config import Timing
from earshot_asr.engine.decoder import DecodeConfig, DecodedWord
from earshot_asr.engine.greedy import GreedyDecoder
from earshot_asr.engine.vocabulary import Vocabulary

EDGE_MS, SHIFT_MS = 100, 60
"""Words that begin so early in a window are not judged by it; of the same word the start may differ a little."""
DISSENT = 2
"""So many windows that hear a word again make up for one that does not."""


@dataclass(slots=True)
class _Review:
    """What newer windows said of a word: how many could hear it, how many did, and the sum of that."""

    asked: int = 0
    agreed: int = 0
    score: int = 0

    def add(self, same: bool) -> None:
        self.asked += 1
        self.agreed += same
        self.score = self.score + 1 if same else max(0, self.score - DISSENT)


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
        self._reviews: list[_Review] = []  # of each settled word

    def feed(self, log_probs: LogProbs) -> None:
        """The frames (T, V) that the utterance's decoder is fed."""
        self._first_heard.feed(log_probs)

    def restart(self, words: int, log_probs: LogProbs) -> None:
        """Takes what was heard before a pause: so many words, and the frames (T, V) of a window over all of it.

        If somebody speaks on, it is the last word that is heard differently most often.
        """
        self.stable = max(0, words - 1)
        self._reviews = [_Review() for _ in range(words)]
        self._first_heard = self._listener()
        self._first_heard.feed(log_probs)

    def judge(self, words: Sequence[DecodedWord], log_probs: LogProbs, first: int) -> None:
        """Takes a newer window, up to where its right context begins.

        words    those that are settled
        first    the window's first frame, counted from the utterance's
        """
        self._reviews += [_Review() for _ in words[len(self._reviews) :]]
        if self.stable >= len(words):
            return
        skipped = max(0, words[self.stable].start - self._edge - first)
        again = self._listener()
        again.feed(log_probs[skipped:])
        before, now = self._first_heard.words(), [(word.text, word.start + first + skipped) for word in again.words()]
        for n, word in enumerate(words[self.stable :], self.stable):
            if word.start >= first + self._edge:
                same = all(self._in(now, each) for each in before if each.start < word.end and word.start < each.end)
                self._reviews[n].add(same)
        while self.stable < len(words) and self._counts(words[self.stable], self._reviews[self.stable], first):
            self.stable += 1

    def _counts(self, word: DecodedWord, review: "_Review", first: int) -> bool:
        """Whether a word was confirmed, or was disputed by few windows and will not be heard by another one."""
        past = first > 0 and word.start < first + self._edge
        agreed = review.agreed >= self._calm.agreement * review.asked
        return review.score >= self._calm.confirmations or (past and agreed)

    def _in(self, now: Sequence[tuple[str, int]], word: DecodedWord) -> bool:
        return any(text == word.text and abs(start - word.start) <= self._shift for text, start in now)

    def _listener(self) -> GreedyDecoder:
        return GreedyDecoder(self._vocabulary, DecodeConfig(decoder="greedy"), None)
