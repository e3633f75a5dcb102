"""The client library without asyncio: a stream is something to iterate over.

for message in listen("ws://127.0.0.1:8765", "talk.opus"):
    if isinstance(message, FinalMessage):
        print(message.text)
"""

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from earshot_asr.client.files import FileAudio
from earshot_asr.client.stream import AudioChunk, ClientStream, Message

T = TypeVar("T")


def listen(
    url: str | Sequence[str],
    audio: str | Path | Iterable[AudioChunk] | AsyncIterable[AudioChunk],
    **options: Any,
) -> Iterator[Message]:
    """Streams audio to a server, and yields its messages until all text is final.

    url        of the server, as for ClientStream
    audio      the path of a file, which is streamed in real time; a Microphone or FileAudio; or whatever yields audio,
               such as a generator: int16 samples at 16 kHz as an array (S,), or bytes in the `encoding` of the options
    options    those of ClientStream: token, language, hotwords, ...

    The audio is iterated over in a thread, so it may wait. Leaving the loop ends the stream. Raises what ClientStream
    and the audio raise.
    """
    with _event_loop() as run:
        source = _as_async(audio)
        stream = ClientStream(url, **options)
        run(stream.__aenter__())
        try:
            run(_play(stream, source))
            while (message := run(anext(stream, None))) is not None:
                yield message
        finally:
            run(stream.__aexit__(None, None, None))


async def _play(stream: ClientStream, audio: AsyncIterable[AudioChunk]) -> None:
    stream.play(audio)


def _as_async(audio: str | Path | Iterable[AudioChunk] | AsyncIterable[AudioChunk]) -> AsyncIterable[AudioChunk]:
    if isinstance(audio, str | Path):
        return FileAudio(audio)
    return audio if isinstance(audio, AsyncIterable) else _in_a_thread(audio)


async def _in_a_thread(audio: Iterable[AudioChunk]) -> AsyncIterator[AudioChunk]:
    """What an iterable yields, wherever it may wait."""
    parts = iter(audio)
    while (part := await asyncio.to_thread(next, parts, None)) is not None:
        yield part


class _Runner:
    """Runs coroutines on a loop of another thread, and waits for their results."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise


@contextmanager
def _event_loop() -> Iterator[_Runner]:
    """A loop in a thread of its own."""
    with closing(asyncio.new_event_loop()) as loop:
        thread = threading.Thread(target=loop.run_forever, name="earshot-listen", daemon=True)
        thread.start()
        try:
            yield _Runner(loop)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.run_until_complete(loop.shutdown_asyncgens())
