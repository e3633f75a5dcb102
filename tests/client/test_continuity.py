"""One sequence out of several: what a second server says again is not told again."""

from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.client.continuity import Continuity
from earshot_asr.server.wire import Ack, Done, FinalMessage, PartialMessage, Ready, ServerMessage


def partial(segment: int, end: float, text: str = "HELLO", stable: int = 0) -> PartialMessage:
    return PartialMessage(segment, segment / 16_000, end, text, stable)


def final(segment: int, cut: int) -> FinalMessage:
    return FinalMessage(segment, segment / 16_000, cut / 16_000, "HELLO", 0.9, cut)


def told(continuity: Continuity, *messages: ServerMessage) -> list[ServerMessage]:
    return [each for message in messages for each in continuity.filter(message)]


def test_of_one_connection_everything_is_told_but_ready() -> None:
    messages: list[ServerMessage] = [
        Ack(100, 0, 0),
        partial(0, 0.5),
        partial(0, 0.4, ""),
        partial(0, 0.6),
        final(0, 16_000),
        Ack(20_000, 16_000, 16_000),
        partial(16_320, 1.5),
        Done(20_000, 1.25),
    ]
    assert told(Continuity(), Ready("", "", "", True, 0, 0, 0, 0, 0), *messages) == messages


def test_partials_are_told_again_only_once_they_are_newer() -> None:
    continuity = Continuity()
    told(continuity, partial(320, 0.5, "HEL"), partial(320, 0.9, "HELLO WOR", 5))
    continuity.resumed()
    assert told(continuity, partial(320, 0.5, "HEL"), partial(320, 0.9, "HELLO WOR", 5)) == []
    newer = partial(320, 1.3, "HELLO WORLD", 5)
    assert told(continuity, newer, partial(320, 1.2, "")) == [newer, partial(320, 1.2, "")]


def test_a_later_utterance_is_always_told() -> None:
    continuity = Continuity()
    told(continuity, partial(320, 9.0))
    continuity.resumed()
    assert told(continuity, partial(32_000, 2.5)) == [partial(32_000, 2.5)]


def test_an_utterance_that_turns_out_to_be_empty_meanwhile_is_withdrawn() -> None:
    """Its withdrawal, which may be older than what was shown, is taken for a repetition: the ack makes up for it."""
    continuity = Continuity()
    told(continuity, partial(320, 0.9, "UH"))
    continuity.resumed()
    assert told(continuity, partial(320, 0.5, "UH"), partial(320, 0.8, "")) == []
    assert told(continuity, Ack(32_000, 16_000, 16_000)) == [
        PartialMessage(320, 0.02, 0.9, "", 0),
        Ack(32_000, 16_000, 16_000),
    ]
    assert told(continuity, Ack(32_000, 32_000, 32_000)) == [Ack(32_000, 32_000, 32_000)]


def test_the_final_of_a_later_utterance_withdraws_an_empty_one_too() -> None:
    continuity = Continuity()
    told(continuity, partial(320, 0.9, "UH"))
    continuity.resumed()
    later = final(16_000, 32_000)
    assert told(continuity, later) == [PartialMessage(320, 0.02, 0.9, "", 0), later]


def test_no_final_is_told_twice() -> None:
    continuity = Continuity()
    assert told(continuity, final(0, 16_000), final(16_000, 32_000)) == [final(0, 16_000), final(16_000, 32_000)]
    continuity.resumed()
    assert told(continuity, final(0, 16_000), final(16_000, 32_000), final(32_000, 48_000)) == [final(32_000, 48_000)]


def test_partials_of_what_is_final_are_not_told() -> None:
    continuity = Continuity()
    told(continuity, final(0, 16_000))
    assert told(continuity, partial(0, 0.5)) == []


acks = st.builds(Ack, st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))


@given(st.lists(acks), st.sets(st.integers(0, 20)))
def test_counts_never_go_back(messages: list[Ack], losses: set[int]) -> None:
    """And an ack that comes is always told: it may be the answer to a flush."""
    continuity = Continuity()
    last = Ack(0, 0, 0)
    for n, message in enumerate(messages):
        if n in losses:
            continuity.resumed()
        (ack,) = continuity.filter(message)
        assert isinstance(ack, Ack)
        assert ack.received >= max(last.received, message.received)
        assert ack.committed >= max(last.committed, message.committed)
        assert ack.cut >= max(last.cut, message.cut)
        last = ack
