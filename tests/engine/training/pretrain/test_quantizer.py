"""The Gumbel product quantizer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.engine.training.pretrain.quantizer import Quantizer, perplexity


def quantizer(entries: int = 8) -> Quantizer:
    torch.manual_seed(1)
    return Quantizer(channels=6, groups=2, entries=entries, dim=10)


EVERYWHERE = torch.ones(3, 40, dtype=torch.bool)


@pytest.mark.parametrize("training", [False, True])
def test_vectors_are_the_codewords_chosen(training: bool) -> None:
    model = quantizer().train(training)
    got = model(torch.randn(3, 40, 6), EVERYWHERE, 1.0)
    words = model.codevectors[0].view(2, 8, 5)
    expected = torch.cat([words[group][got.codes[..., group]] for group in range(2)], dim=-1)
    torch.testing.assert_close(got.vectors, expected)


def test_the_likeliest_is_taken_outside_training() -> None:
    model, latents = quantizer().eval(), torch.randn(3, 40, 6)
    logits = torch.nn.functional.linear(latents, model.weight_proj.weight, model.weight_proj.bias)
    assert model(latents, EVERYWHERE, 1.0).codes.equal(logits.view(3, 40, 2, 8).argmax(-1))


def test_codewords_are_drawn_by_their_probability() -> None:
    model = quantizer(entries=3).train()
    with torch.no_grad():
        model.weight_proj.weight.zero_()
        model.weight_proj.bias.copy_(torch.tensor([0.5, 0.3, 0.2, 0.1, 0.1, 0.8]).log())
    codes = model(torch.zeros(1, 40_000, 6), torch.ones(1, 40_000, dtype=torch.bool), 2.0).codes[0]
    shares = torch.stack([torch.bincount(codes[:, group], minlength=3) for group in range(2)]) / 40_000
    torch.testing.assert_close(shares, torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]), atol=0.01, rtol=0)


def test_gradients_pass_straight_through_only_in_training() -> None:
    """A hard choice has none; the softer the choice, the more codewords take part in it."""
    latents = torch.randn(3, 40, 6)
    model = quantizer().eval()
    torch.autograd.backward(model(latents, EVERYWHERE, 1.0).vectors.sum())
    assert model.weight_proj.weight.grad is None
    assert model.codevectors.grad is not None
    model = quantizer().train()
    torch.autograd.backward(model(latents, EVERYWHERE, 1.0).vectors.sum())
    assert model.weight_proj.weight.grad is not None and model.weight_proj.weight.grad.abs().sum() > 0


def test_temperature_may_be_a_tensor() -> None:
    """So that a compiled step need not be compiled for each value."""
    model, latents = quantizer().train(), torch.randn(3, 40, 6)
    torch.manual_seed(3)
    one = model(latents, EVERYWHERE, 0.7)
    torch.manual_seed(3)
    other = model(latents, EVERYWHERE, torch.tensor(0.7))
    assert one.vectors.equal(other.vectors)


@given(st.integers(1, 9), st.integers(1, 4))
def test_perplexity_counts_what_is_in_use(used: int, groups: int) -> None:
    codes = torch.arange(9 * used) % used
    use = torch.nn.functional.one_hot(codes, 9).float()[:, None].expand(-1, groups, -1)
    torch.testing.assert_close(
        perplexity(use, torch.ones(len(use), dtype=torch.bool)), torch.tensor(used * groups * 1.0)
    )


def test_perplexity_is_of_the_places_that_count() -> None:
    use = torch.eye(4)[:, None]
    assert perplexity(use, torch.tensor([True, False, True, False])).item() == pytest.approx(2)
    assert perplexity(use, torch.zeros(4, dtype=torch.bool)).item() == pytest.approx(1)  # of nothing


def test_gradients_are_finite_when_a_codeword_is_out_of_reach() -> None:
    """So unlikely that its probability is 0 in single precision."""
    model = quantizer().train()
    with torch.no_grad():
        model.weight_proj.bias[3] = -500.0
    torch.autograd.backward(model(torch.randn(3, 40, 6), EVERYWHERE, 1.0).perplexity)
    assert model.weight_proj.weight.grad is not None and model.weight_proj.weight.grad.isfinite().all()
