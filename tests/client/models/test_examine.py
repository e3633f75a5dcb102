"""What `earshot models check` finds in a checkpoint."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from earshot_asr.client.evaluate.against import Transformers
from earshot_asr.client.models.examine import Examination
from earshot_asr.engine.audio import LogProbs, Pcm
from earshot_asr.engine.files import LANGUAGE_MODEL
from tests.engine.lm import kenlm_files
from tests.engine.lm.test_formats import made
from tests.engine.test_checkpoint import CONVOLUTIONS, SMALL, tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL, **CONVOLUTIONS)).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    tokenizer(tmp_path).save_pretrained(tmp_path)
    return tmp_path


def test_a_checkpoint_that_is_as_it_should_be(folder: Path) -> None:
    examination = Examination(str(folder))
    lines = list(examination.lines())
    assert examination.faults == []
    said = dict(lines)
    assert said["family"] == "wav2vec2, in transformers Wav2Vec2ForCTC"
    assert said["frames"] == "every 20 ms, each from 25 ms of audio"
    assert said["vocabulary"] == "6 symbols, the blank is [PAD] (3), between words is '|' (0); A B"
    assert "the same text" in said["transformers"]
    unusual = [text for heading, text in lines if heading == "unusual"]
    assert unusual == ["of the 6 outputs of its head, 1 without a symbol"]  # as the tokenizer here has five


def test_the_language_model_beside_it(folder: Path) -> None:
    assert "with LM" not in dict(Examination(str(folder)).lines())
    (folder / LANGUAGE_MODEL).mkdir()
    path = folder / LANGUAGE_MODEL / "lm.bin"
    path.write_bytes(kenlm_files.binary(made(3), kenlm_files.TRIE))
    examination = Examination(str(folder))
    wanted = "40 words, n-grams of up to 3, alpha 0.5, beta 1.5, unknown words -10"
    assert dict(examination.lines())["with LM"] == wanted and not examination.faults
    path.write_bytes(path.read_bytes()[:1000])
    examination = Examination(str(folder))
    assert dict(examination.lines())["with LM"].startswith(f"can't be read: {path}: cut off: 1,000 bytes")
    assert len(examination.faults) == 1


def test_what_is_unusual_is_said(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "emission_delay_frames": 3}))
    unusual = [text for heading, text in Examination(str(folder)).lines() if heading == "unusual"]
    assert unusual[0].startswith("pickled weights: ")
    assert unusual[-1] == "its symbols come 3 frames after their sound"


@pytest.mark.parametrize("fault", ["values", "frames", "text"])
def test_what_transformers_makes_otherwise_is_a_fault(
    folder: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = Transformers.log_probs

    def other(self: Transformers, pcm: Pcm) -> LogProbs:
        log_probs = theirs(self, pcm)
        return log_probs[:-1] if fault == "frames" else log_probs + np.float32(0.1)

    if fault == "text":
        monkeypatch.setattr(Transformers, "text", lambda self, ids: "something else")
    else:
        monkeypatch.setattr(Transformers, "log_probs", other)
    examination = Examination(str(folder))
    lines = dict(examination.lines())
    (said,) = examination.faults
    assert said.startswith(
        {
            "values": "the log-probabilities differ from those of transformers by up to 0.1",
            "frames": "transformers makes log-probabilities of shape (",
            "text": "transformers writes another text: 'something else'",
        }[fault]
    )
    assert lines["transformers"]


@pytest.mark.parametrize("fault", ["vocabulary", "language"])
def test_what_transformers_cannot_load_is_not_compared(folder: Path, fault: str) -> None:
    said = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    if fault == "language":  # of a vocabulary that is not one of several languages
        (folder / "tokenizer_config.json").write_text(json.dumps({**said, "target_lang": "deu"}))
    else:
        symbols = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        table = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": symbols}}
        (folder / "tokenizer.json").write_text(json.dumps(table))
        (folder / "vocab.json").unlink()
    examination = Examination(str(folder))
    lines = dict(examination.lines())
    assert lines["transformers"].startswith(f"not compared: transformers can't load {folder.name}: ")
    assert lines["it hears"] and examination.faults == []
