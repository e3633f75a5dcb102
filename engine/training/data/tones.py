"""Sounds of telephones and instruments that are no speech: keys, dial tones, beeps, sweeps. Random, but as they are."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds, to_pcm

Wave = npt.NDArray[np.float64]

KEY_ROWS_HERTZ = (697, 770, 852, 941)
KEY_COLUMNS_HERTZ = (1209, 1336, 1477, 1633)
"""A telephone key sounds as a row and a column at once (ITU-T Q.23)."""
LINE_TONES_HERTZ = ((350, 440), (440, 480), (480, 620), (425,), (400,), (1400,), (950,), (2100,), (1100,))
"""Dial, ringing and busy tones (ITU-T E.180), and those of modems and fax machines."""
LEVEL = 0.1


def tones(rng: np.random.Generator, seconds: Seconds) -> Pcm:
    """Such sounds one after the other, each of another kind, pitch, rhythm and length: (S,)."""
    samples, pieces = 0, []
    while samples < seconds * SAMPLE_RATE:
        pieces.append(_KINDS[rng.integers(len(_KINDS))](rng))
        samples += len(pieces[-1])
    wave = np.concatenate(pieces)[: round(seconds * SAMPLE_RATE)]
    return to_pcm(wave.astype(np.float32))


def _keys(rng: np.random.Generator) -> Wave:
    """A number that is dialled: 3 to 12 keys of 50 to 400 ms."""
    on, off = rng.uniform(0.05, 0.4), rng.uniform(0.04, 0.4)
    pairs = [(rng.choice(KEY_ROWS_HERTZ), rng.choice(KEY_COLUMNS_HERTZ)) for _ in range(rng.integers(3, 13))]
    return np.concatenate([part for pair in pairs for part in (_chord(pair, on), _silence(off))])


def _line(rng: np.random.Generator) -> Wave:
    """A tone of the line, steady or in a rhythm."""
    hertz = LINE_TONES_HERTZ[rng.integers(len(LINE_TONES_HERTZ))]
    if rng.random() < 0.4:
        return _chord(hertz, rng.uniform(1, 4))
    on, off = rng.uniform(0.15, 1.5), rng.uniform(0.15, 1.5)
    return np.concatenate([part for _ in range(rng.integers(2, 6)) for part in (_chord(hertz, on), _silence(off))])


def _beeps(rng: np.random.Generator) -> Wave:
    """One to four beeps of any pitch, pure or with overtones."""
    lowest, overtones = rng.uniform(150, 3500), rng.integers(1, 5)
    hertz = [lowest * n for n in range(1, overtones + 1) if lowest * n < SAMPLE_RATE / 2]
    on, off = rng.uniform(0.05, 1.0), rng.uniform(0.05, 0.8)
    return np.concatenate([part for _ in range(rng.integers(1, 5)) for part in (_chord(hertz, on), _silence(off))])


def _sweep(rng: np.random.Generator) -> Wave:
    """A pitch that glides, evenly in octaves."""
    low, high = rng.uniform(50, 800), rng.uniform(1200, 7800)
    from_hertz, to_hertz = (low, high) if rng.random() < 0.5 else (high, low)
    share = np.linspace(0, 1, round(rng.uniform(0.5, 8) * SAMPLE_RATE), endpoint=False)
    hertz = from_hertz * (to_hertz / from_hertz) ** share
    return _faded(LEVEL * np.sin(2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE))


def _chord(hertz: tuple[int, ...] | list[float], seconds: Seconds) -> Wave:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = sum((np.sin(2 * np.pi * one * time) for one in hertz), np.zeros_like(time))
    return _faded(LEVEL / np.sqrt(len(hertz)) * wave)


def _faded(wave: Wave, seconds: Seconds = 0.003) -> Wave:
    edge = min(round(seconds * SAMPLE_RATE), len(wave) // 2)
    slope = np.linspace(0, 1, edge)
    wave[:edge] *= slope
    wave[len(wave) - edge :] *= slope[::-1]
    return wave


def _silence(seconds: Seconds) -> Wave:
    return np.zeros(round(seconds * SAMPLE_RATE))


_KINDS: tuple[Callable[[np.random.Generator], Wave], ...] = (_keys, _line, _beeps, _sweep)
