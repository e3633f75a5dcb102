"""How far the times of words are off: python -m tests.benchmarks.times shared/speech

Words of finals, at the preset `balanced`, with the bundled model and its language model; only those that are heard
rightly count. In milliseconds, late is positive. The truths:

    spliced       single words of words.jsonl, put at known samples between pauses of 0.5 to 2 s without any sound. A
                  word lasts from where it rises above 35 dB below its loudest 10 ms to where it falls below that for
                  more than 0.12 s; recordings in which the noise is not well below that are left out
    flite         what the synthesizer flite says of the sentences of dev.jsonl, which it speaks in four voices
    alignments    PocketSphinx's forced alignments of dev.jsonl: "off by some tens of ms, as such aligners are"; those
                  that score badly are left out

Last, spliced words are said again 59 minutes later in the same stream, and it is counted which of them are heard
otherwise there, in text or by a sample in time.
"""

import argparse
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from earshot_asr.client.evaluate.manifest import Selection, load
from earshot_asr.client.evaluate.recordings import noise_floor, recording
from earshot_asr.client.evaluate.take import SpokenWord
from earshot_asr.client.evaluate.words import pairs
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.loading import load_runner
from earshot_asr.engine.manifest import ALIGNMENTS, read, read_alignments
from earshot_asr.engine.text import normalize
from earshot_asr.engine.transcription import streamed
from tests.benchmarks.flite import VOICES, Flite
from tests.benchmarks.mixing import WORST_SCORE, audio
from tests.benchmarks.seams import words

CORPORA = ("free-spoken-digits", "speech-commands")
BELOW_DB, NOISE_BELOW_DB = 35.0, 43.0
STEP_SAMPLES, SMOOTHED_SAMPLES = 80, 160
BRIDGED_SAMPLES = 1920
LEAD_SAMPLES = 3 * SAMPLE_RATE
REPEATED = 120
"""Of so many recordings, those without noise are said again."""
LATER_SAMPLES = 59 * 60 * SAMPLE_RATE
Spans = list[tuple[SpokenWord, SpokenWord]]
"""Words as they were said, and as they were heard."""


# ---- words at known samples


def edges(pcm: Pcm) -> tuple[int, int] | None:
    """The first sample of a recording's one word, and one past its last; None if the noise is too loud to tell."""
    changes = np.diff(pcm.astype(np.float64), prepend=float(pcm[0]))
    power = np.convolve(changes**2, np.ones(SMOOTHED_SAMPLES) / SMOOTHED_SAMPLES, "same")[::STEP_SAMPLES]
    level = 10 * np.log10(power + 1e-3)
    if np.percentile(level, 5) > level.max() - NOISE_BELOW_DB:
        return None
    loud = np.flatnonzero(level > level.max() - BELOW_DB)
    breaks = np.flatnonzero(np.diff(loud) > BRIDGED_SAMPLES // STEP_SAMPLES)
    firsts, lasts = loud[[0, *(breaks + 1)]], loud[[*breaks, -1]]
    run = int(np.searchsorted(firsts, level.argmax(), side="right")) - 1
    return int(firsts[run]) * STEP_SAMPLES, (int(lasts[run]) + 1) * STEP_SAMPLES


def spliced(recordings: Iterable[tuple[str, Pcm]], seed: int = 0) -> tuple[Pcm, list[SpokenWord]]:
    """Recordings of one word each, with pauses between them; where each word begins and ends."""
    draw = random.Random(seed)
    parts, said, at = [np.zeros(LEAD_SAMPLES, np.int16)], [], LEAD_SAMPLES
    for text, pcm in recordings:
        if (span := edges(pcm)) is not None:
            said.append(SpokenWord(normalize(text), *((at + edge) / SAMPLE_RATE for edge in span)))
            parts += [pcm, np.zeros(round(draw.uniform(0.5, 2) * SAMPLE_RATE), np.int16)]
            at += len(parts[-2]) + len(parts[-1])
    return np.concatenate(parts), said


def single(manifest: Path, count: int, skip: int = 0) -> Iterator[tuple[str, Pcm]]:
    """Recordings of one word each, after some that are left out."""
    rows = [row for row in read(manifest) if row.corpus in CORPORA]
    random.Random(0).shuffle(rows)
    return ((row.text or "", audio(row.path)) for row in rows[skip : skip + count])


def alone(said: Sequence[SpokenWord], heard: Sequence[SpokenWord]) -> Spans:
    """The words that are heard rightly where nothing else is heard."""
    found = []
    for word in said:
        there = [each for each in heard if each.start < word.end + 0.2 and each.end > word.start - 0.2]
        if [each.text for each in there] == [word.text]:
            found.append((word, there[0]))
    return found


# ---- sentences


def matched(said: Sequence[SpokenWord], heard: Sequence[SpokenWord]) -> Spans:
    """The words of a sentence that are heard rightly."""
    indexes = pairs([word.text for word in said], [word.text for word in heard])
    return [(said[i], heard[j]) for i, j in indexes]


def with_pauses(pcm: Pcm, said: Iterable[SpokenWord]) -> tuple[Pcm, list[SpokenWord]]:
    """A sentence after half a second, and before a second, of its noise floor."""
    floor = noise_floor(pcm, 3 * SAMPLE_RATE // 2)
    before, behind = floor[: SAMPLE_RATE // 2], floor[SAMPLE_RATE // 2 :]
    later = [SpokenWord(word.text, word.start + 0.5, word.end + 0.5) for word in said]
    return np.concatenate([before, pcm, behind]), later


def synthesized(folder: Path, folds: Sequence[int], limit: int, flite: Flite) -> Iterator[tuple[Pcm, list[SpokenWord]]]:
    """Sentences of dev.jsonl in flite's voices, and when it says their words."""
    texts = [clip.reference for clip in load([folder / "dev.jsonl"], Selection(folds=folds))]
    for voice in VOICES:
        for text in random.Random(voice).sample(texts, limit):
            yield with_pauses(*flite.say(normalize(text).lower(), voice))


def aligned(folder: Path, folds: Sequence[int], limit: int) -> Iterator[tuple[Pcm, list[SpokenWord]]]:
    """Recordings of dev.jsonl, and when their words are said by the forced alignment."""
    alignments = read_alignments(folder / ALIGNMENTS[0])
    clips = load([folder / "dev.jsonl"], Selection(folds=folds))
    clips = [clip for clip in clips if clip.words and alignments[clip.name].score > WORST_SCORE]
    for clip in random.Random(0).sample(clips, limit):
        yield with_pauses(recording(clip), clip.words or ())


# ---- figures


def figures(spans: Spans) -> str:
    """Mean, mean absolute error and its 90th percentile, of starts and of ends."""
    parts = []
    ends: dict[str, Callable[[SpokenWord], Seconds]] = {"start": lambda word: word.start, "end": lambda word: word.end}
    for name, at in ends.items():
        late = np.array([1000 * (at(heard) - at(said)) for said, heard in spans])
        far = np.abs(late)
        parts.append(f"{name} {late.mean():+6.1f}  off {far.mean():5.1f}  p90 {np.percentile(far, 90):5.1f}")
    return f"{len(spans):5} words   {'   '.join(parts)}"


def drift(pcm: Pcm, hear: Callable[[Pcm], list[SpokenWord]]) -> tuple[int, int]:
    """How many words are heard in audio, and how many of them are not where it comes again in the same stream."""
    hour = np.zeros(LATER_SAMPLES + len(pcm), np.int16)
    hour[: len(pcm)] = hour[LATER_SAMPLES:] = pcm
    spans = [(word.text, round(SAMPLE_RATE * word.start), round(SAMPLE_RATE * word.end)) for word in hear(hour)]
    first = {span for span in spans if span[1] < LATER_SAMPLES}
    again = {(text, start - LATER_SAMPLES, end - LATER_SAMPLES) for text, start, end in spans if start > LATER_SAMPLES}
    return len(first), len(first - again)


def main() -> None:
    """Prints a line for each truth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with words.jsonl and dev.jsonl with its alignments")
    parser.add_argument("--fold", type=int, action="append", help="of dev.jsonl; repeatable (1 and 2)")
    parser.add_argument("--limit", type=int, default=40, help="sentences a voice, and three times as many aligned (40)")
    parser.add_argument("--words", type=int, default=400, help="single words, the noisy ones included (400)")
    parser.add_argument("--skip", type=int, default=0, help="take single words after so many others (0)")
    parser.add_argument("--flite", type=Path, help="folder of flite's libraries (where the system has them)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    runner, folds = load_runner(device="cpu"), options.fold or [1, 2]
    config = StreamConfig(partials=False)

    def hear(pcm: Pcm) -> list[SpokenWord]:
        return words(streamed(runner, config, [pcm]))

    def sentences(spoken: Iterable[tuple[Pcm, list[SpokenWord]]]) -> Spans:
        return [span for pcm, said in spoken for span in matched(said, hear(pcm))]

    pcm, said = spliced(single(options.folder / "words.jsonl", options.words, options.skip))
    print("spliced     ", figures(alone(said, hear(pcm))), flush=True)
    try:
        spoken = synthesized(options.folder, folds, options.limit, Flite(options.flite))
        print("flite       ", figures(sentences(spoken)), flush=True)
    except ConfigError as e:
        print(f"flite        left out: {e}")
    print("alignments  ", figures(sentences(aligned(options.folder, folds, 3 * options.limit))), flush=True)
    count, moved = drift(spliced(single(options.folder / "words.jsonl", REPEATED))[0], hear)
    print(f"59 minutes later, {moved} of {count} words are heard otherwise")


if __name__ == "__main__":
    main()
