"""The relatives of wav2vec 2.0: equal to transformers', and exact under padding, where transformers is not."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from earshot_asr.engine.checkpoint import build_encoder
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel
from earshot_asr.engine.families import family_of
from earshot_asr.engine.families.wavlm import RelativeTransformer, WavLmDims
from tests.engine.families.parity import (
    Pair,
    assert_equal,
    assert_near_in_half_precision,
    assert_padded_equals_alone,
    make,
)
from tests.engine.families.test_wav2vec2 import BASE, LARGE, SMALL, difference, speechlike

CONVOLUTIONS = {"conv_dim": (8, 8, 8, 12, 12, 12, 12, 16, 16, 16, 16, 20, 20)}
PARTS: dict[str, list[dict[str, Any]]] = {
    "hubert": [
        BASE,
        {**LARGE, "feat_proj_layer_norm": False},
        {**BASE, "conv_pos_batch_norm": True},
        {**LARGE, "conv_pos_batch_norm": True},
    ],
    "unispeech": [BASE, LARGE],
    "unispeech-sat": [BASE, LARGE],
    "wavlm": [BASE, LARGE, {**LARGE, "num_buckets": 16, "max_bucket_distance": 20}],
    "data2vec-audio": [
        {"num_conv_pos_embeddings": 5},
        {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 6, "conv_bias": True},
        {"num_conv_pos_embeddings": 1, "feat_extract_norm": "group", "do_stable_layer_norm": True},  # are not read
    ],
    "sew": [
        CONVOLUTIONS,
        {**CONVOLUTIONS, "hidden_size": 20, "squeeze_factor": 1, "do_stable_layer_norm": True},  # the last is not read
        {**CONVOLUTIONS, **LARGE, "squeeze_factor": 3, "num_conv_pos_embeddings": 15},
    ],
}
ALL = [(kind, parts) for kind, several in PARTS.items() for parts in several]


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    kind, parts = request.param
    return make(tmp_path_factory.mktemp(kind), kind, parts)


everywhere = pytest.mark.parametrize("pair", ALL, ids=repr, indirect=True, scope="module")


@everywhere
def test_equals_transformers(pair: Pair) -> None:
    assert_equal(pair, least_frames=getattr(pair.theirs.config, "squeeze_factor", 1))


@everywhere
def test_padded_equals_alone(pair: Pair) -> None:
    assert_padded_equals_alone(pair)


@everywhere
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_near_and_comes_out_as_float32(pair: Pair, dtype: torch.dtype) -> None:
    assert_near_in_half_precision(pair, dtype)


@pytest.mark.parametrize(("buckets", "farthest"), [(320, 800), (16, 20), (5, 9), (4, 2), (7, 1000)])
def test_distances_have_the_buckets_of_transformers(buckets: int, farthest: int) -> None:
    theirs = WavLMAttention(8, 2, num_buckets=buckets, max_distance=farthest)
    ours = RelativeTransformer(WavLmDims(hidden_size=8, num_attention_heads=2, num_hidden_layers=1,
                                         num_conv_pos_embedding_groups=2, num_buckets=buckets,
                                         max_bucket_distance=farthest))  # fmt: skip
    distances = torch.arange(-2000, 2001)
    assert torch.equal(ours.bucket(distances), theirs._relative_positions_bucket(distances))
    ours.rel_attn_embed.weight = theirs.rel_attn_embed.weight
    assert torch.equal(ours.shared(torch.zeros(1, 50, 8), None)[1], theirs.compute_bias(50, 50))  # type: ignore[arg-type]


@torch.inference_mode()
def test_frames_that_can_t_be_squeezed_say_what_the_head_s_bias_says(tmp_path: Path) -> None:
    """Those left over at a window's end, as in transformers, and those of a shorter window, on which it fails."""
    encoder = make(tmp_path, "sew", CONVOLUTIONS).ours.encoder
    silent = encoder.lm_head.bias.log_softmax(-1)
    for frames in (1, 3, 25):
        log_probs = encoder(speechlike(encoder.grid.span(0, frames)[1])[None])
        assert torch.allclose(log_probs[0, -1], silent)
        assert not torch.allclose(log_probs[0, :-1], silent) or frames == 1


@pytest.mark.parametrize("kind", PARTS)
def test_adapters_are_refused_by_name_and_value(kind: str) -> None:
    family = family_of({"model_type": kind})
    config = {**SMALL, "model_type": kind, "architectures": [family.head]}
    for name, value in (("add_adapter", True), ("adapter_attn_dim", 16)):
        with pytest.raises(UnsupportedModel, match=f"{name} is {value}; .* without adapters here; take a checkpoint"):
            build_encoder({**config, name: value}, {})


@pytest.mark.parametrize(
    ("kind", "entry", "complaint"),
    [
        ("hubert", {"feat_extract_norm": "batch"}, "feat_extract_norm 'batch' is neither"),
        ("hubert", {"conv_pos_batch_norm": "yes"}, "conv_pos_batch_norm is 'yes'; it must be true or false"),
        ("unispeech", {"hidden_act": "quick_gelu"}, "activation 'quick_gelu' is not supported"),
        ("wavlm", {"num_buckets": 3}, "num_buckets is 3, max_bucket_distance 800; these must be at least 4"),
        ("wavlm", {"max_bucket_distance": 80}, "max_bucket_distance 80; .* more than a fourth of that"),
        ("data2vec-audio", {"num_conv_pos_embeddings": 1000}, "num_conv_pos_embeddings is 1000; .* from 1 to 256"),
        ("sew", {"squeeze_factor": 0}, "squeeze_factor is 0; it must be a whole number from 1"),
    ],
)
def test_settings_that_make_no_sense_are_named(kind: str, entry: dict[str, Any], complaint: str) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        build_encoder({"model_type": kind, **entry}, {})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@everywhere
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@torch.inference_mode()
def test_can_be_captured_in_a_cuda_graph(pair: Pair, dtype: torch.dtype) -> None:
    encoder = deepcopy(pair.ours.encoder).to("cuda", dtype)
    samples = speechlike(8000)[None].cuda()
    expected = encoder(samples)  # warms up: plans and workspaces are made
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    still = samples.clone()
    with torch.cuda.graph(graph):
        captured = encoder(still)
    still.copy_(samples)
    graph.replay()
    assert difference(captured, expected) < 1e-5
    assert difference(captured.cpu(), pair.ours.encoder(samples.cpu())) < (1e-3 if dtype == torch.float32 else 0.05)
