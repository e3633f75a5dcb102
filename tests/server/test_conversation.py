"""The conversation without any protocol: what a dialect may call when, and in which order it takes effect."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import AudioError, CheckpointError, ConfigError, EarshotError, ProtocolError
from earshot_asr.engine.events import Final
from earshot_asr.engine.recognizer import Recognizer, StartPoint, Stream
from earshot_asr.engine.sources import RawFormat
from earshot_asr.server.admission import ResumePoint, StreamRequest
from earshot_asr.server.capacity import Full
from earshot_asr.server.conversation import CLOSED, FINISHING, STREAMING, WAITING, Conversation
from earshot_asr.server.notices import Admitted, Finished, FlushAnswered, Notice, Progress, Refusal, Reply
from earshot_asr.server.refusals import CLOSE_CODES, Refused
from earshot_asr.server.settings import Limits
from tests.helpers import INFO, Polyglot, finals, run_session, silence, speak

REQUEST = StreamRequest(config=StreamConfig.preset("balanced", partials=False))
Act = Callable[[Conversation], None]


class Desk:
    """A conversation and a recognizer in one thread; the test is the dialect."""

    def __init__(self) -> None:
        self.recognizer = Recognizer(Polyglot(), clock=lambda: 0.0)
        self.conversation = Conversation("s1", INFO, "balanced", Limits(backlog_seconds=30), self.open, self.prepare)
        self.preparing: list[str | None] = []
        self.notices: list[Notice | Reply] = []

    def open(self, config: StreamConfig, at: StartPoint | None) -> Stream:
        return self.recognizer.open(config, at)

    def prepare(self, config: StreamConfig) -> None:
        self.preparing.append(config.language)

    def message(self, *acts: Act) -> None:
        """One message, by which the dialect is moved to do all of this."""

        def interpret() -> None:
            for act in acts:
                act(self.conversation)

        self.conversation.receive(1, interpret)

    def compute(self) -> None:
        while self.recognizer.step() or self.conversation.hungry:
            self.conversation.update()
        self.notices += self.conversation.outbox.take()


def opening(request: StreamRequest) -> Act:
    return lambda conversation: conversation.open(request)


start = opening(REQUEST)


def feeding(data: bytes) -> Act:
    return lambda conversation: conversation.feed(data)


audio = feeding(bytes(640))


def test_from_the_start_of_a_stream_to_its_end() -> None:
    desk = Desk()
    states = [desk.conversation.state]
    for act in (start, feeding(speak("HI").tobytes()), Conversation.finish):
        desk.message(act)
        states.append(desk.conversation.state)
    desk.compute()
    assert [*states, desk.conversation.state] == [WAITING, STREAMING, STREAMING, FINISHING, CLOSED]
    assert [type(notice) for notice in desk.notices] == [Admitted, Final, FlushAnswered, Finished]


@pytest.mark.parametrize(
    ("acts", "code"),
    [
        ([audio], "start_expected"),
        ([Conversation.flush], "start_expected"),
        ([Conversation.finish], "start_expected"),
        ([start, start], "start_repeated"),
        ([start, Conversation.finish, audio], "after_stop"),
        ([start, Conversation.finish, Conversation.flush], "after_stop"),
        ([start, Conversation.finish, Conversation.finish], "after_stop"),
    ],
)
def test_what_a_dialect_lets_through_at_the_wrong_time_is_refused(acts: list[Act], code: str) -> None:
    desk = Desk()
    desk.message(*acts)
    desk.compute()
    last = desk.notices[-1]
    assert isinstance(last, Refusal)
    assert last.code == desk.conversation.error == code
    assert desk.conversation.ended


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (Refused("idle", "why"), "idle", "why"),
        (ProtocolError("why"), "invalid_message", "why"),
        (ConfigError("why"), "invalid_message", "why"),
        (AudioError("why"), "invalid_audio", "why"),
        (Full("why"), "full", "why"),
        (KeyError("why"), "internal_error", "something broke in the server; its log names it by the session, s1"),
    ],
)
def test_what_a_dialect_raises_ends_the_conversation(error: Exception, code: str, sentence: str) -> None:
    def act() -> None:
        raise error

    desk = Desk()
    desk.conversation.attempt(act)
    desk.conversation.attempt(lambda: pytest.fail("it has ended"))
    desk.compute()
    assert desk.notices == [Refusal(code, sentence)]
    assert code in CLOSE_CODES


def test_audio_and_flushes_of_one_message_keep_their_order_also_where_they_have_to_wait() -> None:
    """More than the ring holds: most of it waits until the engine has made room."""
    talk = np.concatenate([np.concatenate([speak("ONE AND TWO ", blocks=4), silence(0.3)])] * 30)
    places = [len(talk) // 5, len(talk) // 2 + 7, len(talk) - 1600]
    acts: list[Act] = [start]
    for part in np.split(talk, places):
        acts += [feeding(part.tobytes()), Conversation.flush]
    desk = Desk()
    desk.message(*acts[:-1], Conversation.finish)
    assert desk.conversation.blocked
    desk.compute()
    expected = finals(run_session(talk, REQUEST.config, flushes=places))
    assert [notice for notice in desk.notices if isinstance(notice, Final)] == expected
    assert desk.notices[-1] == Finished(len(talk))
    assert sum(isinstance(notice, FlushAnswered) for notice in desk.notices) == len(places) + 1


def test_a_place_to_resume_at_is_checked_by_fingerprint() -> None:
    desk = Desk()
    desk.message(start)
    desk.compute()
    (admitted,) = desk.notices
    assert isinstance(admitted, Admitted)
    for options, code in (({}, None), ({"accent": "broad"}, "fingerprint_mismatch")):
        again = Desk()
        resume = ResumePoint(0, 0, admitted.fingerprint)
        request = StreamRequest(config=REQUEST.config, options=options, resume=resume)
        again.message(opening(request))
        assert again.conversation.error == code


def test_a_client_that_has_gone_is_told_nothing() -> None:
    desk = Desk()
    desk.message(start, audio)
    desk.conversation.abandon()
    desk.message(audio)
    assert not desk.conversation.ended
    assert desk.conversation.state is CLOSED


# ---- a language that has to be loaded


def asking(language: str) -> Act:
    return opening(StreamRequest(config=StreamConfig.preset("balanced", partials=False, language=language)))


def test_nothing_is_received_until_the_language_is_there() -> None:
    desk = Desk()
    conversation = desk.conversation
    desk.message(asking("French"))
    assert desk.preparing == ["French"]
    assert conversation.blocked
    assert conversation.state is WAITING
    with pytest.raises(Refused, match="started already"):
        conversation.open(REQUEST)
    for _ in range(100):  # no client is given up for that
        conversation.tick()
    assert set(conversation.outbox.take()) == {Progress(0, 0, 0)}
    conversation.speak(desk.recognizer.runner.speaking("fra").info)
    assert not conversation.blocked
    desk.message(feeding(np.concatenate([silence(0.2), speak("ABC"), silence(0.2)]).tobytes()), Conversation.finish)
    desk.compute()
    admitted, *_, final, _, finished = desk.notices
    assert isinstance(admitted, Admitted)
    assert (admitted.language, isinstance(finished, Finished)) == ("fra", True)
    assert isinstance(final, Final)
    assert final.text == "bcd"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("fake has no language 'tlh'"), "language_unsupported"),
        (CheckpointError("adapter.fra.safetensors is damaged"), "language_unavailable"),
    ],
)
def test_a_language_that_can_not_be_spoken_ends_the_stream(error: EarshotError, code: str) -> None:
    desk = Desk()
    desk.message(asking("fra"))
    desk.conversation.mute(error)
    desk.compute()
    (refusal,) = desk.notices
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
    assert str(error) in refusal.sentence
    assert not desk.conversation.blocked


@pytest.mark.parametrize("end", ["abandon", "shut_down", "drain"])
def test_a_language_that_comes_too_late_opens_nothing(end: str) -> None:
    desk = Desk()
    desk.message(asking("fra"))
    getattr(desk.conversation, end)()
    desk.conversation.speak(desk.recognizer.runner.speaking("fra").info)
    desk.conversation.mute(CheckpointError("too late"))
    desk.compute()
    assert desk.conversation.stream is None
    assert [type(notice) for notice in desk.notices] == ([] if end == "abandon" else [Refusal])
    assert desk.conversation.error == (None if end == "abandon" else "shutting_down")


def test_a_large_message_is_read_as_the_stream_has_room_and_means_what_small_ones_mean() -> None:
    """A minute of floats at once: what is not read yet is not converted either, so that others need not wait."""
    pcm = np.concatenate([silence(0.5), speak("HELLO"), silence(60), speak("THERE"), silence(0.5)])
    data = (np.frombuffer(pcm, np.int16).astype("<f4") / 32768).tobytes()
    request = replace(REQUEST, audio=RawFormat("pcm_f32le"))

    def heard(size: int) -> list[tuple[float, str]]:
        desk = Desk()
        desk.message(opening(request))
        for at in range(0, len(data), size):
            desk.message(feeding(data[at : at + size]))
            assert desk.conversation.blocked == (size > 1 << 20)
            desk.compute()
        desk.message(Conversation.finish)
        desk.compute()
        return [(notice.start, notice.text) for notice in desk.notices if isinstance(notice, Final)]

    assert heard(1 << 30) == heard(6400)
    assert [text for _, text in heard(6400)] == ["HELLO", "THERE"]
