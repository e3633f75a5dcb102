"""Wav2Vec2-BERT: equal to transformers' with every kind of positions, and exact under padding."""

from collections.abc import Callable
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertForCTC

from earshot_asr.engine.checkpoint import build_encoder, load_weights
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel
from earshot_asr.engine.families.layers import Encoder
from earshot_asr.engine.families.wav2vec2_bert import LogMels
from earshot_asr.engine.weights import read_tensors
from tests.engine.families.test_wav2vec2 import difference, speechlike

SMALL: dict[str, Any] = dict(
    vocab_size=17,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    conv_depthwise_kernel_size=7,
    left_max_position_embeddings=9,
    right_max_position_embeddings=3,
)
POSITIONS = ["relative_key", "relative", "rotary", None]
PARTS = [
    dict(position_embeddings_type=positions, use_intermediate_ffn_before_adapter=ffn)
    for positions, ffn in product(POSITIONS, (False, True))
]
ADAPTERS = [
    dict(add_adapter=True, **parts)
    for parts in (
        dict(),  # as the guide of its authors has it
        dict(use_intermediate_ffn_before_adapter=True, position_embeddings_type="relative", adapter_act="gelu"),
        dict(num_adapter_layers=2, output_hidden_size=20, position_embeddings_type=None),
        dict(num_adapter_layers=2, adapter_kernel_size=5, adapter_stride=3),
    )
]
Pair = tuple[Wav2Vec2BertForCTC, Encoder]


def make(folder: Path, parts: dict[str, Any]) -> Pair:
    """A random model of theirs, saved by them, and ours loaded from that."""
    torch.manual_seed(0)
    config = Wav2Vec2BertConfig(**SMALL)
    # Not by the constructor: it refuses the intermediate part without an adapter.
    for name, value in {"output_hidden_size": config.hidden_size, **parts}.items():
        setattr(config, name, value)
    theirs = Wav2Vec2BertForCTC(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    save_file(theirs.state_dict(), folder / "model.safetensors")
    ours = build_encoder(theirs.config.to_dict(), SeamlessM4TFeatureExtractor().to_dict())
    load_weights(ours, read_tensors([folder / "model.safetensors"]), torch.device("cpu"), torch.float32)
    return theirs, ours


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pair]:
    known: dict[str, Pair] = {}

    def get(parts: dict[str, Any]) -> Pair:
        if repr(parts) not in known:
            known[repr(parts)] = make(tmp_path_factory.mktemp("wav2vec2_bert"), parts)
        return known[repr(parts)]

    return get


@torch.inference_mode()
def their_log_probs(theirs: Wav2Vec2BertForCTC, samples: Tensor, frames: int) -> Tensor:
    """Theirs may have a masked frame more, of a mel frame without a neighbour."""
    inputs = SeamlessM4TFeatureExtractor()(samples.numpy(), sampling_rate=16000, return_tensors="pt")
    assert int(theirs._get_feat_extract_output_lengths(inputs.attention_mask.sum())) == frames
    return torch.log_softmax(theirs(**inputs).logits[:, :frames], dim=-1)


@pytest.mark.parametrize("parts", [*PARTS, *ADAPTERS], ids=repr)
@torch.inference_mode()
def test_equals_transformers(pair: Callable[..., Pair], parts: dict[str, Any]) -> None:
    theirs, ours = pair(parts)
    for frames in (1, 2, 30, 60):
        samples = speechlike(ours.grid.span(0, frames)[1])
        assert difference(ours(samples[None]), their_log_probs(theirs, samples, frames)) < 1e-4


@pytest.mark.parametrize(
    ("parts", "hop", "field"),
    [(PARTS[0], 320, 560), (ADAPTERS[0], 640, 560), (ADAPTERS[2], 1280, 560), (ADAPTERS[3], 2880, 560 + 640 + 1920)],
)
def test_the_grid_is_that_of_all_that_is_on_top(
    pair: Callable[..., Pair], parts: dict[str, Any], hop: int, field: int
) -> None:
    grid = pair(parts)[1].grid
    assert (grid.hop, grid.field) == (hop, field)


@pytest.mark.parametrize("parts", [PARTS[0], ADAPTERS[0]], ids=repr)
@pytest.mark.parametrize("more", [1, 159, 160, 200, 319])
@torch.inference_mode()
def test_equals_transformers_between_two_frames(pair: Callable[..., Pair], parts: dict[str, Any], more: int) -> None:
    theirs, ours = pair(parts)
    more += ours.grid.hop - 320
    samples = speechlike(ours.grid.span(0, 20)[1] + more)
    assert difference(ours(samples[None]), their_log_probs(theirs, samples, 20)) < 1e-4


@pytest.mark.parametrize("scale", [1.0, 1e-3, 0.0])
def test_log_mels_equal_those_of_the_feature_extractor(scale: float) -> None:
    samples = speechlike(16000) * scale
    extractor = SeamlessM4TFeatureExtractor()
    mels = LogMels(80, 2)
    raw = mels.raw(samples[None])[0]
    assert np.abs(raw.numpy() - extractor._extract_fbank_features(samples.numpy())).max() < 1e-5
    expected = extractor(samples.numpy(), sampling_rate=16000, return_tensors="pt").input_features
    assert float((mels(samples[None], None) - expected).abs().max()) < (1e-3 if scale else 1e-2)


@pytest.mark.parametrize("parts", [*PARTS, *ADAPTERS], ids=repr)
@torch.inference_mode()
def test_padded_equals_alone(pair: Callable[..., Pair], parts: dict[str, Any]) -> None:
    _, ours = pair(parts)
    lengths = [9000, 16000, ours.grid.field, 4321, 4161]
    garbage = torch.randn(5, 16000, generator=torch.Generator().manual_seed(1)) * 1000
    for row, length in enumerate(lengths):
        garbage[row, :length] = speechlike(length, row)
    together = ours(garbage, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = ours(speechlike(length, row)[None])
        assert difference(together[row : row + 1, : alone.shape[1]], alone) < 1e-5


@settings(max_examples=15, deadline=None)
@given(data=st.data())
@torch.inference_mode()
def test_company_makes_no_difference(pair: Callable[..., Pair], data: st.DataObject) -> None:
    _, ours = pair(data.draw(st.sampled_from([*PARTS, *ADAPTERS])))
    lengths = data.draw(st.lists(st.integers(0, 6000), min_size=1, max_size=4))
    padding = data.draw(st.sampled_from([0.0, 1.0, 1e4, float("inf"), float("nan")]))
    batch = torch.full((len(lengths), max(4000, *lengths)), padding)
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


def test_grid_is_what_a_frame_sees() -> None:
    mels = LogMels(80, 2)
    samples = (torch.randn(1, 3200) * 0.1).requires_grad_()
    mels.raw(samples)[0, 4:6].square().sum().backward()  # type: ignore[no-untyped-call]  # frame 2
    assert samples.grad is not None
    seen = samples.grad[0].nonzero().flatten()
    assert int(seen.min()) >= 640
    assert int(seen.max()) < 640 + 560
    assert int(seen.max() - seen.min()) >= 556  # the window is 0 at its ends


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("parts", [*PARTS[::2], ADAPTERS[0]], ids=repr)
@torch.inference_mode()
def test_half_precision_is_near_and_comes_out_as_float32(
    pair: Callable[..., Pair], parts: dict[str, Any], dtype: torch.dtype
) -> None:
    theirs, ours = pair(parts)
    half = build_encoder(theirs.config.to_dict(), {})
    load_weights(half, theirs.state_dict(), torch.device("cpu"), dtype)
    samples = speechlike(8000)[None]
    assert half(samples).dtype == torch.float32
    assert difference(half(samples), ours(samples)) < 0.05
    lengths = torch.tensor([5000])
    frames = ours.grid.frames(5000)
    assert difference(half(samples, lengths)[:, :frames], ours(samples, lengths)[:, :frames]) < 0.05


def test_what_is_not_supported_is_named() -> None:
    config = {**SMALL, "model_type": "wav2vec2-bert"}
    for name, entry in (
        ("adapter_kernel_size 3 with adapter_stride 4", {"add_adapter": True, "adapter_stride": 4}),
        ("absolute", {"position_embeddings_type": "absolute"}),
        ("quick_gelu", {"hidden_act": "quick_gelu"}),
    ):
        with pytest.raises(UnsupportedModel, match=name):
            build_encoder({**config, **entry}, {})
    with pytest.raises(UnsupportedModel, match="Wav2Vec2FeatureExtractor"):
        build_encoder(config, {"feature_extractor_type": "Wav2Vec2FeatureExtractor"})
    with pytest.raises(CheckpointError, match="num_mel_bins 40"):
        build_encoder(config, {"num_mel_bins": 40})
    with pytest.raises(CheckpointError, match="vocab_size"):
        build_encoder({**config, "vocab_size": None}, {})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("parts", [*PARTS[::2], ADAPTERS[0]], ids=repr)
@torch.inference_mode()
def test_can_be_captured_in_a_cuda_graph(pair: Callable[..., Pair], parts: dict[str, Any]) -> None:
    ours = deepcopy(pair(parts)[1]).cuda()
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
