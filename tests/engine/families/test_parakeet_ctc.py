"""Parakeet: equal to transformers', frames of 80 ms, and exact under padding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import (
    ParakeetCTCConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    ParakeetProcessor,
    ParakeetTokenizer,
)

from earshot_asr.engine.checkpoint import Checkpoint, build_encoder, load_checkpoint, load_weights
from earshot_asr.engine.decoder import DecodeConfig
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel
from earshot_asr.engine.families.parakeet_ctc import LogMels
from earshot_asr.engine.greedy import GreedyDecoder
from tests.engine.families.test_wav2vec2 import difference, speechlike

SMALL: dict[str, Any] = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    subsampling_conv_channels=8,
)
PARTS: list[dict[str, Any]] = [
    {},
    {"attention_bias": False, "convolution_bias": False, "scale_input": False, "num_mel_bins": 128},
    {"subsampling_factor": 4, "conv_kernel_size": 5, "hidden_act": "relu", "subsampling_conv_kernel_size": 5},
]
PARTS_OF_WORDS = ["<unk>", *"▁abdehorst", "▁t", "▁a", "or", "▁th", "▁the"]
MERGES = [("▁", "t"), ("▁", "a"), ("o", "r"), ("▁t", "h"), ("▁th", "e")]
Pair = tuple[ParakeetForCTC, ParakeetProcessor, Checkpoint]
each = pytest.mark.parametrize("parts", PARTS, ids=repr)


def tokenizer() -> ParakeetTokenizer:
    """Of parts of words, as SentencePiece's are converted; the blank has the last id."""
    parts = {symbol: id for id, symbol in enumerate(PARTS_OF_WORDS)}
    made = Tokenizer(models.BPE(parts, MERGES, unk_token="<unk>"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return ParakeetTokenizer(tokenizer_object=made, unk_token="<unk>", pad_token="<pad>")


def make(folder: Path, parts: dict[str, Any]) -> Pair:
    """A random model of theirs, saved by them, and ours loaded from that. No statistic is what it begins with."""
    torch.manual_seed(0)
    encoder, size = {**SMALL, **parts}, len(PARTS_OF_WORDS) + 1
    theirs = ParakeetForCTC(ParakeetCTCConfig(vocab_size=size, pad_token_id=size - 1, encoder_config=encoder)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        for name, statistic in theirs.named_buffers():
            if "running_" in name:
                statistic.add_(torch.rand_like(statistic))
    theirs.save_pretrained(folder)
    processor = ParakeetProcessor(ParakeetFeatureExtractor(encoder.get("num_mel_bins", 80)), tokenizer())
    processor.save_pretrained(folder)
    return theirs, processor, load_checkpoint(folder)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pair]:
    known: dict[str, Pair] = {}

    def get(parts: dict[str, Any]) -> Pair:
        if repr(parts) not in known:
            known[repr(parts)] = make(tmp_path_factory.mktemp("parakeet"), parts)
        return known[repr(parts)]

    return get


@torch.inference_mode()
def their_log_probs(pair: Pair, samples: Tensor) -> Tensor:
    """Theirs may have a masked frame more, of the mel frame around the end."""
    theirs, processor, _ = pair
    inputs = processor(samples.numpy(), sampling_rate=16000, return_tensors="pt")
    frames = int(theirs._get_subsampling_output_length(inputs.attention_mask.sum()))
    return torch.log_softmax(theirs(**inputs).logits[:, :frames], dim=-1)


@each
@torch.inference_mode()
def test_equals_transformers(pair: Callable[..., Pair], parts: dict[str, Any]) -> None:
    ours = pair(parts)[2].encoder
    for length in (1440, 15_519, 15_520, 16_000, 23_456):  # frames end with a log-mel frame, at 1280 k + 160
        samples = speechlike(length)
        expected = their_log_probs(pair(parts), samples)
        assert expected.shape[1] == ours.grid.frames(length)
        assert difference(ours(samples[None]), expected) < 1e-4


@torch.inference_mode()
def test_text_equals_the_tokenizers(pair: Callable[..., Pair]) -> None:
    """Of what the model says, and of any symbols; repeats, blanks and unknown ones among them."""
    _, processor, ours = pair(PARTS[0])
    assert ours.vocabulary.blank == ours.vocabulary.size - 1 == len(PARTS_OF_WORDS)
    spoken = ours.encoder(speechlike(80_000)[None])[0].argmax(-1)
    drawn = torch.randint(0, ours.vocabulary.size, (400,), generator=torch.Generator().manual_seed(2))
    for ids in (spoken, drawn, torch.tensor([16, 11, 11, 16, 11, 14, 0, 16, 5])):
        text = ours.vocabulary.text(ids.tolist())
        assert text == processor.decode(ids) and text


@torch.inference_mode()
def test_a_stream_has_words(pair: Callable[..., Pair]) -> None:
    """Parts of words are joined, and a word begins where a part with a space does."""
    _, processor, ours = pair(PARTS[0])
    decoder = GreedyDecoder(ours.vocabulary, DecodeConfig(), None)
    ids = [tokenizer().get_vocab()[part] for part in ("▁the", "▁a", "or", "<pad>", "t", "▁t", "o")]
    decoder.feed(np.log(np.eye(ours.vocabulary.size, dtype=np.float32)[ids] + 1e-9))
    assert [word.text for word in decoder.words()] == ["the", "aort", "to"]
    assert processor.decode(ids) == "the aort to"


def test_the_grid(pair: Callable[..., Pair]) -> None:
    grids = [pair(parts)[2].encoder.grid for parts in PARTS]
    assert [(grid.hop, grid.field) for grid in grids] == [(1280, 160), (1280, 160), (640, 160)]


@torch.inference_mode()
def test_a_window_of_one_log_mel_frame(pair: Callable[..., Pair]) -> None:
    """Theirs is not a number there."""
    ours = pair(PARTS[0])[2].encoder
    assert ours(speechlike(159)[None]).shape == (1, 0, ours.vocab_size)
    log_probs = ours(speechlike(160)[None])
    assert log_probs.shape == (1, 1, ours.vocab_size) and log_probs.isfinite().all()


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_log_mels_equal_those_of_the_feature_extractor(scale: float) -> None:
    """But for digital silence, of which theirs makes rounding errors times 100,000."""
    samples = speechlike(16000) * scale
    extractor = ParakeetFeatureExtractor()
    expected = extractor(samples.numpy(), sampling_rate=16000, return_tensors="pt")
    mels = LogMels(80)(samples[None], None)
    assert int(expected.attention_mask.sum()) == mels.shape[1] == 100
    assert np.abs((mels - expected.input_features[:, :100]).numpy()).max() < (1e-3 if scale == 1.0 else 1e-2)


@each
@torch.inference_mode()
def test_padded_equals_alone(pair: Callable[..., Pair], parts: dict[str, Any]) -> None:
    ours = pair(parts)[2].encoder
    lengths = [9000, 16000, 160, 1440, 4321, 4161]
    for padding in (1000.0, float("nan")):
        batch = torch.randn(len(lengths), 16000, generator=torch.Generator().manual_seed(1)) * padding
        for row, length in enumerate(lengths):
            batch[row, :length] = speechlike(length, row)
        together = ours(batch, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            alone = ours(speechlike(length, row)[None])
            assert difference(together[row : row + 1, : alone.shape[1]], alone) < 1e-5, (padding, length)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
@torch.inference_mode()
def test_company_makes_no_difference(pair: Callable[..., Pair], data: st.DataObject) -> None:
    ours = pair(data.draw(st.sampled_from(PARTS)))[2].encoder
    lengths = data.draw(st.lists(st.integers(0, 9000), min_size=1, max_size=4))
    batch = torch.full((len(lengths), max(1440, *lengths)), 1e4)
    for row, length in enumerate(lengths):
        batch[row, :length] = speechlike(length, row)
    together = ours(batch, torch.tensor(lengths))
    assert together.isfinite().all()
    for row, length in enumerate(lengths):
        if frames := ours.grid.frames(length):
            assert difference(together[row : row + 1, :frames], ours(speechlike(length, row)[None])) < 1e-5


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.inference_mode()
def test_half_precision_is_near(pair: Callable[..., Pair], parts: dict[str, Any], dtype: torch.dtype) -> None:
    theirs, processor, checkpoint = pair(parts)
    ours, half = checkpoint.encoder, build_encoder(theirs.config.to_dict(), processor.feature_extractor.to_dict())
    load_weights(half, theirs.state_dict(), torch.device("cpu"), dtype)
    samples, lengths = speechlike(8000)[None], torch.tensor([5000])
    frames = ours.grid.frames(5000)
    assert half(samples).dtype == torch.float32
    assert difference(half(samples), ours(samples)) < 0.05
    assert difference(half(samples, lengths)[:, :frames], ours(samples, lengths)[:, :frames]) < 0.05


def test_what_is_not_supported_is_named() -> None:
    config: dict[str, Any] = {"model_type": "parakeet_ctc", "vocab_size": 9, "encoder_config": SMALL}
    for name, entry in (
        ("subsampling_factor 6", {"subsampling_factor": 6}),
        ("quick_gelu", {"hidden_act": "quick_gelu"}),
    ):
        with pytest.raises(UnsupportedModel, match=name):
            build_encoder({**config, "encoder_config": SMALL | entry}, {})
    with pytest.raises(UnsupportedModel, match="n_fft is 400; it must be 512"):
        build_encoder(config, {"n_fft": 400})
    with pytest.raises(UnsupportedModel, match="WhisperFeatureExtractor"):
        build_encoder(config, {"feature_extractor_type": "WhisperFeatureExtractor"})
    with pytest.raises(CheckpointError, match=r"feature_size is 128, config\.json's num_mel_bins 80"):
        build_encoder(config, {"feature_size": 128})
    with pytest.raises(CheckpointError, match=r"encoder_config is 'large'; it must be a table"):
        build_encoder({**config, "encoder_config": "large"}, {})
    with pytest.raises(CheckpointError, match="num_mel_bins is 60, which subsampling_factor, 8"):
        build_encoder({**config, "encoder_config": SMALL | {"num_mel_bins": 60}}, {})
