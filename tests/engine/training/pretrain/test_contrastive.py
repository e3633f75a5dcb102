"""The contrastive task: equal to transformers' in its losses and in every gradient."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from earshot_asr.engine.errors import CheckpointError
from earshot_asr.engine.families.wav2vec2 import build
from earshot_asr.engine.training.pretrain.contrastive import (
    Contrastive,
    Outcome,
    contrast,
    draw_distractors,
    read_contrastive_dims,
)
from earshot_asr.engine.weights import fuse_weight_norm

transformers = pytest.importorskip("transformers")

SAMPLES = 12_000
VARIANTS = {
    "group": {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False},
    "layer": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
}
OFF = dict.fromkeys(
    ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "feat_quantizer_dropout"), 0.0
)


def settings(variant: str, entries: int = 320) -> dict[str, Any]:
    return VARIANTS[variant] | {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "conv_dim": [16, 16, 24],
        "conv_stride": [20, 4, 4],
        "conv_kernel": [40, 4, 5],
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4,
        "num_codevectors_per_group": entries,
        "codevector_dim": 16,
        "proj_codevector_dim": 12,
        "num_negatives": 9,
    }


def theirs(config: dict[str, Any]) -> Any:
    torch.manual_seed(5)
    return transformers.Wav2Vec2ForPreTraining(transformers.Wav2Vec2Config(**config, **OFF, layerdrop=0.0))


def ours(config: dict[str, Any], tensors: dict[str, Tensor], **options: float) -> Contrastive:
    model = Contrastive(build(config, {"do_normalize": False}), read_contrastive_dims(config), **options)
    tensors = fuse_weight_norm(tensors)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            recipe = model.recipe(name)
            if "lm_head" not in name:
                parameter.copy_(recipe.make(*(tensors[part] for part in recipe.names)))
    return model


def pair(variant: str, entries: int = 320) -> tuple[Any, Contrastive]:
    """transformers' model and ours, of the same weights."""
    config = settings(variant, entries)
    reference = theirs(config)
    model = ours(config, reference.state_dict(), penalty=0.0, feature_gradient=1.0)
    torch.nn.utils.parametrize.remove_parametrizations(reference.wav2vec2.encoder.pos_conv_embed.conv, "weight")
    return reference, model


def masked(frames: list[int], seed: int = 3) -> Tensor:
    """About half of the first frames[b] places of each row, (B, the most frames)."""
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(n)[: n // 2] for n in frames]
    mask = torch.zeros(len(frames), max(frames), dtype=torch.bool)
    for row, places in zip(mask, rows, strict=True):
        row[torch.from_numpy(places)] = True
    return mask


def same_codes_among(model: Contrastive, samples: Tensor, mask: Tensor, distractors: Tensor) -> bool:
    codes = model.codes(samples)
    same = (codes[:, :, None] == codes[:, None]).all(-1).gather(2, distractors)
    return bool(same[mask].any())


def close(got: Tensor, expected: Tensor, name: str) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4, msg=lambda difference: f"{name}: {difference}")


def check(reference: Any, model: Contrastive, samples: Tensor, lengths: list[int] | None, seed: int) -> Outcome:
    """Same losses, perplexity and gradients; what ours gave."""
    grid = model.wav2vec2.grid
    mask = masked([grid.frames(n) for n in lengths or [samples.shape[1]] * len(samples)])
    generator = torch.Generator().manual_seed(seed)
    distractors = draw_distractors(mask, 9, generator)
    attention = None if lengths is None else (torch.arange(samples.shape[1]) < torch.tensor(lengths)[:, None]).long()
    offsets = torch.arange(len(mask))[:, None, None] * mask.shape[1]
    reference.set_gumbel_temperature(1.3)
    torch.manual_seed(11)  # the same Gumbel noise
    expected = reference(samples, attention, mask, distractors + offsets)
    torch.manual_seed(11)
    got: Outcome = model(samples, None if lengths is None else torch.tensor(lengths), mask, distractors, 1.3)
    close(got.loss, expected.loss, "loss")
    close(got.contrastive, expected.contrastive_loss, "contrastive")
    close(got.diversity, expected.diversity_loss, "diversity")
    close(got.perplexity, expected.codevector_perplexity, "perplexity")
    assert got.masked == mask.sum()
    (expected.loss / got.masked).backward()
    torch.autograd.backward(got.loss / got.masked)
    gradients = {name: p.grad for name, p in reference.named_parameters()}
    for name, parameter in model.named_parameters():
        recipe = model.recipe(name)
        if "lm_head" in name:
            assert parameter.grad is None
            continue
        parts = [gradients.pop(part) for part in recipe.names]
        if any(part is None for part in parts):  # the quantizer's choice when it is a hard one
            assert all(part is None for part in parts) and parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            close(parameter.grad, recipe.make(*parts), name)
    assert not gradients, "parameters of theirs that we lack"
    return got


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("training", [False, True], ids=["hard", "gumbel"])
def test_losses_and_gradients_are_those_of_transformers(variant: str, training: bool) -> None:
    reference, model = pair(variant)
    reference.train(training)
    model.train(training)
    check(reference, model, torch.randn(3, SAMPLES, generator=torch.Generator().manual_seed(1)), None, seed=2)


def test_padded_rows_are_as_in_transformers() -> None:
    """With layer norms; the group norm's statistics there take the padding in, ours don't."""
    reference, model = pair("layer")
    samples = torch.randn(3, SAMPLES, generator=torch.Generator().manual_seed(1))
    lengths = [SAMPLES, 7000, 9999]
    for row, length in zip(samples, lengths, strict=True):
        row[length:] = 0
    check(reference.train(), model.train(), samples, lengths, seed=2)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_padding_makes_no_difference(variant: str) -> None:
    _, model = pair(variant)
    model.penalty = 10.0
    samples = torch.randn(1, SAMPLES, generator=torch.Generator().manual_seed(1))
    mask = masked([model.wav2vec2.grid.frames(SAMPLES)])
    distractors = draw_distractors(mask, 9, torch.Generator().manual_seed(2))
    alone = model.eval()(samples, None, mask, distractors)
    samples = torch.cat([samples, torch.full((1, 3200), 0.7)], dim=1)
    more = model.wav2vec2.grid.frames(samples.shape[1]) - mask.shape[1]
    mask = torch.nn.functional.pad(mask, (0, more))
    distractors = torch.nn.functional.pad(distractors, (0, 0, 0, more))
    padded = model(samples, torch.tensor([SAMPLES]), mask, distractors)
    for name in Outcome._fields:
        torch.testing.assert_close(getattr(padded, name), getattr(alone, name), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_distractors_of_the_same_code_are_none(variant: str) -> None:
    """So few codewords that many distractors are what is looked for."""
    reference, model = pair(variant, entries=2)
    samples = torch.randn(3, SAMPLES, generator=torch.Generator().manual_seed(1))
    mask = masked([model.wav2vec2.grid.frames(SAMPLES)] * 3)
    assert same_codes_among(model, samples, mask, draw_distractors(mask, 9, torch.Generator().manual_seed(2)))
    check(reference.eval(), model.eval(), samples, None, seed=2)


def test_right_is_what_comes_first() -> None:
    guesses = torch.eye(4)[None]
    codes = torch.arange(4)[None, :, None]
    distractors = torch.tensor([[[1, 2], [0, 2], [3, 3], [2, 2]]])
    logits = contrast(guesses, 3 * guesses, codes, distractors)
    assert logits.tolist() == [[[1, 0, 0]] * 4]
    targets = guesses[:, [0, 2, 1, 3]]
    assert contrast(guesses, targets, codes, distractors)[0, 1].tolist() == [0, 0, 1]


def test_the_penalty_and_the_scale_of_gradients() -> None:
    """The loss has the weighted mean square of the latents in it; convolutions learn at a tenth."""
    _, model = pair("layer")
    samples = torch.randn(2, SAMPLES, generator=torch.Generator().manual_seed(1))
    mask = masked([model.wav2vec2.grid.frames(SAMPLES)] * 2)
    distractors = draw_distractors(mask, 9, torch.Generator().manual_seed(2))

    def run(penalty: float, scale: float) -> tuple[Outcome, dict[str, Tensor]]:
        model.penalty, model.feature_gradient = penalty, scale
        model.zero_grad()
        outcome: Outcome = model.eval()(samples, None, mask, distractors)
        torch.autograd.backward(outcome.loss)
        return outcome, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    plain, gradients = run(0.0, 1.0)
    fined, _ = run(7.0, 1.0)
    latents = model.wav2vec2.extract(samples, None)
    torch.testing.assert_close(plain.penalty, latents.square().mean())
    torch.testing.assert_close(fined.loss, plain.loss + 7 * plain.penalty * mask.sum())
    _, scaled = run(0.0, 0.1)
    for name, gradient in gradients.items():
        factor = 0.1 if "feature_extractor" in name else 1.0
        torch.testing.assert_close(scaled[name], factor * gradient, rtol=1e-3, atol=1e-5, msg=name)


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4), st.integers(0, 1000))
def test_distractors_are_other_masked_places_of_the_row(rows: list[list[bool]], seed: int) -> None:
    mask = torch.tensor(rows)
    drawn = draw_distractors(mask, 20, torch.Generator().manual_seed(seed))
    assert drawn.shape == (*mask.shape, 20)
    for row, chosen in zip(mask, drawn, strict=True):
        for place in row.nonzero()[:, 0].tolist():
            others = set(row.nonzero()[:, 0].tolist()) - {place} or {place}
            assert set(chosen[place].tolist()) <= others


def test_distractors_are_uniform() -> None:
    mask = torch.zeros(1, 12, dtype=torch.bool)
    mask[0, [1, 4, 5, 9, 11]] = True
    drawn = draw_distractors(mask, 40_000, torch.Generator().manual_seed(1))[0, 5]
    shares = torch.bincount(drawn, minlength=12) / 40_000
    assert torch.allclose(shares, torch.tensor([0, 0.25, 0, 0, 0.25, 0, 0, 0, 0, 0.25, 0, 0.25]), atol=0.01)


def test_groups_must_divide_the_dimension() -> None:
    with pytest.raises(CheckpointError, match="codevector_dim is 15, which 2 num_codevector_groups do not divide"):
        read_contrastive_dims({"codevector_dim": 15})


def test_codes_are_chosen_in_single_precision() -> None:
    """In bfloat16 the likeliest two are often one, and the first of them would be taken."""
    _, model = pair("layer")
    model.eval()
    samples = torch.randn(8, 4 * SAMPLES, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        got = model.codes(samples)
        normed = model.wav2vec2.feature_projection.layer_norm(model.wav2vec2.extract(samples, None)).float()
    with torch.no_grad():
        assert got.equal(model.quantizer.logits(normed).argmax(-1))
