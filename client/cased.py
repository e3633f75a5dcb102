"""Captions with the case that people write: a Screen before another one."""

from collections.abc import Sequence

from msgspec.structs import replace

from earshot_asr.client.live import Screen
from earshot_asr.client.stream import Message
from earshot_asr.engine.audio import Pcm, Seconds
from earshot_asr.engine.casing import Casing
from earshot_asr.server.wire import FinalMessage, PartialMessage, Ready, WireWord


class Cased:
    """Hands on everything, text with its case. A Screen.

    names    words and phrases, spelled as they are to be written
    """

    def __init__(self, screen: Screen, names: Sequence[str] = ()) -> None:
        self._screen, self._names = screen, names
        self._casing = Casing(None, names)

    def hear(self, pcm: Pcm, dropped: Seconds, now: Seconds) -> None:
        """See Screen."""
        self._screen.hear(pcm, dropped, now)

    def show(self, message: Message, now: Seconds) -> None:
        """See Screen."""
        match message:
            case Ready():
                self._casing = Casing(message.language, self._names)
            case FinalMessage():
                message = self._final(message)
            case PartialMessage():
                message = self._partial(message)
        self._screen.show(message, now)

    def _final(self, message: FinalMessage) -> FinalMessage:
        text, readings = self._casing.text, message.alternatives
        return replace(
            message,
            text=text(message.text),
            words=self._words(message.text, message.words),
            alternatives=[replace(each, text=text(each.text)) for each in readings] if readings else readings,
        )

    def _partial(self, message: PartialMessage) -> PartialMessage:
        words = self._words(message.text, message.words)
        return replace(message, text=self._casing.text(message.text), words=words)

    def _words(self, text: str, words: list[WireWord] | None) -> list[WireWord] | None:
        if words is None:
            return None
        written = self._casing.words(text, [word.text for word in words])
        return [replace(word, text=each) for word, each in zip(words, written, strict=True)]
