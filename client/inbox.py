"""Messages between the one who receives and the one who reads: neither waits for the other."""

import asyncio
from collections import deque
from collections.abc import Collection
from typing import Generic, TypeVar

from earshot_asr.server.wire import Final

T = TypeVar("T")

CROWDED_MESSAGE_COUNT = 1024
"""Messages that may wait to be read; past that, partials and acks that a newer one replaces are dropped."""


class Inbox(Generic[T]):
    """A queue of messages that ends, or fails, after the last of them."""

    def __init__(self) -> None:
        self.closed = False
        """Nothing more comes."""
        self.failure: BaseException | None = None
        self._messages: deque[T] = deque()
        self._crowded = CROWDED_MESSAGE_COUNT
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: T) -> None:
        """One more."""
        if len(self._messages) >= self._crowded:
            self._messages = deque(without_replaced(self._messages))
            self._crowded = max(
                CROWDED_MESSAGE_COUNT, 2 * len(self._messages)
            )  # where all must stay, don't look again at each
        self._messages.append(message)
        self._news.set()

    def close(self, failure: BaseException | None = None) -> None:
        """That was the last one. The first failure counts."""
        self.failure = self.failure or failure
        self.closed = True
        self._news.set()

    async def get(self) -> T:
        """The oldest; waits for one. At the end raises the failure, or StopAsyncIteration."""
        while not self._messages:
            if self.closed:
                raise self.failure or StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._messages.popleft()


def without_replaced(messages: Collection[T]) -> list[T]:
    """The messages in their order, but of all kinds other than finals the newest one only."""
    newest = {type(message): message for message in messages}
    return [message for message in messages if isinstance(message, Final) or newest[type(message)] is message]
