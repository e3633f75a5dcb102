"""What waits for a slow reader, and what it is spared."""

import pytest

from earshot_asr.engine.events import Final, Partial
from earshot_asr.server.notices import Finished, FlushAnswered, Notice, Progress, Refusal, Reply
from earshot_asr.server.outbox import SLOW_READER_NOTICES, Outbox
from earshot_asr.server.refusals import Refused


def partial(segment: int, text: str) -> Partial:
    return Partial(segment, 0.0, 1.0, text, 0)


def final(segment: int) -> Final:
    return Final(segment, 0.0, 1.0, "A", 1.0, (), segment + 320)


def test_in_order_and_once() -> None:
    outbox = Outbox(64)
    given: list[Notice | Reply] = [partial(0, "A"), Progress(1, 0, 0), partial(0, "AB"), final(0), Progress(2, 0, 0)]
    for notice in given:
        outbox.put(notice)
    assert len(outbox) == 5
    assert outbox.take() == given
    assert outbox.take() == []


def test_newer_replaces_outdated_once_the_reader_is_slow() -> None:
    outbox = Outbox(64)
    kept: list[Notice | Reply] = [final(n) for n in range(SLOW_READER_NOTICES)]
    outbox.put(partial(7, "A"))
    outbox.put(partial(8, "OTHER"))
    outbox.put(Progress(1, 0, 0))
    for notice in kept:
        outbox.put(notice)
    outbox.put(partial(7, "AB"))
    outbox.put(Progress(2, 0, 0))
    assert outbox.take() == [partial(8, "OTHER"), *kept, partial(7, "AB"), Progress(2, 0, 0)]


@pytest.mark.parametrize("notice", [partial(1, "A"), final(1), FlushAnswered(1, 1), Reply("pong")])
def test_at_the_limit_the_reader_is_given_up(notice: Partial | Final | FlushAnswered | Reply) -> None:
    outbox = Outbox(64)
    for n in range(63):
        outbox.put(final(n))
    with pytest.raises(Refused, match="64 messages were not read") as e:
        outbox.put(notice)
    assert e.value.code == "slow_reader"


def test_the_end_is_told_also_at_the_limit() -> None:
    outbox = Outbox(64)
    for n in range(63):
        outbox.put(final(n))
    outbox.put(Progress(1, 1, 1))
    outbox.put(Finished(1))
    outbox.put(Refusal("idle", "why"))
    assert len(outbox) == 66
