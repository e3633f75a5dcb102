"""Raw samples that are not what their sender says they are, recognized from the samples themselves."""

import numpy as np

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.sources.ahead import START_BYTES, Ahead
from earshot_asr.engine.sources.headers import kind_of
from earshot_asr.engine.sources.raw import RawFormat
from earshot_asr.engine.sources.wav import plain_wav

HEARD_SECONDS: Seconds = 3.0
"""So much sound is judged, at the most so late as this in the stream:"""
LATEST_SECONDS: Seconds = 60.0
BLOCK_SECONDS: Seconds = 0.1
SOUND = 0.003
"""Magnitude of a block that is judged: silence has no form."""
ALIKE = 0.5
"""Neighbouring samples of one channel differ by as much, whichever is first; of two channels by another measure."""
FLOAT_SHARE = 0.9
"""Share of 16-bit words that look like the upper halves of floats between -1 and 1, if they are."""


class Doubts:
    """Listens to the beginning of a raw stream. `feed` returns a sentence once, if something is wrong.

    format    what the sender says
    """

    def __init__(self, format: RawFormat) -> None:
        self._format = format
        self._start = b""
        self._unheard = b""
        self._heard: list[bytes] = []
        self._seen_seconds: Seconds = 0.0
        self._done = False

    def feed(self, data: bytes) -> str:
        """Bytes as they come, cut anywhere. What is wrong, in a sentence; empty if nothing is, as far as is known."""
        if self._done:
            return ""
        if len(self._start) < START_BYTES:
            self._start += data[: START_BYTES - len(self._start)]
            if sentence := _headed(self._start, self._format):
                self._done = True
                return sentence
        return self._listen(data)

    def _listen(self, data: bytes) -> str:
        """Collects blocks in which there is sound, and judges them when there are enough."""
        data, at = self._unheard + data, 0
        size = round(BLOCK_SECONDS * self._format.sample_rate) * self._format.frame_bytes
        sentence = ""
        while len(data) - at >= size and not self._done:
            block, at = data[at : at + size], at + size
            self._seen_seconds += BLOCK_SECONDS
            if _magnitude(block, self._format) > SOUND:
                self._heard.append(block)
            enough = len(self._heard) * BLOCK_SECONDS >= HEARD_SECONDS
            if enough or self._seen_seconds > LATEST_SECONDS:
                self._done = True
                sentence = judged(b"".join(self._heard), self._format) if enough else ""
        self._unheard = data[at:]
        if self._done:
            self._unheard, self._heard = b"", []
        return sentence


def judged(data: bytes, format: RawFormat) -> str:
    """What is wrong with whole samples that have sound; empty if nothing is."""
    if format.encoding == "pcm_s16le" and _are_floats(data):
        return "the samples look like floats of 32 bits (pcm_f32le), but pcm_s16le was declared: this is heard as noise"
    if format.channels == 1 and _alternate(format.samples(data)[0]):
        return (
            "the samples look like those of two channels in turn, but one channel was declared: this is heard at half "
            "its speed"
        )
    return ""


def _headed(start: bytes, format: RawFormat) -> str:
    """Whether the bytes are the header of a file."""
    if (kind := kind_of(start)) is None:
        return ""
    if kind != "WAV":
        return f"the audio begins like {kind}, but {format.encoding} was declared: this is heard as noise"
    rest = [start]
    wav = plain_wav(Ahead(lambda size: rest.pop() if rest else b""))
    if wav is None:
        return "" if len(start) < START_BYTES else "the audio begins with the header of a WAV file, heard as a click"
    if wav.format == format:
        return "the audio begins with the header of a WAV file, heard as a click: send the samples only"
    return f"the audio begins with the header of a WAV file, which says {wav.format}, but {format} was declared"


def _magnitude(block: bytes, format: RawFormat) -> float:
    samples = format.samples(block)
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.nan_to_num(np.abs(samples)).mean())


def _are_floats(data: bytes) -> bool:
    """The upper half of a float between -1 and 1 that is no tiny one has one of a few exponents."""
    upper = np.frombuffer(data, "<u2")[1::2] & 0x7F80
    return bool(((upper >= 0x3700) & (upper <= 0x3F80)).mean() > FLOAT_SHARE)


def _alternate(samples: np.ndarray) -> bool:
    """Whether every other sample belongs together. In one channel pairs differ as much if they begin at odd samples."""
    x = samples.astype(np.float64)
    x = x[: len(x) // 2 * 2]
    within, across = np.mean((x[1::2] - x[::2]) ** 2), np.mean((x[2::2] - x[1:-1:2]) ** 2)
    next_one, next_but_one = np.mean(np.diff(x) ** 2), np.mean((x[2:] - x[:-2]) ** 2)
    return bool(min(within, across) < ALIKE * max(within, across) or next_but_one < ALIKE * next_one)
