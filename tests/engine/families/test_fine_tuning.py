"""`earshot train ctc --from` a checkpoint that transformers saved, of families whose frames or norms are their own."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoConfig, AutoModelForCTC

from earshot_asr.engine.checkpoint import load_checkpoint
from earshot_asr.engine.families import family_of
from earshot_asr.engine.training.ctc.model import CtcModel, Losses, body
from earshot_asr.engine.training.regularization import Regularization
from earshot_asr.engine.training.start import from_checkpoint
from earshot_asr.engine.training.task import TrainingBatch
from tests.engine.families.test_omniasr_ctc import SMALL as OMNIASR
from tests.engine.families.test_parakeet_ctc import SMALL as PARAKEET
from tests.engine.families.test_wav2vec2 import LARGE, difference, speechlike
from tests.engine.families.test_wav2vec2 import SMALL as WAV2VEC2
from tests.engine.families.test_wav2vec2_bert import SMALL as BERT
from tests.engine.training.test_export import TOKENIZER, their_log_probs
from tests.engine.training.tones import TEXTS, say, train_a_little

STEPS = ["--steps", "3", "--eager", "--precision", "fp32", "--device", "cpu", "--seconds", "4", "--dtype", "float32"]
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("wav2vec2-bert", "keep", {**BERT, "add_adapter": True, "output_hidden_size": 24, "num_adapter_layers": 2}),
    ("wav2vec2-conformer", "keep", {**WAV2VEC2, **LARGE, "conv_depthwise_kernel_size": 7}),
    ("omniasr_ctc", "characters", {"audio_config": OMNIASR, "blank_token_id": 1}),
    ("parakeet_ctc", "keep", {"encoder_config": PARAKEET}),
]
"""Family, vocabulary, entries of config.json."""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Recordings of tones with their texts."""
    rows = [{"audio": f"{n}.wav", "text": text} for n, text in enumerate(TEXTS)]
    for row, text in zip(rows, TEXTS, strict=True):
        soundfile.write(tmp_path / row["audio"], say(text), 16000)
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "m.jsonl"


def save(folder: Path, kind: str, parts: dict[str, Any]) -> None:
    """A random checkpoint whose statistics are not what they begin with, and a vocabulary of letters."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**parts, "vocab_size": len(TOKENIZER["vocab.json"]), "pad_token_id": 0})
    theirs = AutoModelForCTC.from_config(config)
    for name, statistic in theirs.named_buffers():
        if "running_" in name:
            statistic.add_(torch.rand_like(statistic))
    theirs.save_pretrained(folder)
    settings = {**TOKENIZER, "preprocessor_config.json": family_of(config.to_dict()).preprocessor(config.to_dict())}
    for name, content in settings.items():
        (folder / name).write_text(json.dumps(content))


@pytest.mark.parametrize(("kind", "vocabulary", "parts"), CASES, ids=[kind for kind, _, _ in CASES])
def test_it_is_trained_further_and_transformers_loads_what_comes_of_it(
    kind: str, vocabulary: str, parts: dict[str, Any], manifest: Path, tmp_path: Path
) -> None:
    save(tmp_path / "theirs", kind, parts)
    out = tmp_path / "out"
    given = ["ctc", manifest, "--out", out, "--cache", tmp_path / "cache", *STEPS, "--intermediate-ctc", "0.3"]
    train_a_little([str(option) for option in [*given, "--from", tmp_path / "theirs", "--vocabulary", vocabulary]])
    made = load_checkpoint(out / "model")
    assert made.vocabulary.symbols[made.vocabulary.blank] == "<pad>"
    before, after = load_checkpoint(tmp_path / "theirs").encoder, made.encoder
    moved = {name for name, weight in before.named_parameters() if not torch.equal(weight, after.get_parameter(name))}
    body = {name for name, _ in before.named_parameters() if not name.startswith(("lm_head.", "feature_extractor."))}
    assert body <= moved | {"lm_head.weight"}
    samples = speechlike(after.grid.span(0, 12)[1])
    with torch.inference_mode():
        log_probs = after(samples[None])
    assert np.isfinite(log_probs.numpy()).all()
    expected = their_log_probs(out / "model", samples)[:, : log_probs.shape[1]]
    assert difference(log_probs, expected) < 1e-4


@pytest.mark.parametrize("kind", ["wav2vec2-bert", "parakeet_ctc"])
def test_the_loss_of_a_padded_batch_is_that_of_its_rows(kind: str, tmp_path: Path) -> None:
    """As many frames count as the grid has for a row."""
    save(tmp_path, kind, next(parts for name, _, parts in CASES if name == kind))
    start = from_checkpoint(tmp_path)
    still = Regularization.read({f.name: 0.0 for f in fields(Regularization) if f.type is float})
    model = CtcModel(start.encoder, start.masked, 0, regularization=still, losses=Losses(), eager=True)
    ids, lengths = torch.tensor([3, 4, 5, 3, 4]), torch.tensor([16_000, 9000])
    rows = [speechlike(length, n) for n, length in enumerate(lengths.tolist())]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=100.0)
    together = ctc_of(model, TrainingBatch(padded, lengths, ids, torch.tensor([3, 2])))
    apart = sum(
        ctc_of(model, TrainingBatch(row[None], None, some, torch.tensor([len(some)])))
        for row, some in zip(rows, (ids[:3], ids[3:]), strict=True)
    )
    assert together == pytest.approx(apart, rel=1e-5)


def ctc_of(model: CtcModel, batch: TrainingBatch) -> float:
    """The loss, not divided by the frames."""
    grid = model.encoder.grid
    frames = [grid.frames(n) for n in ([batch.samples.shape[1]] if batch.lengths is None else batch.lengths.tolist())]
    with torch.no_grad():
        return float(model(batch, 1.0)[1]["ctc"]) * sum(frames)


@pytest.mark.parametrize(
    ("kind", "above"), [("wav2vec2-bert", "adapter.proj."), ("wav2vec2-conformer", "encoder.layer_norm.")]
)
def test_what_is_above_the_layers_is_trained_like_the_last(kind: str, above: str, tmp_path: Path) -> None:
    save(tmp_path, kind, next(parts for name, _, parts in CASES if name == kind))
    encoder = load_checkpoint(tmp_path).encoder
    levels = {level for name, level in body(encoder).items() if name.startswith(above)}
    assert levels == {len(encoder.layers)}
