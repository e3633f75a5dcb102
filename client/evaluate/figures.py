"""The figures of an evaluation: their names, units and meanings, and how they are computed from takes."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from earshot_asr.client.evaluate.intervals import Bootstrap, Interval, RankedValues
from earshot_asr.client.evaluate.take import Clip, Take
from earshot_asr.client.evaluate.tally import Tally, tally

Unit: TypeAlias = Literal["", "%", "points", "s", "x"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and its 95 % confidence interval, if there are several recordings.

    unit    %; points (percentage points); s; x (times real time); or none
    """

    value: float
    low: float | None = None
    high: float | None = None
    unit: Unit = ""


POOLED = "pooled"
Figures: TypeAlias = dict[str, dict[str, Figure]]
"""Figures by corpus, and for all corpora under `pooled` if there are several; then by name, such as "WER" or
"word latency p50". Figures without data are left out."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What was evaluated, on which machine, and how. `date`: ISO 8601."""

    model: str
    fingerprint: str
    device: str
    latency: str
    commit: str
    stability: str
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
    "WER": "word error rate: words substituted, deleted or inserted, over words of the reference, after normalization",
    "CER": "character error rate: the same for characters",
    "PER": "phoneme error rate: the same for phonemes, for a model that writes phonemes",
    "plain WER": "WER of the plain pass: one forward pass over the whole recording, without streaming",
    "plain CER": "CER of the plain pass",
    "plain PER": "PER of the plain pass: one forward pass over the whole recording, without streaming",
    "file gap": "WER (or PER) of the stream minus that of the plain pass: the errors that streaming adds",
    "words a minute": "false words per minute on recordings without speech (false phonemes, for a model that writes "
    "phonemes); the other figures in `pooled` leave these recordings out",
    "transformers WER": "WER of the plain pass when transformers runs the same weights",
    "transformers PER": "PER of the plain pass when transformers runs the same weights",
    "transformers equal": "share of clips for which transformers and our plain pass give the same text",
    "pocketsphinx WER": "WER of PocketSphinx with its English model, on whole recordings",
    "pocketsphinx CER": "CER of PocketSphinx",
    "pocketsphinx words a minute": "false words per minute of PocketSphinx on recordings without speech",
    "pocketsphinx RTFx": "seconds of audio per second of computing of PocketSphinx, on one core",
    "whisper WER": "WER of Whisper with its decoder (beam search, 5 hypotheses), on whole recordings",
    "whisper CER": "CER of Whisper",
    "whisper words a minute": "false words per minute of Whisper on recordings without speech",
    "whisper RTFx": "seconds of audio per second of computing of Whisper, with 8-bit weights on the CPU",
    "word latency": "from the end of a word to the first message that shows it as in the final; a word that the final "
    "corrects is timed from the final",
    "time to stable": "from the end of a word to the first message with it in its `stable` part, or to the final. "
    "Stable: the first characters of a partial, which later partials are not expected to change",
    "first partial": "from the start of speech to the first text of the utterance",
    "final delay": "from the end of speech to the final of the utterance; utterances that were cut in mid-speech, at "
    "the maximum length, are left out",
    "staleness": "while somebody speaks: time since the newest audio arrived that the messages so far cover",
    "final lag": "from the arrival of the audio that made a final due (usually the pause that ends an utterance, its "
    "endpoint, was long enough) until the final was sent",
    "stable before final": "share of the words of the finals that were in the `stable` part of a partial before",
    "unstable words": "words that were shown and later changed or withdrawn, over words of the finals",
    "unstable in stable": "words in the `stable` part of a partial that were later changed or withdrawn, over words of "
    "the finals",
    "normalized erasure": "erasure over words of the finals. Erasure: the number of words that a screen which can only "
    "delete at its end has to delete to follow the partials and finals",
    "retractions after final": "messages about audio whose text was final already; must be 0",
    "RTFx": "seconds of audio per second of computing, of model and event loop",
    "words timed": "share of the words in the alignment that the finals have right; only these have a latency",
    "clips": "streams that were played; each round and each gain of a recording is one",
    "clips aligned": "clips with word timings (a forced alignment); other clips have no delays of words and of speech",
    "audio": "length of all clips played, without the noise floor that is played after each",
}
"""What each figure means, in the order of tables. Names of quantiles have " p50" and the like appended."""


def ordered(found: Figures) -> list[str]:
    """The names of the figures that have data, in the order of MEANINGS."""
    order = {name: place for place, name in enumerate(MEANINGS)}
    names = dict.fromkeys(name for each in found.values() for name in each)
    return sorted(names, key=lambda name: order.get(base(name), len(order)))


def base(name: str) -> str:
    """A figure's name without its quantile: "word latency" of "word latency p50"."""
    head, _, level = name.rpartition(" p")
    return head if level.isdecimal() else name


def figures(takes: Sequence[Take], seed: int = 0) -> Figures:
    """All figures by corpus, and pooled if there are several corpora. `seed`: of the confidence intervals.

    Only the figures "words a minute" of `pooled` include clips without speech.
    """
    judged = [(take.clip, tally(take)) for take in takes]
    corpora: dict[str, list[Judged]] = defaultdict(list)
    for clip, one in judged:
        corpora[clip.corpus].append((clip, one))
    found = {corpus: _of(of_corpus, seed) for corpus, of_corpus in corpora.items()}
    return found | {POOLED: pooled(judged, seed)} if len(corpora) > 1 else found


Judged: TypeAlias = tuple[Clip, Tally]
"""A clip, and the tally of one take of it."""


def pooled(judged: Sequence[Judged], seed: int = 0) -> dict[str, Figure]:
    """The figures of several corpora together; those of clips without speech are "words a minute" alone."""
    speech, quiet = ([one for one in judged if one[0].quiet is silent] for silent in (False, True))
    of_quiet = _of(quiet, seed) if quiet else {}
    minutes = {name: figure for name, figure in of_quiet.items() if name.endswith("words a minute")}
    return _of(speech, seed) | minutes if speech else of_quiet


def _of(judged: Sequence[Judged], seed: int) -> dict[str, Figure]:
    tallies = [one for _, one in judged]
    bootstrap = Bootstrap([clip.audio for clip, _ in judged], seed)  # a recording may be played several times
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
    values = [np.array(each.delays.get(name, ()), np.float64) for each in tallies]
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
