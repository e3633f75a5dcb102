"""The language model in a repository of the hub: downloaded with the model, and found beside it."""

import logging
from pathlib import Path

import pytest

from earshot_asr.engine import loading
from earshot_asr.engine.checkpoint import fetch, load_checkpoint
from earshot_asr.engine.errors import CheckpointError, HubError
from earshot_asr.engine.files import LANGUAGE_MODEL, SETTINGS
from earshot_asr.engine.hub import cache_folder, cached, locate, origin, pull
from earshot_asr.engine.lm import open_lm
from earshot_asr.server.app import build
from earshot_asr.server.settings import ServerConfig
from tests.engine.lm import kenlm_files
from tests.engine.lm.test_formats import made
from tests.loopback_hub import LoopbackHub

NAMES = ["attrs.json", "unigrams.txt", "5gram.bin"]
NAME = "acme/with-lm"


@pytest.fixture
def with_lm(hub: LoopbackHub, folder: Path) -> Path:
    """A checkpoint with a language model, on the hub too, in which other files lie."""
    inner = folder / LANGUAGE_MODEL
    inner.mkdir()
    (inner / "attrs.json").write_text('{"alpha": 0.25}', encoding="utf-8")
    (inner / "unigrams.txt").write_text("w1\nw2", encoding="utf-8")
    (inner / "5gram.bin").write_bytes(kenlm_files.binary(made(3), kenlm_files.PROBING))
    for other in ("5gram.arpa", ".gitattributes", "README.md"):
        (inner / other).write_text("not needed")
    (folder / "alphabet.json").write_text("{}", encoding="utf-8")
    hub.add(NAME, folder)
    return folder


def further(hub: LoopbackHub) -> list[str]:
    return [name for name in hub.files if name not in (*SETTINGS, "model.safetensors")]


def test_it_is_downloaded_with_the_model(hub: LoopbackHub, with_lm: Path) -> None:
    fetch(NAME)
    assert further(hub) == NAMES
    hub.requests.clear()
    found = locate(NAME).language_model()
    assert found == locate(NAME).folder / LANGUAGE_MODEL and hub.requests == []
    model = open_lm(found)
    assert model.weights is not None and model.weights.alpha == 0.25 and set(model.unigrams()) == {"w1", "w2"}
    assert model.fingerprint == open_lm(with_lm).fingerprint


def test_it_is_downloaded_when_it_is_asked_for(hub: LoopbackHub, with_lm: Path) -> None:
    assert load_checkpoint(NAME).origin.name == NAME
    assert further(hub) == []
    assert locate(NAME).language_model() is not None
    assert further(hub) == NAMES


@pytest.mark.parametrize("lm", ["none", "file"])
async def test_it_is_not_downloaded_where_another_or_none_is_wanted(
    lm: str, hub: LoopbackHub, with_lm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_here", loading._here.__wrapped__)  # which remembers what other tests downloaded
    lm = str(with_lm / LANGUAGE_MODEL) if lm == "file" else lm
    server = build(ServerConfig(model=NAME, lm=lm, port=0))
    await server.fetch()
    lexicon = loading.load_runner(NAME, "cpu", lm=lm).info.lexicon
    assert (lexicon is None) is (lm == "none")
    assert "model.safetensors" in hub.files and further(hub) == []
    loading.fetch(NAME)
    assert further(hub) == NAMES
    assert loading.load_runner(NAME, "cpu").info.lexicon


def test_it_is_pulled_and_checked(hub: LoopbackHub, with_lm: Path) -> None:
    pulled = pull(NAME)
    assert {f"{LANGUAGE_MODEL}/{name}" for name in NAMES} <= {file.name for file in pulled.files}
    assert pull(NAME).fetched == 0
    path = pulled.folder / LANGUAGE_MODEL / "5gram.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"with-lm: language_model/5gram.bin has another"):
        pull(NAME)
    assert pull(NAME).fetched == path.stat().st_size
    assert [copy.whole for copy in cached()] == [True]


def test_a_model_without_one_has_none(hub: LoopbackHub, checkpoint: Path, with_lm: Path) -> None:
    assert locate("acme/small").language_model() is None
    assert locate(checkpoint).language_model() is None
    assert locate(with_lm).language_model() == with_lm / LANGUAGE_MODEL


def test_where_it_is_not_clear_which_it_is_the_model_runs_without(
    hub: LoopbackHub, with_lm: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (with_lm / LANGUAGE_MODEL / "4gram.bin").write_bytes(b"another")
    hub.add(NAME, with_lm, "b" * 40)
    with caplog.at_level(logging.WARNING):
        fetch(NAME)
        pull(NAME)
    assert caplog.text.count(f"{NAME}/language_model has several language models, 4gram.bin, 5gram.bin; name one") == 2
    assert further(hub) == []
    with pytest.raises(CheckpointError, match="has several language models"):
        locate(NAME).language_model()


def test_a_cache_that_has_only_the_model(hub: LoopbackHub, with_lm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_checkpoint(NAME)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    origin.forget()
    with pytest.raises(HubError, match=r"the cache has only a part of acme/with-lm, not language_model/attrs.json"):
        locate(NAME).language_model()
    (cache_folder() / "models--acme--with-lm" / "earshot.json").unlink()
    origin.forget()
    assert locate(NAME, "main").language_model() is None
