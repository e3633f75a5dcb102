"""Impulse responses of rooms: measured ones cut to size, and computed ones of rooms with six flat walls."""

import math

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm

SOUND_METRES_A_SECOND = 343.0
RESPONSE_SAMPLES = SAMPLE_RATE // 2
"""Length of a response. Later sound is 60 dB lower in rooms in which people talk."""
LEAD_SAMPLES = 8
"""Samples of a response before its direct sound."""
LOWEST_HERTZ = 60.0
"""Lower frequencies are removed: all images have one sign, and their sum a constant part that air does not carry."""

Response = npt.NDArray[np.float32]
Place = tuple[float, float, float]


def shoebox(
    size: Place, source: Place, microphone: Place, reflection: float, length: int = RESPONSE_SAMPLES
) -> Response:
    """The response of a room (length,), with an image of the source for each path over its walls.

    size, source, microphone   in metres
    reflection                 factor of the walls on the sound pressure, 0 to 1

    As Allen & Berkley, "Image method for efficiently simulating small-room acoustics" (1979), but that a delay between
    two samples is shared by both.
    """
    reach = SOUND_METRES_A_SECOND * length / SAMPLE_RATE
    axes = [_images(*axis, reach) for axis in zip(size, source, microphone, strict=True)]
    x, y, z = np.ix_(*(away**2 for away, _ in axes))
    distance = np.sqrt(x + y + z)
    bounces = sum(np.ix_(*(bounced for _, bounced in axes)))
    near = distance < reach - SOUND_METRES_A_SECOND / SAMPLE_RATE
    distance, bounces = distance[near], np.broadcast_to(bounces, near.shape)[near]
    at, loud = distance * (SAMPLE_RATE / SOUND_METRES_A_SECOND), reflection**bounces / (4 * math.pi * distance)
    whole = at.astype(np.int64)
    early = np.bincount(whole, loud * (1 - at + whole), minlength=length)
    late = np.bincount(whole + 1, loud * (at - whole), minlength=length)
    return (early[:length] + late[:length]).astype(np.float32)


def _images(size: float, source: float, microphone: float, reach: float) -> tuple[npt.NDArray[np.float64], ...]:
    """For each image along one axis its distance from the microphone, and the reflections on the way."""
    order = np.arange(-math.ceil(reach / size / 2) - 1, math.ceil(reach / size / 2) + 2)
    away = [2 * order * size + sign * source - microphone for sign in (1, -1)]
    bounced = [2 * np.abs(order), np.abs(order) + np.abs(order - 1)]
    return np.concatenate(away), np.concatenate(bounced).astype(np.float64)


def random_rooms(count: int, rng: np.random.Generator) -> Response:
    """Responses (count, RESPONSE_SAMPLES) of rooms from a closet to a hall.

    Reverberation times are 0.15 to 0.8 s, and talkers at least 0.3 m away.
    """
    return np.stack([_random_room(rng) for _ in range(count)]) if count else np.zeros((0, RESPONSE_SAMPLES), np.float32)


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
    """The response without frequencies below LOWEST_HERTZ, by a filter with a zero at 0 Hz and a pole beside it."""
    pole = math.exp(-2 * math.pi * LOWEST_HERTZ / SAMPLE_RATE)
    filter = (pole - 1) * pole ** (np.arange(len(response)) - 1)
    filter[0] = 1
    n = 2 * len(response)
    filtered = np.fft.irfft(np.fft.rfft(response, n) * np.fft.rfft(filter, n), n)[: len(response)]
    return filtered.astype(np.float32)


def trimmed(response: Response | Pcm) -> Response:
    """The response (RESPONSE_SAMPLES,) from shortly before its direct sound, the loudest sample, with energy 1."""
    direct = int(np.abs(response.astype(np.float32)).argmax())
    kept = response[max(0, direct - LEAD_SAMPLES) :][:RESPONSE_SAMPLES].astype(np.float32)
    out = np.zeros(RESPONSE_SAMPLES, np.float32)
    out[: len(kept)] = kept
    energy = float(np.linalg.norm(out))
    return out / np.float32(energy) if energy else out
