"""WhisperLive's protocol: what its client makes of the segments that it is told, and how it ends."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.casing import Casing
from earshot_asr.engine.config import StreamConfig
from earshot_asr.server.dialects.whisperlive import WhisperLive
from earshot_asr.server.settings import Limits
from tests.helpers import Polyglot, finals, run_session, silence, speak
from tests.server.dialects.line import Line, wav_header
from tests.server.loopback import serving

PAUSE, MOMENT = silence(1.5), silence(0.2)
DIALOGUE = np.concatenate([MOMENT, speak("SO IT BEGINS"), PAUSE, speak("YES"), PAUSE, speak("YES"), MOMENT])
FINALS = finals(run_session(DIALOGUE, StreamConfig.preset("balanced")))
CASING = Casing("eng")
TEXTS = [" So it begins", " Yes", " Yes"]
END = b"END_OF_AUDIO"
BROWSER = {"uid": "u1", "language": None, "task": "transcribe", "model": "small", "use_vad": True}
PYTHON = {
    **BROWSER,
    "language": "en",
    "send_last_n_segments": 10,
    "no_speech_thresh": 0.45,
    "clip_audio": False,
    "same_output_threshold": 10,
    "enable_translation": False,
    "target_language": "fr",
    "hotwords": None,
    "enable_diarization": False,
    "max_speakers": 10,
    "word_timestamps": False,
    "initial_prompt": None,
    "vad_parameters": None,
}


def floats(pcm: Pcm, samples: int = 4096) -> list[bytes]:
    """As its client sends it."""
    return [(pcm[at : at + samples] / np.float32(32768)).astype("<f4").tobytes() for at in range(0, len(pcm), samples)]


AUDIO = floats(DIALOGUE)


def line(*messages: str | bytes | dict[str, Any], limits: Limits | None = None) -> Line:
    line = Line(WhisperLive, "/whisperlive", Polyglot(), limits)
    line.send(*messages)
    return line


class Captions:
    """What the client, version 0.9.0, keeps of the segments that it is told, by its own rules."""

    def __init__(self) -> None:
        self.transcript: list[dict[str, Any]] = []
        self.last: dict[str, Any] | None = None  # that was open

    def hear(self, segments: list[dict[str, Any]]) -> None:
        shown: list[str] = []
        for at, segment in enumerate(segments):
            if shown and shown[-1] == segment["text"]:
                continue
            shown.append(segment["text"].strip())
            if at == len(segments) - 1 and not segment["completed"]:
                self.last = segment
            elif segment["completed"]:
                end = float(self.transcript[-1]["end"]) if self.transcript else 0.0
                if float(segment["start"]) >= end:
                    self.transcript.append(segment)

    @property
    def written(self) -> list[str]:
        """The captions of its SRT file."""
        texts = [segment["text"] for segment in self.transcript]
        if self.last and (not texts or texts[-1] != self.last["text"]):
            texts.append(self.last["text"])
        return texts


def captions(client: Line) -> Captions:
    captions = Captions()
    for message in client.messages:
        if "segments" in message:
            captions.hear(message["segments"])
    return captions


def segments(client: Line) -> list[list[dict[str, Any]]]:
    return [message["segments"] for message in client.messages if "segments" in message]


# ---- segments


def test_a_stream() -> None:
    client = line(PYTHON, *AUDIO, END)
    assert client.messages[0] == {"uid": "u1", "message": "SERVER_READY", "backend": "faster_whisper"}
    assert {message["uid"] for message in client.messages} == {"u1"}
    assert [segment["text"] for segment in segments(client)[-1]] == TEXTS
    assert all(segment["completed"] for segment in segments(client)[-1])
    assert client.dialect.close == (1000, "")
    assert captions(client).written == TEXTS


def test_times_are_texts_with_three_decimals() -> None:
    for segment, final in zip(segments(line(PYTHON, *AUDIO, END))[-1], FINALS, strict=True):
        assert (segment["start"], segment["end"]) == (f"{final.start:.3f}", f"{final.end:.3f}")
        assert "words" not in segment


def test_a_final_is_told_as_open_before_it_is_told_as_complete() -> None:
    """The client writes the last open text into its captions, unless it equals the last complete one."""
    told = segments(line(PYTHON, *AUDIO, END))
    for number, final in enumerate(TEXTS):
        before = [each for each in told if len(each) == number + 1 and not each[-1]["completed"]][-1]
        after = told[told.index(before) + 1]
        assert before[-1]["text"] == final
        assert after == [*before[:-1], {**before[-1], "completed": True}]


def test_what_is_said_last_is_complete_a_while_after_the_audio_has_stopped() -> None:
    """A file's client writes its captions without asking for the end."""
    client = line(PYTHON, *AUDIO)
    assert captions(client).written != TEXTS
    client.tick(2)
    client.compute()
    assert captions(client).written != TEXTS
    client.tick(1)
    client.compute()
    assert captions(client).written == TEXTS
    heard = len(client.heard)
    client.tick(30)
    client.compute()
    assert len(client.heard) == heard
    client.send(*AUDIO[:6], END)
    assert len(captions(client).transcript) == 4


def test_audio_that_goes_on_is_not_ended() -> None:
    client = line(PYTHON)
    for audio in floats(np.concatenate([MOMENT, speak("ABC DEF GHI JKL", 3)]), 4096):
        client.send(audio)
        client.tick(2)
    assert not any(segment["completed"] for each in segments(client) for segment in each)


def test_audio_that_waits_has_not_stopped() -> None:
    client = line(PYTHON, limits=Limits(backlog_seconds=1))
    client.send(*floats(speak("THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG AND RUNS"), 60_000), compute=False)
    assert client.conversation.blocked
    client.tick(20)
    client.compute()
    assert not any(segment["completed"] for each in segments(client) for segment in each)


def test_only_the_last_segments_are_told_again() -> None:
    client = line({**PYTHON, "send_last_n_segments": 1}, *AUDIO, END)
    assert max(map(len, segments(client))) == 2
    assert captions(client).written == TEXTS


def test_words() -> None:
    client = line({**PYTHON, "word_timestamps": True}, *AUDIO, END)
    for segment, final in zip(segments(client)[-1], map(CASING.final, FINALS), strict=True):
        assert segment["words"] == [
            {
                "word": f" {word.text}",
                "start": f"{word.start:.3f}",
                "end": f"{word.end:.3f}",
                "probability": word.confidence,
            }
            for word in final.words
        ]


@settings(max_examples=40)  # each is long
@given(st.integers(500, 9000), st.booleans(), st.integers(0, len(DIALOGUE)), st.integers(1, 4))
def test_the_captions_of_the_client_are_the_finals(samples: int, compute: bool, stop: int, most: int) -> None:
    """However it is cut, also where the audio stopped for a while; a segment that is complete never changes."""
    client = line({**PYTHON, "send_last_n_segments": most})
    flushes = set[int]()
    for part in (DIALOGUE[:stop], DIALOGUE[stop:]):
        for audio in floats(part, samples):
            if client.conversation.blocked:
                client.compute()
            client.send(audio, compute=compute)
        client.compute()
        client.tick(3)
        client.compute()
        assert client.conversation.stream
        flushes.add(client.conversation.stream.received)
    client.send(END)
    expected = run_session(DIALOGUE, StreamConfig.preset("balanced"), flushes=sorted(flushes - {0}))
    texts = [f" {CASING.text(final.text)}" for final in finals(expected)]
    kept = captions(client)
    assert [segment["text"] for segment in kept.transcript] == texts
    complete: dict[str, dict[str, Any]] = {}
    for each in segments(client):
        for segment in each:
            if segment["completed"]:
                assert complete.setdefault(segment["start"], segment) == segment
    ends = [(float(segment["start"]), float(segment["end"])) for segment in complete.values()]
    assert ends == sorted(ends)


# ---- options


def test_as_a_browser_extension_speaks_it() -> None:
    """It takes the message behind SERVER_READY for the language, as it had not named one."""
    client = line(BROWSER)
    assert client.messages == [
        {"uid": "u1", "message": "SERVER_READY", "backend": "faster_whisper"},
        {"uid": "u1", "language": "eng", "language_prob": 1.0},
    ]


@pytest.mark.parametrize("encoding", ["int16", "uint8"])
def test_other_samples(encoding: str) -> None:
    coarse = (DIALOGUE >> 8) << 8
    data = coarse.astype("<i2").tobytes() if encoding == "int16" else ((coarse >> 8) + 128).astype(np.uint8).tobytes()
    client = line(
        {**PYTHON, "audio_format": encoding}, *(data[at : at + 4096] for at in range(0, len(data), 4096)), END
    )
    expected = finals(run_session(coarse, StreamConfig.preset("balanced")))
    assert [segment["text"] for segment in segments(client)[-1]] == [
        f" {CASING.text(final.text)}" for final in expected
    ]


@pytest.mark.parametrize("hotwords", ["Ada Lovelace, beGINs ,", ["Ada Lovelace", "beGINs"]])
def test_hotwords(hotwords: object) -> None:
    """They are also spelled as they were given."""
    client = line({**PYTHON, "hotwords": hotwords}, *AUDIO, END)
    assert captions(client).written == [" So it beGINs", *TEXTS[1:]]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("enable_translation", True),
        ("enable_diarization", True),
        ("initial_prompt", "a talk"),
        ("vad_parameters", {"threshold": 0.5}),
    ],
)
def test_what_can_not_be_had_is_a_warning(option: str, value: object) -> None:
    (warning,) = [m for m in line({**PYTHON, option: value}).messages if m.get("status")]
    assert warning["status"] == "WARNING"
    assert "here" in warning["message"]


def test_what_is_wrong_with_the_audio_is_a_warning() -> None:
    client = line({**PYTHON, "audio_format": "int16"}, wav_header() + DIALOGUE.tobytes(), END)
    (warning,) = [m for m in client.messages if m.get("status") == "WARNING"]
    assert "header" in warning["message"]


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({**PYTHON, "task": "translate"}, "task is translate; only transcribe can be had here"),
        ({**PYTHON, "audio_format": "mp3"}, "audio_format must be one of float32, int16, uint8"),
        (
            {**PYTHON, "send_last_n_segments": 0},
            "the first message must be a JSON object of options: Expected `int` >= 1",
        ),
        ({**PYTHON, "hotwords": "x" * 101}, "the hotword 'xx"),
        ({"language": "en"}, "the first message must be a JSON object of options: Object missing required field `uid`"),
        ("hello", "the first message must be a JSON object of options: "),
        ("[" * 100_000, "the first message must be a JSON object of options: "),
    ],
)
def test_what_is_not_understood_is_an_error(message: str | dict[str, Any], why: str) -> None:
    client = line(message)
    (error,) = client.messages
    assert error["status"] == "ERROR"
    assert error["message"].startswith(why)
    assert client.dialect.close
    assert client.dialect.close[0] == 1008


def test_a_language_that_the_model_does_not_have() -> None:
    client = line({**PYTHON, "language": "tlh"})
    (error,) = client.messages
    assert error["status"] == "ERROR"
    assert "tlh" in error["message"]


# ---- how it ends


def test_nothing_counts_behind_the_end() -> None:
    client = line(PYTHON, *AUDIO)
    client.send(END, AUDIO[0], END, "text", compute=False)
    client.compute()
    assert captions(client).written == TEXTS
    assert client.dialect.close == (1000, "")


def test_audio_before_the_options() -> None:
    client = line(AUDIO[0])
    assert client.dialect.close == (1008, "audio came before the options")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("full", {"uid": "u1", "status": "WAIT", "message": 1.0}),
        ("shutting_down", {"uid": "u1", "message": "DISCONNECT"}),
        ("invalid_audio", {"uid": "u1", "status": "ERROR", "message": "why"}),
    ],
)
def test_how_the_server_ends_it(code: str, message: dict[str, Any]) -> None:
    client = line(PYTHON)
    client.conversation.refuse(code, "why")
    client.listen()
    assert client.messages[-1] == message
    assert client.dialect.close
    assert client.dialect.close[1] == "why"


def test_tokens() -> None:
    handshake = Line(WhisperLive, "/whisperlive?token=sesame").dialect.handshake
    assert WhisperLive.credential(handshake) == "sesame"


async def test_over_sockets() -> None:
    """The last words come though the client does not ask for the end."""
    async with serving(Polyglot(), whisperlive_port=0) as server:
        heard = Captions()
        async with connect(f"ws://localhost:{server.ports['whisperlive_port']}", proxy=None) as websocket:
            await websocket.send(json.dumps(PYTHON))
            for audio in AUDIO:
                await websocket.send(audio)
            while heard.written != TEXTS:
                heard.hear(json.loads(await websocket.recv()).get("segments", []))
