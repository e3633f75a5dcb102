"""What a stream makes of audio as it comes: pauses, offset, clipping, noise, telephones, and nothing at all.

    python -m tests.benchmarks.conditions shared/speech
    python -m tests.benchmarks.conditions shared/speech --quick

The folder has dev.jsonl with its alignments, long.jsonl and noise.jsonl. Speech is that of one fold of dev; a row of
speech is scored by its word error rate and by what that is above the row `clean`, with the 95 % interval of that
difference (the same recordings are compared, so what is hard in both rows does not widen it); a row of nothing by the
words that are heard in a minute. `encoded`: seconds of audio that the encoder was given, for each second of the stream.
Rows that were measured before with the same model and settings are taken from the file --kept, so that a run can be
broken off and go on.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from earshot_asr.client.evaluate.intervals import Bootstrap, Interval
from earshot_asr.client.evaluate.quiet import SHIFT_SHARE
from earshot_asr.client.evaluate.recordings import noise_floor
from earshot_asr.client.evaluate.tally import errors
from earshot_asr.engine.audio import SAMPLE_RATE, LogProbs, Pcm, Seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.loading import load_runner
from earshot_asr.engine.model import Runner
from earshot_asr.engine.text import normalize
from earshot_asr.engine.transcription import streamed
from tests.benchmarks.mixing import Spoken, mixed, noises, spoken

GAINS_DB = (-20, 0, 10)
TURN_SECONDS = 0.3
SHIFT_SAMPLES = 160
"""Half a frame: the same words on other frames, which shows what differences mean nothing."""
EDGE_SAMPLES = 800
"""What is left of the silence around a recording that is read without a pause: 50 ms."""
LEAST_STREAMS = 8
"""Of fewer ones an interval means nothing."""
Stream = tuple[Pcm, str]
"""Audio, and what is said in it."""


@dataclass(frozen=True)
class Row:
    """The figures of a condition.

    words    that were said in each stream
    wrong    errors in each stream, or words where nothing is said
    """

    condition: str
    minutes: float
    words: list[int]
    wrong: list[int]
    encoded: float

    @property
    def wer(self) -> float:
        """In percent."""
        return 100 * sum(self.wrong) / sum(self.words)


@dataclass(frozen=True)
class Material:
    """What the conditions are made of.

    book       recordings of one voice, in order
    minutes    of nothing, of each kind; of noise three times as much
    """

    clips: list[Spoken]
    book: list[Spoken]
    noise: dict[str, list[Pcm]]
    minutes: float


# ---- the conditions


def samples(seconds: Seconds) -> int:
    """How many there are in so many seconds."""
    return round(seconds * SAMPLE_RATE)


def each(change: Callable[[Pcm], Pcm]) -> Callable[[Material], Iterator[Stream]]:
    """Every recording, and 2 s of its noise floor, changed."""

    def streams(material: Material) -> Iterator[Stream]:
        for clip in material.clips:
            yield change(np.concatenate([clip.pcm, noise_floor(clip.pcm, samples(2))])), clip.text

    return streams


def between(
    pause: Callable[[Pcm], Pcm], group: int = 2, middle: Callable[[Pcm], Pcm] | None = None
) -> Callable[[Material], Iterator[Stream]]:
    """Recordings by `group`, a pause after each, which is made of the one before it; `middle`: that in the middle."""

    def streams(material: Material) -> Iterator[Stream]:
        for first in range(0, len(material.clips), group):
            some = material.clips[first : first + group]
            pauses = [middle if middle and n + 1 == len(some) // 2 else pause for n in range(len(some))]
            parts = [part for clip, after in zip(some, pauses, strict=True) for part in (clip.pcm, after(clip.pcm))]
            yield np.concatenate(parts), " ".join(clip.text for clip in some)

    return streams


def within(kind: str, ratio_db: float) -> Callable[[Material], Iterator[Stream]]:
    """Every recording, and 2 s of its noise floor, in noise."""

    def streams(material: Material) -> Iterator[Stream]:
        for n, clip in enumerate(material.clips):
            pcm = np.concatenate([clip.pcm, noise_floor(clip.pcm, samples(2))])
            recordings = material.noise[kind]
            yield mixed(pcm, recordings[n % len(recordings)], ratio_db, clip.power, shift=n), clip.text

    return streams


def reading(material: Material) -> Iterator[Stream]:
    """The book, without what is silent before and after each recording."""
    spans = [(max(0, clip.words[0][0] - EDGE_SAMPLES), clip.words[-1][1] + EDGE_SAMPLES) for clip in material.book]
    parts = [clip.pcm[start:end] for clip, (start, end) in zip(material.book, spans, strict=True)]
    yield np.concatenate(parts), " ".join(clip.text for clip in material.book)


def louder(gain_db: float) -> Callable[[Pcm], Pcm]:
    """Amplified, and clipped at full scale."""

    def change(pcm: Pcm) -> Pcm:
        changed: Pcm = np.rint(pcm * 10 ** (gain_db / 20)).clip(-32768, 32767).astype(np.int16)
        return changed

    return change


def offset(pcm: Pcm) -> Pcm:
    """Moved by a tenth of full scale."""
    moved: Pcm = (pcm.astype(np.int32) + 3277).clip(-32768, 32767).astype(np.int16)
    return moved


def telephone(pcm: Pcm) -> Pcm:
    """From 300 to 3400 Hz."""
    spectrum = np.fft.rfft(pcm)
    hertz = np.fft.rfftfreq(len(pcm), 1 / SAMPLE_RATE)
    spectrum[(hertz < 300) | (hertz > 3400)] = 0
    narrow: Pcm = np.rint(np.fft.irfft(spectrum, len(pcm))).clip(-32768, 32767).astype(np.int16)
    return narrow


def zeros(seconds: Seconds) -> Callable[[Pcm], Pcm]:
    """A pause that is no signal at all."""
    return lambda pcm: np.zeros(samples(seconds), np.int16)


def room(seconds: Seconds) -> Callable[[Pcm], Pcm]:
    """A pause in which the room is heard."""
    return lambda pcm: noise_floor(pcm, samples(seconds))


def rooms(material: Material) -> Iterator[Stream]:
    """The noise floors of rooms in turn."""
    clips = material.clips[:: max(1, len(material.clips) // 10)]
    yield np.concatenate([noise_floor(clip.pcm, samples(60 * material.minutes / len(clips))) for clip in clips]), ""


def nothing(material: Material) -> Iterator[Stream]:
    """Digital silence."""
    yield np.zeros(samples(60 * material.minutes), np.int16), ""


def noise_alone(material: Material) -> Iterator[Stream]:
    """Noise and music at all gains, from another start in each round."""
    recordings = [pcm for some in material.noise.values() for pcm in some]
    left = samples(60 * 3 * material.minutes)
    turn = 0
    while left > 0:
        for gain in GAINS_DB:
            for pcm in recordings:
                begun = louder(gain)(np.roll(pcm, -round(turn * SHIFT_SHARE % 1 * len(pcm))))
                if left > 0:
                    yield begun[:left], ""
                left -= len(begun)
        turn += 1


CONDITIONS: dict[str, Callable[[Material], Iterator[Stream]]] = {
    "clean": each(louder(0)),
    "from its 10th millisecond on": each(lambda pcm: pcm[SHIFT_SAMPLES:]),
    "10 minutes of silence inside": between(room(2), 16, room(600)),
    "a pause of 30 s": between(room(30)),
    "30 s of digital zeros": between(zeros(30)),
    "offset of a tenth": each(offset),
    "clipped, +20 dB": each(louder(20)),
    "-40 dB": each(louder(-40)),
    "noise, 20 dB": within("noise", 20),
    "noise, 10 dB": within("noise", 10),
    "noise, 5 dB": within("noise", 5),
    "music behind, 10 dB": within("music", 10),
    "telephone band": each(telephone),
    "two voices in turn": between(room(TURN_SECONDS)),
    "ten minutes read without a pause": reading,
    "nothing but a room": rooms,
    "nothing but zeros": nothing,
    "nothing but noise and music": noise_alone,
}


# ---- running them


class Counted:
    """A runner that counts the samples that it was given."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.info, self.device = runner.info, runner.device
        self.ladder, self.batch_frames = runner.ladder, runner.batch_frames
        self.samples = 0

    def speaking(self, language: str | None) -> "Counted":
        """Itself."""
        return self

    def run(self, windows: Sequence[Pcm]) -> list[LogProbs]:
        """See Runner."""
        self.samples += sum(map(len, windows))
        return self._runner.run(windows)


def measure(name: str, streams: Iterator[Stream], runner: Runner, config: StreamConfig) -> Row:
    """Streams them one after the other."""
    counted = Counted(runner)
    heard = 0
    words, wrong = [], []
    for pcm, text in streams:
        said = normalize(text).split()
        found = normalize(" ".join(final.text for final in streamed(counted, config, [pcm]))).split()
        wrong.append(errors(said, found)[0])
        words.append(len(said))
        heard += len(pcm)
    return Row(name, heard / SAMPLE_RATE / 60, words, wrong, counted.samples / heard)


def kept_rows(kept: Path, key: str) -> dict[str, Row]:
    """The rows that were measured before with this key."""
    if not kept.exists():
        return {}
    lines = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    return {line["row"]["condition"]: Row(**line["row"]) for line in lines if line["key"] == key}


def above(row: Row, clean: Row) -> tuple[float, Interval | None]:
    """How many points more words are wrong than in the row of the same recordings, one in each stream.

    And the 95 % interval of that; None where there are too few streams to tell.
    """
    before = np.searchsorted(np.cumsum(clean.words), np.cumsum(row.words)[:-1])
    first = np.array([0, *(before + 1)])  # recording of each stream
    assert np.add.reduceat(clean.words, first).tolist() == row.words, (row.condition, "not the recordings of `clean`")
    more = np.array(row.wrong) - np.add.reduceat(clean.wrong, first)
    words = np.array(row.words, float)
    enough = len(words) >= LEAST_STREAMS
    found = Bootstrap(range(len(words)), seed=0).ratio(100.0 * more, words) if enough else None
    return 100 * float(more.sum() / words.sum()), found


def show(rows: Sequence[Row]) -> None:
    """Prints the table."""
    table = Table()
    for name in ("condition", "minutes", "words", "WER, %", "above clean", "(95 %)", "words a minute", "encoded"):
        table.add_column(name, justify="left" if name == "condition" else "right")
    clean = rows[0]
    for row in rows:
        said = sum(row.words)
        score = ["", "", "", f"{sum(row.wrong) / row.minutes:.2f}"]
        if said:
            points, found = above(row, clean) if row is not clean and "read" not in row.condition else (None, None)
            difference = "" if points is None else f"{points:+.1f}"
            score = [f"{row.wer:.1f}", difference, "" if found is None else "{:+.1f} to {:+.1f}".format(*found), ""]
        table.add_row(row.condition, f"{row.minutes:.1f}", str(said), *score, f"{row.encoded:.2f}")
    Console(width=120).print(table)


def material(folder: Path, fold: int, limit: int, minutes: float) -> Material:
    """Recordings of a fold, spread over it, and so many minutes of the book."""
    clips = spoken(folder / "dev.jsonl", [fold])
    book: list[Spoken] = []
    for clip in spoken(folder / "long.jsonl", [None]):
        if sum(len(one.pcm) for one in book) < samples(60 * minutes):
            book.append(clip)
    return Material(clips[:: max(1, len(clips) // limit)][:limit], book, noises(folder / "noise.jsonl"), minutes)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with dev.jsonl, long.jsonl, noise.jsonl and alignments")
    parser.add_argument("--quick", action="store_true", help="8 recordings, and 1 minute of each kind of nothing")
    parser.add_argument("--fold", type=int, default=1, help="of dev.jsonl (1)")
    parser.add_argument("--limit", type=int, default=48, help="number of recordings (48)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each kind of nothing, and of the book (10)")
    parser.add_argument("--latency", default="balanced")
    parser.add_argument("--model", help="a name, a hub id or a folder (the bundled one)")
    parser.add_argument("--lm", help="a language model, or none (the one that goes with the model)")
    parser.add_argument("--only", action="append", help="a condition, repeatable (all); `clean` is always measured")
    parser.add_argument("--kept", type=Path, default=Path("conditions.jsonl"), help="file of rows (conditions.jsonl)")
    options = parser.parse_args()
    if options.quick:
        options.limit, options.minutes = 8, 1.0
    chosen = [name for name in CONDITIONS if not options.only or name in ("clean", *options.only)]
    runner = load_runner(options.model, "auto", lm=options.lm)
    config = replace(StreamConfig.preset(options.latency), partials=False)
    key = json.dumps([runner.info.identity, asdict(config), options.fold, options.limit, options.minutes])
    rows, made = kept_rows(options.kept, key), material(options.folder, options.fold, options.limit, options.minutes)
    for name in chosen:
        if name not in rows:
            rows[name] = measure(name, CONDITIONS[name](made), runner, config)
            with options.kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "row": asdict(rows[name])}) + "\n")
    show([rows[name] for name in chosen])
    print(json.dumps({"benchmark": "conditions", "rows": [asdict(rows[name]) for name in chosen]}))


if __name__ == "__main__":
    main()
