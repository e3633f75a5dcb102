"""Models that training begins with: the built-in shapes, and their random weights."""

import pytest
import torch

from earshot_asr.engine.families.filters import band_filters
from earshot_asr.engine.families.wav2vec2 import FAMILY, build
from earshot_asr.engine.training.data.units import characters
from earshot_asr.engine.training.pretrain.pretrained import create
from earshot_asr.engine.training.shapes import PRETRAINING_SHAPES
from earshot_asr.engine.training.start import from_nothing


@pytest.mark.parametrize(("name", "millions"), [("tiny", 6.4), ("base", 95.0), ("large", 317.4)])
def test_they_are_as_large_as_transformers_has_them(name: str, millions: float) -> None:
    transformers = pytest.importorskip("transformers")
    config = PRETRAINING_SHAPES[name]
    with torch.device("meta"):
        reference = transformers.Wav2Vec2ForPreTraining(transformers.Wav2Vec2Config(**config))
        encoder = build(config, FAMILY.preprocessor(config))
    count = sum(p.numel() for p in reference.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.1)
    ours = sum(p.numel() for n, p in encoder.named_parameters() if "lm_head" not in n)
    theirs = sum(p.numel() for n, p in reference.wav2vec2.named_parameters() if "masked" not in n)
    assert ours == theirs - PRETRAINING_SHAPES[name]["num_conv_pos_embeddings"]  # weight norm's magnitudes


def test_the_tiny_one_has_a_frame_each_20_ms_and_begins_with_filters() -> None:
    torch.manual_seed(1)
    model = create(PRETRAINING_SHAPES["tiny"], FAMILY.preprocessor(PRETRAINING_SHAPES["tiny"]))
    assert (model.wav2vec2.grid.hop, model.wav2vec2.grid.field) == (320, 560)
    first = model.wav2vec2.feature_extractor.conv_layers[0].conv.weight  # type: ignore[union-attr]
    assert isinstance(first, torch.Tensor) and first[:, 0].equal(band_filters(400, 256))


def test_narrow_convolutions_begin_at_random() -> None:
    config = PRETRAINING_SHAPES["base"] | {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    encoder = build(config | {"intermediate_size": 16}, {})
    encoder.initialize()
    first = encoder.feature_extractor.conv_layers[0].conv.weight  # type: ignore[union-attr]
    assert isinstance(first, torch.Tensor)
    assert float(first.detach().std()) == pytest.approx((2 / 10) ** 0.5, rel=0.1)


def test_wavlm_begins_without_a_liking_for_any_distance() -> None:
    """As transformers does. A table with torch's usual weights would drown what the layers say."""
    config = {"model_type": "wavlm", "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    start = from_nothing({**config, "num_conv_pos_embedding_groups": 4}, {}, characters(["AB"]))
    table = start.encoder.get_parameter("encoder.rel_attn_embed.weight").detach()
    assert float(table.std()) == pytest.approx(0.02, rel=0.1)
