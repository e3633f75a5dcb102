"""Rooms: what arrives first is known, and how it dies away."""

import math

import numpy as np
import pytest

from earshot_asr.engine.audio import SAMPLE_RATE
from earshot_asr.engine.training.data.rooms import (
    LEAD_SAMPLES,
    RESPONSE_SAMPLES,
    SOUND_METRES_A_SECOND,
    random_rooms,
    shoebox,
    trimmed,
)

SIZE, SOURCE, MICROPHONE = (5.0, 4.0, 3.0), (1.2, 1.1, 1.4), (3.7, 2.5, 1.2)
BETA = 0.7


def images() -> list[tuple[float, float]]:
    """Path and reflection of the direct sound and of those that meet one wall, by hand: the source in a mirror."""
    paths = [(math.dist(SOURCE, MICROPHONE), 1.0)]
    for axis in range(3):
        for wall in (0.0, SIZE[axis]):
            mirrored = list(SOURCE)
            mirrored[axis] = 2 * wall - SOURCE[axis]
            paths.append((math.dist(mirrored, MICROPHONE), BETA))
    return sorted(paths)


def test_direct_sound_and_first_reflections() -> None:
    """Of what arrives before any path over two walls, time and pressure are known to the sample."""
    response = shoebox(SIZE, SOURCE, MICROPHONE, BETA, 2000)
    expected = np.zeros(2000)
    for path, reflection in images():
        at, loud = path / SOUND_METRES_A_SECOND * SAMPLE_RATE, reflection / (4 * math.pi * path)
        expected[int(at)] += loud * (1 - at % 1)
        expected[int(at) + 1] += loud * (at % 1)
    twice = min(  # over the two nearest walls of different axes
        math.dist((a * SOURCE[0], b * SOURCE[1], c * SOURCE[2]), MICROPHONE)
        for a, b, c in ((-1, -1, 1), (-1, 1, -1), (1, -1, -1))
    )
    over_ceiling = [2 * size - place for size, place in zip(SIZE, SOURCE, strict=True)]
    mixed = [
        math.dist((over_ceiling[0], -SOURCE[1], SOURCE[2]), MICROPHONE),
        math.dist((SOURCE[0], over_ceiling[1], -SOURCE[2]), MICROPHONE),
        math.dist((SOURCE[0], -SOURCE[1], over_ceiling[2]), MICROPHONE),
        math.dist((over_ceiling[0], over_ceiling[1], SOURCE[2]), MICROPHONE),
        math.dist((SOURCE[0], over_ceiling[1], over_ceiling[2]), MICROPHONE),
    ]
    until = int(min(twice, *mixed) / SOUND_METRES_A_SECOND * SAMPLE_RATE) - 1
    assert np.count_nonzero(expected[:until]) >= 8  # the direct sound and three walls at least
    assert response[:until] == pytest.approx(expected[:until], abs=1e-7)


def test_in_the_open() -> None:
    response = shoebox(SIZE, SOURCE, MICROPHONE, 0.0, 4000)
    assert np.count_nonzero(response) <= 2
    assert response.sum() == pytest.approx(1 / (4 * math.pi * math.dist(SOURCE, MICROPHONE)), rel=1e-6)


def test_both_ways_are_the_same() -> None:
    there, back = shoebox(SIZE, SOURCE, MICROPHONE, BETA, 3000), shoebox(SIZE, MICROPHONE, SOURCE, BETA, 3000)
    assert there == pytest.approx(back, abs=1e-6)


@pytest.mark.parametrize("reflection", [0.6, 0.75, 0.9])
def test_decay_is_about_eyrings(reflection: float) -> None:
    """60 dB in 0.161 V / (-S ln(1 - a)) seconds; sound that comes and goes between two smooth walls lasts longer."""
    walls = 2 * (SIZE[0] * SIZE[1] + SIZE[1] * SIZE[2] + SIZE[0] * SIZE[2])
    expected = 0.161 * math.prod(SIZE) / (-walls * math.log(reflection**2))
    energy = np.cumsum(shoebox(SIZE, SOURCE, MICROPHONE, reflection, RESPONSE_SAMPLES).astype(np.float64)[::-1] ** 2)[
        ::-1
    ]
    db = 10 * np.log10(energy / energy[0])
    early, late = np.argmax(db < -5), np.argmax(db < -25)
    assert 0.9 * expected < 3 * (late - early) / SAMPLE_RATE < 1.7 * expected


def test_random_rooms() -> None:
    rooms = random_rooms(3, np.random.default_rng(0))
    assert rooms.shape == (3, RESPONSE_SAMPLES)
    assert rooms.dtype == np.float32
    assert np.isfinite(rooms).all()
    assert np.linalg.norm(rooms, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.abs(rooms).argmax(axis=1).tolist() == [LEAD_SAMPLES] * 3
    spectrum = np.abs(np.fft.rfft(rooms, axis=1))
    assert (spectrum[:, 0] < 0.05 * spectrum.max(axis=1)).all()
    assert np.array_equal(rooms, random_rooms(3, np.random.default_rng(0)))
    assert not np.array_equal(rooms[0], rooms[1])
    assert random_rooms(0, np.random.default_rng(0)).shape == (0, RESPONSE_SAMPLES)


@pytest.mark.parametrize("direct", [0, 3, 5000])
def test_trimmed(direct: int) -> None:
    measured = np.zeros(6000, np.int16)
    measured[direct] = -20_000
    measured[direct + 100] = 10_000
    response = trimmed(measured)
    assert response.shape == (RESPONSE_SAMPLES,)
    at = min(direct, LEAD_SAMPLES)
    assert response[at] == pytest.approx(-2 * response[at + 100])
    assert np.linalg.norm(response) == pytest.approx(1)
    assert not trimmed(np.zeros(10, np.int16)).any()
