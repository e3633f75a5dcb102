"""wav2vec 2.0 with conformer layers: equal to transformers', and exact under padding, where transformers is not."""

from typing import Any

import pytest
import torch

from earshot_asr.engine.checkpoint import build_encoder
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel
from tests.engine.families.parity import (
    Pair,
    assert_equal,
    assert_near_in_half_precision,
    assert_padded_equals_alone,
    make,
)
from tests.engine.families.test_wav2vec2 import BASE, LARGE

KIND = "wav2vec2-conformer"
SMALL: dict[str, Any] = {"conv_depthwise_kernel_size": 7, "hidden_act": "swish"}
PARTS: list[dict[str, Any]] = [
    {**LARGE, **SMALL, "position_embeddings_type": "relative", "layer_norm_eps": 1e-3},
    {**LARGE, **SMALL, "position_embeddings_type": "rotary", "rotary_embedding_base": 100},
    {**BASE, "conv_depthwise_kernel_size": 31, "position_embeddings_type": None},
]
each = pytest.mark.parametrize("pair", PARTS, ids=repr, indirect=True, scope="module")


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make(tmp_path_factory.mktemp(KIND), KIND, request.param)


@each
def test_equals_transformers(pair: Pair) -> None:
    assert_equal(pair)


@each
def test_padded_equals_alone(pair: Pair) -> None:
    assert_padded_equals_alone(pair)


@pytest.mark.parametrize("pair", PARTS[::2], ids=repr, indirect=True, scope="module")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_near(pair: Pair, dtype: torch.dtype) -> None:
    """Theirs keeps a table of rotary positions in single precision, and fails."""
    assert_near_in_half_precision(pair, dtype)


def test_what_is_not_supported_is_named() -> None:
    config = {**PARTS[0], "model_type": KIND, "vocab_size": 9}
    for name, entry in (
        ("relative_key", {"position_embeddings_type": "relative_key"}),
        ("add_adapter", {"add_adapter": True}),
    ):
        with pytest.raises(UnsupportedModel, match=name):
            build_encoder({**config, **entry}, {})
    with pytest.raises(CheckpointError, match="kernel is 8; it must be odd"):
        build_encoder({**config, "conv_depthwise_kernel_size": 8}, {})
