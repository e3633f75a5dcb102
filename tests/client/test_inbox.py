"""The queue between receiver and reader."""

import asyncio

import pytest

from earshot_asr.client.inbox import CROWDED_MESSAGE_COUNT, Inbox, without_replaced
from earshot_asr.server.wire import Ack, Done, FinalMessage, PartialMessage, ServerMessage

HELLO = FinalMessage(0, 0.1, 0.9, "HELLO", 0.9, 16_000)


async def test_messages_come_in_their_order_and_then_the_end() -> None:
    inbox: Inbox[int] = Inbox()
    reading = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    inbox.put(1)
    inbox.put(2)
    inbox.close()
    assert [await reading, await inbox.get()] == [1, 2]
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await inbox.get()


async def test_a_failure_comes_after_what_came_before_it_and_the_first_one_counts() -> None:
    inbox: Inbox[int] = Inbox()
    inbox.put(1)
    inbox.close(ValueError("first"))
    inbox.close(ValueError("second"))
    assert await inbox.get() == 1
    with pytest.raises(ValueError, match="first"):
        await inbox.get()


def test_only_what_is_replaced_is_dropped() -> None:
    a, b, done = PartialMessage(0, 0, 1, "A", 0), PartialMessage(0, 0, 2, "B", 0), Done(2, 0.1)
    messages = [a, Ack(1, 0, 0), HELLO, b, HELLO, Ack(2, 1, 1), done]
    assert without_replaced(messages) == [HELLO, b, HELLO, Ack(2, 1, 1), done]


def test_a_reader_who_sleeps_costs_no_more_than_the_finals() -> None:
    inbox: Inbox[ServerMessage] = Inbox()
    for _ in range(10 * CROWDED_MESSAGE_COUNT):
        inbox.put(PartialMessage(0, 0, 1, "A", 0))
        inbox.put(Ack(1, 0, 0))
    assert len(inbox) <= CROWDED_MESSAGE_COUNT


def test_a_thousand_finals_more_are_not_looked_at_once_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0

    def counting(messages: list[FinalMessage]) -> list[FinalMessage]:
        nonlocal looked
        looked += len(messages)
        return without_replaced(messages)

    monkeypatch.setattr("earshot_asr.client.inbox.without_replaced", counting)
    inbox: Inbox[FinalMessage] = Inbox()
    for _ in range(20 * CROWDED_MESSAGE_COUNT):
        inbox.put(HELLO)
    assert len(inbox) == 20 * CROWDED_MESSAGE_COUNT
    assert looked <= 2 * len(inbox)
