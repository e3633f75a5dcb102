"""Whether seams double or drop words: python -m tests.benchmarks.seams long.jsonl

The recordings of a manifest (with alignments beside it) are joined to one stream and heard by the bundled model, greedy
and with its language model. What is a seam:

    hop          where the frames of one hop window end and those of the next begin, and the cuts
    utterance    the cuts, at endpoints and where an utterance was too long

In each of several passes the stream begins some samples later, and utterances a part of a hop earlier, by a longer
pre-roll: so the seams lie elsewhere. An error is a word of the transcript that is missing (dropped), a word too many
(doubled) or another word (changed); it is at a seam if the middle of its word is no further than 200 ms from it. From
those at seams the errors are taken off that a pass makes in the same places that has no seams there: plain passes of
30 s that overlap. What is left, for each hundred seams, is `extra`, and so much of it is doubled, dropped, changed.

A hop window hears worse than a plain pass, at a seam or not, as it hears less; all its words are near a seam. What the
seam itself does to them is `torn`: for each hundred seams of hops, how many there are around which (160 ms on either
side) the frames of both windows, joined, spell what neither window spells there by itself, greedily.
"""

import argparse
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from pathlib import Path

import jiwer
import numpy as np
import torch

from earshot_asr.client.evaluate.manifest import load
from earshot_asr.client.evaluate.recordings import recording
from earshot_asr.client.evaluate.take import SpokenWord
from earshot_asr.engine.audio import SAMPLE_RATE, LogProbs, Pcm, Seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.decoder import DecodeConfig
from earshot_asr.engine.events import Final
from earshot_asr.engine.loading import load_runner
from earshot_asr.engine.model import Runner
from earshot_asr.engine.session import Session
from earshot_asr.engine.text import normalize
from earshot_asr.engine.transcription import plain
from earshot_asr.engine.vocabulary import Vocabulary
from earshot_asr.engine.windows import Window

NEAR_SECONDS = 0.2
AROUND_FRAMES = 8
LATER_SAMPLES = 77
"""By so much each pass begins later than the one before: no multiple of a frame."""
MESSAGE_SAMPLES = SAMPLE_RATE // 5
KINDS = ("doubled", "dropped", "changed")


@dataclass(frozen=True)
class Fault:
    """An error, and the middle of its word."""

    kind: str
    at: Seconds


@dataclass
class Row:
    """Errors at seams, by kind, less those of the plain pass; and how many of the seams of hops are torn."""

    name: str
    seams: int = 0
    extra: Counter[str] = field(default_factory=Counter)
    joins: int = 0
    torn: int = 0

    def __str__(self) -> str:
        shares = {kind: 100 * self.extra[kind] / max(1, self.seams) for kind in KINDS}
        parts = "  ".join(f"{kind} {share:+6.2f}" for kind, share in shares.items())
        torn = f"   torn {self.torn} of {self.joins}" if self.joins else ""
        return f"{self.name:24} {self.seams:5} seams   extra {sum(shares.values()):+6.2f}   {parts}{torn}"


# ---- errors, and which of them are at seams


def faults(said: Sequence[SpokenWord], heard: Sequence[SpokenWord]) -> list[Fault]:
    """The errors, by an alignment with the fewest of them."""
    if not (said and heard):
        return [Fault("dropped", _middle(word)) for word in said] + [Fault("doubled", _middle(word)) for word in heard]
    found = []
    texts = [" ".join(word.text for word in some) for some in (said, heard)]
    (chunks,) = jiwer.process_words(texts[0], texts[1]).alignments
    for chunk in chunks:
        missing, there = said[chunk.ref_start_idx : chunk.ref_end_idx], heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "delete":
            found += [Fault("dropped", _middle(word)) for word in missing]
        elif chunk.type != "equal":
            kind = "doubled" if chunk.type == "insert" else "changed"
            found += [Fault(kind, _middle(word)) for word in there]
    return found


def _middle(word: SpokenWord) -> Seconds:
    return (word.start + word.end) / 2


def distances(found: Sequence[Fault], seams: Sequence[Seconds]) -> list[Seconds]:
    """Of each error, from the nearest seam."""
    edges = np.array([-np.inf, *sorted(seams), np.inf])
    at = np.array([fault.at for fault in found])
    behind = np.searchsorted(edges, at)
    nearest: list[Seconds] = np.minimum(at - edges[behind - 1], edges[behind] - at).tolist()
    return nearest


def near(found: Sequence[Fault], seams: Sequence[Seconds], within: Seconds = NEAR_SECONDS) -> Counter[str]:
    """How many errors of each kind are at a seam."""
    kept = zip(found, distances(found, seams), strict=True)
    return Counter(fault.kind for fault, distance in kept if distance <= within)


def torn(older: LogProbs, newer: LogProbs, vocabulary: Vocabulary) -> bool:
    """Whether the first half of the older window's frames (T, V) and the second half of the newer one's, which are the
    same frames, spell what neither does alone."""
    half = len(older) // 2
    spelled = [
        [symbol for symbol, _ in groupby(frames.argmax(-1).tolist()) if symbol != vocabulary.blank]
        for frames in (np.concatenate([older[:half], newer[half:]]), older, newer)
    ]
    return spelled[0] not in spelled[1:]


# ---- the passes


class Remembering:
    """A runner that computes no window twice."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.info, self.device = runner.info, runner.device
        self.ladder, self.batch_frames = runner.ladder, runner.batch_frames
        self._known: dict[bytes, LogProbs] = {}

    def speaking(self, language: str | None) -> "Remembering":
        """Itself."""
        return self

    def run(self, windows: Sequence[Pcm]) -> list[LogProbs]:
        """See Runner."""
        return [self._computed(window) for window in windows]

    def _computed(self, window: Pcm) -> LogProbs:
        key = hashlib.blake2b(window.tobytes(), digest_size=16).digest()
        if key not in self._known:
            (self._known[key],) = self._runner.run([window])
        return self._known[key]


def words(finals: Iterable[Final], begin: Seconds = 0.0) -> list[SpokenWord]:
    """The words of a stream that began at a time."""
    return [
        SpokenWord(text, begin + word.start, begin + word.end)
        for final in finals
        for word in final.words
        for text in normalize(word.text).split()
    ]


@dataclass
class Pass:
    """A stream that has been heard: its finals, where its seams are (samples), and the windows that hops join."""

    finals: list[Final] = field(default_factory=list)
    seams: set[int] = field(default_factory=set)
    windows: list[tuple[Window, LogProbs]] = field(default_factory=list)

    def joins(self) -> Iterator[tuple[LogProbs, LogProbs]]:
        """For each seam of hops what both windows have there, where both reach far enough."""
        for (older, before), (newer, behind) in pairwise(self.windows):
            first, end = newer.emit_from - AROUND_FRAMES, newer.emit_from + AROUND_FRAMES
            if older.emit_to == newer.emit_from and first >= max(older.start, newer.start) and end <= older.end:
                yield before[first - older.start : end - older.start], behind[first - newer.start : end - newer.start]


def stream(runner: Runner, config: StreamConfig, pcm: Pcm) -> Pass:
    """Hears a stream."""
    session, heard = Session(runner.info, config), Pass()
    hop = runner.info.grid.hop

    def work() -> None:
        while (window := session.next_window()) is not None:
            if session.wants(window):
                log_probs = runner.run([session.samples(window)])[0]
                session.accept(window, log_probs)
                if config.commit == "hop":
                    heard.windows.append((window, log_probs))
        heard.finals.extend(event for event in session.events() if isinstance(event, Final))

    for at in range(0, len(pcm), MESSAGE_SAMPLES):
        part = pcm[at : at + MESSAGE_SAMPLES]
        while len(part := part[session.feed(part) :]):
            work()
        work()
    session.finish()
    work()
    heard.seams.update(final.cut for final in heard.finals)
    heard.seams.update(  # but not those of the pre-roll
        window.emit_to * hop for window, _ in heard.windows if window.emit_to - window.emit_from > 1
    )
    return heard


def measure(runner: Runner, pcm: Pcm, said: Sequence[SpokenWord], config: StreamConfig, passes: int) -> Row:
    """Of one policy and one decoder."""
    row = Row(f"{config.commit} {config.longest_ms / 1000:g} s {config.decode.decoder}")
    plainly, wrong = faults(said, words(plain(runner, [pcm], config.decode))), 0
    for turn in range(passes):
        later = turn * LATER_SAMPLES
        earlier = replace(config, preroll_ms=config.preroll_ms + turn * config.hop_ms // passes)
        heard = stream(runner, earlier, pcm[later:])
        seams = [(later + seam) / SAMPLE_RATE for seam in heard.seams]
        found = faults(said, words(heard.finals, later / SAMPLE_RATE))
        wrong += len(found)
        row.seams += len(seams)
        row.extra.update(near(found, seams))
        row.extra.subtract(near(plainly, seams))
        joins = [torn(older, newer, runner.info.vocabulary) for older, newer in heard.joins()]
        row.joins += len(joins)
        row.torn += sum(joins)
    print(
        f"{row.name}: {wrong / passes / len(said):.2%} of the words wrong, plainly {len(plainly) / len(said):.2%}",
        flush=True,
    )
    return row


def main() -> None:
    """Prints a row for each policy and decoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0, help="of the recordings (5)")
    parser.add_argument("--passes", type=int, default=4, help="each with other seams (4)")
    parser.add_argument("--latency", default="balanced")
    parser.add_argument("--commit", choices=("hop", "utterance"), action="append", help="repeatable (both)")
    parser.add_argument("--longest-ms", type=int, action="append", help="of utterances; repeatable (20000, 8000)")
    parser.add_argument("--decoder", choices=("greedy", "beam"), action="append", help="repeatable (both)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    runner = Remembering(load_runner(device="cpu"))
    (corpus,) = {clip.corpus for clip in load([options.manifest])}
    (clip,) = load([options.manifest], join=[corpus])
    said = [word for word in clip.words or () if word.end <= 60 * options.minutes]
    pcm = recording(clip)[: round((said[-1].end + 0.2) * SAMPLE_RATE)]
    for commit in options.commit or ("utterance", "hop"):
        for longest_ms in options.longest_ms or ((20_000, 8000) if commit == "utterance" else (20_000,)):
            preset = StreamConfig.preset(options.latency, commit=commit, partials=False)
            for decoder in options.decoder or ("greedy", "beam"):
                config = replace(preset, longest_ms=longest_ms, decode=DecodeConfig(decoder=decoder))
                print(measure(runner, pcm, said, config, options.passes), flush=True)


if __name__ == "__main__":
    main()
