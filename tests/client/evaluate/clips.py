"""Takes made by hand for the report's tests: one word is shown at once, one is corrected, one comes with the final."""

import xml.etree.ElementTree as ET

from earshot_asr.client.evaluate.markup import Markup
from earshot_asr.client.evaluate.take import Clip, SpokenWord, Take, TimedEvent
from earshot_asr.engine.events import Final, Partial, Word

SAID = (SpokenWord("ONE", 0.2, 0.5), SpokenWord("TWO", 0.6, 0.9), SpokenWord("THREE", 1.0, 1.4))


def take(name: str = "a.wav", text: str = "ONE TWO THREE", corpus: str = "tests", seconds: float = 4.0) -> Take:
    """ONE: shown at 0.8, stable at 1.2. TWO: TOO at 0.8, right at 1.2. THREE: with the final, at 2.0, due at 1.9."""
    words = tuple(Word(text, start, end, 0.9) for text, start, end in SAID)
    heard = [
        TimedEvent(0.8, Partial(0, 0.0, 0.7, "ONE TOO", 0)),
        TimedEvent(1.2, Partial(0, 0.0, 1.1, "ONE TWO", 3)),
        TimedEvent(2.0, Final(0, 0.2, 1.4, text, 0.9, words if text == "ONE TWO THREE" else (), 32_000)),
    ]
    clip = Clip(name, corpus, "One, two, three!", (), SAID)
    return Take(clip, heard, seconds, work=0.5, due={0: 1.9}, plain=text)


def svg(markup: Markup) -> ET.Element:
    """The picture in it, parsed: so it is well-formed."""
    (picture,) = ET.fromstring(f"<div>{markup}</div>").iter("svg")
    return picture


def titles(markup: Markup) -> list[str]:
    """Of all tooltips."""
    return [title.text or "" for title in svg(markup).iter("title")]
