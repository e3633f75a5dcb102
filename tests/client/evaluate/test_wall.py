"""Over a socket, truly in real time: one second of it."""

import time
from dataclasses import replace

import numpy as np
import pytest

from earshot_asr.client.evaluate.virtual import Playback
from earshot_asr.client.evaluate.wall import listen
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import ConfigError
from tests.helpers import INFO, FakeRunner, silence, speak
from tests.server.loopback import serving

LOW = StreamConfig.preset("low", endpoint_ms=300)
SPEECH = np.concatenate([silence(0.3), speak("HELLO"), silence(0.4), speak("WORLD"), silence(0.3)])


async def test_a_server_says_what_the_virtual_clock_says_and_not_before() -> None:
    playback = Playback(FakeRunner(), LOW, SPEECH, 1600, lambda: 0.0)
    playback.run()
    shares: list[float] = []
    async with serving(latency="low") as server:
        began = time.monotonic()
        heard = await listen(server.url, SPEECH, INFO, LOW, 1600, shares.append)
        took = time.monotonic() - began
    assert heard
    assert took >= len(SPEECH) / 16_000
    assert all(at <= took for at, _ in heard)
    assert [event for _, event in heard] == [event for _, event in playback.heard]
    assert all(real.at >= virtual.at for real, virtual in zip(heard, playback.heard, strict=True))
    assert shares == sorted(shares)
    assert shares[-1] == 1


async def test_another_model_or_other_windows_are_not_judged() -> None:
    async with serving(latency="low") as server:
        with pytest.raises(
            ConfigError, match=r"runs fake with a hop of 240 ms, but the evaluation is set up for fake with .* 400"
        ):
            await listen(server.url, SPEECH, INFO, StreamConfig(), 1600)
        with pytest.raises(ConfigError, match=r"runs fake .* set up for other with .*; give the --model and --latency"):
            await listen(server.url, SPEECH, replace(INFO, name="other"), LOW, 1600)
