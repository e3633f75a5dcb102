"""The figures of a stream, by the names that the design gives them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from earshot_asr.client.evaluate.intervals import Bootstrap, Interval, RankedValues
from earshot_asr.client.evaluate.take import Take
from earshot_asr.client.evaluate.tally import Tally, tally

Unit: TypeAlias = Literal["", "%", "points", "s", "x"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and its 95 % interval, which one recording does not have. `unit`: %, points (of it), s, x or none."""

    value: float
    low: float | None = None
    high: float | None = None
    unit: Unit = ""


POOLED = "pooled"
Figures: TypeAlias = dict[str, dict[str, Figure]]
"""By corpus, and `pooled` where there are several; by name, such as "WER" or "word latency p50". One that has nothing
to go by is left out."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What was judged, on what, and how. `date`: ISO 8601."""

    model: str
    fingerprint: str
    device: str
    latency: str
    commit: str
    clock: Literal["virtual", "wall"]
    machine: str
    date: str
    command: str


RATES: dict[str, Unit] = {
    "WER": "%",
    "CER": "%",
    "PER": "%",
    "plain WER": "%",
    "plain CER": "%",
    "plain PER": "%",
    "file gap": "points",
    "words a minute": "",
    "transformers WER": "%",
    "transformers PER": "%",
    "transformers equal": "%",
    "pocketsphinx WER": "%",
    "pocketsphinx CER": "%",
    "pocketsphinx words a minute": "",
    "pocketsphinx RTFx": "x",
    "whisper WER": "%",
    "whisper CER": "%",
    "whisper words a minute": "",
    "whisper RTFx": "x",
    "stable before final": "%",
    "unstable words": "%",
    "unstable in stable": "%",
    "normalized erasure": "",
    "words timed": "%",
    "RTFx": "x",
}
QUANTILES: dict[str, tuple[int, ...]] = {
    "word latency": (50, 90, 99),
    "time to stable": (50, 90, 99),
    "first partial": (50, 95),
    "final delay": (50, 95),
    "staleness": (50, 95, 99),
    "final lag": (50, 95),
}
COUNTS: dict[str, Unit] = {"retractions after final": "", "clips": "", "clips aligned": "", "audio": "s"}

MEANINGS: dict[str, str] = {
    "WER": "word errors over words of the reference, after normalization",
    "CER": "the same of characters",
    "PER": "the same of phonemes, for a model that writes these",
    "plain WER": "of one plain pass over the whole recording",
    "plain CER": "of one plain pass over the whole recording",
    "plain PER": "of one plain pass over the whole recording",
    "file gap": "WER, or PER, of the stream minus that of the plain pass: what streaming costs",
    "words a minute": "where nothing is said: words of the finals (or phonemes, for a model that writes these), "
    "all wrong; nothing else of these is in `pooled`",
    "transformers WER": "of the plain pass of the same weights by transformers",
    "transformers PER": "of the plain pass of the same weights by transformers",
    "transformers equal": "clips in which the plain pass by transformers has the same text as ours",
    "pocketsphinx WER": "of PocketSphinx with its own English model, which is given each recording as a whole",
    "pocketsphinx CER": "the same of characters",
    "pocketsphinx words a minute": "where nothing is said",
    "pocketsphinx RTFx": "seconds of audio per second of PocketSphinx's computing, on one core",
    "whisper WER": "of Whisper with its own decoder (beam of five), which is given each recording as a whole",
    "whisper CER": "the same of characters",
    "whisper words a minute": "where nothing is said",
    "whisper RTFx": "seconds of audio per second of Whisper's computing, in eight bits, on a CPU, with our threads",
    "word latency": "from a word's end to the first message that held it for good",
    "time to stable": "from a word's end until it is inside `stable`, or in the final",
    "first partial": "from the beginning of speech to an utterance's first text",
    "final delay": "from the end of speech to the final; utterances cut in mid-speech, being too long, have none",
    "staleness": "at any moment of speech, the age of the newest sample that the last message has seen",
    "final lag": "from the arrival of the sample that made a final due, until it left",
    "stable before final": "words of the finals that were inside `stable` before",
    "unstable words": "words shown and later changed or withdrawn, over words of the finals",
    "unstable in stable": "the same of words inside `stable`",
    "normalized erasure": "words to be deleted, from the end, to show what was shown, over words of the finals",
    "retractions after final": "messages about audio whose text had been final",
    "RTFx": "seconds of audio per second of computing",
    "words timed": "words of the alignment found right in the finals: these have latencies",
    "clips": "streams, one after another; each round and each gain of a recording is one",
    "clips aligned": "those with a forced alignment: the others have no latencies of words and of speech",
    "audio": "of the recordings, as often as they were played; the noise floor behind each is not counted",
}
"""All figures in their order, and what they say. Quantiles have p50 and the like behind their names."""


def ordered(found: Figures) -> list[str]:
    """The names of all figures that there are, in the order of their meanings."""
    order = {name: place for place, name in enumerate(MEANINGS)}
    names = dict.fromkeys(name for each in found.values() for name in each)
    return sorted(names, key=lambda name: order.get(base(name), len(order)))


def base(name: str) -> str:
    """A figure's name without its quantile: "word latency" of "word latency p50"."""
    head, _, level = name.rpartition(" p")
    return head if level.isdecimal() else name


def figures(takes: Sequence[Take], seed: int = 0) -> Figures:
    """All figures of takes, by corpus and, where there are several, pooled. `seed`: of the intervals' draws.

    Pooled is what has speech in it; of clips in which nothing is said there are only the words a minute beside that.
    """
    corpora: dict[str, list[RecordingTally]] = defaultdict(list)
    speech: list[RecordingTally] = []
    quiet: list[RecordingTally] = []
    for take in takes:
        one = take.clip.audio, tally(take)
        corpora[take.clip.corpus].append(one)
        (quiet if take.clip.quiet else speech).append(one)
    found = {corpus: _of(judged, seed) for corpus, judged in corpora.items()}
    if len(corpora) > 1:
        of_quiet = _of(quiet, seed) if quiet else {}
        minutes = {name: figure for name, figure in of_quiet.items() if name.endswith("words a minute")}
        found[POOLED] = _of(speech, seed) | minutes if speech else of_quiet
    return found


RecordingTally: TypeAlias = tuple[tuple[Path, ...], Tally]
"""The recording, which may have been played several times, and what came of it once."""


def _of(judged: list[RecordingTally], seed: int) -> dict[str, Figure]:
    tallies = [one for _, one in judged]
    bootstrap = Bootstrap([audio for audio, _ in judged], seed)
    found: dict[str, Figure] = {}
    for name in MEANINGS:
        if name in RATES:
            found |= _rate(name, tallies, bootstrap)
        elif name in QUANTILES:
            found |= _quantiles(name, tallies, bootstrap)
        else:
            found[name] = Figure(sum(each.counts[name] for each in tallies), unit=COUNTS[name])
    return found


def _rate(name: str, tallies: list[Tally], bootstrap: Bootstrap) -> dict[str, Figure]:
    above, below = np.array([each.rates.get(name, (0, 0)) for each in tallies], np.float64).T
    if not below.sum():
        return {}
    percent = RATES[name] in ("%", "points")
    rate, interval = above.sum() / below.sum(), bootstrap.ratio(above, below)
    return {name: _figure(rate, interval, RATES[name], 100 if percent else 1)}


def _quantiles(name: str, tallies: list[Tally], bootstrap: Bootstrap) -> dict[str, Figure]:
    values = [np.array(each.delays[name], np.float64) for each in tallies]
    if not any(map(len, values)):
        return {}
    levels = [level / 100 for level in QUANTILES[name]]
    points, intervals = (
        RankedValues(values).quantiles(levels, np.ones(len(values))),
        bootstrap.quantiles(values, levels),
    )
    return {
        f"{name} p{level}": _figure(point, interval, "s")
        for level, point, interval in zip(QUANTILES[name], points, intervals, strict=True)
    }


def _figure(value: float, interval: Interval | None, unit: Unit, factor: float = 1) -> Figure:
    low, high = (factor * float(edge) for edge in interval) if interval else (None, None)
    return Figure(factor * float(value), low, high, unit)
