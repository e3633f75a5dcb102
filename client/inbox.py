"""A queue between the task that receives messages and the program that reads them. The receiver never waits."""

import asyncio
from collections import deque
from collections.abc import Collection
from typing import Generic, TypeVar

from earshot_asr.server.wire import FinalMessage

T = TypeVar("T")

CROWDED_MESSAGE_COUNT = 1024
"""When this many messages wait to be read, messages that a newer one replaces (partials, acks) are dropped."""


class Inbox(Generic[T]):
    """A queue of messages that can be closed, with an error or without."""

    def __init__(self) -> None:
        self.closed = False
        """No more messages will be put in."""
        self.failure: BaseException | None = None
        self._messages: deque[T] = deque()
        self._crowded_count = CROWDED_MESSAGE_COUNT
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: T) -> None:
        """Adds a message."""
        if len(self._messages) >= self._crowded_count:
            self._messages = deque(without_replaced(self._messages))
            # Finals are never dropped. Doubling keeps the cost per message constant where there are only finals.
            self._crowded_count = max(CROWDED_MESSAGE_COUNT, 2 * len(self._messages))
        self._messages.append(message)
        self._news.set()

    def close(self, failure: BaseException | None = None) -> None:
        """Ends the queue after the messages in it. If it is called more than once, the first failure is kept."""
        self.failure = self.failure or failure
        self.closed = True
        self._news.set()

    async def get(self) -> T:
        """Removes and returns the oldest message; waits for one. Raises StopAsyncIteration, or the failure."""
        while not self._messages:
            if self.closed:
                raise self.failure or StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._messages.popleft()


def without_replaced(messages: Collection[T]) -> list[T]:
    """All finals, and of every other type the newest message only; in order."""
    newest = {type(message): message for message in messages}
    return [message for message in messages if isinstance(message, FinalMessage) or newest[type(message)] is message]
