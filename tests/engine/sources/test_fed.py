"""Containers fed as bytes, cut anywhere."""

from pathlib import Path

import numpy as np
import pytest

from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources import PIPE_BYTES, ContainerSource
from tests.engine.sources.made import cut, drain, looks_like_the_tone, write

STREAMABLE = ["wav", "flac", "ogg", "mp3", "webm", "fragmented.m4a"]


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("streams")
    return {name: write(folder / f"a.{name}").read_bytes() for name in STREAMABLE}


@pytest.mark.parametrize("name", STREAMABLE)
def test_containers_however_they_are_cut(name: str, streams: dict[str, bytes]) -> None:
    data = streams[name]
    with ContainerSource() as source:
        whole = drain(source, [data])
    assert looks_like_the_tone(whole, 2.0)
    cuts = np.random.default_rng(7).integers(0, len(data), 99).tolist()
    for pieces in (cut(data, cuts), cut(data, list(range(0, len(data), 11)))):
        with ContainerSource() as source:
            assert drain(source, pieces).tobytes() == whole.tobytes()


def test_audio_comes_before_the_stream_ends(streams: dict[str, bytes]) -> None:
    data = streams["webm"]
    with ContainerSource() as source:
        got = len(source.feed(data[: len(data) // 2]))
        while got < 8000:  # it comes in the end, with nothing more fed
            got += len(source.feed(b""))


def test_more_than_the_pipe_holds_may_be_fed_at_once(tmp_path: Path) -> None:
    data = write(tmp_path / "a.wav", 5.0).read_bytes()
    assert len(data) > 4 * PIPE_BYTES
    with ContainerSource() as source:
        assert looks_like_the_tone(drain(source, [data]), 5.0)


@pytest.mark.parametrize("name", ["wav", "webm"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_closing_early_ends_the_thread(name: str, share: float, streams: dict[str, bytes]) -> None:
    data = streams[name]
    source = ContainerSource()
    source.feed(data[: int(len(data) * share)])
    source.close()
    source.close()
    assert not source._thread.is_alive()


@pytest.mark.parametrize(
    "data", [b"no audio at all " * 9, bytes(300_000), b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n" * 9]
)
def test_a_stream_that_is_no_audio(data: bytes) -> None:
    with ContainerSource() as source, pytest.raises(AudioError, match=r"can't decode audio: .*expected WAV, FLAC"):
        drain(source, [data])
    assert not source._thread.is_alive()


def test_an_error_is_told_to_who_feeds_on() -> None:
    with ContainerSource() as source, pytest.raises(AudioError):
        drain(source, [b"no audio at all " * 99] * 9999)


def test_nothing_fed_is_no_error() -> None:
    with ContainerSource() as source:
        assert len(source.finish()) == 0


def test_bytes_behind_the_container_are_ignored(streams: dict[str, bytes]) -> None:
    with ContainerSource() as source:
        alone = drain(source, [streams["wav"]])
    with ContainerSource() as source:
        assert drain(source, [streams["wav"], b"x" * 999, b"y"]).tobytes() == alone.tobytes()
