"""Audio files that tests make, and how they are told from one another."""

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import numpy.typing as npt
import soundfile

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds, to_pcm

Samples = npt.NDArray[np.float32]


class Source(Protocol):
    def feed(self, data: bytes) -> Pcm: ...
    def finish(self) -> Pcm: ...


def drain(source: Source, pieces: Sequence[bytes]) -> Pcm:
    return np.concatenate([*(source.feed(piece) for piece in pieces), source.finish()])


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    return [data[a:b] for a, b in pairwise([0, *sorted(c % (len(data) + 1) for c in cuts), len(data)])]


def tone(seconds: float, rate: int = SAMPLE_RATE) -> Samples:
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


def encoded(
    container: str,
    codec: str,
    *tracks: list[tuple[Seconds, Samples]],
    rate: int = 48_000,
    layout: str = "mono",
    video: Seconds = 0.0,
    options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
) -> bytes:
    """A file of audio tracks, each of which has mono samples (S,) at some times.

    video    seconds of pictures, which begin at 0
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options=options or {}) as file:
        pictures = _pictures(file) if video else None
        streams: list[Any] = [file.add_stream(codec, rate=rate, layout=layout, options=codec_options) for _ in tracks]
        if pictures is not None:
            for number in range(round(5 * video)):
                picture = av.VideoFrame(16, 16, "yuv420p")
                picture.pts = number
                for plane in picture.planes:  # else it holds whatever lies there
                    plane.update(bytes(plane.buffer_size))
                file.mux(pictures.encode(picture))
        for stream, parts in zip(streams, tracks, strict=True):
            for at, samples in parts:
                for frame in _frames(stream, samples, at, rate, layout):
                    file.mux(stream.encode(frame))
        for stream in streams:
            file.mux(stream.encode(None))
        if pictures is not None:
            file.mux(pictures.encode(None))
    return buffer.getvalue()


def _pictures(file: Any) -> Any:
    video = file.add_stream("mpeg4", rate=5)
    video.width = video.height = 16
    video.pix_fmt = "yuv420p"
    return video


def _frames(stream: Any, samples: Samples, at: Seconds, rate: int, layout: str) -> Iterator[Any]:
    frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(stream.format, layout, rate, frame_size=stream.codec_context.frame_size or 1024)
    pts = round(at * rate)
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        part.pts, part.time_base = pts, Fraction(1, rate)
        pts += part.samples
        yield part


def written(samples: Any, rate: int, **how: Any) -> bytes:
    """A file that libsndfile writes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **how)
    return buffer.getvalue()


def holds(pcm: Pcm, parts: Sequence[tuple[Seconds, Samples]] | None, seconds: Seconds, *, slack: Seconds = 0.06) -> str:
    """Whether audio has samples (S,) at 16 kHz at these times, silence between them, and this length.

    Returns what is wrong; "" if nothing is.
    """
    heard = pcm.astype(np.float64) / 32768
    if abs(len(heard) / SAMPLE_RATE - seconds) > slack:
        return f"{len(heard) / SAMPLE_RATE:.3f} s instead of {seconds:.3f}"
    if parts is None:
        return ""
    margin = round(slack * SAMPLE_RATE)
    silent = np.ones(len(heard), bool)
    for at, samples in parts:
        first = round(at * SAMPLE_RATE)
        silent[max(0, first - margin) : first + len(samples) + 3 * margin] = False
        near = heard[max(0, first - margin) : first + len(samples) + margin]
        length = len(near) + len(samples)
        found = np.fft.irfft(np.fft.rfft(near, length) * np.fft.rfft(samples, length).conj(), length)
        likeness = np.abs(found).max() / (np.linalg.norm(near) * np.linalg.norm(samples) + 1e-9)
        if likeness < 0.9:
            return f"what is to be at {at:.2f} s is not there: {likeness:.2f} alike"
    if np.abs(heard[silent]).max(initial=0) > 0.02:
        return "there is sound where silence should be"
    return ""


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
