"""`pull`: all that is needed, checked, and pinned."""

import json
from pathlib import Path

import pytest

from earshot_asr.client.models.fetching import pulled as pull_in_words
from earshot_asr.engine.checkpoint import load_checkpoint
from earshot_asr.engine.errors import CheckpointError, HubError, UnsupportedModel
from earshot_asr.engine.files import SETTINGS
from earshot_asr.engine.hub import cache_folder, cached, locate, origin, pull, remove
from tests.engine.hub.conftest import edit
from tests.loopback_hub import LoopbackHub

OLD, NEW = "a" * 40, "b" * 40


def test_pull_and_again(hub: LoopbackHub, checkpoint: Path) -> None:
    told: list[tuple[int, int]] = []
    pulled = pull("acme/small", progress=lambda here, total: told.append((here, total)))
    weights = (checkpoint / "model.safetensors").stat().st_size
    assert told[0] == (0, weights) and told[-1] == (weights, weights) and told == sorted(told)
    assert (pulled.hub_id, pulled.commit, pulled.newer) == ("acme/small", OLD, None)
    names = [name for name in (*SETTINGS, "model.safetensors") if (checkpoint / name).exists()]
    assert [file.name for file in pulled.files] == names
    assert pulled.bytes == pulled.fetched == sum((checkpoint / name).stat().st_size for name in names)
    again = pull("acme/small")
    assert again.fetched == 0 and again.files == pulled.files
    assert hub.files == names
    hub.requests.clear()
    assert load_checkpoint("acme/small").name == "acme/small"
    assert hub.requests == []


def test_of_a_hub_that_says_neither_sizes_nor_hashes(hub: LoopbackHub) -> None:
    sound = pull("acme/small")
    remove("acme/small")
    hub.behaviour.mute = True
    pulled = pull("acme/small")
    assert (pulled.bytes, pulled.fetched) == (sound.bytes, sound.bytes)
    assert not any(file.tag for file in pulled.files)
    assert pull("acme/small").fetched == 0
    assert pull_in_words("acme/small", None, ()).endswith("it was here already, the hub names no hashes to check")


def test_sizes_and_hashes_are_kept_beside_the_cache(hub: LoopbackHub) -> None:
    pulled = pull("acme/small")
    record = json.loads((cache_folder() / "models--acme--small" / "earshot.json").read_text(encoding="utf-8"))
    assert record["pinned"] == OLD
    for file in pulled.files:
        assert record["listings"][OLD][file.name] == [file.size, file.sha256, file.git]
        assert len(file.tag) == (64 if file.name == "model.safetensors" else 40)


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.json"])
def test_what_is_here_is_checked_by_hash(hub: LoopbackHub, name: str) -> None:
    path = pull("acme/small").folder / name
    sound = path.read_bytes()
    path.write_bytes(sound[:-3] + b"xyz")
    with pytest.raises(CheckpointError, match=f"acme/small: {name} has another .* than the hub names"):
        pull("acme/small")
    assert not path.exists()
    assert pull("acme/small").fetched == len(sound)
    assert path.read_bytes() == sound


def test_a_newer_one_is_named_and_not_taken(hub: LoopbackHub, folder: Path) -> None:
    pull("acme/small")
    edit(folder / "config.json", emission_delay_frames=5)
    hub.add("acme/small", folder, NEW)
    before = len(hub.files)
    again = pull("acme/small")
    assert (again.commit, again.newer, again.fetched, len(hub.files)) == (OLD, NEW, 0, before)
    assert load_checkpoint("acme/small").emission_delay == 0
    newest = pull("acme/small", "main")
    assert (newest.commit, newest.newer) == (NEW, None)
    assert newest.fetched == (folder / "config.json").stat().st_size  # the others are the same
    assert load_checkpoint("acme/small").emission_delay == 5
    assert [(each.commit, each.pinned) for each in cached()] == [(NEW, True), (OLD, False)]


def test_further_files_by_pattern(hub: LoopbackHub) -> None:
    pulled = pull("acme/small", files=["adapter.*.safetensors"])
    assert [file.name for file in pulled.files][-2:] == ["adapter.deu.safetensors", "adapter.fra.safetensors"]
    assert (pulled.folder / "adapter.fra.safetensors").exists()
    with pytest.raises(CheckpointError, match=r"acme/small on the hub has no file adapter.eng.safetensors"):
        pull("acme/small", files=["adapter.eng.safetensors"])


def test_shards(hub: LoopbackHub, sharded: Path) -> None:
    hub.add("acme/sharded", sharded)
    pulled = pull("acme/sharded")
    assert [file.name for file in pulled.files if "safetensors" in file.name] == [
        "model.safetensors.index.json",
        *(f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)),
    ]
    assert pull("acme/sharded").fetched == 0
    part = pulled.folder / "model-00002-of-00003.safetensors"
    part.write_bytes(bytes(part.stat().st_size))
    with pytest.raises(CheckpointError, match=r"model-00002-of-00003.safetensors has another"):
        pull("acme/sharded")


def test_no_weights_of_what_can_not_be_used(hub: LoopbackHub, folder: Path) -> None:
    edit(folder / "config.json", model_type="speecht5")
    hub.add("acme/other", folder)
    with pytest.raises(UnsupportedModel, match="speecht5"):
        pull("acme/other")
    assert set(hub.files) <= set(SETTINGS)


def test_a_model_without_a_head_can_be_pulled(hub: LoopbackHub, folder: Path) -> None:
    edit(folder / "config.json", architectures=["Wav2Vec2ForPreTraining"])
    hub.add("acme/pretrained", folder)
    assert pull("acme/pretrained").fetched > 0


def test_a_folder_is_not_pulled(hub: LoopbackHub, checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="is a folder; only models of the hub are pulled"):
        pull(str(checkpoint))


def test_pull_needs_the_hub(hub: LoopbackHub) -> None:
    pull("acme/small")
    hub.behaviour.status = 503
    with pytest.raises(HubError, match="is out of order"):
        pull("acme/small")


def test_what_is_in_the_cache_and_removed_from_it(hub: LoopbackHub) -> None:
    assert cached() == []
    pulled = pull("acme/small")
    (here,) = cached()
    assert (here.hub_id, here.commit, here.bytes, here.pinned) == ("acme/small", OLD, pulled.bytes, True)
    assert here.folder.resolve() == pulled.folder.resolve()
    assert cache_folder() in pulled.folder.parents
    assert pulled.bytes <= remove("acme/small") < pulled.bytes + 10_000  # our record, too
    assert cached() == [] and list(cache_folder().iterdir()) in ([], [cache_folder() / ".locks"])
    for model in ("acme/small", "acme/../..", "..", ""):
        with pytest.raises(CheckpointError, match="is not in the cache"):
            remove(model)
    origin.forget()
    assert locate("acme/small").folder == pulled.folder  # from the hub again


def test_a_part_in_the_cache_is_not_whole(hub: LoopbackHub, sharded: Path) -> None:
    hub.add("acme/sharded", sharded)
    for model, name in (("acme/small", "model.safetensors"), ("acme/sharded", "model-00002-of-00003.safetensors")):
        path = pull(model).folder / name
        assert [each.whole for each in cached() if each.hub_id == model] == [True]
        path.unlink()
        assert [each.whole for each in cached() if each.hub_id == model] == [False]


def test_what_was_removed_is_downloaded_again(hub: LoopbackHub) -> None:
    """In the same process, too."""
    load_checkpoint("acme/small")
    remove("acme/small")
    load_checkpoint("acme/small")
    assert hub.files.count("model.safetensors") == 2
