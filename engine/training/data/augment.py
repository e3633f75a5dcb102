"""Augmentation of speech: rooms, noise, telephones, codecs, microphones, gain.

All of it runs on the device for a batch (B, S) at once. numpy's generator alone decides what is done, so a CPU and a
GPU give the same result, and nothing waits for the GPU. Parameters have a value for each row, (B, 1), and rows are
independent.
"""

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, to_pcm
from earshot_asr.engine.training.data.corpus import Filter, open_corpus
from earshot_asr.engine.training.data.rooms import RESPONSE_SAMPLES, random_rooms, trimmed
from earshot_asr.engine.training.data.tones import tones

SILENCE_LEVEL = 1e-5
"""Share of full scale below which sound is silence."""
HISS_SAMPLES = 1 << 21
"""Samples of white noise that are kept; each row takes a random part of them."""
COLOURED_SAMPLES = 30 * SAMPLE_RATE
"""Samples of each colour of noise that are made."""
TONES_SECONDS = 90.0
"""How long the keys, dial tones, beeps and sweeps are that are made: they are no speech, but have pitches as it has."""
MU = 255.0
EDGE_HERTZ = 120.0
"""Width of the slope of a band limit, from no signal to all of it."""
TOP_MEL = 2840.0
"""8 kHz on the mel scale."""


# ---- one thing each


def level(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Root mean square of rows (B, S) -> (B, 1), over their first `lengths` (B, 1) samples."""
    energy = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    root: Tensor = energy / (math.sqrt(x.shape[1]) if lengths is None else lengths.float().clamp_min(1.0).sqrt())
    return root


def decibels(db: Tensor) -> Tensor:
    """Decibels as a factor on amplitudes."""
    factor: Tensor = torch.pow(10.0, db / 20)
    return factor


def add_noise(x: Tensor, noise: Tensor, snr: Tensor, loud: Tensor) -> Tensor:
    """Adds noise (B, S), `snr` (B, 1) dB below `loud` (B, 1), which is the root mean square of the speech."""
    y: Tensor = torch.addcmul(x, noise, loud * decibels(-snr) / (level(noise) + SILENCE_LEVEL))
    return y


def reverberate(x: Tensor, responses: Tensor) -> Tensor:
    """Rows (B, S) in rooms with responses (B, K): as loud and as long as before, delayed by a response's lead."""
    n = fast_length(x.shape[1] + responses.shape[1])
    y: Tensor = torch.fft.irfft(torch.fft.rfft(x, n) * torch.fft.rfft(responses, n), n)[:, : x.shape[1]]
    return y.mul_(level(x) / (level(y) + SILENCE_LEVEL))


def limit_band(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Removes what is below `low` and above `high`, (B, 1) in Hz."""
    n = fast_length(x.shape[1])
    y: Tensor = torch.fft.irfft(torch.fft.rfft(x, n) * _band(n, low, high), n)[:, : x.shape[1]]
    return y


def _band(n: int, low: Tensor, high: Tensor) -> Tensor:
    hertz = torch.arange(n // 2 + 1, device=low.device) * (SAMPLE_RATE / n)
    rising = ((hertz - low) / EDGE_HERTZ).clamp_(0, 1)
    falling = ((high - hertz) / EDGE_HERTZ).clamp_(0, 1)
    return 0.5 - 0.5 * torch.cos(math.pi * rising * falling)


def stop_band(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Removes what is between `low` and `high`, (B, 1) in Hz: SpecAugment's mask of frequencies (Park et al. 2019)."""
    n = fast_length(x.shape[1])
    y: Tensor = torch.fft.irfft(torch.fft.rfft(x, n) * (1 - _band(n, low, high)), n)[:, : x.shape[1]]
    return y


def hertz_of(mel: Tensor) -> Tensor:
    """From Kaldi's mel scale to Hz."""
    hertz: Tensor = 700 * torch.expm1(mel / 1127)
    return hertz


def telephone(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """A band of the sound at 8 kHz in eight bits of mu-law (ITU-T G.711), and back to 16 kHz.

    low, high   (B, 1) edges of the band in Hz; full scale is the row's peak
    """
    n = fast_length(x.shape[1])
    spectrum = torch.fft.rfft(x, n) * _band(n, low, high)
    slow = torch.fft.irfft(spectrum[:, : n // 4 + 1], n // 2)
    peak = slow.abs().amax(1, keepdim=True) + SILENCE_LEVEL
    y = torch.fft.rfft(mu_law(slow / peak) * peak)
    z: Tensor = torch.fft.irfft(torch.nn.functional.pad(y, (0, n // 2 - n // 4)), n)[:, : x.shape[1]]
    return z


def mu_law(x: Tensor) -> Tensor:
    """Samples in [-1, 1] after a round trip through eight bits."""
    code = torch.round(torch.log1p(MU * x.abs()) / math.log1p(MU) * 127)
    return x.sign() * torch.expm1(code / 127 * math.log1p(MU)) / MU


def compress(x: Tensor, coarse: Tensor) -> Tensor:
    """The sound after a codec of few bits: a short-time spectrum rounded to steps.

    coarse   (B, 1) the step of each band, as a factor on its level; what is below half a step disappears
    """
    half = 256
    window = torch.hann_window(2 * half, device=x.device).sqrt_()  # applied twice; two windows that overlap add up to 1
    frames = torch.nn.functional.pad(x, (half, half + -x.shape[1] % half)).unfold(1, 2 * half, half)
    spectrum = torch.view_as_real(torch.fft.rfft(frames * window))[:, :, :half]  # (B, T, 256, 2)
    bands = spectrum.reshape(*spectrum.shape[:2], 16, 16, 2)
    rising = torch.linspace(0.5, 1.5, 16, device=x.device)[:, None, None]  # high bands get fewer bits
    step = bands.square().mean((3, 4), keepdim=True).sqrt_() * rising * coarse[:, :, None, None, None] + 1e-9
    kept = (bands / step).round_().mul_(step).flatten(2, 3)
    y = torch.fft.irfft(torch.view_as_complex(kept), 2 * half) * window
    joined: Tensor = (y[:, :-1, half:] + y[:, 1:, :half]).flatten(1)[:, : x.shape[1]]
    return joined


def clip(x: Tensor, share: Tensor) -> Tensor:
    """Clips each row at a share (B, 1) of its peak."""
    most = x.abs().amax(1, keepdim=True) * share
    return torch.minimum(torch.maximum(x, -most), most)


def add_hum(x: Tensor, hertz: Tensor, loud: Tensor, offset: Tensor) -> Tensor:
    """Adds mains hum with two harmonics, and a constant offset; `loud` and `offset` (B, 1) are of full scale."""
    turn = torch.arange(x.shape[1], device=x.device) * (2 * math.pi / SAMPLE_RATE) * hertz
    return x + loud * (turn.sin() + 0.5 * (2 * turn).sin() + 0.3 * (3 * turn).sin()) + offset


def scale(x: Tensor, peak: Tensor) -> Tensor:
    """Scales each row so that its loudest sample is at `peak` (B, 1) dB of full scale; silence stays silent."""
    return x * (decibels(peak) / (x.abs().amax(1, keepdim=True) + SILENCE_LEVEL))


@lru_cache(maxsize=64)
def fast_length(n: int) -> int:
    """The next length divisible by 4 and with no factors but 2, 3 and 5, which Fourier transforms are fast for."""
    n = -(-n // 4) * 4
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 4


# ---- all of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Chances:
    """The chance of each change to a row. `noise` is near the level of speech, `hiss` far below it."""

    room: float = 0.25
    gap: float = 0.35
    noise: float = 0.35
    hiss: float = 0.8
    band: float = 0.08
    telephone: float = 0.06
    codec: float = 0.06
    clipping: float = 0.03
    hum: float = 0.03

    def scaled(self, factor: float) -> "Chances":
        """The chances times a factor, each at most 1."""
        return Chances(**{f.name: min(1.0, getattr(self, f.name) * factor) for f in fields(self)})


class Augmentation:
    """Applies the changes above at random to batches.

    noise     (N,) int16: noise and music, one after the other
    rooms     (R, K) float32: responses of rooms
    factor    on all chances; 0: only the gain changes
    """

    def __init__(
        self, noise: Tensor, rooms: Tensor, *, factor: float = 1.0, chances: Chances | None = None, seed: int = 0
    ) -> None:
        self.factor = factor
        self.chances = (chances or Chances()).scaled(factor)
        self.device = noise.device
        self._rooms = rooms.to(self.device)
        self._noise = noise
        generator = torch.Generator().manual_seed(seed)
        self._hiss = torch.randn(HISS_SAMPLES, generator=generator).to(self.device)

    @classmethod
    def open(
        cls,
        device: torch.device,
        cache: Path,
        manifest: Path | None = None,
        *,
        factor: float = 1.0,
        rooms: int = 48,
        seed: int = 0,
    ) -> Self:
        """With two colours of noise, tones, computed rooms, and what a manifest has.

        manifest    noise, music and responses of rooms (`kind` rir), of which only the split train is used
        rooms       number of rooms that are computed

        Raises ConfigError and AudioError, as open_corpus does.
        """
        rng = np.random.default_rng(seed)
        noise, responses = [_coloured(rng, power) for power in (0.5, 1.0)], list(random_rooms(rooms, rng))
        noise.append(tones(rng, TONES_SECONDS))
        if manifest is not None:
            wanted = Filter(longest=math.inf, splits=("train",), transcribed=False)
            corpus = open_corpus([manifest], cache, filter=wanted, quiet=True)
            for n, row in enumerate(corpus.rows):
                if row.kind == "rir":
                    responses += [trimmed(corpus.pcm(n))] * max(1, rooms // 8)  # measured responses are few, but real
                else:
                    noise.append(np.asarray(corpus.pcm(n)))
        stacked = torch.from_numpy(np.stack(responses)) if responses else torch.zeros(0, RESPONSE_SAMPLES)
        return cls(torch.from_numpy(np.concatenate(noise)).to(device), stacked, factor=factor, seed=seed)

    @torch.no_grad()
    def __call__(
        self,
        x: Tensor,
        rng: np.random.Generator,
        lengths: Tensor | None = None,
        empty: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None,
    ) -> Tensor:
        """Changes speech (B, S), in place where it can; samples beyond `lengths` (B,) become 0.

        empty    (B,) whether a row has no speech; such rows always get noise, of any level
        """
        count, samples = x.shape
        empty = np.zeros(count, bool) if empty is None else empty
        draw = _Draw(rng, count, x.device)
        ends = None if lengths is None else lengths.to(x.device)[:, None]
        if (rows := draw.rows(self.chances.room)) is not None and len(self._rooms):
            x[rows] = reverberate(x[rows], self._rooms[draw.numbers(len(self._rooms), len(rows))])
        if (rows := draw.rows(self.chances.gap)) is not None:
            middle, width = draw.uniform(0, TOP_MEL)[rows], draw.uniform(0, TOP_MEL / 5)[rows]
            x[rows] = stop_band(x[rows], hertz_of(middle - width / 2), hertz_of(middle + width / 2))
        loud = torch.where(draw.send(empty), decibels(draw.uniform(-60, -20)), level(x, ends))
        if (rows := draw.rows(self.chances.noise, empty)) is not None:
            some = stretches(self._noise, draw.numbers(max(1, len(self._noise) - samples), len(rows)), samples)
            x[rows] = add_noise(x[rows], some.float() / 32768, draw.uniform(5, 28)[rows], loud[rows])
        if (rows := draw.rows(self.chances.hiss)) is not None:
            some = stretches(self._hiss, draw.numbers(max(1, HISS_SAMPLES - samples), len(rows)), samples)
            x[rows] = add_noise(x[rows], some, draw.uniform(20, 60)[rows], loud[rows])
        if (rows := draw.rows(self.chances.band)) is not None:
            x[rows] = limit_band(x[rows], draw.uniform(0, 150)[rows], draw.uniform(3500, 7500)[rows])
        if (rows := draw.rows(self.chances.telephone)) is not None:
            x[rows] = telephone(x[rows], draw.uniform(200, 350)[rows], draw.uniform(3200, 3600)[rows])
        if (rows := draw.rows(self.chances.codec)) is not None:
            x[rows] = compress(x[rows], draw.uniform(0.5, 2.5)[rows])
        if (rows := draw.rows(self.chances.clipping)) is not None:
            x[rows] = clip(x[rows], draw.uniform(0.15, 0.6)[rows])
        if (rows := draw.rows(self.chances.hum)) is not None:
            peak = x[rows].abs().amax(1, keepdim=True)
            hertz = 50 + 10 * (draw.uniform(0, 1)[rows] < 0.5).float()
            hum, offset = draw.uniform(-45, -20)[rows], draw.uniform(-0.1, 0.1)[rows]
            x[rows] = add_hum(x[rows], hertz, peak * decibels(hum), peak * offset)
        if ends is not None:
            x.masked_fill_(torch.arange(samples, device=x.device) >= ends, 0.0)
        return scale(x, draw.uniform(-26, -1))


def stretches(source: Tensor, begins: Tensor, length: int) -> Tensor:
    """Rows (B, length) of a signal (N,), which begin at `begins` (B,); a shorter signal is repeated."""
    if len(source) <= length:
        source = source.repeat(length // len(source) + 2)
    return source.unfold(0, length, 1)[begins]


class _Draw:
    """Random numbers for B rows."""

    def __init__(self, rng: np.random.Generator, count: int, device: torch.device) -> None:
        self.rng, self.count, self.device = rng, count, device

    def send(self, values: np.ndarray[tuple[int], np.dtype[np.generic]]) -> Tensor:
        """(B,) -> (B, 1) on the device."""
        column = torch.from_numpy(values[:, None])
        return column.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else column

    def uniform(self, low: float, high: float) -> Tensor:
        """Uniform numbers (B, 1)."""
        return self.send(self.rng.uniform(low, high, self.count).astype(np.float32))

    def numbers(self, below: int, count: int) -> Tensor:
        """Whole numbers (count,) int64, from 0 on and below `below`."""
        return self.send(self.rng.integers(0, below, count))[:, 0]

    def rows(self, chance: float, always: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None) -> Tensor | None:
        """The rows (rows,) int64 that are chosen, each by chance or `always` (B,); None if none is."""
        chosen = self.rng.random(self.count) < chance
        rows = np.flatnonzero(chosen if always is None else chosen | always)
        return self.send(rows)[:, 0] if len(rows) else None


def _coloured(rng: np.random.Generator, power: float) -> Pcm:
    """Noise whose amplitudes fall with this power of the frequency: 0.5 is pink, 1 is brown."""
    spectrum = np.fft.rfft(rng.standard_normal(COLOURED_SAMPLES))
    spectrum /= np.maximum(np.arange(len(spectrum)), len(spectrum) * 40 / (SAMPLE_RATE / 2)) ** power
    samples = np.fft.irfft(spectrum, COLOURED_SAMPLES)
    return to_pcm((samples * (0.1 / samples.std())).astype(np.float32))
