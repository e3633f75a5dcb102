"""The report's plots of all that takes time: how late words, promises, finals and the screen are."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil, floor

import numpy as np

from earshot_asr.client.evaluate.figures import Figure
from earshot_asr.client.evaluate.markup import Markup, element
from earshot_asr.client.evaluate.plots import Series, captioned, curves, histogram
from earshot_asr.client.evaluate.take import Take
from earshot_asr.client.evaluate.tally import staleness, tally
from earshot_asr.client.evaluate.words import WordLife
from earshot_asr.engine.audio import Seconds

LONG_STREAM_SECONDS: Seconds = 120.0
"""A stream so long is worth a plot of its own, which shows whether it drifts."""
PIECE_COUNT = 40
"""Of such a stream, each of which is a point of the plot."""


def delays(takes: Sequence[Take], lives: Sequence[WordLife], figures: Mapping[str, Figure]) -> Markup:
    """All of them; nothing where there is nothing to go by.

    lives      those of all takes
    figures    of all corpora; their quantiles are marked
    """
    timed = [life for life in lives if life.final is not None and life.spoken is not None]
    tallies = [tally(take).delays for take in takes]

    def distribution(name: str, style: str, of: str) -> Markup:
        values = [delay for each in tallies for delay in each[name]]
        return histogram([Series(name, style, values)], label=name, unit="s", of=of, marks=_quantiles(figures, name))

    plots = [
        captioned(
            "Word latency",
            "From a word’s end to the first message that holds it for good.",
            _latency(timed, _quantiles(figures, "word latency")),
        ),
        captioned(
            "How soon words can be relied on",
            "Of the finals’ right words: the share that is there for good, stable, final, by the time since their end.",
            _reliance(timed),
        ),
        captioned(
            "Staleness",
            "While somebody speaks: how long ago the newest sample arrived that the last message has seen.",
            distribution("staleness", "stable", "the time"),
        ),
        captioned(
            "Final lag",
            "From the arrival of the sample that made a final due, until it left.",
            distribution("final lag", "final", "finals"),
        ),
        *(
            captioned("Staleness along the stream", take.clip.name, _drift(take))
            for take in takes
            if take.seconds >= LONG_STREAM_SECONDS
        ),
    ]
    return element("div", *plots, class_="pair") if any(plots) else Markup("")


def _quantiles(figures: Mapping[str, Figure], name: str) -> dict[str, float]:
    """The figures "name p50" and the like, by "p50"."""
    begin = f"{name} p"
    return {key.removeprefix(f"{name} "): figure.value for key, figure in figures.items() if key.startswith(begin)}


def _latency(timed: Sequence[WordLife], marks: Mapping[str, float]) -> Markup:
    """Words that a partial held for good, and those that the final brought."""
    late: dict[bool, list[Seconds]] = {False: [], True: []}
    for life in timed:
        if life.spoken is not None:
            late[life.shown == life.final].append(life.shown - life.spoken.end)
    kinds = [Series("came in a partial", "stable", late[False]), Series("came in the final", "final", late[True])]
    return histogram([kind for kind in kinds if kind.values], label="word latency", unit="s", of="words", marks=marks)


def _reliance(timed: Sequence[WordLife]) -> Markup:
    """The stability curve."""
    ages: dict[str, list[Seconds]] = {"shown": [], "stable": [], "final": []}
    for life in timed:
        if life.spoken is not None and life.final is not None:
            stages = (life.shown, life.final if life.stable is None else life.stable, life.final)
            for age, at in zip(ages.values(), stages, strict=True):
                age.append(at - life.spoken.end)
    if not timed:
        return Markup("")
    soon, late = np.quantile(ages["shown"], 0.01), np.quantile(ages["final"], 0.98)
    first = floor(10 * min(0.0, soon))
    moments = [tenths / 10 for tenths in range(first, max(ceil(10 * late), first + 5) + 1)]
    names = {"shown": "shown for good", "stable": "stable or final", "final": "final"}
    series = [
        Series(names[stage], stage, [float(np.mean(np.array(age) <= moment) * 100) for moment in moments])
        for stage, age in ages.items()
    ]
    return curves(series, moments, x=("time since the word’s end", "s"), y=("share of words", "%"), high=100)


def _drift(take: Take) -> Markup:
    """The median of the staleness, and what it seldom exceeds, in each piece of a long stream."""
    when, stale = staleness(take)
    pieces = {}
    for low, high in pairwise(np.linspace(0, take.seconds, PIECE_COUNT + 1).tolist()):
        if len(piece := stale[(low <= when) & (when < high)]):
            pieces[(low + high) / 2 / 60] = piece
    if len(pieces) < 2:
        return Markup("")
    series = [
        Series(f"p{level}", style, [float(np.percentile(piece, level)) for piece in pieces.values()])
        for level, style in ((50, "stable"), (95, "final"))
    ]
    high = 1.1 * max(*series[-1].values, 0.01)
    return curves(series, list(pieces), x=("time", "min"), y=("staleness", "s"), high=high)
