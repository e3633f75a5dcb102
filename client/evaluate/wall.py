"""Streams a clip to a server in real time, over a socket, and times the messages as a client sees them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from earshot_asr.client.evaluate.recordings import Progressed, no_progress, timed_blocks
from earshot_asr.client.evaluate.take import TimedEvent
from earshot_asr.client.stream import ClientStream
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.events import Final, Partial, Word
from earshot_asr.engine.model import ModelInfo
from earshot_asr.server import wire


async def listen(
    url: str, pcm: Pcm, info: ModelInfo, config: StreamConfig, block: int, progress: Progressed = no_progress
) -> list[TimedEvent]:
    """Streams audio (S,) to a server in blocks of `block` samples, each when its last sample is due.

    Raises the exceptions of ClientStream, and ConfigError if the server runs another model than `info` or another hop
    (the time between partials) than `config`.
    """
    clock = asyncio.get_running_loop().time
    heard: list[TimedEvent] = []
    # no retry: a reconnection would add a delay that is not the engine's
    options: dict[str, Any] = {
        "commit": config.commit,
        "endpoint_ms": config.silence_ms,
        "stability": config.stability,
        "hotwords": [asdict(each) for each in config.decode.hotwords],
    }
    async with ClientStream(url, retry=0, **options) as stream:
        _check(url, stream.ready, info, config)
        began = clock()

        async def spoken() -> AsyncIterator[Pcm]:
            for at, arrived in timed_blocks(pcm, block):
                await asyncio.sleep(began + at - clock())
                yield arrived
                progress(at * SAMPLE_RATE / len(pcm))

        stream.play(spoken())
        async for message in stream:
            if isinstance(message, wire.PartialMessage | wire.FinalMessage):
                heard.append(TimedEvent(clock() - began, _event(message)))
    return heard


def _check(url: str, ready: wire.Ready, info: ModelInfo, config: StreamConfig) -> None:
    hop_ms = info.grid.from_ms(config.hop_ms) * info.grid.hop * 1000 // SAMPLE_RATE
    if (ready.model, ready.hop_ms) != (info.name, hop_ms):
        raise ConfigError(
            f"{url} runs {ready.model} with a hop of {ready.hop_ms} ms, but the evaluation is set up for {info.name} "
            f"with a hop of {hop_ms} ms; give the --model and --latency of the server"
        )
    if ready.fingerprint[: wire.HALF_CHARACTERS] != wire.mark(info.identity):
        raise ConfigError(f"{url} runs {ready.model} with other weights; give the --model of the server")


def _event(message: wire.PartialMessage | wire.FinalMessage) -> Partial | Final:
    """Converts a message of the wire protocol to an event of the engine."""
    match message:
        case wire.PartialMessage(segment, start, end, text, stable):
            return Partial(segment, start, end, text, stable)
        case wire.FinalMessage(segment, start, end, text, confidence, cut, words):
            timed = (Word(word.text, word.start, word.end, word.confidence) for word in words or ())
            return Final(segment, start, end, text, confidence, tuple(timed), cut, message.flushed)
