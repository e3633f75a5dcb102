"""Takes of known events, whose figures are known as well."""

from pathlib import Path

from earshot_asr.client.evaluate.take import Clip, SpokenWord, Take, TimedEvent
from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.engine.events import Final, Partial, Word


def clip(reference: str, words: list[SpokenWord] | None = None, name: str = "a.wav", corpus: str = "book") -> Clip:
    """A recording that is not played."""
    return Clip(name, corpus, reference, (Path(name),), None if words is None else tuple(words))


def spoken(text: str, first: Seconds = 1.0, each: Seconds = 0.5) -> list[SpokenWord]:
    """Words that follow one another without a pause."""
    return [SpokenWord(word, first + n * each, first + (n + 1) * each) for n, word in enumerate(text.split())]


def partial(at: Seconds, text: str, stable: str = "", *, seen: Seconds = 0.0, segment: Seconds = 0.0) -> TimedEvent:
    """A partial; `stable` is what it begins with."""
    assert text.startswith(stable)
    return TimedEvent(at, Partial(samples(segment), segment, seen, text, len(stable)))


def final(at: Seconds, words: list[SpokenWord], *, segment: Seconds = 0.0, cut: Seconds = 100.0) -> TimedEvent:
    """A final, with words said when `words` are."""
    timed = tuple(Word(text, start, end, 0.9) for text, start, end in words)
    text = " ".join(word.text for word in timed)
    return TimedEvent(at, Final(samples(segment), segment, cut, text, 0.9, timed, samples(cut)))


def samples(at: Seconds) -> int:
    """Seconds -> a sample number."""
    return round(at * SAMPLE_RATE)


def take(of: Clip, *heard: TimedEvent, seconds: Seconds = 10.0, **others: object) -> Take:
    """What came of a clip."""
    return Take(of, list(heard), seconds, **others)  # type: ignore[arg-type]
