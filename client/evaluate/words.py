"""The lives of words: when each was said, shown and promised, and whether it was taken back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from earshot_asr.client.evaluate.take import SpokenWord, Take, TimedEvent
from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.engine.events import Final, Partial
from earshot_asr.engine.text import normalize

MAX_MATCH_SECONDS: Seconds = 0.5
"""A word of a final is a word of the alignment only where the two, equal in letters, are no farther apart in time."""


@dataclass(slots=True, eq=False)
class WordLife:
    """A word that was on the screen, from the first message that held it to its end; times as in TimedEvent.

    text      normalized
    shown     the first message that held it
    stable    the first message that held it inside `stable`; None: none did, before the final
    final     the final that holds it; None: it did not come so far
    gone      the message that changed or withdrew it; None: none did
    spoken    the word of the reference that it is; None: it is wrong, or there is no alignment
    """

    text: str
    segment: int
    shown: Seconds
    stable: Seconds | None = None
    final: Seconds | None = None
    gone: Seconds | None = None
    spoken: SpokenWord | None = None


def lives(take: Take) -> list[WordLife]:
    """All words that were ever shown, in the order in which they appeared; those with `final` make the transcript."""
    everyone: list[WordLife] = []
    screens: dict[int, list[WordLife]] = {}
    unheard = sorted(take.clip.words or (), key=_middle)
    for at, event in _unretracted(take.heard):
        before = screens.get(event.segment, [])
        screen = _next_screen(before, at, event)
        everyone += (life for life in screen if life not in before)
        screens[event.segment] = screen
        if isinstance(event, Final):
            _find_spoken(screen, event, unheard)
    return everyone


def retractions(take: Take) -> int:
    """How many messages were about audio whose text had been final; there must be none."""
    return len(take.heard) - sum(1 for _ in _unretracted(take.heard))


def erased(take: Take) -> int:
    """How many words a screen that can only delete at its end had to delete, for each to be shown as it was."""
    shown: dict[int, list[str]] = {}
    count = 0
    for _, event in _unretracted(take.heard):
        before, now = shown.get(event.segment, []), normalize(event.text).split()
        count += len(before) - common(before, now)
        shown[event.segment] = now
    return count


def pairs(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Indexes of the equal words of two texts, by an alignment with the fewest changes; what both begin with, first."""
    import jiwer

    prefix = common(a, b)
    yield from zip(range(prefix), range(prefix), strict=True)
    if prefix < min(len(a), len(b)):
        (chunks,) = jiwer.process_words(" ".join(a[prefix:]), " ".join(b[prefix:])).alignments
        for chunk in chunks:
            if chunk.type == "equal":
                for n in range(chunk.ref_end_idx - chunk.ref_start_idx):
                    yield prefix + chunk.ref_start_idx + n, prefix + chunk.hyp_start_idx + n


def common(a: Sequence[str], b: Sequence[str]) -> int:
    """How many words two texts have in common from the beginning on."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _unretracted(heard: Sequence[TimedEvent]) -> Iterator[TimedEvent]:
    """All messages but those about what had been final before."""
    cut = 0
    for message in heard:
        if message.event.segment >= cut:
            yield message
            if isinstance(message.event, Final):
                cut = message.event.cut


def _next_screen(before: list[WordLife], at: Seconds, event: Partial | Final) -> list[WordLife]:
    """What is shown after a message: words that stay, and new ones. The others are gone."""
    words = normalize(event.text).split()
    kept = {new: before[old] for old, new in pairs([life.text for life in before], words)}
    screen = [kept.get(n) or WordLife(word, event.segment, at) for n, word in enumerate(words)]
    for life in set(before) - set(screen):
        life.gone = at
    if isinstance(event, Final):
        for life in screen:
            life.final = at
    else:
        promised = common(words, normalize(event.text[: event.stable]).split())
        for life in screen[:promised]:
            life.stable = at if life.stable is None else life.stable
    return screen


def _find_spoken(screen: list[WordLife], final: Final, unheard: list[SpokenWord]) -> None:
    """Finds the words of a final in the alignment, among those said in its part of the audio."""
    timed = [(text, word) for word in final.words for text in normalize(word.text).split()]
    if [text for text, _ in timed] != [life.text for life in screen]:
        return  # words that are no words: of a script without spaces
    first, past = final.segment / SAMPLE_RATE, final.cut / SAMPLE_RATE
    said = [word for word in unheard if first <= _middle(word) < past]
    for n, m in pairs([life.text for life in screen], [word.text for word in said]):
        word = timed[n][1]
        if abs((word.start + word.end) / 2 - _middle(said[m])) <= MAX_MATCH_SECONDS:
            screen[n].spoken = said[m]


def _middle(word: SpokenWord) -> Seconds:
    return (word.start + word.end) / 2
