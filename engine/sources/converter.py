"""Float samples of any rate, level and number of channels -> 16 kHz mono int16.

Everything is float32 up to the last step: channels are mixed, then resampled, then scaled, then rounded to int16. What
comes out never depends on how the samples were cut.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import soxr

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, to_pcm
from earshot_asr.engine.errors import AudioError

Samples: TypeAlias = npt.NDArray[np.float32]
"""Samples of any rate, shape (C, S), full scale at 1."""
Mono: TypeAlias = npt.NDArray[np.float32]
"""Samples of any rate, shape (S,)."""

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 8_000, 192_000
MOST_CHANNELS = 64

MIX_BLOCK_SECONDS = 0.02
"""Whether channels cancel one another out is judged once for each block of this length, from the stream's start on."""
MIX_MEMORY = 0.98
"""Weight of the past, per block, in the energies that are compared: they reach back about a second."""
CANCELLED_SHARE = 0.125
"""Channels cancel if their mean has less than this share of the energy that the loudest of them brings into it."""
CLEARLY_LOUDER = 1.5
"""Ratio of energies."""

LEVEL_BLOCK_SAMPLES = SAMPLE_RATE // 50
"""The gain may fall once in each block of this length, from the stream's start on."""
LEVEL_START_SAMPLES = SAMPLE_RATE
"""The first gain of a file is chosen from as many samples."""
OVERLOAD = 2.0
"""Samples are of another scale than full scale at 1 if a block has more than a few beyond this. Below it they are
clipped, as music that was mastered too loud is."""
OVERLOAD_COUNT = 16
"""How many samples of a block must be beyond it: a spike is no scale."""
FAINT, SILENT = 10 ** (-50 / 20), 10 ** (-78 / 20)
"""What begins fainter than the one and louder than the other is amplified before it is rounded to 16 bits."""
SPEECH_CREST = 8
"""Ratio of loudness to the median magnitude: speech has more, as it has pauses and syllables; noise has 5."""
LEVELLED = 0.1
"""The level to which what is too faint or too loud is brought: the rest is room for what is louder."""

_LARGEST = np.float32(1e15)
"""Samples are clipped here, so that neither a sum of them nor an energy is infinite."""
_EMPTY: Pcm = np.zeros(0, np.int16)


def check_format(sample_rate: int, channels: int) -> None:
    """Raises AudioError for a rate or a number of channels that is out of range."""
    if not LOWEST_RATE_HZ <= sample_rate <= HIGHEST_RATE_HZ:
        raise AudioError(f"sample rate is {sample_rate} Hz; it must be between {LOWEST_RATE_HZ} and {HIGHEST_RATE_HZ}")
    if not 1 <= channels <= MOST_CHANNELS:
        raise AudioError(f"there are {channels} channels; there must be between 1 and {MOST_CHANNELS}")


class CutShort(AudioError):
    """Audio that is wrong from some sample on. `before`: what was converted of the samples before it."""

    def __init__(self, message: str, before: Pcm) -> None:
        super().__init__(message)
        self.before = before


class Converter:
    """Float samples of any rate, which may change, -> 16 kHz mono int16.

    channel    the one to take, counted from 1; None: mix all
    start      how many samples at 16 kHz the first scale is chosen from; they are held back until all are there
    """

    def __init__(self, *, channel: int | None = None, start: int = 0) -> None:
        self._channel = channel
        self._format = (0, 0) if channel else (SAMPLE_RATE, 1)
        self._mixer = _Mixer(SAMPLE_RATE, 1)
        self._cancelled = False
        self._resampler: soxr.ResampleStream | None = None
        self._level = _Level(start)

    @property
    def cancelled(self) -> bool:
        """Whether channels cancelled one another out, so that the loudest was taken instead of their mean."""
        return self._cancelled or self._mixer.cancelled

    @property
    def gain(self) -> float:
        """The factor by which samples are scaled now."""
        return self._level.gain

    def feed(self, samples: Samples, rate: int) -> Pcm:
        """Samples (C, S) at `rate` -> what is certain of them, (S',).

        Raises CutShort for NaN and infinity, AudioError for a rate or number of channels that is out of range.
        """
        rest = self._change(rate, len(samples))
        if not samples.size:
            return rest
        flat = samples.ravel(order="K")
        with np.errstate(over="ignore"):
            energy = float(flat @ flat)
        if not energy < _LARGEST:  # one fast pass over all; what is not finite, or huge, is rare
            if not np.isfinite(samples).all():
                before = self.feed(samples[:, : int(np.isfinite(samples).all(axis=0).argmin())], rate)
                message = "there are float samples that are NaN or infinite; full scale is 1.0"
                raise CutShort(message, joined([rest, before]))
            samples = samples.clip(-_LARGEST, _LARGEST)
        mono = samples[self._channel - 1] if self._channel else self._mixer.feed(samples)
        return joined([rest, self._level.feed(self._resampled(mono))])

    def finish(self) -> Pcm:
        """The rest."""
        return joined([self._level.feed(self._flushed()), self._level.finish()])

    def _resampled(self, mono: Mono) -> Mono:
        if self._resampler is None:
            return mono
        resampled: Mono = self._resampler.resample_chunk(np.ascontiguousarray(mono))
        return resampled

    def _flushed(self) -> Mono:
        """What mixer and resampler still hold. The next samples may have any format."""
        rest = self._mixer.finish()
        if self._resampler is not None:
            rest = self._resampler.resample_chunk(rest, last=True)
        self._resampler, self._format = None, (0, 0)
        return rest

    def _change(self, rate: int, channels: int) -> Pcm:
        if (rate, channels) == self._format:
            return _EMPTY
        check_format(rate, channels)
        if self._channel and self._channel > channels:
            raise AudioError(f"there is no channel {self._channel}: {_counted(channels)}")
        rest = self._level.feed(self._flushed())
        self._cancelled = self.cancelled
        self._format, self._mixer = (rate, channels), _Mixer(rate, channels)
        if rate != SAMPLE_RATE:  # soxr's float32 stream does not depend on how it was cut, its int16 stream does
            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        return rest


class EachChannel:
    """Samples (C, S) of any rate -> 16 kHz int16, each channel for itself, (C, S'). See Converter.

    channels    how many there are. Raises AudioError if fewer come
    """

    def __init__(self, channels: int) -> None:
        self._converters = [Converter(channel=channel) for channel in range(1, channels + 1)]

    def feed(self, samples: Samples, rate: int) -> Pcm:
        """What is certain of them, equally much of each channel. Raises CutShort, AudioError as Converter does."""
        pieces, short = [], None
        for converter in self._converters:
            try:
                pieces.append(converter.feed(samples, rate))
            except CutShort as e:  # it comes for all of them, as all channels are looked at
                pieces.append(e.before)
                short = str(e)
        if short:
            raise CutShort(short, np.stack(pieces))
        return np.stack(pieces)

    def finish(self) -> Pcm:
        """The rest."""
        return np.stack([converter.finish() for converter in self._converters])


def _counted(channels: int) -> str:
    return "there is but one" if channels == 1 else f"there are {channels}"


class _Blocks:
    """Cuts samples (..., S) that come in any lengths into blocks of `size`, and keeps the rest."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rest: list[Samples] = []
        self._waiting = 0

    def feed(self, samples: Samples) -> Samples | None:
        """As many whole blocks as there are, one after the other; None if there is none."""
        self._rest.append(samples)
        self._waiting += samples.shape[-1]
        if self._waiting < self._size:
            return None
        everything = self._rest[0] if len(self._rest) == 1 else np.concatenate(self._rest, axis=-1)
        whole = self._waiting // self._size * self._size
        self._rest, self._waiting = [everything[..., whole:]], self._waiting - whole
        return everything[..., :whole]

    def finish(self) -> Samples | None:
        """The rest, shorter than a block; None if there is none."""
        rest, self._rest, waiting, self._waiting = self._rest, [], self._waiting, 0
        return np.concatenate(rest, axis=-1) if waiting else None


class _Mixer:
    """The mean of the channels; where they cancel one another out, the loudest of them. (C, S) -> (S,)."""

    def __init__(self, rate: int, channels: int) -> None:
        self.cancelled = False
        self._channels = channels
        self._size = round(rate * MIX_BLOCK_SECONDS)
        self._blocks = _Blocks(self._size)
        self._loudest = self._mean = 0.0  # their energies, of which the past weighs less and less
        self._energies = np.zeros(channels)  # of each channel, in blocks where they cancelled
        self._instead = 0

    def feed(self, samples: Samples) -> Mono:
        if self._channels == 1:
            mono: Mono = samples[0]
            return mono
        return self._mixed(self._blocks.feed(samples))

    def finish(self) -> Mono:
        return self._mixed(self._blocks.finish())

    def _mixed(self, samples: Samples | None) -> Mono:
        """Mixes whole blocks, or one that is shorter."""
        if samples is None:
            return np.zeros(0, np.float32)
        samples = np.ascontiguousarray(samples)
        mean: Mono = samples[0] + samples[1]
        for channel in samples[2:]:  # one after the other: numpy's own sum may depend on S
            mean += channel
        mean /= np.float32(self._channels)
        shape = (-1, min(self._size, len(mean)))
        blocks, mean_blocks = samples.reshape(self._channels, *shape), mean.reshape(shape)
        energies = np.einsum("cbs,cbs->cb", blocks, blocks)
        mean_energies = np.einsum("bs,bs->b", mean_blocks, mean_blocks)
        for block, (loudest, low) in enumerate(zip(energies.max(axis=0).tolist(), mean_energies.tolist(), strict=True)):
            self._loudest = MIX_MEMORY * self._loudest + loudest
            self._mean = MIX_MEMORY * self._mean + low
            if self._mean < CANCELLED_SHARE * self._loudest / self._channels**2:  # what it were with the others silent
                mean_blocks[block] = blocks[self._loudest_channel(energies[:, block]), block]
                self.cancelled = True
        return mean

    def _loudest_channel(self, energies: npt.NDArray[np.float32]) -> int:
        """The one to take for a block with these energies: another only if it is clearly louder, as signs differ."""
        self._energies += energies
        loudest = int(self._energies.argmax())
        if self._energies[loudest] > CLEARLY_LOUDER * self._energies[self._instead]:
            self._instead = loudest
        return self._instead


class _Level:
    """Scales samples at 16 kHz that are far from full scale, then rounds them. The gain only ever falls.

    Recorders write floats in the range of int16, or amplify without a limit: clipped, that would be noise. What is very
    faint would be lost in rounding.
    """

    def __init__(self, start: int) -> None:
        self.gain = 1.0
        self._blocks = _Blocks(max(start, LEVEL_BLOCK_SAMPLES))
        self._started = start == 0

    def feed(self, samples: Mono) -> Pcm:
        blocks = self._blocks.feed(samples)
        if blocks is None:
            return _EMPTY
        if not self._started:
            return self._begin(blocks)
        return self._scaled(blocks)

    def finish(self) -> Pcm:
        rest = self._blocks.finish()
        if rest is None:
            return _EMPTY
        if not self._started:
            self._choose(rest)
        return self._scaled(rest)

    def _begin(self, samples: Mono) -> Pcm:
        """All that came before the first gain is given out with it."""
        rest = self._blocks.finish()
        self._blocks = _Blocks(LEVEL_BLOCK_SAMPLES)
        self._choose(samples[:LEVEL_START_SAMPLES])
        return self.feed(samples if rest is None else np.concatenate([samples, rest]))

    def _choose(self, samples: Mono) -> None:
        """The first gain. Noise, however faint, is none to amplify: what is said behind it may be as loud as ever."""
        self._started = True
        loud = _loudness(samples)
        faint = SILENT < loud < FAINT and loud > SPEECH_CREST * float(np.median(np.abs(samples)))
        if faint or loud > OVERLOAD:
            self.gain = LEVELLED / loud

    def _scaled(self, samples: Mono) -> Pcm:
        if _peak(samples) * self.gain <= self._limit:
            return to_pcm(samples * np.float32(self.gain))
        blocks = (samples[i : i + LEVEL_BLOCK_SAMPLES] for i in range(0, len(samples), LEVEL_BLOCK_SAMPLES))
        return joined([self._one(block) for block in blocks])

    def _one(self, block: Mono) -> Pcm:
        if (loud := _loudness(block)) * self.gain > self._limit:
            right = self.gain > 1 and FAINT < loud <= OVERLOAD  # full scale was right
            self.gain = 1.0 if right else min(self.gain, LEVELLED / loud)
        return to_pcm(block * np.float32(self.gain))

    @property
    def _limit(self) -> float:
        return OVERLOAD if self.gain == 1 else 1.0


def _peak(samples: Samples) -> float:
    """The largest magnitude; NaN if there is one."""
    return float(np.maximum(samples.max(), -samples.min()))


def _loudness(samples: Mono) -> float:
    """The magnitude that all but a few samples stay below."""
    count = min(OVERLOAD_COUNT, len(samples))
    return float(np.partition(np.abs(samples), -count)[-count])


def joined(pieces: list[Pcm]) -> Pcm:
    """One array of several."""
    filled = [piece for piece in pieces if len(piece)]
    return filled[0] if len(filled) == 1 else np.concatenate([_EMPTY, *filled])
