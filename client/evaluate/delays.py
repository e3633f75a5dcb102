"""The report's plots of delays: word latency, stability, staleness and final lag."""

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
"""Streams of at least this length get a plot of staleness over time, which shows whether it grows."""
PIECE_COUNT = 40
"""Number of points of such a plot."""


def delays(takes: Sequence[Take], lives: Sequence[WordLife], figures: Mapping[str, Figure]) -> Markup:
    """All plots that have data.

    lives      words of all takes
    figures    of all corpora; the plots mark their quantiles
    """
    timed = [life for life in lives if life.final is not None and life.spoken is not None]
    tallies = [tally(take).delays for take in takes]

    def distribution(name: str, style: str, of: str) -> Markup:
        values = [delay for each in tallies for delay in each[name]]
        return histogram([Series(name, style, values)], label=name, unit="s", of=of, marks=_quantiles(figures, name))

    plots = [
        captioned(
            "Word latency",
            "From the end of a word to the first message that shows it as in the final.",
            _latency(timed, _quantiles(figures, "word latency")),
        ),
        captioned(
            "Time until words are shown, stable and final",
            "Share of the finals’ correct words that are shown as in the final, stable or final, by the time since the "
            "end of the word.",
            _reliance(timed),
        ),
        captioned(
            "Staleness",
            "While somebody speaks: time since the newest audio arrived that the messages so far cover.",
            distribution("staleness", "stable", "the time"),
        ),
        captioned(
            "Final lag",
            "From the arrival of the audio that made a final due until the final was sent.",
            distribution("final lag", "final", "finals"),
        ),
        *(
            captioned("Staleness over the stream", take.clip.name, _drift(take))
            for take in takes
            if take.seconds >= LONG_STREAM_SECONDS
        ),
    ]
    return element("div", *plots, class_="pair") if any(plots) else Markup("")


def _quantiles(figures: Mapping[str, Figure], name: str) -> dict[str, float]:
    """The quantiles of a figure, by "p50" and the like."""
    begin = f"{name} p"
    return {key.removeprefix(f"{name} "): figure.value for key, figure in figures.items() if key.startswith(begin)}


def _latency(timed: Sequence[WordLife], marks: Mapping[str, float]) -> Markup:
    """Histogram of word latency, for words that a partial showed and words that only the final has."""
    late: dict[bool, list[Seconds]] = {False: [], True: []}
    for life in timed:
        if life.spoken is not None:
            late[life.shown == life.final].append(life.shown - life.spoken.end)
    kinds = [Series("shown by a partial", "stable", late[False]), Series("shown by the final", "final", late[True])]
    return histogram([kind for kind in kinds if kind.values], label="word latency", unit="s", of="words", marks=marks)


def _reliance(timed: Sequence[WordLife]) -> Markup:
    """Curves of the share of words that are shown, stable and final, by the time since the end of the word."""
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
    names = {"shown": "shown as in the final", "stable": "stable or final", "final": "final"}
    series = [
        Series(names[stage], stage, [float(np.mean(np.array(age) <= moment) * 100) for moment in moments])
        for stage, age in ages.items()
    ]
    return curves(series, moments, x=("time since the end of the word", "s"), y=("share of words", "%"), high=100)


def _drift(take: Take) -> Markup:
    """Median and 95th percentile of the staleness in each of PIECE_COUNT pieces of a long stream."""
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
