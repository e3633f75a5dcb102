"""wav2vec 2.0: equal to transformers' on every combination of its parts, and exact under padding."""

from collections.abc import Callable
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from earshot_asr.engine.checkpoint import build_encoder, load_weights
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel
from earshot_asr.engine.families import wav2vec2
from earshot_asr.engine.families.layers import Encoder
from earshot_asr.engine.weights import read_tensors

SMALL: dict[str, Any] = dict(
    vocab_size=17,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    conv_dim=(16, 24, 16, 16, 16, 16, 20),
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
)
BASE = dict(feat_extract_norm="group", conv_bias=False, do_stable_layer_norm=False)
LARGE = dict(feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True)
PARTS = [
    dict(feat_extract_norm=norm, conv_bias=bias, do_stable_layer_norm=stable)
    for norm, bias, stable in product(("group", "layer"), (False, True), (False, True))
]
MMS = {**LARGE, "adapter_attn_dim": 6}
OTHERS = [
    MMS,
    {**BASE, "adapter_attn_dim": 6},  # means nothing: there are adapters in pre-norm models only
    {**BASE, "num_conv_pos_embeddings": 15},
    {**BASE, "feat_extract_activation": "relu", "hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
    {**LARGE, "conv_kernel": (8, 5, 3, 2), "conv_stride": (4, 2, 2, 3), "conv_dim": (8, 8, 8, 8)},
]
Pair = tuple[Wav2Vec2ForCTC, Wav2Vec2FeatureExtractor, Encoder]


def make(folder: Path, parts: dict[str, Any], normalize: bool = False) -> Pair:
    """A random model of theirs, saved by them, and ours loaded from that."""
    torch.manual_seed(0)
    theirs = Wav2Vec2ForCTC(Wav2Vec2Config(**{**SMALL, **parts})).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():  # fresh biases are 0 and norms 1: they would hide what is wrong
            parameter.add_(torch.randn_like(parameter) * 0.1)
    theirs.save_pretrained(folder)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=normalize)
    ours = build_encoder(theirs.config.to_dict(), extractor.to_dict())
    load_weights(ours, read_tensors([folder / "model.safetensors"]), torch.device("cpu"), torch.float32)
    return theirs, extractor, ours


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pair]:
    known: dict[str, Pair] = {}

    def get(parts: dict[str, Any], normalize: bool = False) -> Pair:
        key = repr((parts, normalize))
        if key not in known:
            known[key] = make(tmp_path_factory.mktemp("wav2vec2"), parts, normalize)
        return known[key]

    return get


def speechlike(samples: int, seed: int = 0) -> Tensor:
    """Noise (S,) that is loud and quiet in turn, with an offset."""
    generator = torch.Generator().manual_seed(seed)
    loudness = torch.rand(samples // 800 + 1, generator=generator).repeat_interleave(800)[:samples] ** 4
    return 0.3 * loudness * torch.randn(samples, generator=generator).clamp(-3, 3) + 0.01


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


@torch.inference_mode()
def their_log_probs(theirs: Wav2Vec2ForCTC, extractor: Wav2Vec2FeatureExtractor, samples: Tensor) -> Tensor:
    values = extractor(samples.numpy(), sampling_rate=16000, return_tensors="pt").input_values
    return torch.log_softmax(theirs(values.to(theirs.dtype)).logits.float(), dim=-1)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("parts", PARTS + OTHERS, ids=repr)
@torch.inference_mode()
def test_equals_transformers(pair: Callable[..., Pair], parts: dict[str, Any], normalize: bool) -> None:
    theirs, extractor, ours = pair(parts, normalize)
    for samples in (speechlike(ours.grid.field), speechlike(8000), speechlike(16123)):
        expected = their_log_probs(theirs, extractor, samples)
        assert expected.shape[1] == ours.grid.frames(len(samples))
        assert difference(ours(samples[None]), expected) < 1e-4


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("parts", [*PARTS, MMS], ids=repr)
@torch.inference_mode()
def test_padded_equals_alone(pair: Callable[..., Pair], parts: dict[str, Any], normalize: bool) -> None:
    _, _, ours = pair(parts, normalize)
    lengths = [9000, 16000, 400, 4321]
    garbage = torch.randn(4, 16000, generator=torch.Generator().manual_seed(1)) * 1000
    for row, length in enumerate(lengths):
        garbage[row, :length] = speechlike(length, row)
    together = ours(garbage, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = ours(speechlike(length, row)[None])
        assert difference(together[row : row + 1, : alone.shape[1]], alone) < 1e-5


@torch.inference_mode()
def test_a_quiet_row_with_an_offset_is_the_same_alone_and_padded() -> None:
    """What is left when the mean is taken off is of the last bits of the samples."""
    row = (9830 + torch.randint(-1, 2, (3000,), generator=torch.Generator().manual_seed(0))) / 32768
    padded = torch.cat((row, torch.zeros(5000)))
    alone, together = (
        wav2vec2.normalized(x[None], lengths) for x, lengths in ((row, None), (padded, torch.tensor([3000])))
    )
    assert difference(together[:, :3000], alone) < 1e-6


@settings(max_examples=15, deadline=None)
@given(data=st.data())
@torch.inference_mode()
def test_company_makes_no_difference(pair: Callable[..., Pair], data: st.DataObject) -> None:
    _, _, ours = pair(data.draw(st.sampled_from([BASE, LARGE])), data.draw(st.booleans()))
    lengths = data.draw(st.lists(st.integers(0, 6000), min_size=1, max_size=4))
    width = max(720, *lengths)
    padding = data.draw(st.sampled_from([0.0, 1.0, 1e4, float("inf"), float("nan")]))
    batch = torch.full((len(lengths), width), padding)
    for row, length in enumerate(lengths):
        batch[row, :length] = speechlike(length, row)
    together = ours(batch, torch.tensor(lengths))
    assert together.isfinite().all()
    for row, length in enumerate(lengths):
        alone = ours(speechlike(length, row)[None])
        frames = ours.grid.frames(length)
        assert alone.shape[1] == frames
        if frames:
            assert difference(together[row : row + 1, :frames], alone) < 1e-5


@torch.inference_mode()
def test_lengths_that_mask_nothing(pair: Callable[..., Pair]) -> None:
    _, _, ours = pair(BASE)
    samples = torch.stack([speechlike(5000, seed) for seed in range(3)])
    assert torch.equal(ours(samples), ours(samples, torch.full((3,), 5000)))
    assert ours(samples[:, :399]).shape == (3, 0, 17)


@pytest.mark.parametrize(("kernel", "stride"), [((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)), ((8, 3), (4, 2))])
def test_grid_is_what_a_frame_sees(kernel: tuple[int, ...], stride: tuple[int, ...]) -> None:
    dims = wav2vec2.Wav2Vec2Dims(
        **{**SMALL, **LARGE, "conv_dim": (8,) * len(kernel)}, conv_kernel=kernel, conv_stride=stride
    )
    extractor = wav2vec2.FeatureExtractor(dims)
    for parameter in extractor.parameters():
        torch.nn.init.normal_(parameter)
    samples = torch.randn(1, 3 * dims.grid.field, requires_grad=True)
    extractor(samples, None, torch.float32)[0, 2].square().sum().backward()
    assert samples.grad is not None
    seen = samples.grad[0].nonzero().flatten()
    assert (int(seen.min()), int(seen.max()) + 1) == dims.grid.span(2, 1)


@pytest.mark.parametrize("parts", [BASE, LARGE], ids=["base", "large"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.inference_mode()
def test_half_precision_is_near_and_comes_out_as_float32(
    pair: Callable[..., Pair], parts: dict[str, Any], dtype: torch.dtype
) -> None:
    theirs, extractor, ours = pair(parts, True)
    half = build_encoder(theirs.config.to_dict(), extractor.to_dict())
    load_weights(half, theirs.state_dict(), torch.device("cpu"), dtype)
    their_half = deepcopy(theirs).to(dtype)
    off = their_off = 0.0  # how far half precision leads depends on the machine: it is asked of both, here
    for seed in range(4):
        samples = speechlike(8000, seed)
        assert half(samples[None]).dtype == torch.float32
        off = max(off, difference(half(samples[None]), ours(samples[None])))
        expected = their_log_probs(theirs, extractor, samples)
        their_off = max(their_off, difference(their_log_probs(their_half, extractor, samples), expected))
    assert off < max(0.05, 2 * their_off), (off, their_off)


def test_what_is_not_supported_is_named() -> None:
    config = {**SMALL, **BASE, "model_type": "wav2vec2"}
    for name, entry in (
        ("add_adapter", {"add_adapter": True}),
        ("batch", {"feat_extract_norm": "batch"}),
        ("quick_gelu", {"hidden_act": "quick_gelu"}),
    ):
        with pytest.raises(UnsupportedModel, match=name):
            build_encoder({**config, **entry}, {})
    with pytest.raises(UnsupportedModel, match="SeamlessM4TFeatureExtractor"):
        build_encoder(config, {"feature_extractor_type": "SeamlessM4TFeatureExtractor"})


@pytest.mark.parametrize(
    "entry",
    [{"hidden_size": 33}, {"hidden_size": "32"}, {"conv_dim": (16,)}, {"conv_stride": (0,) * 7}, {"conv_bias": 1},
     {"num_conv_pos_embedding_groups": 5}, {"layer_norm_eps": None}, {"adapter_attn_dim": "16"},
     {"adapter_attn_dim": 0}],
    ids=repr,
)  # fmt: skip
def test_settings_that_make_no_sense_are_named(entry: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=next(iter(entry))):
        build_encoder({**SMALL, **entry, "model_type": "wav2vec2"}, {})
    with pytest.raises(CheckpointError, match="do_normalize"):
        build_encoder({**SMALL, "model_type": "wav2vec2"}, {"do_normalize": "yes"})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.inference_mode()
def test_can_be_captured_in_a_cuda_graph(pair: Callable[..., Pair]) -> None:
    for parts in (BASE, LARGE):
        ours = deepcopy(pair(parts, True)[2]).cuda()
        samples = speechlike(8000)[None].cuda()
        expected = ours(samples)  # warms up: plans and workspaces are made
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        still = samples.clone()
        with torch.cuda.graph(graph):
            captured = ours(still)
        still.copy_(samples)
        graph.replay()
        assert difference(captured, expected) < 1e-5
