"""The contribution of one take to the figures: terms of rates, delays, and counts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from earshot_asr.client.evaluate.take import Clip, SpokenWord, Take
from earshot_asr.client.evaluate.words import WordLife, erased, lives, retractions
from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.engine.events import Final
from earshot_asr.engine.text import normalize

MAX_GAP_SECONDS: Seconds = 0.3
"""Maximum gap between two words of one stretch of speech."""
STALENESS_STEP_SECONDS: Seconds = 0.02
"""Interval at which staleness is sampled."""


Rates: TypeAlias = dict[str, tuple[float, float]]
"""Numerator and denominator of a take's share in each rate, by the figure's name."""


@dataclass(slots=True)
class Tally:
    """A take's terms of rates, delays in seconds for quantiles, and counts, each by the figure's name."""

    rates: Rates
    delays: dict[str, list[Seconds]]
    counts: dict[str, float]


def tally(take: Take) -> Tally:
    """Computes the contribution of a take."""
    words = lives(take)
    timed = [life for life in words if life.final is not None and life.spoken is not None]
    timed = timed if take.phonemes is None else []  # the alignment times words, not phonemes
    first, last = _utterance_delays(take)
    return Tally(
        rates=_scores(take) | _peers(take) | _stability(take, words) | _coverage(take, timed),
        delays={
            "word latency": [life.shown - life.spoken.end for life in timed if life.spoken],
            "time to stable": [_stable(life) - life.spoken.end for life in timed if life.spoken],
            "first partial": first,
            "final delay": last,
            "staleness": staleness(take)[1].tolist(),
            "final lag": _final_lags(take),
        },
        counts={
            "retractions after final": retractions(take),
            "clips": 1,
            "clips aligned": int(take.clip.words is not None),
            "audio": take.seconds,
        },
    )


def errors(said: Sequence[str], heard: Sequence[str]) -> tuple[int, int]:
    """Number of errors (words or phonemes substituted, deleted or inserted), and length of the reference."""
    import jiwer

    if not (said and heard):
        return len(said or heard), len(said)
    found = jiwer.process_words(" ".join(said), " ".join(heard))
    return found.substitutions + found.deletions + found.insertions, len(said)


def character_errors(reference: str, text: str) -> tuple[int, int]:
    """Number of character errors after normalization, and length of the reference; both count spaces."""
    import jiwer

    said, heard = normalize(reference), normalize(text)
    if not (said and heard):
        return len(said or heard), len(said)
    found = jiwer.process_characters(said, heard)
    return found.substitutions + found.deletions + found.insertions, len(said)


def _scores(take: Take) -> Rates:
    """Error rates of the stream and of the plain pass; for a clip without speech, the number of words written."""
    if take.clip.quiet:
        return {"words a minute": (len(take.units(take.text)), take.seconds / 60)}
    scored = _error_rates("", take, take.text)
    rate = "WER" if take.phonemes is None else "PER"
    if take.plain is not None:
        scored |= _error_rates("plain ", take, take.plain)
        scored["file gap"] = scored[rate][0] - scored[f"plain {rate}"][0], scored[rate][1]
    return scored


def _error_rates(prefix: str, take: Take, text: str) -> Rates:
    """WER and CER of a text, or PER for a model that writes phonemes. `prefix`: of the figures' names."""
    wrong = errors(take.said, take.units(text))
    if take.phonemes is not None:
        return {f"{prefix}PER": wrong}
    return {f"{prefix}WER": wrong, f"{prefix}CER": character_errors(take.clip.reference, text)}


def _peers(take: Take) -> Rates:
    rates: Rates = {}
    for name, peer in take.peers.items():
        rates[f"{name} RTFx"] = take.seconds, peer.work
        if take.clip.quiet:
            rates[f"{name} words a minute"] = len(normalize(peer.text).split()), take.seconds / 60
        elif name == "transformers":  # runs the same model, which may write phonemes
            rates |= _error_rates("transformers ", take, peer.text)
        else:
            rates |= _error_rates(f"{name} ", replace(take, phonemes=None), peer.text)
        if take.plain is not None:
            rates[f"{name} equal"] = take.units(peer.text) == take.units(take.plain), 1
    return rates


def _stability(take: Take, words: Sequence[WordLife]) -> Rates:
    final = sum(life.final is not None for life in words)
    gone = [life for life in words if life.gone is not None]
    return {
        "stable before final": (sum(life.final is not None and life.stable is not None for life in words), final),
        "unstable words": (len(gone), final),
        "unstable in stable": (sum(life.stable is not None for life in gone), final),
        "normalized erasure": (erased(take), final),
    }


def _coverage(take: Take, timed: Sequence[WordLife]) -> Rates:
    rates: Rates = {"words timed": (len(timed), len(take.clip.words or ()))}
    if take.work is not None:
        rates["RTFx"] = take.seconds, take.work
    return rates


def _stable(life: WordLife) -> Seconds:
    """The time at which a word of a final became stable, at the latest with the final."""
    stable = life.final if life.stable is None else life.stable
    assert stable is not None
    return stable


def _final_lags(take: Take) -> list[Seconds]:
    finals = ((at, event) for at, event in take.heard if isinstance(event, Final))
    return [at - take.due[final.segment] for at, final in finals if final.segment in take.due]


# ---- speech


def stretches(clip: Clip) -> list[tuple[Seconds, Seconds]]:
    """Start and end of each stretch of speech: words with gaps of at most MAX_GAP_SECONDS."""
    found: list[tuple[Seconds, Seconds]] = []
    for _, start, end in clip.words or ():
        if found and start <= found[-1][1] + MAX_GAP_SECONDS:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def _utterance_delays(take: Take) -> tuple[list[Seconds], list[Seconds]]:
    """Delays of utterances in seconds: from the start of speech to the first text; from the end of speech to the final.

    An utterance that reaches the maximum length is cut in mid-speech, and the next one begins there. Such cuts are
    recognized by a word that begins before the final is due; they count neither as an end nor as a start of speech.
    """
    first, last = [], []
    texts: dict[int, Seconds] = {}
    begins = True
    for at, event in take.heard:
        if event.text:
            texts.setdefault(event.segment, at)
        if isinstance(event, Final) and (said := list(_said(take.clip, event))):
            if begins:
                first.append(texts.get(event.segment, at) - said[0].start)
            due = take.due.get(event.segment, at)
            begins = not any(said[-1].end <= word.start < due for word in take.clip.words or ())
            if begins:
                last.append(at - said[-1].end)
    return first, last


def _said(clip: Clip, final: Final) -> Iterator[SpokenWord]:
    """The words of the alignment whose middle lies in the audio of a final."""
    for word in clip.words or ():
        if final.segment <= (word.start + word.end) / 2 * SAMPLE_RATE < final.cut:
            yield word


def staleness(take: Take) -> tuple[np.ndarray, np.ndarray]:
    """Times during speech (N,), every STALENESS_STEP_SECONDS, and the staleness of the screen at each, in seconds (N,).

    Staleness is the time since the arrival of the newest sample that the messages so far cover. If there was no speech
    between that sample and the current stretch of speech, it is the time since this stretch began.
    """
    spoken = stretches(take.clip)
    if not spoken:
        return np.empty(0), np.empty(0)
    now = np.concatenate([np.arange(start, end, STALENESS_STEP_SECONDS) for start, end in spoken])
    starts, ends = np.array(spoken).T
    at = np.array([0.0, *(at for at, _ in take.heard)])
    seen = np.array([0.0, *(e.cut / SAMPLE_RATE if isinstance(e, Final) else e.end for _, e in take.heard)])
    arrived = np.ceil(np.maximum.accumulate(seen) / take.block - 1e-6) * take.block
    newest = arrived[np.searchsorted(at, now, side="right") - 1]
    unseen = starts[np.minimum(np.searchsorted(ends, newest, side="right"), len(starts) - 1)]
    return now, now - np.maximum(newest, unseen)
