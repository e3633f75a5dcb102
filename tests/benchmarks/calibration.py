"""Whether confidences mean what they say: python -m tests.benchmarks.calibration MANIFEST --fold 1 --fold 2

Streams recordings through the bundled model, and counts how many of the words with a certain confidence are right.
The expected calibration error is the mean difference of both, over words (Naeini et al. 2015).
"""

import argparse
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import jiwer
import numpy as np

from earshot_asr.client.evaluate.manifest import Selection, load
from earshot_asr.client.evaluate.recordings import recording
from earshot_asr.client.evaluate.take import Clip
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.loading import load_runner
from earshot_asr.engine.model import Runner
from earshot_asr.engine.text import normalize
from earshot_asr.engine.transcription import streamed

BINS = 10


def judged(runner: Runner, clip: Clip) -> Iterator[tuple[float, bool]]:
    """The confidence of each word of a recording's finals, and whether it is right."""
    finals = streamed(runner, StreamConfig(partials=False), [recording(clip)])
    words = [
        (text, word.confidence) for final in finals for word in final.words for text in normalize(word.text).split()
    ]
    reference = normalize(clip.reference)
    right = np.zeros(len(words), bool)
    if words and reference:
        (chunks,) = jiwer.process_words(reference, " ".join(text for text, _ in words)).alignments
        for chunk in chunks:
            if chunk.type == "equal":
                right[chunk.hyp_start_idx : chunk.hyp_end_idx] = True
    yield from ((confidence, bool(ok)) for (_, confidence), ok in zip(words, right, strict=True))


def main() -> None:
    """Prints the reliability diagram as a table, and the expected calibration error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--fold", type=int, action="append", help="repeatable")
    parser.add_argument("--lm", help="language model, as for earshot transcribe")
    options = parser.parse_args()
    runner = load_runner(device="cpu", lm=options.lm)
    clips = load([options.manifest], Selection(folds=tuple(options.fold or ())), alignments=None)
    said, right = map(np.array, zip(*(pair for clip in clips for pair in judged(runner, clip)), strict=True))
    error = 0.0
    edges = list(accumulate([1 / BINS] * BINS, initial=0.0))
    for low, high in zip(edges, [*edges[1:-1], 1.01], strict=False):
        inside = (said >= low) & (said < high)
        if not inside.any():
            continue
        error += inside.mean() * abs(said[inside].mean() - right[inside].mean())
        print(f"{low:.1f}  {inside.sum():5} words  said {said[inside].mean():.3f}  right {right[inside].mean():.3f}")
    print(f"expected calibration error {error:.3f} over {len(said)} words, {right.mean():.1%} of them right")


if __name__ == "__main__":
    main()
