"""Estimates an n-gram model of a text: interpolated modified Kneser-Ney, as KenLM's lmplz does. No torch.

Chen and Goodman, 1999. An n-gram is a node of the trie that comes of it: its parent is the n-gram without its first
word, its context the one without its last.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from earshot_asr.engine.errors import TrainingError
from earshot_asr.engine.lm.grams import mark
from earshot_asr.engine.lm.kenlm import by_hash
from earshot_asr.engine.lm.ngrams import BEGIN, END, UNKNOWN
from earshot_asr.engine.lm.trie import Level

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
BEGIN_PROB, NONE = -99.0, -1


@dataclass(frozen=True, eq=False)
class _Counts:
    """The n-grams of one length, in the order of the trie.

    words              the first word of each
    parents, contexts  places of n-grams that are shorter by a word
    counts             how often it is in the text
    """

    words: Numbers
    parents: Numbers
    contexts: Numbers
    counts: Numbers


def estimate(sentences: Iterable[str], order: int, least: int, pruned: Sequence[int]) -> tuple[list[str], list[Level]]:
    """Words by id, in the order of KenLM's hashes, and the levels of a trie.

    sentences   words with spaces between them
    least       how often a word must be there to be known. N-grams with other words do not count
    pruned      by length, never falling: n-grams that are there so often or less are left out

    Raises TrainingError for a text that is too small.
    """
    assert len(pruned) == order >= 2 and list(pruned) == sorted(pruned) and pruned[0] == 0, pruned
    split = [sentence.split() for sentence in sentences]
    found = Counter(chain.from_iterable(split))
    for special in (UNKNOWN, BEGIN, END):
        found.pop(special, None)
    words = by_hash([BEGIN, END, *(word for word, count in found.items() if count >= least)])
    ids = {word: id for id, word in enumerate(words)}
    text = np.fromiter(chain.from_iterable(_marked(each, ids) for each in split), np.int64)
    if len(text) == 0:
        raise TrainingError("a text without words")
    return words, _levels(_counted(text, len(words), ids[BEGIN], order), ids[BEGIN], pruned)


def _marked(sentence: Sequence[str], ids: dict[str, int]) -> Iterable[int]:
    """The ids of a sentence's words, with its beginning and its end."""
    return (ids[BEGIN], *(ids.get(word, NONE) for word in sentence), ids[END])


def _counted(text: Numbers, vocabulary: int, begin: int, order: int) -> list[_Counts]:
    """All n-grams of known words that lie within a sentence, by length."""
    every = np.arange(vocabulary)
    nodes = text  # [position]: the n-gram that ends here
    grams = [_Counts(every, every * 0, every * 0, np.bincount(text[text >= 0], minlength=vocabulary))]
    for n in range(2, order + 1):
        ends = np.arange(n - 1, len(text))
        ends = ends[(nodes[ends] >= 0) & (nodes[ends - 1] >= 0) & (text[ends - n + 2] != begin)]
        keys = nodes[ends] * vocabulary + text[ends - n + 1]
        unique, first, node, count = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        grams.append(_Counts(unique % vocabulary, unique // vocabulary, nodes[ends[first] - 1], count))
        nodes = np.full_like(nodes, NONE)
        nodes[ends] = node
    return grams


def _levels(grams: Sequence[_Counts], begin: int, pruned: Sequence[int]) -> list[Level]:
    """Probabilities and backoffs of the n-grams that are kept; what the others have goes to shorter ones."""
    kept = [each.counts > most for each, most in zip(grams, pruned, strict=True)]
    kept[0][:] = True
    levels: list[Level] = []
    probs, rank = _unigrams(grams, begin), np.zeros(0, np.int64)
    for n, each in enumerate(grams):
        if n:
            counts = _adjusted(grams, n, begin)
            backoffs, probs, shorter = *_smoothed(each, counts, kept[n], probs), kept[n - 1]
            parents = rank[each.parents[kept[n]]]
            levels[-1] = _finished(levels[-1], backoffs[shorter], rank[each.contexts[kept[n]]], parents)
        rank = np.cumsum(kept[n]) - 1
        logs = np.log10(np.maximum(probs[kept[n]], 10**BEGIN_PROB)).astype(np.float32)
        levels.append(Level(each.words[kept[n]].astype(np.uint32), logs))
    return levels


def _finished(level: Level, backoffs: Floats, contexts: Numbers, parents: Numbers) -> Level:
    """A level to which a longer one was found."""
    logs = np.log10(backoffs).astype(np.float32)
    mark(logs, contexts)
    begin = np.searchsorted(parents, np.arange(len(level.words) + 1)).astype(np.uint32)
    return Level(level.words, level.prob, logs, begin)


def _adjusted(grams: Sequence[_Counts], n: int, begin: int) -> Numbers:
    """How many words stand before each n-gram; how often it is there if none can, or it is one of the longest."""
    if n == len(grams) - 1:
        return grams[n].counts
    before = np.bincount(grams[n + 1].parents, minlength=len(grams[n].words))
    return np.where(grams[n].words == begin, grams[n].counts, before)


def _unigrams(grams: Sequence[_Counts], begin: int) -> Floats:
    """The probability of each word by itself. <s> never follows another; <unk> has what an unseen word has."""
    counts = _adjusted(grams, 0, begin)
    counts[begin] = 0
    discounts = _discounts(counts)
    probs: Floats = (counts - discounts + discounts.sum() / (len(counts) - 1)) / counts.sum()
    probs[begin] = 0
    return probs


def _smoothed(each: _Counts, counts: Numbers, kept: Flags, shorter: Floats) -> tuple[Floats, Floats]:
    """Backoffs of contexts and probabilities of n-grams; shorter: those of the n-grams without their first words."""
    discounts = _discounts(counts)
    total = np.bincount(each.contexts, counts, len(shorter))
    left = np.bincount(each.contexts, np.where(kept, discounts, counts), len(shorter))
    backoffs = np.where(total > 0, left / np.maximum(total, 1), 1.0)
    own = (counts - discounts) / np.maximum(total, 1)[each.contexts]
    return backoffs, own + backoffs[each.contexts] * shorter[each.parents]


def _discounts(counts: Numbers) -> Floats:
    """What is taken off each count: it depends on whether that is 1, 2, or 3 and more. Raises TrainingError."""
    t = np.bincount(np.minimum(counts, 5), minlength=6)[1:5]
    if not t.all():
        raise TrainingError("the text is too small: it must have n-grams that are there once, twice, 3 and 4 times")
    y = t[0] / (t[0] + 2 * t[1])
    k = np.arange(1, 4)
    by_count = np.clip(k - (k + 1) * y * t[1:] / t[:-1], 0, k)
    return np.concatenate([[0.0], by_count])[np.minimum(counts, 3)]
