"""What it costs to read files, beside FFmpeg's own decoder and soxr: python -m tests.benchmarks.decoding

Prints for each format the seconds of both for ten minutes of sound, the least of three runs each in turn, and their
ratio; then the memory that reading hours of it takes beyond that of ten minutes.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soxr

from earshot_asr.engine.audio import SAMPLE_RATE
from earshot_asr.engine.sources import open_file

RATE_HZ = 44_100
FORMATS = {
    "wav": ("pcm_s16le", "wav"),
    "flac": ("flac", "flac"),
    "mp3": ("libmp3lame", "mp3"),
    "m4a": ("aac", "mp4"),
    "opus": ("libopus", "ogg"),
    "webm": ("libopus", "webm"),
}
RUNS = 3


def write(path: Path, minutes: float, layout: str) -> None:
    """Noise that rises and falls, in the format that the name says."""
    codec, container = FORMATS[path.suffix[1:]]
    rate = 48_000 if codec == "libopus" else RATE_HZ
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = layout
        channels = stream.layout.nb_channels
        resampler = av.AudioResampler(stream.format, layout, rate, frame_size=stream.codec_context.frame_size or 4096)
        for second in range(round(60 * minutes)):
            loud = 3000 * (1 + np.sin(second))
            pcm = (loud * rng.standard_normal((1, rate * channels))).clip(-32768, 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, second * rate, Fraction(1, rate)
            for part in resampler.resample(frame):
                file.mux(stream.encode(part))
        for part in resampler.resample(None):
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))


def theirs(path: Path) -> None:
    """FFmpeg's decoder, then soxr over all of it at once."""
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        samples = sum(frame.samples for frame in file.decode(stream))
        soxr.resample(np.zeros(samples, np.float32), stream.rate, SAMPLE_RATE)


def ours(path: Path) -> None:
    """All that open_file gives."""
    with open_file(path) as source:
        for _ in source:
            pass


def seconds(work: Callable[[Path], None], path: Path) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work(path)
    return time.perf_counter() - began


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the files (default: 10)")
    parser.add_argument("--hours", type=float, default=10.0, help="length of the file for memory (default: 10)")
    parser.add_argument("--layout", default="mono", choices=["mono", "stereo"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(f"{arguments.minutes:g} minutes, {arguments.layout}\n\nformat   FFmpeg and soxr   ours   ratio")
        for name in FORMATS:
            path = Path(folder, f"a.{name}")
            write(path, arguments.minutes, arguments.layout)
            taken = [(seconds(theirs, path), seconds(ours, path)) for _ in range(RUNS)]
            least = [min(column) for column in zip(*taken, strict=True)]
            print(f"{name:8} {least[0]:15.2f} {least[1]:6.2f} {least[1] / least[0]:7.2f}", flush=True)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        path = Path(folder, "long.opus")
        write(path, 60 * arguments.hours, arguments.layout)
        made = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        with open_file(path) as source:
            next(iter(source))
        first = time.perf_counter() - began
        ours(path)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"\n{arguments.hours:g} hours of Opus: first samples after {1000 * first:.0f} ms, ", end="")
        print(f"{(after - max(before, made)) / 1024:.0f} MB more than before")


if __name__ == "__main__":
    main()
