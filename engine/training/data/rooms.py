"""Room responses: measured ones cut to size, and those of rooms with six flat walls, by the image method."""

import math

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm

SOUND = 343.0
"""Metres a second."""
LENGTH = SAMPLE_RATE // 2
"""Samples of a response; what comes later is 60 dB down in rooms one can talk in."""
LEAD = 8
"""Samples before its direct sound."""
LOWEST = 60.0
"""Hz. All images have one sign, so their sum has a strong constant part, which air does not carry."""

Response = npt.NDArray[np.float32]
Place = tuple[float, float, float]


def shoebox(size: Place, source: Place, microphone: Place, reflection: float, length: int = LENGTH) -> Response:
    """From the moment of the sound on, (length,): an image of the source for each way around the walls.

    Allen & Berkley, "Image method for efficiently simulating small-room acoustics" (1979), with delays between two
    samples shared by both. Metres; reflection: of the walls' sound pressure, 0 to 1.
    """
    reach = SOUND * length / SAMPLE_RATE
    axes = [_images(*axis, reach) for axis in zip(size, source, microphone, strict=True)]
    x, y, z = np.ix_(*(away**2 for away, _ in axes))
    distance = np.sqrt(x + y + z)
    bounces = sum(np.ix_(*(bounced for _, bounced in axes)))
    near = distance < reach - SOUND / SAMPLE_RATE
    distance, bounces = distance[near], np.broadcast_to(bounces, near.shape)[near]
    at, loud = distance * (SAMPLE_RATE / SOUND), reflection**bounces / (4 * math.pi * distance)
    whole = at.astype(np.int64)
    early = np.bincount(whole, loud * (1 - at + whole), minlength=length)
    late = np.bincount(whole + 1, loud * (at - whole), minlength=length)
    return (early[:length] + late[:length]).astype(np.float32)


def _images(size: float, source: float, microphone: float, reach: float) -> tuple[npt.NDArray[np.float64], ...]:
    """Along one axis: how far each image is from the microphone, and how often a wall is met on the way."""
    order = np.arange(-math.ceil(reach / size / 2) - 1, math.ceil(reach / size / 2) + 2)
    away = [2 * order * size + sign * source - microphone for sign in (1, -1)]
    bounced = [2 * np.abs(order), np.abs(order) + np.abs(order - 1)]
    return np.concatenate(away), np.concatenate(bounced).astype(np.float64)


def random_rooms(count: int, rng: np.random.Generator) -> Response:
    """(count, LENGTH): from a closet to a hall, reverberation times of 0.15 to 0.8 s, talkers 0.3 m away and more."""
    return np.stack([_random_room(rng) for _ in range(count)]) if count else np.zeros((0, LENGTH), np.float32)


def _random_room(rng: np.random.Generator) -> Response:
    size = rng.uniform((2.2, 2.2, 2.2), (8.0, 6.0, 3.6))
    walls = 2 * (size[0] * size[1] + size[1] * size[2] + size[0] * size[2])
    decay = rng.uniform(0.15, 0.8)
    absorbed = 1 - math.exp(-0.161 * size.prod() / (walls * decay))  # Eyring (1930)
    while True:
        source, microphone = rng.uniform(0.3, size - 0.3), rng.uniform(0.3, size - 0.3)
        if np.linalg.norm(source - microphone) > 0.3:
            break
    return trimmed(_audible(shoebox(tuple(size), tuple(source), tuple(microphone), math.sqrt(1 - absorbed))))


def _audible(response: Response) -> Response:
    """Without what is below LOWEST: a zero at 0 Hz and a pole beside it, whose own response is a fading exponential."""
    pole = math.exp(-2 * math.pi * LOWEST / SAMPLE_RATE)
    filter = (pole - 1) * pole ** (np.arange(len(response)) - 1)
    filter[0] = 1
    n = 2 * len(response)
    filtered = np.fft.irfft(np.fft.rfft(response, n) * np.fft.rfft(filter, n), n)[: len(response)]
    return filtered.astype(np.float32)


def trimmed(response: Response | Pcm) -> Response:
    """(LENGTH,) from shortly before the direct sound, the loudest sample, on; energy 1."""
    direct = int(np.abs(response.astype(np.float32)).argmax())
    kept = response[max(0, direct - LEAD) :][:LENGTH].astype(np.float32)
    out = np.zeros(LENGTH, np.float32)
    out[: len(kept)] = kept
    energy = float(np.linalg.norm(out))
    return out / np.float32(energy) if energy else out
