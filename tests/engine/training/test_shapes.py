"""Shapes to pretrain from scratch, and the filters that a wide convolution begins with."""

import numpy as np
import pytest
import torch

from earshot_asr.engine.training import shapes
from earshot_asr.engine.training.filters import band_filters
from earshot_asr.engine.training.pretrained import create
from earshot_asr.engine.training.start import initialize
from earshot_asr.engine.wav2vec2 import build


@pytest.mark.parametrize(("name", "millions"), [("tiny", 6.4), ("base", 95.0), ("large", 317.4)])
def test_they_are_as_large_as_transformers_has_them(name: str, millions: float) -> None:
    transformers = pytest.importorskip("transformers")
    config = shapes.SHAPES[name]
    with torch.device("meta"):
        reference = transformers.Wav2Vec2ForPreTraining(transformers.Wav2Vec2Config(**config))
        encoder = build(config, shapes.preprocessor(config))
    count = sum(p.numel() for p in reference.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.1)
    ours = sum(p.numel() for n, p in encoder.named_parameters() if "lm_head" not in n)
    theirs = sum(p.numel() for n, p in reference.wav2vec2.named_parameters() if "masked" not in n)
    assert ours == theirs - shapes.SHAPES[name]["num_conv_pos_embeddings"]  # weight norm's magnitudes


def test_the_tiny_one_has_a_frame_each_20_ms_and_begins_with_filters() -> None:
    torch.manual_seed(1)
    model = create(shapes.SHAPES["tiny"], shapes.preprocessor(shapes.SHAPES["tiny"]))
    assert (model.wav2vec2.grid.hop, model.wav2vec2.grid.field) == (320, 560)
    first = model.wav2vec2.feature_extractor.conv_layers[0].conv.weight  # type: ignore[union-attr]
    assert isinstance(first, torch.Tensor) and first[:, 0].equal(band_filters(400, 256))


def test_narrow_convolutions_begin_at_random() -> None:
    config = shapes.SHAPES["base"] | {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    encoder = build(config | {"intermediate_size": 16}, {})
    initialize(encoder)
    first = encoder.feature_extractor.conv_layers[0].conv.weight  # type: ignore[union-attr]
    assert isinstance(first, torch.Tensor)
    assert float(first.detach().std()) == pytest.approx((2 / 10) ** 0.5, rel=0.1)


def test_filters_have_their_bands() -> None:
    """Each hears one place of the spectrum; neighbours are a cosine and a sine of one frequency."""
    filters = band_filters(400, 32).numpy()
    assert filters.shape == (400, 32)
    np.testing.assert_allclose(np.square(filters).sum(0), 2, rtol=1e-5)
    hertz = np.abs(np.fft.rfft(filters, 16_000, axis=0)).argmax(0)
    assert np.all(np.diff(hertz[::2]) > 0) and hertz[-1] == pytest.approx(7600, abs=20)
    np.testing.assert_allclose(hertz[2::2], hertz[3::2], atol=25)
