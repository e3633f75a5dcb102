"""Which files are asked for, in which order; what is pinned; and what the cache does where the hub is silent."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from transformers import Wav2Vec2ForCTC

from earshot_asr.engine.checkpoint import fetch, load_checkpoint
from earshot_asr.engine.errors import CheckpointError, HubError, UnsupportedModel
from earshot_asr.engine.files import SETTINGS
from earshot_asr.engine.hub import Origin, cache_folder, cached, download, locate, origin, refusals
from earshot_asr.engine.training.start import describe
from tests.engine.hub.conftest import edit
from tests.loopback_hub import LoopbackHub

OLD, NEW = "a" * 40, "b" * 40


def again(model: str = "acme/small", revision: str | None = None) -> Origin:
    """As another process would locate it."""
    origin.forget()
    return locate(model, revision)


def test_settings_come_first_and_each_file_once(hub: LoopbackHub) -> None:
    loaded = load_checkpoint("acme/small")
    assert loaded.name == "acme/small"
    assert hub.files == [*(name for name in SETTINGS if name in hub.files), "model.safetensors"]
    assert set(hub.files) >= {"config.json", "preprocessor_config.json", "vocab.json", "tokenizer_config.json"}
    theirs = load_checkpoint(hub.repositories["acme/small"].commits[OLD])
    assert loaded.fingerprint == theirs.fingerprint
    assert all(torch.equal(a, b) for a, b in zip(loaded.encoder.parameters(), theirs.encoder.parameters(), strict=True))


@pytest.mark.parametrize("load", [load_checkpoint, fetch, describe])
@pytest.mark.parametrize("entries", [{"model_type": "speecht5", "architectures": ["SpeechT5ForSpeechToText"]}])
def test_no_weights_of_what_is_not_supported(
    hub: LoopbackHub, folder: Path, load: type, entries: dict[str, object]
) -> None:
    edit(folder / "config.json", **entries)
    hub.add("acme/other", folder)
    with pytest.raises(UnsupportedModel):
        load("acme/other")
    assert "config.json" in hub.files and set(hub.files) <= set(SETTINGS)


@pytest.mark.parametrize("load", [load_checkpoint, fetch, describe])
@pytest.mark.parametrize(
    ("there", "gone", "said"),
    [
        ("hyperparams.yaml", "config.json", "acme/other holds a SpeechBrain model"),
        ("parakeet.nemo", "config.json", "acme/other holds a model of NeMo"),
        ("onnx/model.onnx", "model.safetensors", "acme/other holds a model for ONNX Runtime"),
        ("notes.txt", "model.safetensors", "acme/other has no weights"),
    ],
)
def test_what_a_repository_holds_instead_is_seen_by_its_files(
    hub: LoopbackHub, folder: Path, load: type, there: str, gone: str, said: str
) -> None:
    (folder / there).parent.mkdir(exist_ok=True)
    (folder / there).write_bytes(b"not needed")
    (folder / gone).unlink()
    hub.add("acme/other", folder)
    with pytest.raises(CheckpointError, match=said):
        load("acme/other")
    assert set(hub.files) <= set(SETTINGS)


def test_no_pickles_beside_safetensors(hub: LoopbackHub, folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"not needed")
    (folder / "tf_model.h5").write_bytes(b"not needed")
    hub.add("acme/both", folder)
    fetch("acme/both")
    assert set(hub.files) - set(SETTINGS) == {"model.safetensors"}


def test_pickles_alone(hub: LoopbackHub, pickled: Path) -> None:
    hub.add("acme/pickled", pickled)
    load_checkpoint("acme/pickled")
    assert set(hub.files) - set(SETTINGS) == {"pytorch_model.bin"}


def test_shards_as_their_index_says(hub: LoopbackHub, sharded: Path) -> None:
    hub.add("acme/sharded", sharded)
    load_checkpoint("acme/sharded")
    parts = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    assert [name for name in hub.files if name not in SETTINGS] == ["model.safetensors.index.json", *parts]


def test_an_index_that_lists_what_is_not_there(hub: LoopbackHub, sharded: Path) -> None:
    (sharded / "model-00002-of-00003.safetensors").unlink()
    hub.add("acme/sharded", sharded)
    with pytest.raises(CheckpointError, match=r"acme/sharded on the hub lacks model-00002-of-00003.safetensors, which"):
        load_checkpoint("acme/sharded")


def test_once_it_is_here_the_hub_is_asked_for_nothing(hub: LoopbackHub, folder: Path) -> None:
    first = load_checkpoint("acme/small")
    edit(folder / "config.json", emission_delay_frames=5)
    hub.add("acme/small", folder, NEW)  # newer
    hub.requests.clear()
    origin.forget()
    assert load_checkpoint("acme/small").fingerprint == first.fingerprint
    assert hub.requests == []


def test_a_revision(hub: LoopbackHub, folder: Path) -> None:
    edit(folder / "config.json", emission_delay_frames=5)
    hub.add("acme/small", folder, NEW, v2=NEW)
    hub.repositories["acme/small"].refs["main"] = OLD
    for revision in ("v2", NEW):
        assert load_checkpoint("acme/small", revision=revision).emission_delay == 5
    assert load_checkpoint("acme/small").emission_delay == 0
    assert again().folder.name == OLD and again(revision="v2").folder.name == NEW


def test_the_hub_is_asked_once_in_a_process(hub: LoopbackHub) -> None:
    for _ in range(3):
        load_checkpoint("acme/small", revision="main")
    assert len(hub.requests) == len(set(request.path for request in hub.requests))


def test_a_cache_of_other_programs(hub: LoopbackHub) -> None:
    """Theirs knows no listing of ours; the other way round, they find what we downloaded."""
    fetch("acme/small")
    theirs = Wav2Vec2ForCTC.from_pretrained("acme/small", cache_dir=cache_folder(), local_files_only=True)
    assert theirs.config.vocab_size == 6
    (cache_folder() / "models--acme--small" / "earshot.json").unlink()
    before = len(hub.files)
    fetch("acme/small")
    assert again().listing is not None
    assert len(hub.files) == before


@pytest.fixture
def silent(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """A hub that has served a model, and then accepts and never answers."""
    fetch("acme/small")
    monkeypatch.setattr(refusals, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(refusals, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    hub.behaviour.silent = True
    hub.requests.clear()
    origin.forget()
    return hub


def test_a_silent_hub_is_not_waited_for(silent: LoopbackHub, caplog: pytest.LogCaptureFixture) -> None:
    assert load_checkpoint("acme/small").name == "acme/small"
    assert silent.requests == [] and caplog.messages == []


def test_a_silent_hub_and_a_cache_of_other_programs(silent: LoopbackHub, caplog: pytest.LogCaptureFixture) -> None:
    (cache_folder() / "models--acme--small" / "earshot.json").unlink()
    assert load_checkpoint("acme/small").name == "acme/small"
    load_checkpoint("acme/small")
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == [f"{silent.url} did not answer within 0.2 s; acme/small is taken from the cache"]
    assert len(silent.requests) == 1


def test_a_branch_is_taken_from_the_cache(silent: LoopbackHub, caplog: pytest.LogCaptureFixture) -> None:
    assert again(revision="main").folder.name == OLD
    assert "acme/small is taken from the cache" in caplog.text
    with pytest.raises(HubError, match="did not answer within"):
        again(revision="v2")


def test_a_model_that_was_taken_from_the_hub_since(silent: LoopbackHub) -> None:
    silent.behaviour.silent = False
    del silent.repositories["acme/small"]
    assert load_checkpoint("acme/small").name == "acme/small"


LACKING = {
    "model.safetensors": "model.safetensors",
    "vocab.json": "vocab.json",
    "preprocessor_config.json": "preprocessor_config.json",
}


@pytest.mark.parametrize("lacking", LACKING)
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("offline", [True, False])
def test_a_cache_that_has_only_a_part_of_it(
    silent: LoopbackHub, lacking: str, listed: bool, offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the repository's fault: what is missing is named, and what stood in the way of downloading it."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    (snapshot,) = (each.folder for each in cached())
    (snapshot / lacking).resolve().unlink()
    (snapshot / lacking).unlink()
    if not listed:
        (cache_folder() / "models--acme--small" / "earshot.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint("acme/small")
    missing = "the weights" if lacking == "model.safetensors" and not listed else lacking
    why = "HF_HUB_OFFLINE is set; unset it to download" if offline else f"{silent.url} did not answer within 0.2 s"
    assert str(caught.value).startswith(f"the cache has only a part of acme/small, not {missing}; {why}")


def test_a_hub_without_sizes_and_hashes(hub: LoopbackHub) -> None:
    hub.behaviour.mute = True
    load_checkpoint("acme/small")
    hub.requests.clear()
    origin.forget()
    load_checkpoint("acme/small")
    assert hub.requests == []


def test_further_files(hub: LoopbackHub, checkpoint: Path, tmp_path: Path) -> None:
    for place in (locate("acme/small"), locate(checkpoint)):
        assert {"adapter.fra.safetensors", "adapter.deu.safetensors", "config.json"} <= set(place.names)
        adapter = place.file("adapter.fra.safetensors")
        assert adapter is not None
        assert adapter.read_bytes() == (checkpoint / "adapter.fra.safetensors").read_bytes()
        assert place.file("adapter.eng.safetensors") is None
    assert [name for name in hub.files if name not in SETTINGS] == ["adapter.fra.safetensors"]


def test_further_files_of_a_cache_alone(silent: LoopbackHub) -> None:
    (cache_folder() / "models--acme--small" / "earshot.json").unlink()
    place = again()
    with pytest.raises(CheckpointError, match=r"only a part of acme/small, not adapter.fra.safetensors; http"):
        place.file("adapter.fra.safetensors")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"pinned": 1, "listings": {}}', b'{"pinned": null, "listings": {"x": {"a": [1, "", ""]}}}',
     b'{"pinned": null, "listings": {"' + OLD.encode() + b'": {"a": [1, "../../b", ""]}}}', b"\xff"],
)  # fmt: skip
def test_a_damaged_record_is_made_again(hub: LoopbackHub, content: bytes) -> None:
    fetch("acme/small")
    record = cache_folder() / "models--acme--small" / "earshot.json"
    before = record.read_text(encoding="utf-8")
    record.write_bytes(content)
    assert again().folder.name == OLD
    assert json.loads(record.read_text(encoding="utf-8")) == json.loads(before)


def test_a_cache_that_can_not_be_written_to(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    cache_folder().write_text("a file, where a folder should be")
    with pytest.raises(CheckpointError, match=r"can't write .*hub.*: Not a directory"):
        fetch("acme/small")


def test_names_that_lead_elsewhere(hub: LoopbackHub, folder: Path) -> None:
    """A listing is what anybody may have written."""
    shutil.copy(folder / "vocab.json", folder / "..vocab.json")
    listing = again().listing
    assert listing is not None
    from earshot_asr.engine.hub.listing import _is_inside

    assert _is_inside("..vocab.json") and _is_inside("onnx/model.onnx")
    assert not any(map(_is_inside, ("../x", "a/../../x", "/etc/passwd", "", "a\\..\\b")))
