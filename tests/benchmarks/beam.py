"""What beam search costs beside the encoder: python -m tests.benchmarks.beam MANIFEST

Streams recordings of a manifest through the bundled model, with partials, with and without its language model. Prints
milliseconds of CPU per second of audio, in one thread: of the encoder, and of all the rest of the engine.
"""

import argparse
import time
from itertools import islice
from pathlib import Path

import torch

from earshot_asr.client.evaluate.manifest import Selection, load
from earshot_asr.client.evaluate.recordings import recording
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.loading import load_runner
from earshot_asr.engine.model import Runner
from earshot_asr.engine.recognizer import Recognizer

BLOCK_SAMPLES = SAMPLE_RATE // 10


def cost(runner: Runner, config: StreamConfig, pcm: Pcm) -> tuple[float, float]:
    """Seconds of CPU that the encoder takes for a stream, and all the rest."""
    recognizer = Recognizer(runner)
    stream = recognizer.open(config)
    encoding = 0.0
    began = time.process_time()

    def work() -> None:
        nonlocal encoding
        while (batch := recognizer.take()) is not None:
            before = time.process_time()
            outputs = batch.encode(runner)
            encoding += time.process_time() - before
            recognizer.accept(batch, batch.decode(outputs))
            stream.events()

    for at in range(0, len(pcm), BLOCK_SAMPLES):
        stream.feed(pcm[at : at + BLOCK_SAMPLES])
        work()
    stream.finish()
    work()
    return encoding, time.process_time() - began - encoding


def main() -> None:
    """Prints a row for each setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--limit", type=int, default=20, help="number of recordings")
    options = parser.parse_args()
    torch.set_num_threads(1)
    every = load([options.manifest], Selection(folds=(1,)), alignments=None)
    recordings = [recording(clip) for clip in islice(every[:: max(1, len(every) // options.limit)], options.limit)]
    seconds = sum(map(len, recordings)) / SAMPLE_RATE
    for lm in (None, "none"):
        runner = load_runner(device="cpu", lm=lm)
        for latency in ("low", "balanced", "accurate"):
            config = StreamConfig.preset(latency)
            encoder, rest = (sum(part) for part in zip(*(cost(runner, config, pcm) for pcm in recordings), strict=True))
            print(
                f"{'beam' if lm is None else 'greedy':6} {latency:8}  encoder {1000 * encoder / seconds:6.1f} ms  "
                f"rest {1000 * rest / seconds:5.1f} ms  {rest / encoder:.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
