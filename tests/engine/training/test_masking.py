"""Masks: transformers' numbers of spans, in the valid part of each row, spread evenly."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

from earshot_asr.engine.training.masking import mask, spans


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def number(size: int, prob: float, length: int, least: int, count: int, chance: float) -> int:
    """Of spans in a row, as transformers computes it."""
    n = max(int(prob * count / length + chance), least)
    n = min(n, size // length)
    return min(n, max(0, count - length + 1))


@given(data=st.data())
def test_spans_are_as_many_as_there_should_be_and_lie_in_what_is_valid(data: st.DataObject) -> None:
    size, length = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 12))
    prob, least = data.draw(st.floats(0, 1)), data.draw(st.integers(0, 3))
    counts = data.draw(st.lists(st.integers(0, size), min_size=1, max_size=4))
    seed = data.draw(st.integers(0, 2**32))
    masked = spans((len(counts), size), prob, length, least, torch.tensor(counts), generator=seeded(seed))
    chance = float(torch.rand((), generator=seeded(seed), dtype=torch.float64))
    for row, count in zip(masked.tolist(), counts, strict=True):
        wanted = number(size, prob, length, least, count, chance) if length <= size else 0
        assert not any(row[count:])
        assert (sum(row) >= length) == (wanted > 0)
        assert sum(row) <= wanted * length
        runs = "".join("#" if here else " " for here in row).split()
        assert all(len(run) >= length for run in runs)
        assert len(runs) <= wanted
        if wanted:  # different starts: all spans together cover at least one place more for each
            assert sum(row) >= length + wanted - 1


@pytest.mark.parametrize(("prob", "length", "least"), [(0.05, 10, 2), (0.65, 10, 0), (0.3, 7, 0), (0.01, 5, 0)])
def test_statistics_are_those_of_transformers(prob: float, length: int, least: int) -> None:
    shape, valid = (4, 150), [150, 120, 60, 11]
    attention = torch.arange(150) < torch.tensor(valid)[:, None]
    np.random.seed(0)
    theirs = np.mean([_compute_mask_indices(shape, prob, length, attention.long(), least) for _ in range(2000)], axis=0)
    generator = seeded(0)
    counts = torch.tensor(valid)
    ours = torch.stack([spans(shape, prob, length, least, counts, generator=generator) for _ in range(2000)])
    inside = attention.numpy()  # theirs masks a place of the padding where a row has no span
    difference = (ours.double().mean(0).numpy() - theirs) * inside
    assert np.abs(difference.sum(1) / np.array(valid)).max() < 0.05  # the share that is masked
    assert np.abs(difference).max() < 0.1  # at each place: 5 standard deviations of 2000 draws


def test_masked_frames_and_channels() -> None:
    x, embedding = torch.ones(2, 3, 4), torch.full((4,), 5.0)
    time = torch.tensor([[True, False, False], [False, False, False]])
    channels = torch.tensor([[False, False, False, True], [False, False, False, False]])
    out = mask(x, time, channels, embedding)
    assert out[0, 0].tolist() == [5, 5, 5, 0]
    assert out[0, 1].tolist() == [1, 1, 1, 0]
    assert torch.equal(out[1], x[1])
    assert mask(x, None, None, embedding) is x
    assert mask(x.bfloat16(), time, None, embedding).dtype == torch.bfloat16
