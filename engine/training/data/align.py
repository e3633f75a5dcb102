"""`earshot train align`: finds when each word of each recording is said, by PocketSphinx or by a CTC model.

Each line of the file it writes is an alignment as engine.manifest reads it. PocketSphinx's have phones; a model's have
letters in their place, and the entry `"units": "letters"`. A letter lies where the model wrote it, less its emission
delay, and reaches half-way to its neighbours. The scores of both compare: about -20 is good, below -60 is doubtful.
"""

import argparse
import json
import multiprocessing
import textwrap
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid, LogProbs, Pcm, Seconds
from earshot_asr.engine.errors import AudioError, ConfigError
from earshot_asr.engine.loading import check, load_runner
from earshot_asr.engine.manifest import UNIT_SAMPLES, AlignedWord, Alignment, Row, read
from earshot_asr.engine.text import ESCAPES, normalize
from earshot_asr.engine.training.data.corpus import cores, read_audio, tell_apart
from earshot_asr.engine.training.data.pronounce import available, pronounce
from earshot_asr.engine.training.data.spelling import LATE_FRAMES, Alphabet
from earshot_asr.engine.training.data.viterbi import best_path
from earshot_asr.engine.training.progress import Progress
from earshot_asr.engine.vocabulary import Vocabulary
from earshot_asr.engine.whole import writing

LONGEST_SECONDS: Seconds = 120.0
"""Longer recordings are not aligned by a model, which gets a whole recording at once."""
RECORDINGS_AT_ONCE = 128
"""Recordings that are read, and then sorted by length, before a model gets them."""
BATCH_SAMPLES = 60 * SAMPLE_RATE
REACH_UNITS = 10
"""Units of 10 ms that a word reaches, at most, before its first letter and after its last one."""
SCORE_SCALE = 20.0
"""Factor from a mean log-probability to a score that compares with PocketSphinx's."""

Outcome: TypeAlias = tuple[Row, Alignment | str]
"""A recording with its alignment, or the reason why it has none."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `earshot train align`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = textwrap.dedent("""\
        Finds when each word of each recording is said, and how well text and sound agree. With the result,
        `earshot train ctc --alignments FILE` trains frame by frame, which makes small models learn much faster, and
        leaves out recordings whose text is not what is said.

        Without --model, PocketSphinx aligns: English only, 40 times faster than real time on one core. It needs
        `pip install pocketsphinx`, and the program espeak-ng for words that are not in its dictionary. With --model,
        a checkpoint in Hugging Face format aligns, in its language.

        Started again with the same FILE, it goes on where it stopped.""")
    parser.epilog = "example: earshot train align train.jsonl --out alignments.jsonl"
    parser.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST", help='JSON lines {"audio", "text"}')
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON lines, one for each recording")
    parser.add_argument("--model", metavar="DIR", help="folder or hub id of a CTC model (default: PocketSphinx)")
    parser.add_argument("--device", default="auto", help="device of the model: auto, cpu or cuda (default: auto)")
    parser.add_argument("--jobs", type=int, help="processes of PocketSphinx (default: one for each core)")


def run(args: argparse.Namespace) -> None:
    """Appends the alignments that the file lacks.

    Raises ConfigError, OutputError, and with a model CheckpointError and DeviceError.
    """
    if args.jobs is not None and args.jobs < 1:
        raise ConfigError(f"--jobs is {args.jobs}; it must be 1 or more")
    check(args.model, args.device)
    progress = Progress()
    every = [row for manifest in args.manifests for row in read(manifest)]
    tell_apart(every, {row.name for row in every})
    done = resume(args.out)
    rows = [row for row in every if row.name not in done]
    if done:
        progress.say(f"{args.out} has {len(done)} recordings already, {len(rows)} are left")
    if not rows:
        return
    jobs = args.jobs or cores()
    outcomes = by_model(rows, args.model, args.device) if args.model else by_pocketsphinx(rows, jobs)
    began, failed = time.monotonic(), Counter[str]()
    with writing(args.out), args.out.open("a", encoding="utf-8", errors=ESCAPES) as out:
        for n, (row, found) in enumerate(outcomes, 1):
            if isinstance(found, str):
                failed[found] += 1
            else:
                out.write(line(row.name, found) + "\n")
                out.flush()
            figures = {"not aligned": sum(failed.values())}
            progress.show(n, n / len(rows), time.monotonic() - began, figures, n == len(rows), "recording")
    progress.close()
    for why, count in failed.most_common():
        progress.say(f"{count} recordings were not aligned: {why}")


def line(name: str, alignment: Alignment) -> str:
    """An alignment as a line of JSON."""
    words = [
        [word.text, word.start, round(word.score), [list(part) for part in word.parts]] for word in alignment.words
    ]
    units = {"units": "letters"} if alignment.letters else {}
    return json.dumps({"audio": name, **units, "words": words}, ensure_ascii=False, separators=(",", ":"))


def resume(path: Path) -> set[str]:
    """The names of the recordings in a file of alignments; cuts off a last line that was not written completely.

    Raises ConfigError if the file holds anything else.
    """
    if path.suffix == ".xz":
        raise ConfigError(f"{path} can't be appended to; give a name that ends in .jsonl, and compress it afterwards")
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            return set()
        with path.open("r+b") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            done = {json.loads(line)["audio"] for line in content[:whole].splitlines()}
            file.truncate(whole)
        return done
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{path} is there and is no file of alignments; give another name to --out") from None
    except OSError as e:
        raise ConfigError(f"can't write {path}: {e.strerror or e}") from None


# ---- PocketSphinx


def by_pocketsphinx(rows: Sequence[Row], jobs: int) -> Iterator[Outcome]:
    """Aligns English recordings. Raises ConfigError if PocketSphinx is not installed."""
    if find_spec("pocketsphinx") is None:
        raise ConfigError("alignment needs PocketSphinx, pip install pocketsphinx; or a model of your own, --model")
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        yield from zip(rows, pool.map(_by_pocketsphinx, rows, chunksize=8), strict=True)


def _by_pocketsphinx(row: Row) -> Alignment | str:
    words = normalize(row.text or "").split()
    if not words:
        return "nothing in the text can be said"
    if row.lang is not None and not row.lang.lower().startswith("en"):
        return "PocketSphinx's model is English; give --model"
    decoder = _decoder()
    for word in words:
        if decoder.lookup_word(_entry(word)) is None:
            if not available():
                return "a word that the dictionary lacks; the program espeak-ng, if it were there, would know it"
            if not (phones := pronounce(_entry(word))):
                return "a word that nobody knows how to speak"
            decoder.add_word(_entry(word), " ".join(phones), True)
    try:
        return Alignment(tuple(_forced(decoder, words, read_audio(row.path))))
    except AudioError as e:
        return str(e)
    except (RuntimeError, ValueError):
        return "PocketSphinx found no path; the text is probably not what is said"


def _entry(word: str) -> str:
    """The word as a dictionary has it: in lower case, without accents, without apostrophes at its ends."""
    plain = unicodedata.normalize("NFKD", word).strip("'").lower()
    return "".join(char for char in plain if not unicodedata.combining(char))


def _forced(decoder: Any, words: Sequence[str], pcm: Pcm) -> Iterator[AlignedWord]:
    """Aligns words in a first pass and phones in a second. Raises RuntimeError or ValueError if there is no path."""
    decoder.set_align_text(" ".join(map(_entry, words)))
    for phones in (False, True):
        if phones:
            decoder.set_alignment()
        decoder.start_utt()
        decoder.process_raw(pcm.astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
    # An entry points into the decoder, and is only valid until the next one is asked for.
    spoken = [
        (entry.start, entry.score / max(entry.duration, 1), tuple((phone.name, phone.duration) for phone in entry))
        for entry in decoder.get_alignment()
        if entry.name[0] not in "<["
    ]
    return (AlignedWord(word, *rest) for word, rest in zip(words, spoken, strict=True))


def _decoder() -> Any:
    """The decoder of this process, with wide beams. With bestpath on, one second pass in five would fail."""
    if "decoder" not in _KEPT:
        from pocketsphinx import Decoder

        _KEPT["decoder"] = Decoder(
            loglevel="FATAL", lm=None, bestpath=False, cmn="batch", beam=1e-80, pbeam=1e-80, wbeam=1e-60
        )
    return _KEPT["decoder"]


_KEPT: dict[str, Any] = {}


# ---- a model


def by_model(rows: Sequence[Row], model: str, device: str = "auto") -> Iterator[Outcome]:
    """Aligns recordings by a CTC model, in its language. Raises CheckpointError, DeviceError."""
    runner = load_runner(model, device)
    alphabet = Alphabet(runner.info.vocabulary)
    for first in range(0, len(rows), RECORDINGS_AT_ONCE):
        heard: list[tuple[Row, Pcm]] = []
        for row in rows[first : first + RECORDINGS_AT_ONCE]:
            pcm = _listen(row)
            if isinstance(pcm, str):
                yield row, pcm
            else:
                heard.append((row, pcm))
        heard.sort(key=lambda each: len(each[1]))
        while heard:
            batch = [heard.pop()]
            while heard and (len(batch) + 1) * len(batch[0][1]) <= BATCH_SAMPLES:
                batch.append(heard.pop())
            for (row, _), log_probs in zip(batch, runner.run([pcm for _, pcm in batch]), strict=True):
                info = runner.info
                yield row, by_ctc(row.text or "", log_probs, alphabet, info.vocabulary, info.grid, info.emission_delay)


def _listen(row: Row) -> Pcm | str:
    try:
        pcm = read_audio(row.path)
    except AudioError as e:
        return str(e)
    return pcm if len(pcm) <= LONGEST_SECONDS * SAMPLE_RATE else f"longer than {LONGEST_SECONDS:g} s"


def by_ctc(
    text: str, log_probs: LogProbs, alphabet: Alphabet, vocabulary: Vocabulary, grid: FrameGrid, delay: int
) -> Alignment | str:
    """The best path of a text through log-probabilities (T, V), or the reason why there is none.

    Words none of whose letters the vocabulary has are left out. A letter lies at the first frame in which the model
    wrote it, less `delay` frames. A word's score is the mean log-probability of its letters' frames times SCORE_SCALE.
    """
    words = [(word, alphabet.letters(word)) for word in normalize(text).split()]
    words = [(word, letters) for word, letters in words if letters]
    if not words:
        return "nothing in the text is in the model's vocabulary"
    targets: list[int] = []
    firsts = []
    for _, letters in words:
        if targets and alphabet.delimiter is not None:
            targets.append(alphabet.delimiter)
        firsts.append(len(targets))
        targets += letters
    path = best_path(log_probs, targets, vocabulary.blank)
    if path is None:
        return "more letters than frames"
    at = ((path.spans[:, 0] - delay - LATE_FRAMES) * grid.hop + grid.field / 2) / UNIT_SAMPLES
    sums = np.concatenate(([0.0], np.cumsum(path.scores)))
    found: list[AlignedWord] = []
    for (word, letters), first in zip(words, firsts, strict=True):
        end = first + len(letters)
        spans = path.spans[first:end]
        score = (sums[spans[:, 1]] - sums[spans[:, 0]]).sum() / (spans[:, 1] - spans[:, 0]).sum()
        earliest = found[-1].start + found[-1].length if found else 0
        edges = _edges(at, first, end, earliest)
        parts = zip((vocabulary.symbols[id] for id in letters), np.diff(edges).tolist(), strict=True)
        found.append(AlignedWord(word, int(edges[0]), SCORE_SCALE * float(score), tuple(parts)))
    return Alignment(tuple(found), letters=True)


def _edges(at: np.ndarray[Any, np.dtype[np.float64]], first: int, end: int, earliest: int) -> Any:
    """The edges of a word and those between its letters, in units of 10 ms, each at least one above the last.

    A word begins where the delimiter before it was written, and ends where the next one was, if these are near.
    """
    before = at[first] - REACH_UNITS if first == 0 else max(at[first] - REACH_UNITS, at[first - 1])
    after = at[end - 1] + REACH_UNITS if end == len(at) else min(at[end - 1] + REACH_UNITS, at[end])
    inner = (at[first : end - 1] + at[first + 1 : end]) / 2
    edges = np.rint(np.concatenate(([before], inner, [after]))).astype(np.int64)
    steps = np.arange(len(edges))
    return np.maximum.accumulate(np.maximum(edges, earliest) - steps) + steps
