"""The report's timelines of utterances: when each word was spoken, shown, stable and final."""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from math import ceil
from typing import NamedTuple

from earshot_asr.client.evaluate.markup import Markup, element, join
from earshot_asr.client.evaluate.plots import Scale, captioned, key, number, svg, x_axis
from earshot_asr.client.evaluate.take import SpokenWord, Take
from earshot_asr.client.evaluate.words import WordLife
from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.engine.events import Final

MIN_WORD_COUNT, MAX_UTTERANCE_SECONDS = 4, 12.0
"""Limits of an utterance that fits into a readable picture."""
WIDTH_PX, NARROW_WIDTH_PX, ROW_PX, AXIS_PX = 1060, 340, 22, 44
TICK_PX = 66
"""Least distance between two labels of the time axis."""
CHARACTER_PX = 7.8
"""Approximate width of a character."""
LABEL_PX, LABEL_SINE = 13, 0.62
"""Height of the labels of spoken words, and the sine of the angle at which they are rotated to save room."""
MIN_LIKENESS_SHARE = 0.5
"""Minimum likeness, from 0 to 1, at which a new word counts as a replacement of one that is gone."""
LEGEND = (
    ("said", "spoken (forced alignment)"),
    ("shown", "shown"),
    ("stable", "stable"),
    ("final", "final"),
    ("gone", "changed or withdrawn later"),
    ("gone was", "stable, but changed or withdrawn later"),
)


class ShownUtterance(NamedTuple):
    """An utterance: its final, all words that were shown until then, and the words of the alignment in its audio."""

    take: Take
    final: Final
    lives: list[WordLife]
    said: list[SpokenWord]

    @property
    def unstable(self) -> float:
        """Share of the words shown that were changed or withdrawn."""
        return sum(life.gone is not None for life in self.lives) / len(self.lives)


def screens(takes: Sequence[Take], lives: Sequence[Sequence[WordLife]]) -> Markup:
    """Timelines of two utterances: one with a median share of unstable words, and the one with the highest."""
    everything = [one for take, each in zip(takes, lives, strict=True) for one in _utterances(take, each)]
    good = [one for one in everything if _good(one)] or everything
    if not good:
        return Markup("")
    by_stability = sorted(good, key=lambda one: one.unstable)
    typical, least_stable = by_stability[len(by_stability) // 2], by_stability[-1]
    if typical is least_stable:
        return _captioned("", least_stable)
    return join(_captioned("Typical: ", typical), _captioned("Least stable: ", least_stable))


def _utterances(take: Take, lives: Sequence[WordLife]) -> Iterator[ShownUtterance]:
    for final in take.finals:
        first, past = final.segment / SAMPLE_RATE, final.cut / SAMPLE_RATE
        said = [word for word in take.clip.words or () if first <= (word.start + word.end) / 2 < past]
        if own := [life for life in lives if life.segment == final.segment]:
            yield ShownUtterance(take, final, own, said)


def _good(one: ShownUtterance) -> bool:
    return len(one.final.text.split()) >= MIN_WORD_COUNT and one.final.end - one.final.start <= MAX_UTTERANCE_SECONDS


def _captioned(which: str, one: ShownUtterance) -> Markup:
    others = len(one.take.finals) - 1
    lead = f"From {one.final.start:.1f} to {one.final.end:.1f} s of the stream." if others else ""
    pictures = join(key(LEGEND), timeline(one, WIDTH_PX, "plot wide"), timeline(one, NARROW_WIDTH_PX, "plot narrow"))
    return captioned(f"{which}{one.take.clip.name}", lead, pictures)


def timeline(one: ShownUtterance, width: int = WIDTH_PX, style: str = "plot wide") -> Markup:
    """A timeline of the words. Each row is a position on the screen, with the words that replaced one another there.

    The last word of a row is its label, inside the picture, however narrow it is. style: see plots.svg
    """
    rows = _rows(one.lives)
    edges = [edge for life in one.lives for edge in (life.shown, _end(life))]
    edges += [edge for word in one.said for edge in (word.start, word.end)]
    margin = CHARACTER_PX * (2 + max(len(row[-1].text) for row in rows)) + 16
    x = Scale(max(0.0, min(edges) - 0.1), max(edges) + 0.1, 8, width - min(margin, width / 2))
    top = ceil(LABEL_SINE * CHARACTER_PX * max(len(word.text) for word in one.said)) + 34 if one.said else 8
    bottom = top + ROW_PX * len(rows) + 6
    drawn = [
        *x_axis(x, bottom, top - 4, max(2, width // TICK_PX)),
        element("text", "time (s)", x=(x.begin + x.end) / 2, y=bottom + 36, text_anchor="middle"),
        *_said(one.said, x, top),
        *(_row(row, x, top + ROW_PX * n, width) for n, row in enumerate(rows)),
    ]
    return svg(width, bottom + AXIS_PX, join(*drawn), f"words on the screen over time: {one.final.text}", style)


def _end(life: WordLife) -> Seconds:
    """The time at which a word became final or was gone."""
    ends = (at for at in (life.final, life.gone) if at is not None)
    return next(ends, life.shown)


def _rows(lives: Sequence[WordLife]) -> list[list[WordLife]]:
    """Groups words into rows. A word follows the one that it replaced: one like it that was gone when it appeared."""
    rows: list[list[WordLife]] = []
    for life in lives:
        replaced = [row for row in rows if row[-1].gone == life.shown]
        likest = max(replaced, key=lambda row: _likeness(row[-1].text, life.text), default=None)
        if likest and _likeness(likest[-1].text, life.text) >= MIN_LIKENESS_SHARE:
            likest.append(life)
        else:
            rows.append([life])
    return rows


def _likeness(a: str, b: str) -> float:
    """Likeness of two words, from 0 to 1; 1 if one is a prefix of the other."""
    return 1.0 if a.startswith(b) or b.startswith(a) else SequenceMatcher(None, a, b, autojunk=False).ratio()


def _said(words: Sequence[SpokenWord], x: Scale, top: float) -> Iterator[Markup]:
    """Bars above the rows that show when words were spoken. A word without room for a label has only a tooltip."""
    free = 0.0
    for word in words:
        begin, end = x(word.start), x(word.end)
        title = element("title", f"{word.text}: spoken from {word.start:.2f} to {word.end:.2f} s")
        yield element("rect", title, class_="said", x=begin, y=top - 14, width=max(2.0, end - begin - 1), height=6)
        if (middle := (begin + end) / 2) >= free:
            free = middle + LABEL_PX / LABEL_SINE
            yield element("text", word.text, transform=f"translate({middle - 1:.1f} {top - 18}) rotate(-38)")


def _row(row: Sequence[WordLife], x: Scale, y: float, width: int) -> Markup:
    """The words of one row, with the last one as label at the end, or as far to the left as it must be to fit."""
    last = row[-1]
    word = f"{last.text} ✕" if last.final is None else last.text
    beside = x(_end(last)) + (6 if last.final is None else 13)
    fits = beside + CHARACTER_PX * len(word) <= width
    label = element(
        "text",
        word,
        class_="lost" if last.final is None else "strong",
        x=beside if fits else width,
        y=y + 15,
        text_anchor=None if fits else "end",
    )
    when = None
    if last.spoken is not None:
        begin, end = x(last.spoken.start), x(last.spoken.end)
        when = element("rect", class_="when", x=begin, y=y + 3, width=max(2.0, end - begin), height=ROW_PX - 6)
    return join(when, *(_life(life, x, y) for life in row), label)


def _life(life: WordLife, x: Scale, y: float) -> Markup:
    """The bars of a word, coloured by its state."""
    end = _end(life)
    stable = end if life.stable is None else min(life.stable, end)
    early, late = ("gone", "gone was") if life.final is None else ("shown", "stable")
    drawn = [
        element("rect", class_=style, x=x(a), y=y + 4, width=max(1.0, x(b) - x(a) - 1), height=ROW_PX - 8)
        for style, a, b in ((early, life.shown, stable), (late, stable, end))
        if b > a
    ]
    if life.final is not None:
        drawn.append(element("rect", class_="final", x=x(end), y=y + 4, width=8, height=ROW_PX - 8))
    elif x(end) - x(life.shown) > CHARACTER_PX * len(life.text) + 6:
        drawn.append(element("text", life.text, class_="inside", x=x(life.shown) + 4, y=y + 15))
    return element("g", element("title", _story(life)), *drawn)


def _story(life: WordLife) -> str:
    """The tooltip of a word: the times of its states."""
    stages = (("shown", life.shown), ("stable", life.stable), ("final", life.final), ("gone", life.gone))
    story = [f"{stage} at {number(round(at, 2))} s" for stage, at in stages if at is not None]
    spoken = [] if life.spoken is None else [f"spoken until {life.spoken.end:.2f} s"]
    return f"{life.text}: {', '.join(spoken + story)}"
