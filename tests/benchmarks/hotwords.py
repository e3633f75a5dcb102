"""What hotwords find, and what they make up: python -m tests.benchmarks.hotwords dev.jsonl --fold 1 --fold 2

Twenty names that are said in the recordings and that the bundled language model lacks are given as hotwords. Names are
words of five letters and more that have a capital within a sentence of a transcript; the twenty are drawn in an order
that a seed decides. All recordings are heard, plainly, by the bundled model with its language model: how many of the
times that a name is said is it heard, and how often is one heard more often than it was said, without hotwords and
with them.
"""

import argparse
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch

from earshot_asr.client.evaluate.manifest import Selection, load
from earshot_asr.client.evaluate.recordings import recording
from earshot_asr.engine.audio import SAMPLE_RATE, LogProbs, Seconds
from earshot_asr.engine.decoder import DecodeConfig, Hotword, decoder_factory, joined
from earshot_asr.engine.lm import Lexicon
from earshot_asr.engine.loading import load_runner
from earshot_asr.engine.model import ModelInfo, Runner
from earshot_asr.engine.text import normalize

LEAST_LETTERS = 5
SENTENCE_ENDS = (".", "!", "?")
DEFAULT_WEIGHT = Hotword("x").weight


@dataclass
class Found:
    """Counts over all names: said, of those heard, and heard without being said."""

    said: int = 0
    heard: int = 0
    false: int = 0

    def add(self, names: Iterable[str], said: Sequence[str], heard: Sequence[str]) -> None:
        """Counts a recording."""
        for name in names:
            true, there = said.count(name), heard.count(name)
            self.said += true
            self.heard += min(true, there)
            self.false += max(0, there - true)


def unknown(texts: Iterable[str], lexicon: Lexicon, *, names: bool = True) -> list[str]:
    """The words of texts that a language model lacks, normalized and in order; `names`: only those."""
    words = {normalize(word) for text in texts for word in (_capitals(text) if names else normalize(text).split())}
    long = (word for word in words if len(word) >= LEAST_LETTERS and word.isalpha())
    return sorted(word for word in long if not lexicon.lm.knows(lexicon.fold(word)))


def _capitals(text: str) -> Iterator[str]:
    """The words that begin with a capital, and not because a sentence does."""
    words = text.split()
    for before, word in pairwise(words):
        if normalize(word).isalpha() and word.strip("\"'.,;:!?").istitle() and not before.endswith(SENTENCE_ENDS):
            yield word


def drawn(words: Sequence[str], count: int, seed: int) -> list[str]:
    """Some of the words."""
    order = list(words)
    random.Random(seed).shuffle(order)
    return order[:count]


def search(heard: Sequence[tuple[str, LogProbs]], names: Sequence[str], weight: float, info: ModelInfo) -> Found:
    """Decodes recordings, texts and log-probabilities, with the names as hotwords of a weight; 0: without."""
    hotwords = tuple(Hotword(name.title(), weight) for name in names) if weight else ()
    new_decoder = decoder_factory(DecodeConfig(hotwords=hotwords), info.vocabulary, info.lexicon)
    found = Found()
    for text, log_probs in heard:
        decoder = new_decoder()
        decoder.feed(log_probs)
        found.add(names, normalize(text).split(), normalize(joined(decoder.words(), info.vocabulary)).split())
    return found


def encoded(runner: Runner, manifest: Path, folds: Sequence[int]) -> tuple[list[tuple[str, LogProbs]], Seconds]:
    """The recordings' texts and log-probabilities, and how long all of them are."""
    heard, samples = [], 0
    for clip in load([manifest], Selection(folds=folds)):
        pcm = recording(clip)
        heard.append((clip.reference, runner.run([pcm])[0]))
        samples += len(pcm)
    return heard, samples / SAMPLE_RATE


def main() -> None:
    """Prints a line for each weight."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--fold", type=int, action="append", help="repeatable")
    parser.add_argument("--count", type=int, default=20, help="number of hotwords (20)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other names (0)")
    parser.add_argument("--any-word", action="store_true", help="not only names")
    parser.add_argument("--weight", type=float, action="append", help=f"repeatable ({DEFAULT_WEIGHT:g})")
    options = parser.parse_args()
    torch.set_num_threads(1)
    runner = load_runner(device="cpu")
    assert runner.info.lexicon is not None
    heard, seconds = encoded(runner, options.manifest, options.fold or ())
    words = unknown((text for text, _ in heard), runner.info.lexicon, names=not options.any_word)
    names = drawn(words, options.count, options.seed)
    print(f"{seconds / 60:.1f} minutes; {len(names)} of {len(words)}: {' '.join(names)}")
    for weight in (0.0, *(options.weight or [DEFAULT_WEIGHT])):
        found = search(heard, names, weight, runner.info)
        print(
            f"weight {weight:g}: {found.heard} of {found.said} heard, {found.false} false ones, "
            f"{60 * found.false / seconds:.2f} a minute",
            flush=True,
        )


if __name__ == "__main__":
    main()
