"""Text as people write it, of models that know one case only: sentences begin with a capital letter, names have theirs.

Never for text that is compared with another: what a model heard has no case.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from earshot_asr.engine.events import Final, Word
from earshot_asr.engine.languages import code

ENGLISH = "eng"
DOTTED = ("tur", "aze")
"""Languages in which the small letter of I is ı."""
_SENTENCE_START = re.compile(r"(?:^|[.?!…]['\"”’)]*\s+)[^\w]*(?=\w)")
_I = re.compile(r"\bi\b(?!-)")


class Casing:
    """Gives utterances their case. One that has letters of both is left as it is: its model knows better.

    language    that is spoken, by any name; None: it is not known
    names       words and phrases, spelled as they are to be written; from the hotwords
    """

    def __init__(self, language: str | None = None, names: Iterable[str] = ()) -> None:
        self._language = code(language) if language else ""
        self._names = {self._lower(name): name for name in (" ".join(name.split()) for name in names) if name}
        longest_first = sorted(map(re.escape, self._names), key=len, reverse=True)
        self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)") if longest_first else None

    def text(self, text: str) -> str:
        """An utterance, or the beginning of one: as long as it was."""
        letters = text.replace("ß", "")
        if not (letters.isupper() or letters.islower()):
            return text
        small = self._lower(text)
        cased = list(_I.sub("I", small) if self._language == ENGLISH else small)
        for start in _SENTENCE_START.finditer(small):
            cased[start.end()] = self._capital(small[start.end()])
        for match in self._pattern.finditer(small) if self._pattern else ():
            cased[match.start() : match.end()] = self._names[match[0]]
        return "".join(cased)

    def words(self, text: str, words: Sequence[str]) -> list[str]:
        """The words of an utterance, as they are written in its text."""
        cased, at = self.text(text), 0
        written = []
        for word in words:
            found = max(at, text.find(word, at))
            at = found + len(word)
            written.append(cased[found:at] if text[found:at] == word else word)
        return written

    def final(self, final: Final) -> Final:
        """An utterance of the engine."""
        texts = self.words(final.text, [word.text for word in final.words])
        words: tuple[Word, ...] = tuple(replace(word, text=text) for word, text in zip(final.words, texts, strict=True))
        readings = tuple(replace(each, text=self.text(each.text)) for each in final.alternatives)
        return replace(final, text=self.text(final.text), words=words, alternatives=readings)

    def _lower(self, text: str) -> str:
        """In small letters, as many as there were."""
        text = text.replace("İ", "i")
        return (text.replace("I", "ı") if self._language in DOTTED else text).lower()

    def _capital(self, char: str) -> str:
        if self._language in DOTTED and char == "i":
            return "İ"
        capital = char.title()
        return capital if len(capital) == 1 else char
