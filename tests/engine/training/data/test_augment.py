"""What is done to sound: each thing does what it says, to its own row only, and keeps length and level."""

import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from earshot_asr.engine.training.data.augment import (
    HISS_SAMPLES,
    Augmentation,
    Chances,
    add_hum,
    add_noise,
    clip,
    compress,
    fast_length,
    hertz_of,
    level,
    limit_band,
    mu_law,
    reverberate,
    scale,
    stop_band,
    stretches,
    telephone,
)
from earshot_asr.engine.training.data.rooms import LEAD_SAMPLES, RESPONSE_SAMPLES
from tests.engine.training.data.material import write

CPU = torch.device("cpu")
SAMPLES = 12_345


def column(*values: float) -> Tensor:
    return torch.tensor(values)[:, None]


def noise(rows: int, samples: int = SAMPLES, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed))


def tone(hertz: float, samples: int = 16_000) -> Tensor:
    phase = 2 * math.pi * hertz / 16_000 * torch.arange(samples)
    return 0.3 * torch.sin(phase)[None]


def power(x: Tensor, low: float, high: float) -> Tensor:
    """In a band, (B,)."""
    spectrum = torch.fft.rfft(x * torch.hann_window(x.shape[1])).abs().square()
    hertz = torch.arange(spectrum.shape[1]) * 16_000 / x.shape[1]
    inside: Tensor = spectrum[:, (hertz >= low) & (hertz < high)].sum(1)
    return inside


EFFECTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "noise": lambda x, u: add_noise(x, noise(3, x.shape[1], 1)[: len(x)], 20 * u, level(x)),
    "room": lambda x, u: reverberate(x, torch.nn.functional.pad(u, (LEAD_SAMPLES, 99))),
    "band": lambda x, u: limit_band(x, 300 * u, 6000 * u),
    "gap": lambda x, u: stop_band(x, 1000 * u, 1000 + 2000 * u),
    "telephone": lambda x, u: telephone(x, 300 * u, 3600 * u),
    "codec": lambda x, u: compress(x, 2 * u),
    "clipping": clip,
    "hum": lambda x, u: add_hum(x, 50 * u, 0.1 * u, 0.01 * u),
    "gain": lambda x, u: scale(x, -20 * u),
}


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("samples", [1, 400, SAMPLES])
def test_length_is_kept_and_rows_are_alone(name: str, samples: int) -> None:
    x, u = noise(3, samples), column(0.5, 0.7, 0.9)
    x[1] = 0
    together = EFFECTS[name](x.clone(), u)
    assert together.shape == x.shape
    assert torch.isfinite(together).all()
    if name != "noise":
        for row in range(3):
            alone = EFFECTS[name](x[row : row + 1].clone(), u[row : row + 1])
            assert together[row] == pytest.approx(alone[0], abs=1e-5)


def test_noise_is_as_loud_as_asked_for() -> None:
    x, snr = noise(3), column(0.0, 10.0, 25.0)
    y = add_noise(x.clone(), 7 * noise(3, seed=1), snr, level(x))
    assert (20 * torch.log10(level(x) / level(y - x)))[:, 0].tolist() == pytest.approx([0, 10, 25], abs=0.01)


def test_level_within_lengths() -> None:
    x = torch.tensor([[3.0, -3.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]])
    assert level(x)[:, 0].tolist() == pytest.approx([3 / math.sqrt(2), 2])
    assert level(x, torch.tensor([[2], [4]]))[:, 0].tolist() == pytest.approx([3, 2])


def test_a_room_is_a_convolution_as_loud_as_before() -> None:
    x = noise(2, 3000)
    responses = torch.zeros(2, RESPONSE_SAMPLES)
    responses[0, 0] = 0.2
    responses[1, :500] = torch.randn(500, generator=torch.Generator().manual_seed(2)) * 0.99 ** torch.arange(500)
    y = reverberate(x, responses)
    assert y[0].numpy() == pytest.approx(x[0].numpy(), abs=1e-3)
    expected = np.convolve(x[1].numpy(), responses[1].numpy())[:3000]
    assert y[1].numpy() == pytest.approx(expected * (x[1].norm() / np.linalg.norm(expected)).item(), abs=1e-4)
    assert level(y)[:, 0].tolist() == pytest.approx(level(x)[:, 0].tolist(), rel=1e-3)


def test_a_band_is_empty_outside() -> None:
    x = noise(2, 16_000)
    y = limit_band(x, column(300, 0), column(3400, 7000))
    assert (power(y, 0, 250)[0] + power(y, 3450, 8000)[0]) / power(x, 0, 8000)[0] < 1e-5
    assert power(y, 500, 3200)[0].item() == pytest.approx(power(x, 500, 3200)[0].item(), rel=1e-2)
    assert power(y, 7050, 8000)[1] / power(x, 7050, 8000)[1] < 1e-3
    assert power(y, 150, 6800)[1].item() == pytest.approx(power(x, 150, 6800)[1].item(), rel=1e-2)


def test_a_telephone() -> None:
    x = noise(1, 16_000)
    y = telephone(x, column(300), column(3400))
    assert power(y, 4050, 8000) / power(y, 0, 4000) < 1e-5
    inside = limit_band(x, column(300), column(3400))
    error = 20 * torch.log10(level(inside) / level(y - inside))
    assert 30 < error.item() < 45  # eight bits of mu-law, of which G.711 promises 33 dB and more
    assert y[0, 2000:2400] == pytest.approx(inside[0, 2000:2400], abs=0.02)


def test_mu_law_has_256_steps() -> None:
    x = torch.linspace(-1, 1, 100_001)
    y = mu_law(x)
    assert len(set(y.tolist())) == 255
    assert (y - x).abs().max() < 0.03
    assert ((y - x).abs() / x.abs().clamp_min(0.01)).max() < 0.06
    assert torch.equal(mu_law(torch.zeros(3)), torch.zeros(3))


def grains(x: Tensor) -> Tensor:
    return torch.stft(x, 512, 256, window=torch.hann_window(512).sqrt(), return_complex=True).abs()


def test_a_codec_makes_holes() -> None:
    x = tone(1000) + 0.1 * noise(1, 16_000)
    assert compress(x, column(1e-4))[0].numpy() == pytest.approx(x[0].numpy(), abs=2e-3)
    some = [compress(x, column(u)) for u in (0.2, 0.7, 2.5)]
    error = [20 * torch.log10(level(x) / level(y - x)).item() for y in some]
    assert error[0] > error[1] > error[2] > 3
    holes = [(grains(y) < 0.3 * grains(x)).float().mean().item() for y in some]
    assert holes[0] < 0.02
    assert holes[2] > 0.1


def test_clipping() -> None:
    x = noise(2)
    y = clip(x, column(0.5, 1.0))
    assert y[0].abs().max() == pytest.approx(0.5 * x[0].abs().max().item())
    assert torch.equal(y[1], x[1])
    inside = x[0].abs() < 0.5 * x[0].abs().max()
    assert torch.equal(y[0, inside], x[0, inside])


def test_hum_and_offset() -> None:
    y = add_hum(torch.zeros(1, 16_000), column(50), column(0.1), column(-0.02))
    assert y.mean().item() == pytest.approx(-0.02, abs=1e-4)
    assert power(y, 40, 60) / power(y, 200, 8000) > 1000


def test_gain() -> None:
    y = scale(torch.cat((noise(2), torch.zeros(1, SAMPLES))), column(-1, -26, -3))
    assert 20 * torch.log10(y[:2].abs().amax(1)).numpy() == pytest.approx([-1, -26], abs=0.01)
    assert not y[2].any()


@pytest.mark.parametrize("n", [1, 2, 3, 7, 4096, 51_440, 59_440, 136_241])
def test_fast_lengths(n: int) -> None:
    found = fast_length(n)
    assert n <= found <= max(8, 1.1 * n)
    assert found % 4 == 0
    for factor in (2, 3, 5):
        while found % factor == 0:
            found //= factor
    assert found == 1


def test_stretches() -> None:
    source = torch.arange(10)
    assert stretches(source, torch.tensor([0, 6]), 4).tolist() == [[0, 1, 2, 3], [6, 7, 8, 9]]
    assert stretches(torch.tensor([1, 2, 3]), torch.tensor([0]), 7).tolist() == [[1, 2, 3, 1, 2, 3, 1]]


# ---- all of it


def test_a_gap_is_empty_and_the_rest_stays() -> None:
    x = noise(2, 16_000)
    y = stop_band(x, column(1000, 500), column(2000, 700))
    assert (power(y, 1150, 1850)[0] / power(x, 1150, 1850)[0]) < 1e-6
    for row, low, high in ((0, 0, 950), (0, 2050, 8000), (1, 0, 450), (1, 750, 8000)):
        torch.testing.assert_close(power(y, low, high)[row], power(x, low, high)[row], rtol=1e-2, atol=0)


def test_mels_are_kaldis() -> None:
    torch.testing.assert_close(
        hertz_of(1127.0 * torch.log1p(torch.tensor([0.0, 440.0, 8000.0]) / 700)), torch.tensor([0.0, 440.0, 8000.0])
    )


def augmentation(factor: float = 1.0, chances: Chances | None = None) -> Augmentation:
    generator = torch.Generator().manual_seed(5)
    hum = torch.randint(-9000, 9000, (50_000,), generator=generator, dtype=torch.int16)
    rooms = torch.zeros(2, RESPONSE_SAMPLES)
    rooms[:, 3] = 1.0
    return Augmentation(hum, rooms, factor=factor, chances=chances)


def test_a_batch_is_a_function_of_the_generator() -> None:
    augment = augmentation(2.0)
    first = augment(noise(8), np.random.default_rng(3))
    assert torch.isfinite(first).all()
    assert first.shape == (8, SAMPLES)
    assert torch.equal(first, augment(noise(8), np.random.default_rng(3)))
    assert not torch.equal(first, augment(noise(8), np.random.default_rng(4)))
    peaks = 20 * torch.log10(first.abs().amax(1))
    assert (peaks < -0.99).all() and (peaks > -26.01).all()


def test_without_chances_only_the_gain_changes() -> None:
    x = noise(4)
    y = augmentation(0.0)(x.clone(), np.random.default_rng(0))
    assert torch.cosine_similarity(x, y).tolist() == pytest.approx([1] * 4, abs=1e-5)


def test_chances() -> None:
    assert Chances(room=0.4, noise=0.9).scaled(2).room == 0.8
    assert Chances(room=0.4, noise=0.9).scaled(2).noise == 1.0
    nothing = dict.fromkeys((each.name for each in fields(Chances)), 0.0)
    always = augmentation(1.0, Chances(**{**nothing, "telephone": 1.0}))
    assert (power(always(noise(5), np.random.default_rng(0)), 4100, 8000) < 1e-3).all()
    half = augmentation(0.5, Chances(**{**nothing, "telephone": 1.0}))
    silent = power(half(noise(200, 1600), np.random.default_rng(0)), 4500, 8000) < 1e-3
    assert 70 < silent.sum() < 130


def test_where_nothing_is_said_there_is_noise() -> None:
    x = torch.cat((noise(4), torch.zeros(30, SAMPLES)))
    empty = np.arange(34) >= 4
    y = augmentation()(x, np.random.default_rng(0), empty=empty)
    assert torch.isfinite(y).all()
    assert (level(y)[:, 0] > 1e-3).all()


def test_behind_a_row_is_nothing() -> None:
    lengths = torch.tensor([SAMPLES, 5000, 1])
    x = noise(3)
    x[torch.arange(SAMPLES) >= lengths[:, None]] = 0
    y = augmentation(3.0)(x, np.random.default_rng(0), lengths)
    for row, length in enumerate(lengths.tolist()):
        assert not y[row, length:].any()
        assert y[row, :length].any()


def test_short_rows_and_long_ones() -> None:
    for samples in (400, 60_000):  # longer than the noise there is
        assert torch.isfinite(augmentation(3.0)(noise(3, samples), np.random.default_rng(0))).all()
    assert HISS_SAMPLES > 60_000


def test_opened_from_a_manifest(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"audio": "hum.wav", "kind": "noise", "split": "train", "text": None, "duration": 40.0},
        {"audio": "dev.wav", "kind": "noise", "split": "dev", "duration": 50.0},
        {"audio": "room.wav", "kind": "rir", "split": "train"},
    ]
    room = np.zeros(4000, np.float32)
    room[[100, 300]] = 0.9, -0.4
    soundfile.write(tmp_path / "room.wav", room, 16_000)
    manifest = write(tmp_path, rows, "noise.jsonl")
    plain = Augmentation.open(CPU, tmp_path / "cache", rooms=2)
    augment = Augmentation.open(CPU, tmp_path / "cache", manifest, rooms=2)
    assert len(augment._noise) == len(plain._noise) + 40 * 16_000
    assert augment._rooms.shape == (3, RESPONSE_SAMPLES)
    measured = augment._rooms[2]
    assert measured[LEAD_SAMPLES + 200] == pytest.approx(measured[LEAD_SAMPLES].item() * -0.4 / 0.9, rel=1e-3)
    assert torch.equal(plain._rooms, augment._rooms[:2])
