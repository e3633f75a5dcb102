"""Words and phrases that a stream expects, such as names: hypotheses that contain them are preferred."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from earshot_asr.engine.decoder import Hotword
from earshot_asr.engine.lm.lexicon import LN_10


class Heard(NamedTuple):
    """How far a hypothesis has come in a phrase.

    before     what it has spelled of it in words that have ended
    spelled    what it has spelled of it, the open word too; empty: nothing
    earned     the reward for phrases that have ended
    """

    before: str = ""
    spelled: str = ""
    earned: float = 0.0


class Hotwords:
    """Rewards hypotheses letter by letter as they spell a phrase; takes back what a phrase not finished has earned.

    fold    what makes words equal that differ in case only
    """

    def __init__(self, hotwords: Iterable[Hotword], fold: Callable[[str], str]) -> None:
        self._rewards: dict[str, float] = {}  # beginnings of phrases, and what they have earned
        self._phrases: dict[str, float] = {}
        self._begun: set[str] = set()  # beginnings of the words in phrases
        for hotword in hotwords:
            words = fold(hotword.text).split()
            phrase = " ".join(words)
            reward = hotword.weight * LN_10 * len(words)
            self._phrases[phrase] = max(reward, self._phrases.get(phrase, 0.0))
            self._begun.update(word[:end] for word in words for end in range(1, len(word) + 1))
            for end in range(1, len(phrase) + 1):
                earned = reward * end / len(phrase)
                self._rewards[phrase[:end]] = max(earned, self._rewards.get(phrase[:end], 0.0))

    def begins(self, word: str) -> bool:
        """Whether a phrase has a word that begins so."""
        return word in self._begun

    def spell(self, heard: Heard, word: str) -> Heard:
        """The open word has grown to `word`."""
        longer = heard.before + word
        if longer in self._rewards:
            return heard._replace(spelled=longer)
        return Heard("", word if word in self._rewards else "", heard.earned)

    def close(self, heard: Heard) -> Heard:
        """The open word has ended."""
        more = heard.spelled + " "
        goes_on = heard.spelled and more in self._rewards
        return Heard(more if goes_on else "", "", heard.earned + self._phrases.get(heard.spelled, 0.0))

    def reward(self, heard: Heard) -> float:
        """Of a hypothesis whose last word is open."""
        return heard.earned + self._rewards.get(heard.spelled or heard.before, 0.0)
