"""Omnilingual ASR: equal to transformers', its text too, and exact under padding."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import OmniASRCTCConfig, OmniASRFeatureExtractor, OmniASRForCTC, ParakeetTokenizer
from transformers.models.omniasr_ctc.processing_omniasr_ctc import OmniASRCTCProcessor

from earshot_asr.engine.checkpoint import Checkpoint, build_encoder, load_checkpoint
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel
from tests.engine.families.test_wav2vec2 import difference, speechlike

SYMBOLS = ["<s>", "<pad>", "</s>", "<unk>", "▁", *"abcdehorst", "ß", "你"]
SMALL: dict[str, Any] = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    conv_dim=[16, 24, 16, 16, 16, 16, 20],
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
    hidden_act="relu",
)
Pair = tuple[OmniASRForCTC, OmniASRCTCProcessor, Checkpoint]


def make(folder: Path) -> Pair:
    """A random model of theirs, saved by them, and ours loaded from that."""
    torch.manual_seed(0)
    theirs = OmniASRForCTC(OmniASRCTCConfig(vocab_size=len(SYMBOLS), audio_config=SMALL)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    theirs.save_pretrained(folder)
    made = Tokenizer(models.Unigram([(symbol, -2.0) for symbol in SYMBOLS], unk_id=3))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), SYMBOLS[:4], strict=True))
    processor = OmniASRCTCProcessor(OmniASRFeatureExtractor(), ParakeetTokenizer(tokenizer_object=made, **special))
    processor.save_pretrained(folder)
    return theirs, processor, load_checkpoint(folder)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make(tmp_path_factory.mktemp("omniasr"))


@torch.inference_mode()
def their_log_probs(pair: Pair, samples: Tensor) -> Tensor:
    theirs, processor, _ = pair
    inputs = processor(samples.numpy(), sampling_rate=16000)
    return torch.log_softmax(theirs(**inputs).logits, dim=-1)


@torch.inference_mode()
def test_equals_transformers(pair: Pair) -> None:
    _, processor, ours = pair
    assert (ours.encoder.grid.hop, ours.encoder.grid.field, ours.vocabulary.blank) == (320, 400, 0)
    for scale, length in ((1.0, 400), (1.0, 8000), (1.0, 16123), (1e-3, 8000)):  # quiet: epsilon counts
        samples = speechlike(length) * scale
        log_probs, expected = ours.encoder(samples[None]), their_log_probs(pair, samples)
        assert difference(log_probs, expected) < 1e-4
        ids = expected[0].argmax(-1)
        assert ours.vocabulary.text(log_probs[0].argmax(-1).tolist()) == processor.decode(ids, skip_special_tokens=True)


def test_text_equals_the_tokenizers(pair: Pair) -> None:
    """Of any symbols, the blank between two of the same, and other special ones, which are left out."""
    _, processor, ours = pair
    for seed in range(5):
        ids = torch.randint(0, len(SYMBOLS), (200,), generator=torch.Generator().manual_seed(seed))
        assert ours.vocabulary.text(ids.tolist()) == processor.decode(ids, skip_special_tokens=True)
    assert ours.vocabulary.text([5, 5, 0, 5, 1, 5, 4, 4, 6, 2, 3]) == "aaa b"


@torch.inference_mode()
def test_padded_equals_alone(pair: Pair) -> None:
    ours = pair[2].encoder
    lengths = [9000, 16000, 400, 720, 4321]
    batch = torch.randn(len(lengths), 16000, generator=torch.Generator().manual_seed(1)) * 1000
    for row, length in enumerate(lengths):
        batch[row, :length] = speechlike(length, row)
    together = ours(batch, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = ours(speechlike(length, row)[None])
        assert difference(together[row : row + 1, : alone.shape[1]], alone) < 1e-5, length


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.inference_mode()
def test_half_precision_is_near(pair: Pair, tmp_path: Path, dtype: torch.dtype) -> None:
    theirs, _, ours = pair
    half = build_encoder(theirs.config.to_dict(), {})
    half.load_state_dict({name: weight.to(dtype) for name, weight in ours.encoder.state_dict().items()}, assign=True)
    samples = speechlike(8000)[None]
    assert half(samples).dtype == torch.float32
    assert difference(half(samples), ours.encoder(samples)) < 0.05


def test_what_is_not_supported_is_named() -> None:
    config = {"model_type": "omniasr_ctc", "vocab_size": 9, "audio_config": SMALL}
    with pytest.raises(UnsupportedModel, match="Wav2Vec2FeatureExtractor"):
        build_encoder(config, {"feature_extractor_type": "Wav2Vec2FeatureExtractor"})
    with pytest.raises(CheckpointError, match=r"audio_config is \[\]; it must be a table"):
        build_encoder({**config, "audio_config": []}, {})
