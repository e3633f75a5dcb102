"""Work in a thread that nobody waits for: a process that ends does not wait for it either."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")


async def apart(work: Callable[[], Result]) -> Result:
    """What `work` returns or raises, in a thread of its own. If this is cancelled, the thread is left alone.

    A download may stand still in a call that nothing can end; threads of a pool would hold up the end of the process.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: Result | None = None
        caught: BaseException | None = None
        try:
            result = work()
        except BaseException as error:
            caught = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, result, caught)

    threading.Thread(target=run, name="apart", daemon=True).start()
    return await done
