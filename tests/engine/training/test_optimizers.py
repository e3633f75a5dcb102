"""Which weights Muon has, what decays, state by name, and the average."""

import pytest
import torch
from torch import Tensor, nn

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.training.optimizers import Average, Muon, Optimizers, matrices, orthogonal
from tests.engine.training import tones
from tests.engine.training.test_export import BERT, random_encoder


def test_matrices_of_the_layers_are_muons() -> None:
    names = set(matrices(tones.task().module))
    layer = {name.removeprefix("encoder.encoder.layers.0.") for name in names if ".layers.0." in name}
    assert layer == {
        "ffn1.intermediate_dense.weight",
        "ffn1.output_dense.weight",
        "self_attn.qkv.weight",
        "self_attn.linear_out.weight",
        "conv_module.pointwise_conv1.weight",
        "conv_module.pointwise_conv2.weight",
        "ffn2.intermediate_dense.weight",
        "ffn2.output_dense.weight",
    }
    assert len(names) == 2 * len(layer)
    relative = random_encoder({**BERT, "position_embeddings_type": "relative_key"})
    assert not any("distance_embedding" in name or "lm_head" in name for name in matrices(relative))


def small() -> nn.Module:
    torch.manual_seed(0)
    return tones.task().module


def learn(module: nn.Module, optimizers: Optimizers, factor: float = 1.0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=generator) * scale
    return optimizers.step(factor)


def test_updates_are_of_one_size_whoever_makes_them() -> None:
    """An update of AdamW is about the rate in each weight, one of Muon's 0.2 of it."""
    module = small()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    learn(module, Optimizers(module, adamw=1e-2, muon=1e-2, decay=0.0, muon_decay=0.0), factor=0.5)
    for name, p in module.named_parameters():
        if not p.requires_grad:
            continue
        size = float((p.detach() - before[name]).square().mean().sqrt())
        assert size == pytest.approx(1e-3 if name in matrices(module) else 5e-3, rel=0.25), name
    assert all(p.grad is None for p in module.parameters())


def test_state_by_name_goes_on_as_if_nothing_had_happened() -> None:
    one, other = small(), small()
    first = Optimizers(one, adamw=1e-2, muon=1e-2)
    learn(one, first)
    kept = first.state()
    assert set(kept["encoder.lm_head.weight"]) == {"step", "exp_avg", "exp_avg_sq"}
    assert set(kept["encoder.encoder.layers.0.self_attn.qkv.weight"]) == {"momentum_buffer"}
    other.load_state_dict(one.state_dict())
    second = Optimizers(other, adamw=1e-2, muon=1e-2)
    second.load(kept)
    learn(one, first)
    learn(other, second)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_is_not_finite_changes_nothing() -> None:
    module = small()
    before = [p.detach().clone() for p in module.parameters()]
    norm = learn(module, Optimizers(module, adamw=1e-2, muon=1e-2), scale=float("nan"))
    assert not norm.isfinite()
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_frozen_weights_stay_and_all_frozen_is_an_error() -> None:
    module = small()
    task = tones.task().module
    task.requires_grad_(False)
    with pytest.raises(ConfigError, match="frozen"):
        Optimizers(task, adamw=1e-3, muon=None)
    frozen = module.get_parameter("encoder.lm_head.weight").requires_grad_(False)
    before = frozen.clone()
    learn(module, Optimizers(module, adamw=1e-2, muon=None))
    assert torch.equal(frozen, before)


def test_norms_and_biases_do_not_decay() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizers = Optimizers(module, adamw=0.1, muon=None, decay=0.5)
    for p in module.parameters():
        p.grad = torch.zeros_like(p)
    optimizers.step(1.0)
    after = dict(module.named_parameters())
    torch.testing.assert_close(after["0.weight"], before["0.weight"] * 0.95)
    assert all(torch.equal(after[name], before[name]) for name in ("0.bias", "1.weight", "1.bias"))


def test_rates_are_scaled_by_name() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizers = Optimizers(module, adamw=0.1, muon=None, decay=0.0, scales={"0.weight": 0.5, "0.bias": 0.0})
    for p in module.parameters():
        p.grad = torch.ones_like(p)
    optimizers.step(1.0)
    moved = {name: float((p.detach() - before[name]).abs().max()) for name, p in module.named_parameters()}
    assert moved == pytest.approx({"0.weight": 0.05, "0.bias": 0.0, "1.weight": 0.1, "1.bias": 0.1}, abs=1e-4)


def test_the_average_forgets_the_beginning_and_is_exchanged_for_a_while() -> None:
    module = nn.Linear(1, 1, bias=False)
    average = Average(module, decay=0.9)
    expected = module.weight.item()
    for step in range(1, 1000):
        nn.init.constant_(module.weight, step)
        average.update(step)
        keep = min(0.9, step / (step + 50))
        expected = keep * expected + (1 - keep) * step
    assert average.weights["weight"].item() == pytest.approx(expected, rel=1e-4)
    with average.applied():
        assert module.weight.item() == pytest.approx(expected, rel=1e-4)
        assert not module.training
    assert module.weight.item() == 999
    assert module.training


# ---- Muon, against torch's own

SHAPES = ((24, 40), (40, 24), (24, 40), (32, 32))


def some_matrices() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def updated(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], steps: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
    return [p.detach() for p in parameters]


def test_updates_are_torchs() -> None:
    """Which computes them in half precision: to a fiftieth of the way that the weights went."""
    ours, theirs, before = some_matrices(), some_matrices(), some_matrices()
    updated(Muon(ours, lr=0.02, weight_decay=0.1), ours)
    updated(torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"), theirs)
    for a, b, start in zip(ours, theirs, before, strict=True):
        assert (a - b).norm() < 0.02 * (b - start).norm()


def test_singular_values_come_near_one() -> None:
    turned = orthogonal(torch.stack([p.detach() for p in (some_matrices()[0], some_matrices()[2])]))
    values = torch.linalg.svdvals(turned)
    assert float(values.min()) > 0.6 and float(values.max()) < 1.3


def test_what_has_no_gradient_stays() -> None:
    parameters = some_matrices()
    optimizer = Muon(parameters, lr=0.02, weight_decay=0.1)
    parameters[0].grad = torch.ones_like(parameters[0])
    optimizer.step()
    assert torch.equal(parameters[2], some_matrices()[2])
    assert not torch.equal(parameters[0], some_matrices()[0])
    assert list(optimizer.state) == [parameters[0]]


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 3, 50)])
def test_a_zero_gradient_turns_nothing(shape: tuple[int, ...]) -> None:
    assert not orthogonal(torch.zeros(shape)).any()
