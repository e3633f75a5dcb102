"""What streams cost on this machine: time of the device for windows, and of this process for all the rest."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from earshot_asr.engine.audio import SAMPLE_RATE, LogProbs, Pcm, Seconds
from earshot_asr.engine.config import StreamConfig, Timing
from earshot_asr.engine.model import Runner
from earshot_asr.engine.recognizer import Recognizer
from earshot_asr.engine.scheduler import MOST_MERGED_HOPS
from earshot_asr.engine.session import timing_of
from earshot_asr.engine.vocabulary import Vocabulary

TRIALS = 3
TRIAL_SECONDS = 4
"""Audio of one trial of the process; and no new trial is begun once they took this long together."""
USABLE_SHARE = 0.9
"""Share of each second of device and process that streams may use."""
LIKELY = (0.6, 0.2, 0.1, 0.05)
"""Probabilities of the likeliest symbols where the model is in doubt. Every other frame is so; the rest are blank."""
PAUSES_A_FINAL = 1.3
"""Assumed pauses of an utterance, the one that ends it included; in each, it is encoded as far as it goes."""
UTTERANCE_SECONDS = 5
"""Assumed length of an utterance. The shorter they are, the more the context of their final windows costs."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Measured costs.

    frame      seconds of the device for one frame of a window, in a full batch
    process    seconds of this process for one second of a stream's audio, the device left out
    """

    frame: Seconds
    process: Seconds


def combined(costs: Sequence[Cost]) -> Cost:
    """The cost with several runners that compute at the same time, served by one process."""
    return Cost(1 / sum(1 / cost.frame for cost in costs), max(cost.process for cost in costs))


def measure(runner: Runner, config: StreamConfig, clock: Callable[[], Seconds] = time.perf_counter) -> Cost:
    """Times full batches of noise, and a stream of noise without the device; takes the best of a few trials each."""
    recognizer = Recognizer(runner)
    timing = timing_of(runner.info, config)
    window = timing.left + timing.hop + timing.right
    first, last = timing.grid.span(0, window)
    batch = [_noise(last - first)] * max(1, recognizer.scheduler.batch_frames // window)

    while True:
        try:
            runner.run(batch)
            break
        except Exception:  # the batch may be too big for the device; it would then be computed window by window
            if len(batch) == 1:
                raise
            batch = batch[: len(batch) // 2]

    def timed(work: Callable[[], object]) -> Seconds:
        took: list[Seconds] = []
        while len(took) < TRIALS and sum(took) < TRIAL_SECONDS:
            began = clock()
            work()
            took.append(clock() - began)
        return min(took)

    frame = timed(lambda: runner.run(batch)) / (len(batch) * window)
    speech = _noise(TRIAL_SECONDS * SAMPLE_RATE)
    process = timed(lambda: _hear(_NoDevice(runner), config, speech)) / TRIAL_SECONDS
    return Cost(frame, process)


def frames_a_second(timing: Timing) -> float:
    """Frames that a stream needs encoded each second while somebody speaks, with hops merged where they may be."""
    t = timing
    rate = SAMPLE_RATE / t.grid.hop
    hop = t.hop * (MOST_MERGED_HOPS if t.provisional else 1)
    hops = (t.left + hop + t.right) / hop if t.hops else 0.0
    final = 1 + t.margin / (UTTERANCE_SECONDS * rate) if t.provisional else 0.0
    pauses = PAUSES_A_FINAL if t.hops else 1
    return rate * (hops + pauses * final)


def _noise(samples: int) -> Pcm:
    """Bursts of noise, which voice detection takes for speech."""
    loud = 1000 * (np.arange(samples) % SAMPLE_RATE < SAMPLE_RATE // 2) + 10
    return np.random.default_rng(0).normal(0, loud).astype(np.int16)


def _hear(runner: Runner, config: StreamConfig, pcm: Pcm) -> None:
    recognizer = Recognizer(runner)
    stream = recognizer.open(config)
    for at in range(0, len(pcm), SAMPLE_RATE // 10):
        stream.feed(pcm[at : at + SAMPLE_RATE // 10])
        while recognizer.step():
            pass
        stream.events()
    stream.finish()


class _NoDevice:
    """A runner that computes nothing."""

    def __init__(self, runner: Runner) -> None:
        self.info, self.device = runner.info, runner.device
        self.ladder, self.batch_frames = runner.ladder, runner.batch_frames

    def speaking(self, language: str | None) -> "_NoDevice":
        return self

    def run(self, windows: Sequence[Pcm]) -> list[LogProbs]:
        return [_letters(self.info.grid.frames(len(pcm)), self.info.vocabulary) for pcm in windows]


def _letters(frames: int, vocabulary: Vocabulary) -> LogProbs:
    """Log-probabilities as of speech: blank in every other frame, else a few symbols that are about as likely."""
    symbols = np.random.default_rng(0).integers(vocabulary.size, size=(frames, len(LIKELY)))
    probabilities = np.full((frames, vocabulary.size), 1e-4, np.float32)
    np.put_along_axis(probabilities[::2], symbols[::2], np.array(LIKELY, np.float32)[None], axis=1)
    probabilities[1::2, vocabulary.blank] = 1
    return np.log(probabilities)
