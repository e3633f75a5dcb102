"""How often each language uses each codeword of a quantizer, and how similar that makes two languages."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from earshot_asr.engine.audio import SAMPLE_RATE, Seconds, to_float
from earshot_asr.engine.training.data.corpus import Corpus
from earshot_asr.engine.training.pretrain.contrastive import Contrastive
from earshot_asr.engine.training.pretrain.languages import UNDETERMINED

Counts: TypeAlias = npt.NDArray[np.int64]
"""(G, V): how often each codeword of each group is used."""
Floats: TypeAlias = npt.NDArray[np.float64]


@torch.no_grad()
def usage(
    model: Contrastive, corpus: Corpus, *, least: Seconds = 0.0, most: Seconds = float("inf")
) -> dict[str, Counts]:
    """How often each language uses each codeword.

    least   seconds of speech that a language needs, to be counted
    most    seconds of each language, its first utterances; perplexities compare if they are of equal amounts
    """
    device = next(model.parameters()).device
    counts: dict[str, Counts] = {}
    heard: dict[str, int] = {}
    for index, lang in enumerate(lang or UNDETERMINED for lang in corpus.langs):
        room = min(most * SAMPLE_RATE, len(corpus.samples)) - heard.get(lang, 0)
        pcm = corpus.pcm(index)[: max(0, int(room))]
        if len(pcm) < model.wav2vec2.grid.field:
            continue
        codes = model.codes(torch.from_numpy(to_float(pcm))[None].to(device))[0]
        found = count(codes.cpu().numpy(), model.quantizer.entries)
        counts[lang] = counts[lang] + found if lang in counts else found
        heard[lang] = heard.get(lang, 0) + len(pcm)
    return {lang: counts[lang] for lang in sorted(counts) if heard[lang] >= least * SAMPLE_RATE}


def count(codes: npt.NDArray[np.int64], entries: int) -> Counts:
    """Codes (N, G) -> how often each occurs (G, V)."""
    return np.stack([np.bincount(group, minlength=entries) for group in codes.T])


def perplexity(counts: Counts) -> float:
    """The number of codewords in use: exp of the entropy of each group, summed over groups; 0 without any counts."""
    if not counts.sum():
        return 0.0
    return float(np.exp(_entropy(_distribution(counts))).sum())


def similarity(one: Counts, other: Counts) -> float:
    """1 minus the Jensen-Shannon divergence in bits, mean over groups. 1: the same usage, 0: no codeword in common."""
    p, q = _distribution(one), _distribution(other)
    divergence = _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2
    return float(1 - divergence.mean() / np.log(2))


def similarities(counts: Sequence[Counts]) -> Floats:
    """The similarity of each pair of L languages: (L, L)."""
    return np.array([[similarity(one, other) for other in counts] for one in counts])


def places(counts: Sequence[Counts]) -> tuple[Floats, Floats]:
    """The first two principal components (L, 2) of the usages of L languages, and their shares of the variance (2,)."""
    rows = np.stack([_distribution(one).ravel() for one in counts])
    left, scales, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    total = max(float(np.square(scales).sum()), 1e-30)
    found, part = left * scales, np.square(scales) / total
    missing = max(0, 2 - found.shape[1])
    return np.pad(found, ((0, 0), (0, missing)))[:, :2], np.pad(part, (0, missing))[:2]


def _distribution(counts: Counts) -> Floats:
    shares: Floats = counts / np.maximum(counts.sum(-1, keepdims=True), 1)
    return shares


def _entropy(p: Floats) -> Floats:
    """In nats, over the last axis."""
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    entropy: Floats = -(p * logs).sum(-1)
    return entropy
