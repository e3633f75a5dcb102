"""Pacing of a file, in a loop whose clock jumps to the next thing that is due."""

import asyncio
import os
import selectors
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from earshot_asr.client.files import BLOCK_SAMPLES, FileAudio
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds
from earshot_asr.engine.errors import AudioError, ConfigError


class Jump(selectors.DefaultSelector):
    """Instead of waiting for a timer, puts the clock forward; waits for threads as ever."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(None if timeout is None else 0)
        if not ready and timeout:
            self.now += timeout
        return ready


def run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    selector = Jump()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(work())


@pytest.fixture
def recording(tmp_path: Path) -> tuple[Path, Pcm]:
    pcm = np.random.default_rng(1).integers(-9000, 9000, 2 * SAMPLE_RATE + 800).astype(np.int16)
    soundfile.write(tmp_path / "talk.wav", pcm, SAMPLE_RATE)
    return tmp_path / "talk.wav", pcm


async def times(audio: FileAudio, busy: Seconds = 0.0) -> tuple[list[Seconds], list[Pcm]]:
    """When which block came, to a reader that is busy after each."""
    clock = asyncio.get_running_loop().time
    at, got = [], []
    async for pcm in audio:
        at.append(clock())
        got.append(pcm)
        await asyncio.sleep(busy)
    return at, got


@pytest.mark.parametrize("speed", [0.0, 1.0, 3.0])
def test_all_of_the_file_comes(recording: tuple[Path, Pcm], speed: float) -> None:
    path, pcm = recording
    _, got = run(lambda: times(FileAudio(path, speed)))
    assert np.array_equal(np.concatenate(got), pcm)
    assert all(block.dtype == np.int16 for block in got)


@pytest.mark.parametrize("speed", [1.0, 4.0])
@pytest.mark.parametrize("busy", [0.0, 0.01])
def test_every_block_comes_when_its_last_sample_was_said(
    recording: tuple[Path, Pcm], speed: float, busy: Seconds
) -> None:
    """Also for a reader that takes its time: the schedule is absolute, nothing adds up."""
    at, got = run(lambda: times(FileAudio(recording[0], speed), busy))
    ends = np.cumsum([len(block) for block in got])
    assert set(map(len, got[:-1])) == {BLOCK_SAMPLES}
    assert np.allclose(
        np.array(at) - at[0] + BLOCK_SAMPLES / SAMPLE_RATE / speed, ends / SAMPLE_RATE / speed, atol=1e-6
    )


def test_a_reader_that_was_late_catches_up(recording: tuple[Path, Pcm]) -> None:
    async def late_once() -> list[Seconds]:
        at, clock = [], asyncio.get_running_loop().time
        async for _ in FileAudio(recording[0]):
            at.append(clock())
            if len(at) == 5:
                await asyncio.sleep(0.45)
        return at

    at = run(late_once)
    assert at[5] - at[4] == pytest.approx(0.45, abs=1e-3)
    assert at[10] - at[0] == pytest.approx(1.0, abs=1e-3)


def test_speed_0_does_not_wait(recording: tuple[Path, Pcm]) -> None:
    at, _ = run(lambda: times(FileAudio(recording[0], 0)))
    assert at[-1] == 0


@pytest.mark.parametrize("speed", [0.0, 1.0])
def test_stop_ends_it(recording: tuple[Path, Pcm], speed: float) -> None:
    audio = FileAudio(recording[0], speed)

    async def stopped_at_once() -> int:
        blocks = 0
        async for _ in audio:
            blocks += 1
            audio.stop()
        return blocks

    assert run(stopped_at_once) == 1


def test_stop_does_not_wait_for_the_next_block(recording: tuple[Path, Pcm]) -> None:
    audio = FileAudio(recording[0], 0.001)  # a block every 100 s

    async def stop_soon() -> Seconds:
        asyncio.get_running_loop().call_later(1, audio.stop)
        assert await times(audio) == ([], [])
        return asyncio.get_running_loop().time()

    assert run(stop_soon) == pytest.approx(1, abs=1e-3)


def test_live_means_real_time(recording: tuple[Path, Pcm]) -> None:
    for speed in (0, 0.5, 1, 2):
        with FileAudio(recording[0], speed) as audio:
            assert audio.live == (speed == 1)


@pytest.mark.parametrize("speed", [-1.0, float("nan"), float("inf")])
def test_a_speed_that_is_none_is_refused(recording: tuple[Path, Pcm], speed: float) -> None:
    with pytest.raises(ConfigError, match="speed is"):
        FileAudio(recording[0], speed)


def test_no_such_file_is_known_before_anything_begins(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"nowhere\.wav"):
        FileAudio(tmp_path / "nowhere.wav")


def test_what_a_file_lacks_is_known_once_it_was_read(recording: tuple[Path, Pcm], tmp_path: Path) -> None:
    def damage(path: Path) -> str:
        audio = FileAudio(path, 0)
        assert audio.damage == ""
        run(lambda: times(audio))
        return audio.damage

    assert damage(recording[0]) == ""
    soundfile.write(tmp_path / "talk.flac", recording[1], SAMPLE_RATE)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "talk.flac").read_bytes()[:40_000])
    assert damage(tmp_path / "talk.flac") == ""
    assert "cut off" in damage(tmp_path / "cut.flac")


def test_a_pipe_whose_writer_pauses_holds_up_nobody_who_gives_up(recording: tuple[Path, Pcm], tmp_path: Path) -> None:
    """As when the server goes away meanwhile."""
    os.mkfifo(tmp_path / "fifo")
    data = recording[0].read_bytes() * 4
    descriptor = os.open(tmp_path / "fifo", os.O_RDWR)  # keeps the pipe open
    writer = threading.Thread(target=os.write, args=(descriptor, data[:-100]), daemon=True)
    writer.start()

    async def give_up() -> None:
        with FileAudio(tmp_path / "fifo") as audio:
            blocks = aiter(audio)

            async def all_blocks() -> None:
                async for _ in blocks:
                    pass

            waiting = asyncio.create_task(all_blocks())
            await asyncio.sleep(0.5)
            waiting.cancel()
            async with asyncio.timeout(30):
                with suppress(asyncio.CancelledError):
                    await waiting

    asyncio.run(give_up())
    writer.join(30)
    os.close(descriptor)
