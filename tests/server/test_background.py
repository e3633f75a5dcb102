"""Work that nobody waits for: its result, its error, and its being left alone."""

import asyncio
import threading

import pytest

from earshot_asr.server.background import apart


async def test_a_result_and_an_error() -> None:
    assert await apart(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        await apart(lambda: 1 // 0)


async def test_whoever_is_cancelled_does_not_wait() -> None:
    may_end = threading.Event()
    names: list[str] = []

    def work() -> None:
        names.append(threading.current_thread().name)
        may_end.wait()

    waiting = asyncio.create_task(apart(work))
    while not names:
        await asyncio.sleep(0.001)
    (thread,) = (each for each in threading.enumerate() if each.name == "apart")
    assert thread.daemon  # the process does not wait for it either
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    may_end.set()
    await asyncio.to_thread(thread.join)
    await asyncio.sleep(0)  # what it hands over is not wanted any more
