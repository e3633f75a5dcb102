"""Batches: shapes, what is in them, and that they are a function of seed, rank and step."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earshot_asr.engine.audio import SAMPLE_RATE, FrameGrid
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.manifest import UNIT_SAMPLES
from earshot_asr.engine.training.data import utterances as module
from earshot_asr.engine.training.data.augment import Augmentation, Chances
from earshot_asr.engine.training.data.corpus import Corpus
from earshot_asr.engine.training.data.crops import Crops
from earshot_asr.engine.training.data.drawing import Drawing, Mixed, play, shares
from earshot_asr.engine.training.data.labels import Plan
from earshot_asr.engine.training.data.rooms import RESPONSE_SAMPLES
from earshot_asr.engine.training.data.utterances import Utterances, ladder, needed
from earshot_asr.engine.training.task import UNKNOWN, TrainingBatch
from earshot_asr.engine.vocabulary import Vocabulary
from tests.engine.training.data.material import SYMBOLS, VOCABULARY, aligned, corpus, ids, spelled

GRID = FrameGrid(320, 400)
CPU = torch.device("cpu")
ZEROS = np.zeros(200, np.int64)


def material() -> Corpus:
    texts = ["ABC DEF", "GHI", "JKL M", "NO"]
    return corpus([(text, spelled(text)) for text in texts], names=["x", "x", "y", "y"])


def augmentation(factor: float = 1.0) -> Augmentation:
    generator = torch.Generator().manual_seed(5)
    noise = torch.randint(-9000, 9000, (300_000,), generator=generator, dtype=torch.int16)
    return Augmentation(noise, torch.zeros(1, RESPONSE_SAMPLES).index_fill_(1, torch.tensor([3]), 1.0), factor=factor)


def quiet(factor: float = 1.0) -> Augmentation:
    """Noise only where nothing is said."""
    made = augmentation(factor)
    made.chances = Chances().scaled(0.0)
    return made


OFTEN = quiet(4.0)
"""Where a pause fits in there is one."""


def crops(**options: Any) -> Crops:
    usual: dict[str, Any] = {"seconds": 3.0, "lengths": {0.4: 0.6, 1.0: 0.4}, "delay": 2}
    of_crops = {name: value for name, value in (usual | options).items() if name in ("lengths", "delay")}
    common = {name: value for name, value in (usual | options).items() if name not in of_crops}
    return Crops(drawing(material(), **common), **of_crops)


def drawing(corpus: Corpus, vocabulary: Vocabulary = VOCABULARY, **options: Any) -> Drawing:
    return Drawing(corpus, vocabulary, GRID, CPU, **options)


def utterances(corpus: Corpus, vocabulary: Vocabulary = VOCABULARY, *, lengths: int = 6, **options: Any) -> Utterances:
    return Utterances(drawing(corpus, vocabulary, **options), lengths=lengths)


def same(a: TrainingBatch, b: TrainingBatch) -> bool:
    return all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else x is y
        for x, y in ((getattr(a, name), getattr(b, name)) for name in TrainingBatch.__dataclass_fields__)
    )


def texts(batch: TrainingBatch) -> list[str]:
    rows = torch.split(batch.targets, batch.target_lengths.tolist())
    return ["".join(SYMBOLS[id] for id in row) for row in rows]


# ---- crops


@pytest.mark.parametrize("augment", [None, augmentation()])
def test_shapes(augment: Augmentation | None) -> None:
    source = crops(augment=augment)
    assert source.phones == ("SIL", *"ABCDEFGHIJKLMNO")
    seen = set()
    for step in range(12):
        batch = source.draw(step)
        rows, samples = batch.samples.shape
        frames = GRID.frames(samples)
        assert batch.symbols is not None and batch.phones is not None
        assert batch.symbols.shape == batch.phones.shape == (rows, frames)
        assert batch.lengths is None
        assert rows == round(3.0 * SAMPLE_RATE / 320 / frames)
        assert samples == GRID.span(0, frames)[1]
        assert (batch.samples.dtype, batch.symbols.dtype, batch.targets.dtype) == (torch.float32, *[torch.int64] * 2)
        assert batch.target_lengths.shape == (rows,)
        assert batch.target_lengths.sum() == len(batch.targets)
        assert torch.isfinite(batch.samples).all() and batch.samples.abs().max() < 1
        assert (batch.phones[:, :2] == UNKNOWN).all()  # said before the crop began
        assert (batch.phones[:, 2:] >= 0).all()
        seen.add(frames)
    assert seen == {20, 50}


@pytest.mark.parametrize("augment", [None, augmentation()])
def test_a_batch_is_a_function_of_seed_rank_and_step(augment: Augmentation | None) -> None:
    batch = crops(seed=1, rank=2, augment=augment).draw(7)
    source = crops(seed=1, rank=2, augment=augment)
    source.draw(3)
    assert same(source.draw(7), batch)
    for other in (crops(seed=2, rank=2), crops(seed=1, rank=3), source):
        assert not same(other.draw(8 if other is source else 7), batch)
    for step in range(5):  # all ranks have crops of one length
        assert crops(seed=1, rank=5).draw(step).samples.shape == source.draw(step).samples.shape


def test_without_augmentation_crops_are_as_recorded() -> None:
    whole = material()
    source = crops(lengths={0.4: 1.0}, seconds=4.0)
    recorded = np.concatenate([whole.pcm(n) for n in range(len(whole))])
    windows = np.lib.stride_tricks.sliding_window_view(recorded, 40)
    for row in source.draw(0).samples:
        start = np.rint(row[:40].numpy() * 32768).astype(np.int16)
        assert (windows == start).all(axis=1).any()


def test_weights() -> None:
    whole = material()
    hours = shares(whole, None)
    assert sum(hours.values()) == pytest.approx(1)
    lengths = whole.lengths
    assert hours["x"] / hours["y"] == pytest.approx(np.sqrt((lengths[0] + lengths[1]) / (lengths[2] + lengths[3])))
    assert shares(whole, {"x": 3, "y": 1}) == {"x": 0.75, "y": 0.25}
    with pytest.raises(ConfigError, match="weights: there is no corpus z; there are x, y"):
        crops(weights={"z": 1.0})
    with pytest.raises(ConfigError, match="must not be negative, and not all 0"):
        crops(weights={"x": 0.0, "y": 0.0})
    part = whole.select([True, True, False, False])  # names are looked for in the whole corpus
    assert shares(part, {"x": 3, "y": 1}) == {"x": 1.0}
    heard = Counter("".join(t for step in range(20) for t in texts(crops(weights={"x": 0.0, "y": 1.0}).draw(step))))
    assert set(heard) == set("JKLMNO|")


def test_empty_crops_and_pauses() -> None:
    """Some say nothing, and have sound all the same; some have a pause, longer than the recordings have any."""
    source = crops(augment=augmentation(), seconds=60.0, lengths={2.0: 1.0})
    batch = source.draw(0)
    assert batch.symbols is not None and batch.phones is not None
    empty = (batch.target_lengths == 0) & (batch.phones[:, 2:] == 0).all(1)
    assert 0 < empty.sum() < len(empty) / 4
    assert (batch.samples[empty].abs().amax(1) > 0.01).all()
    rng = np.random.default_rng(0)
    plan = source.plan(rng, 100, GRID.span(0, 100)[1])
    within = (plan.source < 0) & (plan.length < plan.width)
    assert within.any()
    assert (plan.length[within] <= 2 * SAMPLE_RATE).all()
    ends = np.flatnonzero(np.diff(plan.row, append=-1))
    assert ((plan.begin + plan.length)[ends] == plan.width).all()
    assert (plan.begin[1:] == np.where(np.diff(plan.row), 0, (plan.begin + plan.length)[:-1])).all()
    assert not (crops().plan(rng, 100, 9000).source < 0).any()


def test_pieces_lie_in_recordings() -> None:
    whole = material()
    plan = crops(augment=augmentation()).plan(np.random.default_rng(1), 200, 20_000)
    ends = set(whole.spans[:, 1].tolist())
    starts = set(whole.spans[:, 0].tolist())
    for source, begin, length in zip(plan.source, plan.begin, plan.length, strict=True):
        if source >= 0:
            first, end = next((a, b) for a, b in whole.spans if a <= source < b)
            assert source + length <= end
            assert begin == 0 or source in starts
            assert begin + length == plan.width or int(source + length) in ends
            assert first <= source


def test_aligned_by_a_model() -> None:
    """Letters are known in each frame, phones are not."""
    whole = corpus([("ABC", aligned(("ABC", 5, [("A", 9), ("B", 9), ("C", 9)]), letters=True))])
    source = Crops(drawing(whole, seconds=3.0))
    batch = source.draw(0)
    assert (source.phones, batch.phones) == ((), None)
    assert batch.symbols is not None and (batch.symbols > 0).any()


def test_no_alignment() -> None:
    plain = corpus([("A", None)])
    with pytest.raises(ConfigError, match="crops need alignments, and no recording has one; `earshot train align`"):
        Crops(drawing(plain))


# ---- playing


@given(st.floats(0.7, 1.4), st.integers(1, 3000))
def test_speed_is_interpolation(factor: float, length: int) -> None:
    samples = torch.arange(0, 30_000, 7, dtype=torch.int16)
    width = int(length * factor) + 3
    zero, all = np.zeros(1, np.int64), np.array([min(width, len(samples))])
    plan = Plan(source=zero, row=zero, begin=zero, length=all, factor=np.array([factor]), width=width)
    heard = play(plan, samples, length)[0].numpy() * 32768
    at = np.arange(length) * np.float32(factor)
    inside = at < len(samples) - 1
    assert heard[inside] == pytest.approx(7 * at[inside], abs=0.05)


# ---- whole utterances


@pytest.mark.parametrize("augment", [None, augmentation()])
def test_utterances_are_whole(augment: Augmentation | None, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = material()
    if augment is not None:
        monkeypatch.setattr(module, "PAUSE_CHANCE", 0.0)
        monkeypatch.setattr(module, "SILENCE_CHANCE", 0.0)
    source = utterances(whole, seconds=4.0, lengths=2, augment=augment)
    known = {f"{text.replace(' ', '|')}|": n for n, text in enumerate(whole.texts)}
    seen = Counter[str]()
    for step in range(30):
        batch = source.draw(step)
        samples = batch.samples.shape[1]
        assert (batch.symbols, batch.phones) == (None, None)
        assert batch.lengths is not None and batch.lengths.dtype == torch.int64
        assert GRID.span(0, GRID.frames(samples))[1] == samples
        for row, length, text in zip(batch.samples, batch.lengths.tolist(), texts(batch), strict=True):
            recorded = len(whole.pcm(known[text]))
            assert length <= samples
            assert recorded / 1.14 - 1 <= length <= recorded / 0.88 + 1
            if augment is None:
                assert length == recorded
                assert np.array_equal(row[:length].numpy() * 32768, whole.pcm(known[text]))
            assert not row[length:].any()
            seen[text] += 1
    assert seen.keys() == known.keys()
    assert same(source.draw(4), source.draw(4))


def ramps(texts: Sequence[str], seconds: Sequence[float]) -> Corpus:
    """Recordings in which each has a sample of its own, 1000, 2000, ..., again and again."""
    lengths = [round(s * SAMPLE_RATE) // UNIT_SAMPLES * UNIT_SAMPLES for s in seconds]
    ends = np.cumsum(lengths)
    made = corpus([(text, None) for text in texts])
    samples = np.concatenate([np.full(length, 1000 * n, np.int16) for n, length in enumerate(lengths, 1)])
    return replace(made, samples=samples, spans=np.stack((ends - lengths, ends), axis=1))


def test_utterances_with_pauses_and_none() -> None:
    """Pairs have one between them, and both texts; where nothing is said there is sound, and no text."""
    whole = ramps(["AB", "CD", "E"], [4.0, 1.0, 0.5])
    some = quiet()
    source = utterances(whole, seconds=40.0, lengths=1, augment=some)
    kinds = Counter[int]()
    for step in range(20):
        batch = source.draw(step)
        assert batch.lengths is not None and len(batch.lengths) == len(batch.target_lengths) == len(batch.samples)
        for row, length, text in zip(batch.samples, batch.lengths.tolist(), texts(batch), strict=True):
            assert length <= len(row)
            assert not row[length:].any()
            kinds[text.count("|")] += 1
            if not text:
                assert row[:length].abs().amax() > 0.01
    assert same(source.draw(4), utterances(whole, seconds=40.0, lengths=1, augment=some).draw(4))
    assert kinds.keys() == {0, 1, 2}
    total = sum(kinds.values())
    assert 0.15 < kinds[2] / total < 0.35 and kinds[0] / total < 0.08

    source = utterances(whole, seconds=40.0, lengths=1, augment=some)
    samples = GRID.span(0, GRID.frames(4 * SAMPLE_RATE + GRID.hop))[1]
    rows = source._rows(np.random.default_rng(0), np.zeros(200, np.int64), samples)
    plan, lengths = source._plan(np.random.default_rng(0), rows, samples)
    heard = plan.gather(torch.from_numpy(whole.samples))
    for row, parts, factor, length in zip(heard.numpy(), rows, plan.factor, lengths.tolist(), strict=True):
        edges = np.flatnonzero(np.diff(row, prepend=-1))
        there = [int(value) for value in row[edges] if value]
        assert there == [1000 * (which + 1) for which, _ in parts if which >= 0]
        if len(parts) == 3:
            (_, first), (_, pause), (_, second) = parts
            assert 0.2 * SAMPLE_RATE <= pause <= 2 * SAMPLE_RATE
            assert not row[first : first + pause].any()
            assert row[first - 1] and row[first + pause] and row[first + pause + second - 1]
            assert length == int((first + pause + second - 1) / factor) + 1
            assert 0.88 <= factor <= 1.14


def test_without_augmentation_each_utterance_is_alone() -> None:
    source = utterances(ramps(["AB", "CD"], [4.0, 0.5]), lengths=1)
    assert all(len(row) == 1 and row[0][0] >= 0 for row in source._rows(np.random.default_rng(0), ZEROS, 64_000))


def test_utterances_of_one_length_are_alone() -> None:
    """Two of them would not fit; what is never heard does not count."""
    whole = replace(ramps(["AB", "CD", "E"], [1.0, 1.0, 0.2]), alignments=[None] * 3)
    whole.rows[2] = replace(whole.rows[2], corpus="never")
    source = utterances(whole, augment=augmentation(), lengths=1, weights={"x": 1.0, "never": 0.0})
    assert all(len(row) == 1 for row in source._rows(np.random.default_rng(0), ZEROS, 16_400))
    long = ramps(["AB", "CD"], [5.0, 0.5])
    source = utterances(long, augment=augmentation(), lengths=1)
    heard = {
        which for row in source._rows(np.random.default_rng(0), ZEROS, 80_000) if len(row) == 3 for which, _ in row
    }
    assert heard == {-1, 1}


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12)), min_size=1, max_size=8), st.integers(0, 1000))
def test_what_is_joined_can_be_written(clips: list[tuple[int, int]], seed: int) -> None:
    """Without a word delimiter, and with no more frames than each needs by itself."""
    made = [("ABC"[letter] * length, needed(np.zeros(length, np.int64))) for letter, length in clips]
    seconds = [(GRID.span(0, frames)[1] * 1.14 + UNIT_SAMPLES) / SAMPLE_RATE + 0.01 for _, frames in made]
    plain = Vocabulary(symbols=("<pad>", *"ABC"), blank=0)
    source = utterances(
        ramps([text for text, _ in made], seconds), plain, seconds=10.0, augment=OFTEN, lengths=1, seed=seed
    )
    assert source.left_out == 0
    batch = source.draw(0)
    assert batch.lengths is not None
    rows = torch.split(batch.targets, batch.target_lengths.tolist())
    for row, length in zip(rows, batch.lengths.tolist(), strict=True):
        assert needed(row.numpy()) <= GRID.frames(length)


def test_utterances_that_can_not_be_written() -> None:
    """No known letter; more letters than frames."""
    short = corpus([("12", None), ("ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 3, None), ("AB", None)])
    source = utterances(short, seconds=2.0)
    assert set(texts(source.draw(0))) == {"AB|"}
    assert source.left_out == 2
    with pytest.raises(ConfigError, match="no recording has a text that could be written in its time"):
        utterances(short.select([True, True, False]))


def test_frames_needed() -> None:
    assert needed(np.array(ids("HELLO"))) == 6
    assert needed(np.array(ids("AAA"))) == 5
    assert needed(np.array([], np.int64)) == 0


@given(st.lists(st.integers(400, 100_000), min_size=1, max_size=60), st.integers(1, 4))
def test_a_ladder_holds_all_with_little_padding(lengths: list[int], rungs: int) -> None:
    found = ladder(np.array(lengths), GRID, rungs)
    assert 1 <= len(found) <= rungs
    assert max(lengths) <= found[-1] < max(lengths) + 2 * GRID.hop
    chosen = found[np.searchsorted(found, lengths)]
    assert (chosen >= lengths).all()
    ordered = np.sort(lengths)
    even = ordered[[-(-len(ordered) * (n + 1) // rungs) - 1 for n in range(rungs)]]  # as many in each
    assert chosen.sum() <= even[np.searchsorted(even, lengths)].sum() + 2 * GRID.hop * len(lengths)


# ---- mixtures


def test_mixed() -> None:
    one, other = crops(), utterances(material(), seconds=3.0)
    mixed = Mixed([(one, 3.0), (other, 1.0)], seed=4)
    kinds = [mixed.draw(step).lengths is None for step in range(60)]
    assert 35 <= sum(kinds) <= 55
    for step in range(6):
        assert same(mixed.draw(step), (one if kinds[step] else other).draw(step))
