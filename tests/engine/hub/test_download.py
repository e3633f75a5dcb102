"""Downloads: what breaks off is resumed, what is wrong is refused, and no token goes to another host."""

import logging
import shutil
from pathlib import Path

import pytest

from earshot_asr.engine.checkpoint import fetch
from earshot_asr.engine.errors import CheckpointError, HubError
from earshot_asr.engine.hub import cache_folder, download, origin, refusals
from tests.loopback_hub import BLOCK_BYTES, TOKEN, LoopbackHub, wait_for


def ranges(hub: LoopbackHub) -> list[str | None]:
    """What was asked for of the weights, in order."""
    return [request.headers.get("range") for request in hub.requests if request.path.startswith("/cdn/")]


def parts() -> list[Path]:
    return list(cache_folder().rglob("*.incomplete"))


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)


def test_a_download_that_breaks_off_goes_on(hub: LoopbackHub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "earshot_asr.engine.hub")
    hub.behaviour.break_bytes = 2 * BLOCK_BYTES
    origin = fetch("acme/small")
    assert ranges(hub) == [None, f"bytes={2 * BLOCK_BYTES}-"]
    weights = hub.repositories["acme/small"].commits["a" * 40] / "model.safetensors"
    assert (origin.folder / "model.safetensors").read_bytes() == weights.read_bytes()
    assert "the download broke off" in caplog.text and parts() == []


def test_what_has_come_is_kept_for_the_next_try(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TRIES", 1)
    monkeypatch.setattr(refusals, "STALL_SECONDS", 0.2)
    hub.behaviour.break_bytes = BLOCK_BYTES
    stream = download._Transfer._stream

    def then_silent(*arguments: object) -> None:
        try:
            stream(*arguments)  # type: ignore[arg-type]
        finally:
            hub.behaviour.silent = bool(ranges(hub))

    monkeypatch.setattr(download._Transfer, "_stream", then_silent)
    with pytest.raises(HubError, match=r"only a part of acme/small, not model.safetensors; .*s; 4.1 kB of .* are kept"):
        fetch("acme/small")
    assert [part.stat().st_size for part in parts()] == [BLOCK_BYTES]
    monkeypatch.undo()


def test_a_part_is_resumed_or_begun_anew(hub: LoopbackHub) -> None:
    whole = (hub.repositories["acme/small"].commits["a" * 40] / "model.safetensors").read_bytes()
    for begun in (whole[:5000], whole, whole + b"more"):
        shutil.rmtree(cache_folder(), ignore_errors=True)
        origin.forget()
        hub.requests.clear()
        place = origin.locate("acme/small")
        assert place.listing is not None
        part = cache_folder() / "models--acme--small" / "blobs" / f"{place.listing.files['model.safetensors'].tag}"
        part.with_name(part.name + download.PART).write_bytes(begun)
        assert (place.with_weights().folder / "model.safetensors").read_bytes() == whole
        assert ranges(hub) == {5000: ["bytes=5000-"], len(whole): []}.get(len(begun), [None])


def test_a_wrong_hash_is_an_error_that_names_the_file(hub: LoopbackHub) -> None:
    hub.behaviour.wrong = {"model.safetensors"}
    with pytest.raises(CheckpointError, match=r"acme/small: model.safetensors has another SHA-256 than the hub "):
        fetch("acme/small")
    assert parts() == []
    hub.behaviour.wrong = set()
    fetch("acme/small")


def test_a_part_with_wrong_bytes_is_removed(hub: LoopbackHub) -> None:
    place = origin.locate("acme/small")
    assert place.listing is not None
    tag = place.listing.files["model.safetensors"].tag
    (cache_folder() / "models--acme--small" / "blobs" / f"{tag}{download.PART}").write_bytes(bytes(5000))
    with pytest.raises(CheckpointError, match="another SHA-256"):
        place.with_weights()
    place.with_weights()


def test_the_token_goes_to_the_hub_alone(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fetch("acme/small")
    sent = {request.path.startswith("/cdn/"): request.headers.get("authorization") for request in hub.requests}
    assert sent == {False: f"Bearer {TOKEN}", True: None}


def test_no_room(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage("/")._replace(free=5)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    with pytest.raises(CheckpointError, match=r"the download needs .* kB, and 5 bytes are free in the cache, "):
        fetch("acme/small")
    assert hub.files == []


def test_two_programs_at_once_download_once(hub: LoopbackHub) -> None:
    from concurrent.futures import ThreadPoolExecutor

    place = origin.locate("acme/small")
    hub.behaviour.pause_seconds = 0.002
    with ThreadPoolExecutor() as threads:
        futures = [threads.submit(place.with_weights) for _ in range(3)]
        wait_for(lambda: all(future.done() for future in futures))
    assert [future.result().folder for future in futures] == [place.folder] * 3
    assert ranges(hub) == [None]
