"""A hub on loopback with a small checkpoint, and an empty cache; huggingface_hub is told of both."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from earshot_asr.engine.hub import origin
from tests.engine.test_checkpoint import CONVOLUTIONS, SMALL, shard, tokenizer
from tests.loopback_hub import LoopbackHub


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec 2.0 model, written by transformers."""
    folder = tmp_path_factory.mktemp("hub") / "small"
    folder.mkdir()
    Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL, **CONVOLUTIONS)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    tokenizer(folder).save_pretrained(folder)
    (folder / "README.md").write_text("no part of the model")
    for language in ("deu", "fra"):
        save_file({"a": torch.ones(9)}, folder / f"adapter.{language}.safetensors")
    return folder


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


@pytest.fixture
def pickled(folder: Path) -> Path:
    """The same model, its weights in pickles alone."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


@pytest.fixture
def sharded(folder: Path) -> Path:
    """The same model, its weights in three files; and a file that their index does not list."""
    shard(folder, load_file(folder / "model.safetensors"), "model", "safetensors", save_file)
    (folder / "model.safetensors").rename(folder / "model-other.safetensors")
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and nobody logged in."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def hub(checkpoint: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A hub with acme/small."""
    with LoopbackHub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        hub.add("acme/small", checkpoint)
        yield hub
    origin.forget()


def edit(path: Path, **entries: object) -> None:
    """Replaces entries of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **entries}), encoding="utf-8")
