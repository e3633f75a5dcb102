"""A stream in real time, over a socket: what a client of a server sees."""

import asyncio
from collections.abc import AsyncIterator

from earshot_asr.client.evaluate.recordings import Progressed, timed_blocks, unseen
from earshot_asr.client.evaluate.take import TimedEvent
from earshot_asr.client.stream import ClientStream
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.events import Final, Partial, Word
from earshot_asr.engine.model import ModelInfo
from earshot_asr.server import wire


async def listen(
    url: str, pcm: Pcm, info: ModelInfo, config: StreamConfig, block: int, progress: Progressed = unseen
) -> list[TimedEvent]:
    """Streams audio (S,) to a server, `block` samples at a time, each when it has been spoken to its end.

    Raises what client.stream.Stream raises, and ConfigError where the server runs another model than `info`, or other
    windows than `config`.
    """
    clock = asyncio.get_running_loop().time
    heard: list[TimedEvent] = []
    async with ClientStream(url, retry=0, commit=config.commit) as stream:  # an outage is no delay of the engine
        _check(url, stream.ready, info, config)
        began = clock()

        async def spoken() -> AsyncIterator[Pcm]:
            for at, arrived in timed_blocks(pcm, block):
                await asyncio.sleep(began + at - clock())
                yield arrived
                progress(at * SAMPLE_RATE / len(pcm))

        stream.play(spoken())
        async for message in stream:
            if isinstance(message, wire.Partial | wire.Final):
                heard.append(TimedEvent(clock() - began, _event(message)))
    return heard


def _check(url: str, ready: wire.Ready, info: ModelInfo, config: StreamConfig) -> None:
    hop_ms = info.grid.from_ms(config.hop_ms) * info.grid.hop * 1000 // SAMPLE_RATE
    if (ready.model, ready.hop_ms) != (info.name, hop_ms):
        raise ConfigError(
            f"{url} runs {ready.model} with a hop of {ready.hop_ms} ms, and is to be judged as {info.name} with one of "
            f"{hop_ms} ms; give --model and --latency as the server has them"
        )
    if ready.fingerprint[: wire.HALF] != wire.mark(info.fingerprint):
        raise ConfigError(f"{url} runs another {ready.model}, of other weights; give --model as the server has it")


def _event(message: wire.Partial | wire.Final) -> Partial | Final:
    """What the engine said, from the wire."""
    match message:
        case wire.Partial(segment, start, end, text, stable):
            return Partial(segment, start, end, text, stable)
        case wire.Final(segment, start, end, text, confidence, cut, words):
            timed = (Word(word.text, word.start, word.end, word.confidence) for word in words or ())
            return Final(segment, start, end, text, confidence, tuple(timed), cut)
