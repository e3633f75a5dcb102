"""The product quantizer of wav2vec 2.0, trained by Gumbel softmax (Baevski et al. 2020, section 2).

For each frame it chooses one of V codewords in each of G groups. All languages share the codewords.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TINY = 1e-30


class Quantized(NamedTuple):
    """Letters: B rows, T frames, G groups.

    vectors     (B, T, D) float32: the codewords of a frame, one group after the other
    codes       (B, T, G) int64: their numbers
    perplexity  scalar, from G to V * G: codewords in use at the frames that count, summed over groups
    """

    vectors: Tensor
    codes: Tensor
    perplexity: Tensor


class Quantizer(nn.Module):
    """Latents to codewords, in float32. Parameters are those of transformers' Wav2Vec2GumbelVectorQuantizer."""

    def __init__(self, channels: int, groups: int, entries: int, dim: int) -> None:
        """groups: G. entries: V. dim: D, the size of the G codewords of a frame together."""
        super().__init__()
        assert dim % groups == 0, (dim, groups)
        self.groups, self.entries = groups, entries
        self.codevectors = nn.Parameter(torch.empty(1, groups * entries, dim // groups))
        self.weight_proj = nn.Linear(channels, groups * entries)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws random weights as transformers does, but codewords with the mean 0 and not a half.

        With a mean that all codewords share, any two have a high cosine until project_q has learned to remove it.
        """
        nn.init.normal_(self.weight_proj.weight)
        nn.init.zeros_(self.weight_proj.bias)
        nn.init.uniform_(self.codevectors, -0.5, 0.5)

    def forward(self, latents: Tensor, counts: Tensor, temperature: Tensor | float) -> Quantized:
        """Draws codewords in training, with straight-through gradients, and else takes the most probable ones.

        latents       (B, T, C)
        counts        (B, T) bool: the frames that the perplexity is of
        temperature   above 0; near 0 gradients are those of a hard choice, and noisy
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
        """The logits of codewords: (B, T, C) -> (B, T, G, V)."""
        logits: Tensor = self.weight_proj(latents)
        return logits.view(*latents.shape[:2], self.groups, self.entries)


def perplexity(use: Tensor, counts: Tensor) -> Tensor:
    """exp of the entropy of the mean of distributions `use` (..., G, V) where `counts` (...) is true, summed over G."""
    mean = (use * counts[..., None, None]).flatten(0, -3).sum(0) / counts.sum().clamp_min(1)
    # transformers takes log(0) when the softmax of an improbable codeword underflows, and gradients become NaN.
    return torch.exp(-torch.xlogy(mean, mean.clamp_min(TINY)).sum(-1)).sum()
