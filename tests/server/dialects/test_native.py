"""The native protocol without sockets: what is said, in which order, and how each mistake ends."""

import itertools
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earshot_asr.engine.audio import Pcm, seconds
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import EarshotError
from earshot_asr.engine.model import ModelInfo
from earshot_asr.engine.recognizer import Recognizer, StartPoint, Stream
from earshot_asr.server import wire
from earshot_asr.server.admission import fingerprint as fingerprint_of
from earshot_asr.server.conversation import CLOSED, Conversation
from earshot_asr.server.dialects.native import CLOSE_CODES, Native, stream_request
from earshot_asr.server.handshake import Handshake
from earshot_asr.server.intake import UNANSWERED_FLUSHES
from earshot_asr.server.logs import FIELDS
from earshot_asr.server.outbox import SLOW_READER_NOTICES
from earshot_asr.server.settings import Limits
from tests.engine.beam.lm import LEXICON
from tests.helpers import INFO, FakeRunner, Polyglot, finals, noise, partials, run_session, silence, speak, utterances

PAUSE = silence(0.2)
LIMITS = Limits()


def said(text: str) -> Pcm:
    """Speech within silence: the fake encoder errs at the edges of a window."""
    return np.concatenate([PAUSE, speak(text), PAUSE])


DIALOGUE = np.concatenate([said("SO IT BEGINS"), silence(1.5), said("AND ENDS")])
TALK = said("HELLO").tobytes()
ODD = b"\x01"
NAN = np.array([0.0, np.nan], "<f4").tobytes()


def fingerprint(start: wire.Start, latency: str = "balanced", info: ModelInfo = INFO) -> str:
    """Of a stream that is started so."""
    return fingerprint_of(info, stream_request(start, latency))


class Line:
    """A client, a conversation in the native dialect, and a recognizer, in one thread."""

    def __init__(self, runner: FakeRunner | None = None, limits: Limits = LIMITS, **settings: Any) -> None:
        self.recognizer = Recognizer(runner or FakeRunner(), clock=lambda: 0.0)
        info = self.recognizer.runner.info
        self.conversation = Conversation("s1", info, "balanced", limits, self.open, self.prepare, **settings)
        self.dialect = Native(self.conversation, Handshake(wire.PATH))
        self.dialect.begin()
        self.heard: list[wire.ServerMessage] = []

    def send(self, *messages: str | bytes | wire.ClientMessage, compute: bool = True) -> None:
        for message in messages:
            self.dialect.receive(message if isinstance(message, str | bytes) else wire.encode(message))
            if compute:
                self.compute()

    def open(self, config: StreamConfig, at: StartPoint | None) -> Stream:
        return self.recognizer.open(config, at)

    def prepare(self, config: StreamConfig) -> None:
        try:
            spoken = self.recognizer.runner.speaking(config.language)
        except EarshotError as error:
            self.conversation.mute(error)
        else:
            self.conversation.speak(spoken.info)

    def compute(self) -> None:
        while self.recognizer.step():
            self.conversation.update()
            self.listen()
        self.listen()

    def listen(self) -> None:
        self.heard += [wire.decode_server(text) for text in self.dialect.messages()]

    @property
    def ready(self) -> wire.Ready:
        first = self.heard[0]
        assert isinstance(first, wire.Ready)
        return first

    @property
    def finals(self) -> list[wire.FinalMessage]:
        return [m for m in self.heard if isinstance(m, wire.FinalMessage)]

    @property
    def partials(self) -> list[wire.PartialMessage]:
        return [m for m in self.heard if isinstance(m, wire.PartialMessage)]

    @property
    def acks(self) -> list[wire.Ack]:
        return [m for m in self.heard if isinstance(m, wire.Ack)]


def chunks(pcm: npt.NDArray[Any], samples: int = 1600) -> list[bytes]:
    return [pcm[at : at + samples].tobytes() for at in range(0, len(pcm), samples)]


def talk(pcm: Pcm, start: wire.Start | None = None, *, samples: int = 1600) -> Line:
    line = Line()
    line.send(start or wire.Start(), *chunks(pcm, samples), wire.Stop())
    return line


# ---- what is said


def test_ready() -> None:
    line = Line()
    line.send(wire.Start())
    assert line.heard == [
        wire.Ready(
            session="s1",
            model="fake",
            fingerprint=fingerprint(wire.Start()),
            resumable=True,
            context=200 * 320,
            sample_rate=16_000,
            window_ms=5040,
            hop_ms=400,
            lookahead_ms=640,
        )
    ]


def test_a_stream_speaks_the_language_that_it_names() -> None:
    """By any of its names; a fingerprint is of the language, however it was called."""
    marks: dict[str, set[str]] = {}
    for asked, language in ((None, "eng"), ("eng", "eng"), ("fr", "fra"), ("French", "fra"), ("fra", "fra")):
        line = Line(Polyglot())
        start = wire.Start(language=asked, partials=False)
        line.send(start, *chunks(said("ABC")), wire.Stop())
        assert (line.ready.language, line.ready.model) == (language, "fake")
        assert [final.text for final in line.finals] == ["ABC" if language == "eng" else "bcd"]
        marks.setdefault(f"{asked and language}", set()).add(line.ready.fingerprint)
    assert [len(found) for found in marks.values()] == [1, 1, 1]
    assert len(set().union(*marks.values())) == 3


def test_a_stream_resumes_in_its_language_only() -> None:
    ours, theirs = wire.Start(language="fr"), wire.Start(language="de")
    mark = {}
    for start in (ours, theirs):
        line = Line(Polyglot())
        line.send(start)
        mark[start.language] = line.ready.fingerprint
    for language, code in (("fr", None), ("de", "fingerprint_mismatch"), (None, "fingerprint_mismatch")):
        line = Line(Polyglot())
        line.send(wire.Start(language=language, resume=wire.Resume(320, 0, mark["fr"])))
        assert line.conversation.error == code
    assert mark["fr"][:16] != mark["de"][:16]


def test_a_model_of_one_language_takes_no_other() -> None:
    runner = FakeRunner(replace(INFO, language="eng", languages=("eng",)))
    for asked in ("en", "English", "eng", "en-GB"):
        line = Line(runner)
        line.send(wire.Start(language=asked))
        assert line.ready.language == "eng"
    line = Line(runner)
    line.send(wire.Start(language="de"), wire.Flush())
    (error,) = line.heard
    assert isinstance(error, wire.Error)
    assert (error.code, error.message) == ("language_unsupported", "fake has no language 'de'; it has eng (English)")


def test_a_stream_says_what_its_session_says() -> None:
    line = talk(DIALOGUE)
    events = run_session(DIALOGUE, StreamConfig.preset("balanced"))
    assert [final.text for final in line.finals] == ["SO IT BEGINS", "AND ENDS"]
    for said, event in zip(line.finals, finals(events), strict=True):
        assert said.words is not None
        assert (said.segment, said.start, said.end, said.text, said.confidence, said.cut) == (
            event.segment,
            event.start,
            event.end,
            event.text,
            event.confidence,
            event.cut,
        )
        assert [(w.text, w.start, w.end, w.confidence) for w in said.words] == [
            (w.text, w.start, w.end, w.confidence) for w in event.words
        ]
    assert [(p.segment, p.text, p.stable) for p in line.partials] == [
        (p.segment, p.text, p.stable) for p in partials(events)
    ]
    assert line.partials


def test_stop_is_answered_by_the_rest_then_done_then_close() -> None:
    line = talk(said("HELLO"))
    total = len(said("HELLO"))
    final, ack, done = line.heard[-3:]
    assert isinstance(final, wire.FinalMessage)
    assert final.text == "HELLO"
    assert isinstance(ack, wire.Ack)
    assert (ack.received, ack.committed, ack.cut) == (total, final.cut, final.cut)
    assert done == wire.Done(total, seconds(total))
    assert line.dialect.close == (1000, "")


def test_stop_without_audio() -> None:
    line = talk(np.zeros(0, np.int16))
    assert line.heard[1:] == [wire.Ack(0, 0, 0), wire.Done(0, 0.0)]


def test_words_only_if_wanted() -> None:
    assert all(final.words for final in talk(DIALOGUE).finals)
    assert all(final.words is None for final in talk(DIALOGUE, wire.Start(words=False)).finals)


def test_partials_only_if_wanted() -> None:
    line = talk(DIALOGUE, wire.Start(partials=False))
    assert not line.partials
    assert line.finals == talk(DIALOGUE).finals


def test_hop_commit() -> None:
    line = talk(DIALOGUE, wire.Start(commit="hop"))
    config = StreamConfig.preset("balanced", commit="hop")
    assert [final.text for final in line.finals] == [f.text for f in finals(run_session(DIALOGUE, config))]


def test_other_encodings_say_the_same() -> None:
    spoken = talk(DIALOGUE).finals
    floats = Line()
    data = (DIALOGUE / np.float32(32768)).astype("<f4").tobytes()
    floats.send(wire.Start(encoding="pcm_f32le"))
    floats.send(*(data[at : at + 6400] for at in range(0, len(data), 6400)), wire.Stop())
    assert floats.finals == spoken
    stereo = talk(np.repeat(DIALOGUE, 2), wire.Start(channels=2))
    assert stereo.finals == spoken


def test_flush_is_answered_also_in_silence() -> None:
    line = Line()
    line.send(wire.Start(), wire.Flush(), *chunks(silence(0.3)), wire.Flush())
    assert [type(m) for m in line.heard[1:]] == [wire.Ack, wire.Ack]
    assert line.acks[0] == wire.Ack(0, 0, 0)
    assert line.acks[1].received == 4800


def test_flush_finalizes_and_goes_on() -> None:
    line = Line()
    line.send(wire.Start(partials=False), said("ONE").tobytes(), wire.Flush())
    *_, final, ack = line.heard
    assert isinstance(final, wire.FinalMessage)
    assert final.text == "ONE"
    assert isinstance(ack, wire.Ack)
    assert ack.cut == ack.committed == final.cut
    line.send(said("TWO").tobytes(), wire.Stop())
    assert [final.text for final in line.finals] == ["ONE", "TWO"]


def test_a_final_says_whether_a_flush_or_a_pause_ended_it() -> None:
    line = Line()
    line.send(wire.Start(partials=False), said("ONE").tobytes(), wire.Flush())
    line.send(*chunks(said("TWO")), *chunks(silence(1)), wire.Flush())
    line.send(said("THREE").tobytes(), wire.Stop())
    assert [(final.text, final.flushed) for final in line.finals] == [("ONE", True), ("TWO", False), ("THREE", True)]


@pytest.mark.parametrize("pause_ms", [200, 500, 1500])
def test_a_stream_says_how_long_a_pause_ends_its_utterances(pause_ms: int) -> None:
    pcm = np.concatenate([said("ONE"), silence(pause_ms / 1000), said("TWO")])
    for endpoint_ms in (300, 1000, None):
        ends = pause_ms + 400 > (endpoint_ms or 520)
        line = talk(pcm, wire.Start(endpoint_ms=endpoint_ms))
        assert [final.text for final in line.finals] == (["ONE", "TWO"] if ends else ["ONE TWO"])
        assert line.finals[0].flushed is not ends


def test_keepalive_is_answered_by_a_tick() -> None:
    line = Line()
    line.send(wire.Start(), wire.Keepalive(), wire.Keepalive(), b"")
    assert len(line.heard) == 1
    line.conversation.tick()
    line.conversation.tick()
    line.listen()
    assert line.heard[1:] == [wire.Ack(0, 0, 0)]


def test_ack_at_least_twice_a_second_of_audio() -> None:
    line = Line()
    line.send(wire.Start())
    heard = 0
    for chunk in chunks(DIALOGUE, 800):
        line.send(chunk)
        received = heard + len(chunk) // 2
        heard = received
        assert received - max((ack.received for ack in line.acks), default=0) < 8000


def test_tick_acknowledges_a_trickle() -> None:
    line = Line()
    line.send(wire.Start(), bytes(20))
    assert not line.acks
    line.conversation.tick()
    line.conversation.tick()
    line.listen()
    assert line.acks == [wire.Ack(10, 0, 0)]


def test_audio_may_follow_start_before_ready() -> None:
    line = Line()
    line.send(wire.Start(), *chunks(DIALOGUE), wire.Stop(), compute=False)
    line.compute()
    assert line.finals == talk(DIALOGUE).finals
    assert line.ready


@settings(max_examples=25, deadline=None)
@given(pcm=utterances(), data=st.data())
def test_messages_cut_anywhere_say_the_same(pcm: Pcm, data: st.DataObject) -> None:
    audio = pcm.tobytes()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(audio)), max_size=12)))
    whole, cut = Line(), Line()
    whole.send(wire.Start(), *chunks(pcm, 16_000), wire.Stop())
    cut.send(wire.Start())
    for start, end in itertools.pairwise([0, *cuts, len(audio)]):
        cut.send(*(audio[at : min(at + 60_000, end)] for at in range(start, end, 60_000)))
    cut.send(wire.Stop())
    assert cut.finals == whole.finals
    assert cut.partials == whole.partials
    assert cut.heard[-1] == whole.heard[-1]


@settings(max_examples=25, deadline=None)
@given(pcm=utterances(), size=st.integers(100, 9000), commit=st.sampled_from(["utterance", "hop"]))
def test_an_ack_never_runs_ahead_of_a_final(pcm: Pcm, size: int, commit: wire.Commit) -> None:
    """A client drops the audio before `cut`: what is said later must not be about it."""
    line = talk(pcm, wire.Start(commit=commit), samples=size)
    cut = received = committed = 0
    for message in line.heard:
        if isinstance(message, wire.FinalMessage):
            assert cut <= message.segment < message.cut
            cut = message.cut
        elif isinstance(message, wire.PartialMessage):
            assert message.segment >= cut
        elif isinstance(message, wire.Ack):
            assert message.cut >= cut
            assert message.received >= received
            assert message.committed >= committed
            assert message.cut <= message.committed <= message.received
            cut, received, committed = message.cut, message.received, message.committed


def test_the_answer_to_a_flush_does_not_run_ahead_either() -> None:
    """Also when the engine has got further before anybody asks."""
    line = Line()
    line.send(wire.Start(partials=False), said("ONE").tobytes(), wire.Flush(), compute=False)
    line.send(*chunks(said("TWO")), *chunks(silence(1.5)), compute=False)
    while line.recognizer.step():
        pass
    line.conversation.update()
    line.listen()
    one, two = line.finals
    answers = [m for m in line.heard[line.heard.index(one) : line.heard.index(two)] if isinstance(m, wire.Ack)]
    assert [ack.cut for ack in answers] == [answers[0].cut]
    assert one.cut <= answers[0].committed == answers[0].cut <= two.segment


def test_a_tick_does_not_run_ahead_either() -> None:
    line = Line()
    line.send(wire.Start(partials=False), *chunks(DIALOGUE[:41_600]), compute=False)
    while line.recognizer.step():
        pass
    line.conversation.tick()
    line.listen()
    (final,) = line.finals
    assert all(ack.cut <= final.segment for ack in line.acks if line.heard.index(ack) < line.heard.index(final))
    assert line.acks[-1].cut >= final.cut


# ---- mistakes


START = '{"type":"start"}'


def resuming(cut: int, from_sample: int, fingerprint: str) -> str:
    resume = {"cut": cut, "from_sample": from_sample, "fingerprint": fingerprint}
    return json.dumps({"type": "start", "resume": resume}, separators=(",", ":"))


OURS = fingerprint(wire.Start())
REFUSED: list[tuple[str, Sequence[str | bytes], str, str]] = [
    ("audio first", [bytes(2)], "start_expected", "audio came before"),
    ("flush first", ['{"type":"flush"}'], "start_expected", "first message"),
    ("stop first", ['{"type":"stop"}'], "start_expected", "first message"),
    ("keepalive first", ['{"type":"keepalive"}'], "start_expected", "first message"),
    ("two starts", [START, START], "start_repeated", "only one start"),
    ("start after stop", [START, TALK, '{"type":"stop"}', START], "start_repeated", "only one start"),
    ("flush after stop", [START, TALK, '{"type":"stop"}', '{"type":"flush"}'], "after_stop", "follow stop"),
    ("audio after stop", [START, TALK, '{"type":"stop"}', bytes(2)], "after_stop", "after stop"),
    ("no JSON", ["hello"], "invalid_json", "not a JSON object"),
    ("no UTF-8", [b"".join([b'{"type":"', b"\xff", b'"}']).decode("latin-1")], "invalid_message", "type"),
    ("half JSON later", [START, '{"type":'], "invalid_json", "truncated"),
    ("unknown type", ['{"type":"begin"}'], "invalid_message", "'begin'"),
    ("unknown field", ['{"type":"start","model":"x"}'], "invalid_message", "`model`"),
    ("unknown field of flush", [START, '{"type":"flush","at":1}'], "invalid_message", "`at`"),
    ("wrong type", ['{"type":"start","sample_rate":"16k"}'], "invalid_message", "sample_rate"),
    ("rate too low", ['{"type":"start","sample_rate":4000}'], "invalid_message", "8000"),
    ("too many channels", ['{"type":"start","channels":64}'], "invalid_message", "channels"),
    ("unknown encoding", ['{"type":"start","encoding":"mp3"}'], "invalid_message", "pcm_s16le"),
    ("language", ['{"type":"start","language":"en"}'], "language_unsupported", "language has to be null"),
    ("hotwords", ['{"type":"start","hotwords":["Ada", ""]}'], "hotwords_refused", "a hotword is empty"),
    ("weights", ['{"type":"start","hotwords":[{"text":"Ada","weight":-1}]}'], "hotwords_refused", "between 0 and 20"),
    ("resumed on another model", [resuming(320, 0, "x" * 32)], "fingerprint_mismatch", "another model than fake"),
    ("resumed with other options", [resuming(320, 0, OURS[:16] + "x" * 16)], "fingerprint_mismatch", "other options"),
    ("resumed off the grid", [resuming(321, 0, OURS)], "resume_invalid", "a cut is a multiple of 320"),
    ("resumed without context", [resuming(320, 320, OURS)], "resume_invalid", "audio begins"),
    ("resumed with half the context", [resuming(320_000, 300_000, OURS)], "resume_invalid", "audio begins"),
    ("resumed before the start", [resuming(-320, 0, OURS)], "invalid_message", "resume.cut"),
    (
        "resumed telephone",
        [resuming(320, 0, OURS).replace('"start"', '"start","encoding":"mulaw"')],
        "resume_unsupported",
        "pcm_s16le",
    ),
    ("endpoint too soon", ['{"type":"start","endpoint_ms":99}'], "invalid_message", "between 100 and 5000"),
    ("endpoint beyond all bounds", [f'{{"type":"start","endpoint_ms":{10**30}}}'], "invalid_message", "endpoint_ms"),
    ("number beyond all bounds", [resuming(2**60, 0, OURS)], "invalid_message", "resume.cut"),
    ("odd bytes", [START, ODD, '{"type":"stop"}'], "invalid_audio", "ends within a sample"),
    ("NaN", ['{"type":"start","encoding":"pcm_f32le"}', NAN], "invalid_audio", "NaN"),
    ("long audio", [START, bytes(wire.MESSAGE_BYTES + 1)], "message_too_big", "65537 bytes; it may have at most 65536"),
    ("long text", [START + " " * wire.MESSAGE_BYTES], "message_too_big", "at most 65536"),
]


@pytest.mark.parametrize(("messages", "code", "words"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
def test_refused(messages: Sequence[str | bytes], code: str, words: str) -> None:
    line = Line(FakeRunner())
    line.send(*messages, compute=False)
    line.compute()
    error = line.heard[-1]
    assert isinstance(error, wire.Error)
    assert error.code == code
    assert words in error.message
    assert line.dialect.close == (CLOSE_CODES[code], code)
    assert line.conversation.state is CLOSED
    assert len(line.recognizer.scheduler) == 0


def test_text_that_is_no_unicode() -> None:
    line = Line()
    line.send('{"type":"\udcff"}')
    line.listen()
    assert isinstance(line.heard[0], wire.Error)
    assert line.heard[0].code == "invalid_json"


@pytest.mark.parametrize(
    ("encoding", "mistake", "code"),
    [
        ("pcm_s16le", "oops", "invalid_json"),
        ("pcm_s16le", '{"type":"begin"}', "invalid_message"),
        ("pcm_s16le", START, "start_repeated"),
        ("pcm_s16le", bytes(wire.MESSAGE_BYTES + 1), "message_too_big"),
        ("pcm_f32le", NAN, "invalid_audio"),
    ],
)
def test_what_came_before_a_mistake_is_made_final_and_then_the_mistake_is_told(
    encoding: Any, mistake: str | bytes, code: str
) -> None:
    data = DIALOGUE if encoding == "pcm_s16le" else DIALOGUE.astype("<f4") / np.float32(32768)
    line = Line()
    line.send(wire.Start(encoding=encoding), *chunks(data), mistake, compute=False)
    assert line.conversation.blocked  # the client is not read meanwhile
    line.compute()
    assert line.finals == talk(DIALOGUE).finals
    assert isinstance(line.heard[-1], wire.Error)
    assert line.heard[-1].code == code
    assert line.dialect.close == (CLOSE_CODES[code], code)


def test_a_mistake_after_stop_takes_nothing_from_the_finals() -> None:
    line = Line()
    line.send(wire.Start(), *chunks(DIALOGUE), wire.Stop(), wire.Flush(), compute=False)
    line.compute()
    assert line.finals == talk(DIALOGUE).finals
    assert line.dialect.close == (1008, "after_stop")


def test_a_mistake_does_not_cost_what_resampling_holds_back() -> None:
    """8 kHz: the last samples of what was fed come out only at the end of the audio."""
    mistaken, stopped = Line(), Line()
    for line, last in ((mistaken, "oops"), (stopped, wire.Stop())):
        line.send(wire.Start(sample_rate=8000), *chunks(DIALOGUE[::2]), last)
    assert mistaken.finals == stopped.finals
    assert mistaken.acks[-1].received == stopped.acks[-1].received


def test_after_the_end_nothing_is_said() -> None:
    line = Line()
    line.send(wire.Start(), "oops")
    line.heard.clear()
    line.send(wire.Start(), speak("HELLO").tobytes(), wire.Flush(), wire.Stop(), "oops", b"x" * 100_000)
    line.conversation.update()
    line.conversation.tick()
    line.conversation.fail()
    line.conversation.shut_down()
    line.listen()
    assert line.heard == []
    assert line.dialect.close == (1008, "invalid_json")


def test_details_of_our_faults_are_logged_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    def break_down(config: StreamConfig, at: StartPoint | None) -> Stream:
        raise RuntimeError("the secret of the house")

    conversation = Conversation("s7", INFO, "balanced", Limits(), break_down, lambda config: None)
    native = Native(conversation, Handshake(wire.PATH))
    with caplog.at_level(logging.ERROR):
        native.receive(START)
    (text,) = native.messages()
    error = wire.decode_server(text)
    assert isinstance(error, wire.Error)
    assert error.code == "internal_error"
    assert "secret" not in str(text)
    assert native.close == (1011, "internal_error")
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert getattr(record, FIELDS) == {"session": "s7"}
    assert "the secret of the house" in caplog.text


def test_what_the_last_batch_said_is_told_by_a_tick_too_and_nothing_behind_done() -> None:
    line = Line()
    line.send(wire.Start(partials=False), TALK, wire.Stop(), compute=False)
    while line.recognizer.step():
        pass
    line.conversation.tick()
    line.listen()
    assert [final.text for final in line.finals] == ["HELLO"]
    assert isinstance(line.heard[-1], wire.Done)


@pytest.mark.parametrize("begin", [(), (wire.Start(),)], ids=["before start", "in silence"])
def test_drained_where_nobody_speaks(begin: Sequence[wire.Start]) -> None:
    line = Line()
    line.send(*begin)
    line.conversation.drain()
    assert line.dialect.close == (1012, "shutting_down")


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le"])
def test_a_speaker_with_short_pauses_is_drained_at_an_endpoint_if_the_stream_can_be_resumed(
    encoding: Any,
) -> None:
    """The next utterance has begun by the time that the endpoint is known; whoever can't resume would lose it."""
    pcm = np.concatenate([silence(0.2), speak("ONE"), silence(0.8), speak("TWO AND MORE")])
    audio = pcm if encoding == "pcm_s16le" else pcm.astype("<f4") / 32768
    line = Line()
    line.send(wire.Start(encoding=encoding), *chunks(audio), compute=False)
    line.conversation.drain()
    assert line.dialect.close is None
    line.compute()
    assert [final.text for final in line.finals] == ["ONE"]
    assert line.dialect.close == ((1012, "shutting_down") if encoding == "pcm_s16le" else None)


def test_failed_and_shut_down_flush_nothing() -> None:
    for end, close in (
        (Conversation.fail, (1011, "internal_error")),
        (Conversation.shut_down, (1012, "shutting_down")),
    ):
        line = Line()
        line.send(wire.Start(partials=False), speak("HELLO").tobytes())
        end(line.conversation)
        line.compute()
        assert not line.finals
        assert isinstance(line.heard[-1], wire.Error)
        assert line.dialect.close == close


def test_neither_text_nor_audio_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert [final.text for final in talk(said("CONFIDENTIAL")).finals] == ["CONFIDENTIAL"]
        line = Line()
        line.send(wire.Start(), '{"type":"flush","CONFIDENTIAL":1}')
    logged = [(record.getMessage(), getattr(record, FIELDS)) for record in caplog.records]
    assert "CONFIDENTIAL" not in str(logged)
    assert ("ended", {"session": "s1", "error": "invalid_message"}) in logged


def test_text_in_the_log_if_asked(caplog: pytest.LogCaptureFixture) -> None:
    line = Line(log_text=True)
    with caplog.at_level(logging.INFO):
        line.send(wire.Start(), TALK, wire.Stop())
    assert [getattr(record, FIELDS)["text"] for record in caplog.records if record.getMessage() == "final"] == ["HELLO"]


# ---- flow


def test_a_full_ring_blocks_and_loses_nothing() -> None:
    speech = np.concatenate([speak("AB " * 100, blocks=4)] * 2)
    data = speech.tobytes()
    line = Line()
    line.send(wire.Start(), compute=False)
    at, blocked = 0, 0
    while at < len(data):
        line.send(data[at : at + 40_000], compute=False)
        at += 40_000
        while line.conversation.blocked:
            blocked += 1
            assert line.recognizer.step()
            line.conversation.update()
    assert blocked > 0
    line.send(wire.Stop(), compute=False)
    line.compute()
    assert line.heard[-1] == wire.Done(len(speech), seconds(len(speech)))
    expected = run_session(speech, StreamConfig.preset("balanced"))
    assert [final.text for final in line.finals] == [final.text for final in finals(expected)]


def test_the_end_waits_until_the_ring_has_room_for_what_the_resampler_held_back() -> None:
    rng = np.random.default_rng(1)
    bursts = np.concatenate([noise(9600, rng, 5000.0), np.zeros(4800, np.int16)] * 200).tobytes()
    line = Line(limits=Limits(backlog_seconds=30))
    line.send(wire.Start(sample_rate=48_000), compute=False)
    stream = line.conversation.stream
    assert stream
    sent = 0
    held = 0
    while held < 20:  # messages of 20 samples; the resampler gives out 490 at once
        size = 30_000 if stream.room > 20_000 else 120
        held += stream.room < 490
        line.send(bursts[sent : sent + size], compute=False)
        sent += size
    assert not line.conversation.blocked
    line.send(wire.Stop(), compute=False)
    assert line.conversation.blocked
    line.compute()
    assert line.heard[-1] == wire.Done(sent // 6, seconds(sent // 6))
    assert line.dialect.close == (1000, "")


def test_a_slow_reader_misses_old_partials_and_nothing_else() -> None:
    pcm = np.concatenate([speak("A BB CCC " * 8), silence(1.5)] * 4)
    quick = talk(pcm)
    slow = Line()
    slow.send(wire.Start(), compute=False)
    for chunk in chunks(pcm):
        slow.send(chunk, compute=False)
        while slow.recognizer.step():
            slow.conversation.update()
    slow.send(wire.Stop(), compute=False)
    slow.conversation.update()
    slow.listen()
    assert len(quick.heard) > 2 * SLOW_READER_NOTICES
    assert slow.finals == quick.finals
    assert slow.heard[-1] == quick.heard[-1]
    late = slow.heard[SLOW_READER_NOTICES:]
    last = {partial.segment: partial for partial in quick.partials}
    assert {partial.segment: partial for partial in slow.partials} == last
    for segment in {m.segment for m in late if isinstance(m, wire.PartialMessage)}:
        (shown,) = [m for m in late if isinstance(m, wire.PartialMessage) and m.segment == segment]
        assert shown == last[segment]
    assert len([m for m in late if isinstance(m, wire.Ack)]) <= 2


def test_without_a_backlog_every_partial_is_said() -> None:
    line = Line()
    line.send(wire.Start(), *chunks(DIALOGUE, 16_000), compute=False)
    while line.recognizer.step():
        line.conversation.update()
    line.send(wire.Stop())
    assert len(line.heard) < SLOW_READER_NOTICES
    assert line.partials == talk(DIALOGUE).partials


def test_a_reader_that_does_not_read_is_given_up() -> None:
    line = Line(limits=Limits(unsent_messages=100))
    line.send(wire.Start(), compute=False)  # answered by `ready`
    line.send(*[wire.Flush()] * 98, compute=False)
    assert line.dialect.close is None
    line.send(wire.Flush(), compute=False)
    assert line.dialect.close == (1013, "slow_reader")
    line.listen()
    assert len(line.acks) == 99
    assert line.heard[-1] == wire.Error("slow_reader", "100 messages were not read; resume, and read faster")


def test_flushes_that_wait_for_the_engine_do_not_pile_up() -> None:
    line = Line()
    line.send(wire.Start(), TALK, *[wire.Flush()] * (UNANSWERED_FLUSHES - 1), compute=False)
    line.listen()
    assert not line.conversation.blocked
    line.send(wire.Flush(), compute=False)
    line.listen()
    assert line.conversation.blocked
    line.compute()
    assert not line.conversation.blocked
    line.send(wire.Stop())
    assert [final.text for final in line.finals] == ["HELLO"]
    assert isinstance(line.heard[-1], wire.Done)


def test_a_client_that_leaves_is_forgotten() -> None:
    line = Line()
    line.send(wire.Start(), *chunks(DIALOGUE[:50_000]), compute=False)
    assert len(line.recognizer.scheduler) > 0
    line.conversation.abandon()
    assert len(line.recognizer.scheduler) == 0
    line.compute()
    assert not line.finals
    assert line.dialect.close is None


# ---- the page


def test_fingerprint_knows_model_and_options() -> None:
    same = fingerprint(wire.Start())
    assert fingerprint(wire.Start(resume=wire.Resume(0, 0, same))) == same
    different = {
        same,
        fingerprint(wire.Start(), info=ModelInfo("fake", "0ther", INFO.grid, INFO.vocabulary)),
        fingerprint(wire.Start(hotwords=["Ada"])),
        fingerprint(wire.Start(hotwords=[wire.Hotword("Ada", 4.0)])),
        fingerprint(wire.Start(alternatives=2)),
        fingerprint(wire.Start(), info=replace(INFO, lexicon=LEXICON)),
        fingerprint(wire.Start(words=False)),
        fingerprint(wire.Start(commit="hop")),
        fingerprint(wire.Start(endpoint_ms=640)),
        fingerprint(wire.Start(), "low"),
    }
    assert len(different) == 10
    assert fingerprint(wire.Start(endpoint_ms=520)) == same  # what it is without being asked for


PAGE = (Path(wire.__file__).parent / "PROTOCOL.md").read_text()


def test_the_page_lists_every_error_with_its_close_code() -> None:
    listed = dict(re.findall(r"^\| `(\w+)` \| (\d{4}) \|", PAGE, re.MULTILINE))
    assert {code: int(number) for code, number in listed.items()} == CLOSE_CODES


def test_the_example_of_the_page_is_in_the_format() -> None:
    client = re.findall(r"^ *> (\{.*\})$", PAGE, re.MULTILINE)
    server = re.findall(r"^ *< (\{.*\})$", PAGE, re.MULTILINE)
    assert {type(wire.decode_client(text)) for text in client} == {wire.Start, wire.Flush, wire.Stop}
    assert {type(wire.decode_server(text)) for text in server} == {
        wire.Ready,
        wire.PartialMessage,
        wire.FinalMessage,
        wire.Ack,
        wire.Done,
    }
    for text in server:
        assert wire.encode(wire.decode_server(text)) == text


# ---- resuming


@pytest.mark.parametrize("commit", ["utterance", "hop"])
def test_from_every_cut_on_a_stream_says_the_same(commit: wire.Commit) -> None:
    start = wire.Start(commit=commit)
    whole = talk(DIALOGUE, start)
    cuts = {m.cut for m in whole.heard if isinstance(m, wire.Ack | wire.FinalMessage)}
    assert len(cuts) > 2
    for cut in sorted(cuts):
        line = Line()
        begin = max(0, cut - whole.ready.context)
        resume = wire.Resume(cut, begin, whole.ready.fingerprint)
        line.send(msgspec.structs.replace(start, resume=resume), *chunks(DIALOGUE[begin:], 999), wire.Stop())
        assert line.ready == whole.ready
        assert line.finals == [final for final in whole.finals if final.cut > cut]
        assert line.heard[-1] == whole.heard[-1]
        assert min(ack.cut for ack in line.acks) >= cut


def test_what_does_not_come_sample_by_sample_does_not_resume() -> None:
    for start in (wire.Start(sample_rate=8000), wire.Start(channels=2), wire.Start(encoding="mulaw")):
        line = Line()
        line.send(start)
        assert not line.ready.resumable


def test_what_is_replayed_is_not_sent_ahead() -> None:
    """Its windows are as urgent as those of a live stream."""

    def deadline(resume: wire.Resume | None) -> float:
        line = Line()
        line.send(wire.Start(resume=resume), *chunks(DIALOGUE[:48_000]), compute=False)
        jobs = [job for queue in line.recognizer.scheduler._queues.values() for job in queue]
        return max(job.deadline for job in jobs if job.window.kind == "hop")

    whole = talk(DIALOGUE)
    live = StreamConfig.preset("balanced").hop_ms / 1000
    for cut in (0, 320):
        assert deadline(wire.Resume(cut, 0, whole.ready.fingerprint)) == live
    assert deadline(None) > 2 * live
