"""Muon against torch's own."""

import pytest
import torch
from torch import Tensor, nn

from earshot_asr.engine.training.muon import Muon, orthogonal

SHAPES = ((24, 40), (40, 24), (24, 40), (32, 32))


def matrices() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def learn(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], steps: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
    return [p.detach() for p in parameters]


def test_updates_are_torchs() -> None:
    """Which computes them in half precision: to a fiftieth of the way that the weights went."""
    ours, theirs, before = matrices(), matrices(), matrices()
    learn(Muon(ours, lr=0.02, weight_decay=0.1), ours)
    learn(torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"), theirs)
    for a, b, start in zip(ours, theirs, before, strict=True):
        assert (a - b).norm() < 0.02 * (b - start).norm()


def test_singular_values_come_near_one() -> None:
    turned = orthogonal(torch.stack([p.detach() for p in (matrices()[0], matrices()[2])]))
    values = torch.linalg.svdvals(turned)
    assert float(values.min()) > 0.6 and float(values.max()) < 1.3


def test_what_has_no_gradient_stays() -> None:
    parameters = matrices()
    optimizer = Muon(parameters, lr=0.02, weight_decay=0.1)
    parameters[0].grad = torch.ones_like(parameters[0])
    optimizer.step()
    assert torch.equal(parameters[2], matrices()[2])
    assert not torch.equal(parameters[0], matrices()[0])
    assert list(optimizer.state) == [parameters[0]]


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 3, 50)])
def test_a_zero_gradient_turns_nothing(shape: tuple[int, ...]) -> None:
    assert not orthogonal(torch.zeros(shape)).any()
