"""What is kept and what is said again, against a server that takes down everything it is told."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.client.replay import MAX_FLUSH_COUNT, SAMPLE_BYTES, Replay
from earshot_asr.engine.audio import SAMPLE_RATE
from earshot_asr.server import wire

KEEP = 60.0
RECORDED = np.arange(50_000, dtype="<u4").tobytes()


@dataclass
class Took:
    """What one connection was told: audio from byte `start` on, and where flushes and the end stood in it."""

    start: int = 0
    audio: bytearray = field(default_factory=bytearray)
    flushes: list[int] = field(default_factory=list)
    stopped: bool = False

    @property
    def end(self) -> int:
        return self.start + len(self.audio)

    def take(self, message: bytes | wire.ClientMessage) -> None:
        assert not self.stopped, "nothing may follow stop"
        match message:
            case bytes():
                assert 0 < len(message) <= wire.MESSAGE_BYTES
                self.audio += message
            case wire.Flush():
                self.flushes.append(self.end)
            case wire.Stop():
                self.stopped = True
            case _:
                raise AssertionError(message)


def drain(replay: Replay, took: Took) -> Took:
    while (message := replay.take()) is not None:
        took.take(message)
    return took


def recorded(size: int) -> bytes:
    """Audio that nowhere repeats itself."""
    return RECORDED[:size]


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[str, int]]:
    """What happens to a stream: audio of odd sizes, flushes, messages taken, acks, connections lost."""
    kinds = st.sampled_from(["audio", "audio", "flush", "take", "take", "ack", "lose"])
    return draw(st.lists(st.tuples(kinds, st.integers(1, 5000)), max_size=40))


@given(steps(), st.integers(0, 3000))
def test_every_server_is_told_all_from_its_cut_on(steps: list[tuple[str, int]], context: int) -> None:
    """Nothing lost, nothing doubled, flushes where they stood, however often the connection is lost and where."""
    replay = Replay(context, KEEP)
    audio = RECORDED
    said, flushes, cut = 0, [], 0
    took = Took()
    for kind, size in steps:
        match kind:
            case "audio":
                replay.audio(audio[said : said + size])
                said += size
            case "flush":
                replay.flush()
                flushes.append(said)
            case "take":
                for _ in range(size % 4):
                    if (message := replay.take()) is not None:
                        took.take(message)
            case "ack":
                cut = max(cut, min(took.end // SAMPLE_BYTES, cut + size))
                replay.acked(cut)
            case "lose":
                resume = replay.rewind("f00d")
                assert resume == wire.Resume(cut, max(0, cut - context), "f00d")
                took = Took(resume.from_sample * SAMPLE_BYTES)
        assert replay.kept == (said - cut * SAMPLE_BYTES) / SAMPLE_BYTES / SAMPLE_RATE
    replay.stop()
    resume = replay.rewind("f00d")
    last = drain(replay, Took(resume.from_sample * SAMPLE_BYTES))
    assert last.stopped
    assert last.audio == audio[last.start : said]
    assert {at for at in flushes if at > cut * SAMPLE_BYTES} <= set(last.flushes) <= set(flushes)
    assert last.flushes == sorted(last.flushes)


def test_a_flush_before_the_cut_is_sent_once() -> None:
    replay = Replay(0, KEEP)
    replay.flush()
    replay.audio(bytes(2000))
    replay.rewind("")
    assert drain(replay, Took()).flushes == [0]
    replay.acked(500)
    replay.flush()
    drain(replay, Took(1000))
    replay.rewind("")
    assert drain(replay, Took(1000)).flushes == [2000]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 150_000)), max_size=12))
def test_without_a_loss_all_is_said_once_in_order(parts: list[tuple[bool, int]]) -> None:
    replay, took, flushes = Replay(None, KEEP), Took(), []
    whole = bytearray()
    for flush, size in parts:
        replay.audio(recorded(size))
        whole += recorded(size)
        if flush:
            replay.flush()
            flushes.append(len(whole))
    replay.stop()
    drain(replay, took)
    assert took == Took(0, whole, flushes, True)
    assert replay.take() is None


def test_what_is_committed_is_forgotten_but_for_its_context() -> None:
    replay = Replay(1000, KEEP)
    replay.audio(bytes(20_000))
    drain(replay, Took())
    replay.acked(6000)
    assert len(replay._audio) == 20_000 - 2 * 5000
    replay.acked(5000)  # out of order: nothing comes back
    assert replay.rewind("") == wire.Resume(6000, 5000, "")


def test_what_was_not_sent_is_not_forgotten_whatever_a_server_says() -> None:
    replay = Replay(0, KEEP)
    replay.audio(recorded(1000))
    replay.acked(10**9)
    assert drain(replay, Took()).audio == recorded(1000)


def test_it_is_full_until_something_is_committed() -> None:
    replay = Replay(0, 1.0)
    replay.audio(bytes(SAMPLE_RATE * SAMPLE_BYTES - 1))
    assert not replay.full
    replay.audio(bytes(1))
    assert replay.full
    drain(replay, Took())
    assert replay.full
    replay.acked(1)
    assert not replay.full


def test_what_can_not_be_resumed_is_not_kept() -> None:
    replay = Replay(None, 1.0)
    assert not replay.resumable
    replay.audio(bytes(SAMPLE_RATE * SAMPLE_BYTES))
    for _ in range(1000):
        replay.flush()
    assert replay.full
    drain(replay, Took())
    assert not replay.full
    assert (len(replay._audio), len(replay._sent_flushes)) == (0, 0)


def test_flushes_at_one_place_are_sent_each_and_kept_once() -> None:
    replay = Replay(0, KEEP)
    replay.audio(bytes(3))
    for _ in range(1000):
        replay.flush()
    assert len(drain(replay, Took()).flushes) == 1000
    replay.rewind("")
    assert drain(replay, Took()).flushes == [3]


def test_memory_does_not_grow_with_the_length_of_the_stream() -> None:
    """Two hours in messages of a tenth of a second, committed a second later."""
    replay = Replay(3200, KEEP)
    longest = 0
    for n in range(72_000):
        replay.audio(bytes(3200))
        replay.take()
        replay.acked(max(0, n - 10) * 1600)
        longest = max(longest, len(replay._audio))
    assert longest <= 3200 * 13
    assert replay.kept == 1.1


def test_messages_are_as_long_as_they_may_be() -> None:
    """A replay doesn't take a message for each of those that were sent at first."""
    replay = Replay(0, KEEP)
    for _ in range(1000):
        replay.audio(bytes(320))
        replay.take()
    replay.rewind("")
    sizes = []
    while isinstance(message := replay.take(), bytes):
        sizes.append(len(message))
    assert sum(sizes) == 320_000
    assert len(sizes) == 5
    assert all(a >= b for a, b in pairwise(sizes))


def test_flushes_are_bounded_too() -> None:
    replay = Replay(0, 60)
    for _ in range(MAX_FLUSH_COUNT):
        assert not replay.full
        replay.flush()
    assert replay.full
    replay.take()
    assert not replay.full
