"""Invariant 1, one clock: after an hour the times of words are right to the sample."""

from collections.abc import Iterator

import numpy as np

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.transcription import streamed
from tests.helpers import FakeRunner, silence, speak

HOUR_SECONDS = 3600
SPEECH = np.concatenate([silence(3), speak("HELLO", 4), silence(2), speak("GOOD BYE", 4), silence(2)])


def stream() -> Iterator[Pcm]:
    """The same words twice, the second time an hour later."""
    yield SPEECH
    for _ in range(HOUR_SECONDS // 60 - 1):
        yield silence(60)
    yield silence(60)[len(SPEECH) :]
    yield SPEECH


def test_words_an_hour_later_have_the_same_times() -> None:
    words = [word for final in streamed(FakeRunner(), StreamConfig(partials=False), stream()) for word in final.words]
    first, last = words[: len(words) // 2], words[len(words) // 2 :]
    times = [[round(SAMPLE_RATE * at) for word in some for at in (word.start, word.end)] for some in (first, last)]
    assert len(first) == 3
    assert [word.text for word in first] == [word.text for word in last]
    assert times[1] == [at + HOUR_SECONDS * SAMPLE_RATE for at in times[0]]
