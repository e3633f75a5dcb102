"""Any sequence of right and wrong messages, at any pace of the engine: what the server says stays in order."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.server import wire
from earshot_asr.server.conversation import CLOSED, STREAMING, WAITING
from earshot_asr.server.dialects.native import CLOSE_CODES
from earshot_asr.server.settings import Limits
from tests.helpers import finals, run_session, silence
from tests.server.dialects.test_native import NAN, Line, said

TALK = np.concatenate(
    [said("A MAN"), silence(0.7), said("A PLAN A CANAL"), silence(1.3), said("I SEE"), silence(0.6)] * 9
)
LONGEST = 8
LIMITS = Limits(unsent_messages=64, backlog_seconds=2, longest_seconds=LONGEST, idle_seconds=9, handshake_seconds=5)
WRONG: Sequence[str | bytes] = (
    "",
    "[]",
    '{"type":"start","sample_rate":1e400}',
    '{"type":"flush","at":1}',
    "\ud800",
    "[" * 5000,
    "x" * 70_000,
    bytes(70_000),
    NAN,
)

Step: TypeAlias = int | str | bytes | wire.ClientMessage
"""So many bytes of TALK, or a message, or what happens besides it.

(step)      one batch is computed, and nobody told
(tell)      the conversation is
(compute)   all batches are computed, and it hears of each
(listen)    what is to be sent is taken
(tick)      a second passes
"""
MISTAKES = ("invalid_json", "invalid_message", "message_too_big", "start_repeated", "after_stop", "invalid_audio")
"""Codes of the errors before which the audio that came is made final."""
RIGHT: Sequence[Step] = (wire.Flush(), wire.Flush(), wire.Keepalive(), b"")
LAST: Sequence[Step] = (*WRONG, wire.Start(), wire.Stop(), "(drain)", "(shut down)")
STEPS: st.SearchStrategy[Step] = st.one_of(
    *[st.sampled_from([60_000, 32_000, 9601, 6400, 640, 3, 1])] * 4,
    *[st.sampled_from(["(step)", "(step)", "(tell)", "(compute)", "(listen)", "(tick)"])] * 4,
    *[st.sampled_from(RIGHT)] * 2,
)
STARTS = st.builds(
    wire.Start,
    encoding=st.sampled_from(["pcm_s16le"] * 8 + ["pcm_f32le", "mulaw"]),
    partials=st.booleans(),
    words=st.booleans(),
    commit=st.sampled_from(["utterance", "hop"]),
)


class Client:
    """Plays a script, and knows what was understood of it."""

    def __init__(self) -> None:
        self.line = Line(limits=LIMITS)
        self.audio = b""
        self.flushes: list[int] = []

    def play(self, step: Step) -> None:
        conversation = self.line.conversation
        match step:
            case "(step)":
                self.line.recognizer.step()
            case "(tell)":
                conversation.update()
            case "(compute)":
                self.line.compute()
            case "(listen)":
                self.line.listen()
            case "(tick)":
                conversation.tick()
            case "(drain)":
                conversation.drain()
            case "(shut down)":
                conversation.shut_down()
            case int():
                self.say(TALK.tobytes()[len(self.audio) :][:step])
            case _:
                self.say(step)

    def say(self, message: str | bytes | wire.ClientMessage) -> None:
        conversation = self.line.conversation
        while conversation.blocked:
            computed = self.line.recognizer.step()
            conversation.update()
            assert computed or not conversation.blocked, "blocked, with nothing to wait for"
        if conversation.state is STREAMING:
            if isinstance(message, bytes) and len(message) <= LIMITS.message_bytes:
                self.audio += message
            if isinstance(message, wire.Flush):
                self.flushes.append(len(self.audio) // 2)
        self.line.send(message, compute=False)

    def finish(self) -> None:
        if self.line.conversation.state is STREAMING:
            self.say(bytes(len(self.audio) % 2))
            self.say(wire.Stop())
        self.line.conversation.update()  # of what the last step computed, too
        self.line.compute()

    @property
    def pcm(self) -> Pcm:
        """As far as the stream may go."""
        return np.frombuffer(self.audio[: len(self.audio) // 2 * 2], "<i2")[: LONGEST * SAMPLE_RATE]


@settings(max_examples=150)
@given(
    start=STARTS,
    script=st.lists(STEPS, min_size=8, max_size=60),
    last=st.lists(st.sampled_from(LAST), max_size=2),
    rest=st.lists(STEPS, max_size=5),
)
@example(start=wire.Start(), script=[32_000, "(compute)"], last=["(drain)"], rest=[60_000, 60_000])
@example(start=wire.Start(), script=[wire.Flush(), "(tell)"] * 70, last=[], rest=[])
@example(start=wire.Start(commit="hop"), script=[60_000] * 6, last=[], rest=[])
@example(start=wire.Start(), script=[wire.Flush()] * 30 + [32_000, "(step)", "(tell)"] * 6, last=[], rest=[])
@example(start=wire.Start(), script=["(tick)"] * 9, last=[], rest=[])
@example(start=None, script=["(tick)"] * 5, last=[], rest=[])
@example(start=None, script=[640, wire.Flush()], last=[], rest=[])
def test_whatever_is_said_is_in_order(
    start: wire.Start | None, script: list[Step], last: list[Step], rest: list[Step]
) -> None:
    client = Client()
    for step in [*([start] if start else []), *script, *last, *rest]:
        client.play(step)
    client.finish()
    line = client.line
    in_order(line.heard)
    ended_once(line)
    if line.conversation.error is None:
        assert len(line.acks) >= len(client.flushes) + (line.conversation.state is CLOSED)  # each is answered, stop too
    if start and start.encoding == "pcm_s16le":
        no_other_finals(client, start)


def in_order(heard: list[wire.ServerMessage]) -> None:
    """Nothing comes about what an ack, or a final, has already called done."""
    cut, newest = 0, wire.Ack(0, 0, 0)
    for n, message in enumerate(heard):
        match message:
            case wire.Ready():
                assert n == 0
            case wire.PartialMessage():
                assert cut <= message.segment
            case wire.FinalMessage():
                assert cut <= message.segment < message.cut
                cut = message.cut
            case wire.Ack():
                assert newest.received <= message.received
                assert newest.committed <= message.committed
                assert cut <= message.cut <= message.committed <= message.received
                cut, newest = message.cut, message


def ended_once(line: Line) -> None:
    """By `done`, or else by an error; it is the last message, and the close code is its own."""
    conversation, close = line.conversation, line.dialect.close
    ends = [message for message in line.heard if isinstance(message, wire.Done | wire.Error)]
    if conversation.state is WAITING:
        assert not line.heard
        return
    assert conversation.state is CLOSED
    assert ends == line.heard[-1:]
    (end,) = ends
    if isinstance(end, wire.Error):
        assert end.code != "internal_error"
        assert close == (CLOSE_CODES[end.code], end.code)
    else:
        assert close == (1000, "")
    assert len(line.recognizer.scheduler) == 0
    assert not line.dialect.messages()


def no_other_finals(client: Client, start: wire.Start) -> None:
    """They are those of the audio and the flushes, up to where it ended."""
    config = StreamConfig.preset("balanced", commit=start.commit, partials=start.partials)
    flushes = [at for at in client.flushes if at <= len(client.pcm)]
    whole = [(f.segment, f.text, f.cut) for f in finals(run_session(client.pcm, config, flushes=flushes))]
    spoken = [(f.segment, f.text, f.cut) for f in client.line.finals]
    assert spoken == whole[: len(spoken)]
    if client.line.conversation.error in (None, "stream_too_long", *MISTAKES) and client.line.heard:
        assert spoken == whole
