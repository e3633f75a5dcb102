"""When each word on the screen was spoken, shown, stable and final, and whether it was changed or withdrawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from earshot_asr.client.evaluate.take import SpokenWord, Take, TimedEvent
from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.engine.events import Final, Partial
from earshot_asr.engine.text import normalize

MAX_MATCH_SECONDS: Seconds = 0.5
"""A word of a final matches an equal word of the alignment if their middles are at most this far apart."""


@dataclass(slots=True, eq=False)
class WordLife:
    """A word that was on the screen, with the times of the messages that concern it, see TimedEvent.

    text      the normalized word
    shown     time of the first message that contains it
    stable    time of the first message with it in its `stable` part; None: there was none before the final
    final     time of the final that contains it; None: it was changed or withdrawn before
    gone      time of the message that changed or withdrew it; None: there was none
    spoken    its word in the alignment; None: it is wrong, or there is no alignment
    """

    text: str
    segment: int
    shown: Seconds
    stable: Seconds | None = None
    final: Seconds | None = None
    gone: Seconds | None = None
    spoken: SpokenWord | None = None


def lives(take: Take) -> list[WordLife]:
    """All words that were ever shown, in the order in which they appeared; those with `final` are the transcript."""
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
    """Number of messages about audio whose text was final already. There must be none."""
    return len(take.heard) - sum(1 for _ in _unretracted(take.heard))


def erased(take: Take) -> int:
    """The erasure: number of words to delete on a screen that can only delete at its end, to follow the messages."""
    shown: dict[int, list[str]] = {}
    count = 0
    for _, event in _unretracted(take.heard):
        before, now = shown.get(event.segment, []), normalize(event.text).split()
        count += len(before) - common(before, now)
        shown[event.segment] = now
    return count


def pairs(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of indexes of equal words in two texts, by an alignment with the fewest changes after the common prefix."""
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
    """Length of the common prefix of two texts, in words."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _unretracted(heard: Sequence[TimedEvent]) -> Iterator[TimedEvent]:
    """All messages, except those about audio whose text was final already."""
    cut = 0
    for message in heard:
        if message.event.segment >= cut:
            yield message
            if isinstance(message.event, Final):
                cut = message.event.cut


def _next_screen(before: list[WordLife], at: Seconds, event: Partial | Final) -> list[WordLife]:
    """The words on the screen after a message: those that stay, and new ones. Marks the others as gone."""
    words = normalize(event.text).split()
    kept = {new: before[old] for old, new in pairs([life.text for life in before], words)}
    screen = [kept.get(n) or WordLife(word, event.segment, at) for n, word in enumerate(words)]
    for life in set(before) - set(screen):
        life.gone = at
    if isinstance(event, Final):
        for life in screen:
            life.final = at
    else:
        stable_count = common(words, normalize(event.text[: event.stable]).split())
        for life in screen[:stable_count]:
            life.stable = at if life.stable is None else life.stable
    return screen


def _find_spoken(screen: list[WordLife], final: Final, unheard: list[SpokenWord]) -> None:
    """Sets `spoken` for the words of a final, from the words of the alignment in its audio."""
    timed = [(text, word) for word in final.words for text in normalize(word.text).split()]
    if [text for text, _ in timed] != [life.text for life in screen]:
        return  # the final's words are not separated by spaces, as in some scripts
    first, past = final.segment / SAMPLE_RATE, final.cut / SAMPLE_RATE
    said = [word for word in unheard if first <= _middle(word) < past]
    for n, m in pairs([life.text for life in screen], [word.text for word in said]):
        word = timed[n][1]
        if abs((word.start + word.end) / 2 - _middle(said[m])) <= MAX_MATCH_SECONDS:
            screen[n].spoken = said[m]


def _middle(word: SpokenWord) -> Seconds:
    return (word.start + word.end) / 2
