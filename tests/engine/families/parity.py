"""Encoders beside those of transformers, which makes them at random and saves them, and from which we load them."""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCTC,
    PreTrainedModel,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
)

from earshot_asr.engine.checkpoint import Checkpoint, load_checkpoint
from tests.engine.families.test_wav2vec2 import SMALL, difference, speechlike

SYMBOLS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKL"]


@dataclass(frozen=True)
class Pair:
    """A model of theirs, with what belongs to it, and ours."""

    theirs: PreTrainedModel
    processor: Wav2Vec2Processor
    folder: Path
    ours: Checkpoint

    @torch.inference_mode()
    def log_probs(self, samples: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Theirs (1, T, V), float32, of samples (S,); dtype: of their weights."""
        theirs = self.theirs if dtype == torch.float32 else deepcopy(self.theirs).to(dtype)
        inputs = self.processor(samples.numpy(), sampling_rate=16000, return_tensors="pt")
        return torch.log_softmax(theirs(inputs.input_values.to(dtype)).logits.float(), dim=-1)


def make(folder: Path, kind: str, parts: Mapping[str, Any], normalize: bool = True) -> Pair:
    """A small pair of the family `kind`. No weight, bias, norm or statistic is what it begins with."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SMALL, **parts, "vocab_size": len(SYMBOLS)})
    theirs = AutoModelForCTC.from_config(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        for name, statistic in theirs.named_buffers():
            if "running_" in name:
                statistic.add_(torch.rand_like(statistic))
    theirs.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({symbol: id for id, symbol in enumerate(SYMBOLS)}))
    tokenizer = Wav2Vec2CTCTokenizer(folder / "vocab.json")
    processor = Wav2Vec2Processor(Wav2Vec2FeatureExtractor(do_normalize=normalize), tokenizer)
    processor.save_pretrained(folder)
    return Pair(theirs, processor, folder, load_checkpoint(folder))


@torch.inference_mode()
def assert_equal(pair: Pair, least_frames: int = 1) -> None:
    """Log-probabilities and text, of the shortest windows that theirs runs, and of longer ones."""
    encoder, vocabulary = pair.ours.encoder, pair.ours.vocabulary
    for samples in (speechlike(encoder.grid.span(0, least_frames)[1]), speechlike(8000), speechlike(16123)):
        expected = pair.log_probs(samples)
        log_probs = encoder(samples[None])
        assert expected.shape[1] == encoder.grid.frames(len(samples))
        assert difference(log_probs, expected) < 1e-4
        ids = expected[0].argmax(-1)
        assert vocabulary.text(log_probs[0].argmax(-1).tolist()) == pair.processor.decode(ids)


@torch.inference_mode()
def assert_padded_equals_alone(pair: Pair) -> None:
    """Rows of one frame, of an even and of an odd number of them, with anything as padding."""
    encoder = pair.ours.encoder
    lengths = [9000, 16000, 400, 720, 1040, 4321]
    for padding in (1000.0, float("nan")):
        batch = torch.randn(len(lengths), 16000, generator=torch.Generator().manual_seed(1)) * padding
        for row, length in enumerate(lengths):
            batch[row, :length] = speechlike(length, row)
        together = encoder(batch, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            alone = encoder(speechlike(length, row)[None])
            assert difference(together[row : row + 1, : alone.shape[1]], alone) < 1e-5, (padding, length)


@torch.inference_mode()
def assert_near_in_half_precision(pair: Pair, dtype: torch.dtype) -> None:
    """As near as theirs is, and float32 comes out."""
    half = load_checkpoint(pair.folder, dtype=dtype).encoder
    off = their_off = 0.0  # how far half precision leads depends on the machine: it is asked of both, here
    for seed in range(4):
        samples = speechlike(8000, seed)
        log_probs, expected = half(samples[None]), pair.log_probs(samples)
        assert log_probs.dtype == torch.float32
        off = max(off, difference(log_probs, expected))
        their_off = max(their_off, difference(pair.log_probs(samples, dtype), expected))
    assert off < max(0.05, 2 * their_off), (off, their_off)
