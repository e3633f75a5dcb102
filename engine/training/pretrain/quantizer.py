"""A product quantizer that learns by Gumbel softmax (Baevski et al. 2020, section 2), as transformers' and fairseq's.

In each of G groups one of V codewords is chosen; the G codewords in a row stand for a frame. All languages share it.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TINY = 1e-30


class Quantized(NamedTuple):
    """Letters: B rows, T frames, G groups.

    vectors     (B, T, D) float32: the codewords, group after group
    codes       (B, T, G) int64: which they are
    perplexity  scalar, 1 G to V G: how many codewords are in use, summed over groups, at the places that count
    """

    vectors: Tensor
    codes: Tensor
    perplexity: Tensor


class Quantizer(nn.Module):
    """Latents to codewords, in single precision. Parameters as in transformers' Wav2Vec2GumbelVectorQuantizer."""

    def __init__(self, channels: int, groups: int, entries: int, dim: int) -> None:
        """dim: D, of all groups together, which must divide it."""
        super().__init__()
        assert dim % groups == 0, (dim, groups)
        self.groups, self.entries = groups, entries
        self.codevectors = nn.Parameter(torch.empty(1, groups * entries, dim // groups))
        self.weight_proj = nn.Linear(channels, groups * entries)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As transformers begins, choices spread from the first step on; but the codewords' mean is 0, not a half.

        With a mean that all share, any two are alike by their cosine, until project_q has learned to take it away.
        """
        nn.init.normal_(self.weight_proj.weight)
        nn.init.zeros_(self.weight_proj.bias)
        nn.init.uniform_(self.codevectors, -0.5, 0.5)

    def forward(self, latents: Tensor, counts: Tensor, temperature: Tensor | float) -> Quantized:
        """In training codewords are drawn, gradients pass straight through; else the likeliest is taken.

        latents       (B, T, C)
        counts        (B, T) bool: the places of which the perplexity is
        temperature   > 0; near 0 the gradient is that of a hard choice, and noisy
        """
        logits = self.logits(latents)
        if self.training:
            noisy = (logits - torch.empty_like(logits).exponential_().log()) / temperature
            soft = noisy.softmax(-1)
            codes = soft.argmax(-1)
            choice = F.one_hot(codes, self.entries) - soft.detach() + soft
            use = logits.softmax(-1)
        else:
            codes = logits.argmax(-1)
            choice = use = F.one_hot(codes, self.entries).to(logits.dtype)
        words = self.codevectors.view(self.groups, self.entries, -1)
        vectors = torch.einsum("btgv,gvd->btgd", choice, words).flatten(2)
        return Quantized(vectors, codes, perplexity(use, counts))

    def logits(self, latents: Tensor) -> Tensor:
        """How likely each codeword is: (B, T, C) -> (B, T, G, V)."""
        logits: Tensor = self.weight_proj(latents)
        return logits.view(*latents.shape[:2], self.groups, self.entries)


def perplexity(use: Tensor, counts: Tensor) -> Tensor:
    """exp of the entropy of the mean of distributions `use` (..., G, V) where `counts` (...), summed over G."""
    mean = (use * counts[..., None, None]).flatten(0, -3).sum(0) / counts.sum().clamp_min(1)
    # In transformers log(0) makes gradients NaN as soon as a codeword is so unlikely that its softmax underflows.
    return torch.exp(-torch.xlogy(mean, mean.clamp_min(TINY)).sum(-1)).sum()
