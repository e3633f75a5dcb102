"""sherpa-onnx's protocol: segments, how it ends, and what its clients rely on."""

import json
import logging
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.events import Word
from earshot_asr.server.dialects.sherpa import Sherpa, tokens
from earshot_asr.server.logs import FIELDS
from earshot_asr.server.settings import Limits
from tests.helpers import finals, run_session, silence, speak
from tests.server.dialects.line import Line, wav_header
from tests.server.loopback import serving

PAUSE, MOMENT = silence(1.5), silence(0.2)
DIALOGUE = np.concatenate([MOMENT, speak("SO IT BEGINS"), PAUSE, speak("AND ENDS"), MOMENT])
FINALS = finals(run_session(DIALOGUE, StreamConfig.preset("balanced", partial_words=True)))
DONE = "Done"


def floats(pcm: Pcm, samples: int = 3200) -> list[bytes]:
    """As its clients send it."""
    return [(pcm[at : at + samples] / np.float32(32768)).astype("<f4").tobytes() for at in range(0, len(pcm), samples)]


AUDIO = floats(DIALOGUE)


def line(*messages: str | bytes, **settings: Any) -> Line:
    line = Line(Sherpa, "/sherpa", **settings)
    line.send(*messages)
    return line


def told(client: Line) -> list[dict[str, Any]]:
    return [json.loads(message) for message in client.heard if message != "Done!"]


def test_a_stream() -> None:
    client = line(*AUDIO, DONE)
    assert client.heard[-1] == "Done!"
    assert client.dialect.close == (1000, "")
    assert [(m["segment"], m["text"]) for m in told(client) if m["is_final"]] == [(0, "SO IT BEGINS"), (1, "AND ENDS")]
    assert [m["is_eof"] for m in told(client)] == [False] * (len(told(client)) - 1) + [True]
    partials = [m for m in told(client) if not m["is_final"]]
    assert {m["segment"] for m in partials} == {0, 1}


def test_a_message_has_all_fields_of_the_original() -> None:
    for message, final in zip([m for m in told(line(*AUDIO, DONE)) if m["is_final"]], FINALS, strict=True):
        start = final.segment / 16_000
        assert message == {
            "text": final.text,
            "tokens": [(" " if n else "") + word.text for n, word in enumerate(final.words)],
            "timestamps": pytest.approx([round(word.start - start, 2) for word in final.words], abs=0.011),
            "ys_probs": pytest.approx([math.log(word.confidence) for word in final.words], abs=1e-5),
            "lm_probs": [],
            "context_scores": [],
            "segment": message["segment"],
            "words": [],
            "start_time": round(start, 2),
            "is_final": True,
            "is_eof": message["segment"] == 1,
        }


def test_tokens_are_the_text() -> None:
    words = [Word(text, 0.0, 1.0, 0.5) for text in ("A", "BA", "A", "你", "好")]
    assert tokens("A BA A 你好", words) == ["A", " BA", " A", " 你", "好"]
    assert tokens("", []) == []


def test_the_last_message_before_done_is_the_last_segment() -> None:
    """That is what the file client prints as the result, also where a pause had ended it before."""
    client = line(*AUDIO, *floats(PAUSE), DONE)
    last = told(client)[-1]
    assert (last["segment"], last["text"], last["is_eof"]) == (1, "AND ENDS", True)


def test_nothing_was_said() -> None:
    client = line(DONE)
    (message,) = told(client)
    assert (message["text"], message["segment"], message["is_final"], message["is_eof"]) == ("", 0, True, True)
    assert client.heard[-1] == "Done!"


def test_a_page_reads_every_message_as_json() -> None:
    client = line(*AUDIO, DONE, headers={"Origin": "http://localhost:6006"})
    assert json.loads(client.heard[-1])["is_eof"]
    assert client.dialect.close == (1000, "")


@given(st.integers(1, 9000), st.booleans(), st.booleans())
def test_segments_are_told_in_order_and_none_is_taken_back(samples: int, compute: bool, pause: bool) -> None:
    client = line()
    for audio in floats(np.concatenate([DIALOGUE, PAUSE]) if pause else DIALOGUE, samples):
        if client.conversation.blocked:
            client.compute()
        client.send(audio, compute=compute)
    client.send(DONE)
    shown: dict[int, str] = {}
    over: dict[int, str] = {}
    for message in told(client):
        shown[message["segment"]] = message["text"]
        if message["is_final"]:
            over.setdefault(message["segment"], message["text"])
        assert all(shown[segment] == text for segment, text in over.items())
        assert list(shown) == sorted(shown)
    assert list(shown.values()) == [final.text for final in FINALS]


def test_what_the_original_ignores() -> None:
    """Other text, bytes behind the last whole float, what comes after the end."""
    client = line("hello", *(audio + b"\x7f\x7f" for audio in AUDIO), "done", DONE, AUDIO[0], DONE, "x")
    assert client.heard == line(*AUDIO, DONE).heard


def test_what_can_not_be_decoded_ends_the_connection_with_a_sentence() -> None:
    client = line(*floats(DIALOGUE[:24_000]), np.array([np.nan], "<f4").tobytes())
    assert [m["text"] for m in told(client) if m["is_final"]] == ["SO IT BEGINS"]
    assert client.dialect.close
    code, reason = client.dialect.close
    assert code == 1003
    assert len(reason.split()) > 3


def test_what_was_said_is_told_before_an_error() -> None:
    client = line(*AUDIO[:5], bytes(2**20 + 4))
    (final,) = [m for m in told(client) if m["is_final"]]
    assert final["text"].startswith("SO IT")
    assert not final["is_eof"]
    assert client.dialect.close
    assert client.dialect.close[0] == 1009


def test_what_is_wrong_with_the_audio_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    line(wav_header(), *AUDIO, DONE)
    (remark,) = [getattr(record, FIELDS) for record in caplog.records if record.message == "remark"]
    assert "header" in remark["sentence"]


def test_a_quiet_microphone_may_stay() -> None:
    client = line(limits=Limits(idle_seconds=5, silent_seconds=30))
    client.tick(29)
    assert client.dialect.close is None
    client.tick()
    assert client.dialect.close == (1013, "nothing came for 30 s")


async def test_over_sockets() -> None:
    """As its file client does it: it reads until `Done!`."""
    async with serving(sherpa_port=0) as server:
        for url in (f"ws://localhost:{server.ports['sherpa_port']}", f"ws://127.0.0.1:{server.port}/sherpa"):
            async with connect(url, proxy=None) as websocket:
                for audio in floats(DIALOGUE, 8000):
                    await websocket.send(audio)
                await websocket.send(DONE)
                last = ""
                async for message in websocket:
                    if message == "Done!":
                        break
                    last = str(message)
            assert json.loads(last)["text"] == "AND ENDS"
