"""Audio files that tests make, and how they are told from one another."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, to_pcm


class Source(Protocol):
    def feed(self, data: bytes) -> Pcm: ...
    def finish(self) -> Pcm: ...


def drain(source: Source, pieces: Sequence[bytes]) -> Pcm:
    return np.concatenate([*(source.feed(piece) for piece in pieces), source.finish()])


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    return [data[a:b] for a, b in pairwise([0, *sorted(c % (len(data) + 1) for c in cuts), len(data)])]


def tone(seconds: float, rate: int = SAMPLE_RATE) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A tone that rises, so that a shift or a gap shows."""
    t = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * (300 + 100 * t) * t)).astype(np.float32)


def write(path: Path, seconds: float = 2.0) -> Path:
    """A file in the format that its name says."""
    name = path.name
    rate = 48_000 if "ogg" in name or "webm" in name else 44_100
    codec, container, options = {
        "wav": ("pcm_s16le", "wav", {}),
        "flac": ("flac", "flac", {}),
        "ogg": ("libopus", "ogg", {}),
        "mp3": ("libmp3lame", "mp3", {}),
        "webm": ("libopus", "webm", {}),
        "m4a": ("aac", "mp4", {"movflags": "frag_keyframe+empty_moov"} if "fragmented" in name else {}),
    }[path.suffix[1:]]
    with av.open(str(path), "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(to_pcm(tone(seconds, rate))[None], format="s16", layout="mono")
        frame.sample_rate = rate
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(stream.format, "mono", rate, frame_size=size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return path


def looks_like_the_tone(pcm: Pcm, seconds: float, *, slack: float = 0.08) -> bool:
    """The right length, and the right sound at the right place (codecs may pad and shift a little)."""
    expected = tone(seconds)
    overlap = min(len(pcm), len(expected))
    spectrum = np.fft.rfft(pcm[:overlap], 2 * overlap).conj() * np.fft.rfft(expected[:overlap], 2 * overlap)
    correlation = np.fft.irfft(spectrum)
    shift = int(np.abs(correlation).argmax())
    norm = np.linalg.norm(pcm[:overlap].astype(np.float64)) * np.linalg.norm(expected[:overlap])
    shift = min(shift, 2 * overlap - shift)
    slack_samples = slack * SAMPLE_RATE
    near = abs(len(pcm) - len(expected)) <= slack_samples and shift <= slack_samples
    return near and bool(correlation.max() > 0.9 * norm)
