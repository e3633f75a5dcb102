"""Several recordings at once through one engine, from as many threads: while one is computed, others are decoded."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.events import Final
from earshot_asr.engine.model import Runner
from earshot_asr.engine.recognizer import Recognizer, Stream

BACKLOG_SAMPLES = 20 * SAMPLE_RATE
"""So much of a recording may wait before its thread has something computed: until then, windows of others join it."""
Result = TypeVar("Result")


class Together:
    """An engine for several threads. To be closed, or used in a `with`.

    load    loads the model, when it is first needed, in the thread that will compute
    """

    def __init__(self, load: Callable[[], Runner], config: StreamConfig) -> None:
        self._load, self._config = load, config
        self._compute = ThreadPoolExecutor(1, "compute")
        self._turn = threading.Lock()  # whose holder may touch the recognizer and its streams
        self._recognizer: Recognizer | None = None

    def streamed(self, audio: Iterable[Pcm]) -> Iterator[Final]:
        """As transcription.streamed has it, to the letter. May be called in any thread; raises what loading raises."""
        with self._turn:
            recognizer = self._recognizer = self._recognizer or self._computed(lambda: Recognizer(self._load()))
            stream = recognizer.open(self._config)
        try:
            for pcm in audio:
                while len(pcm):
                    with self._turn:
                        pcm = pcm[stream.feed(pcm) :]
                        if len(pcm) or stream.backlog > BACKLOG_SAMPLES:
                            self._computed(recognizer.step)
                with self._turn:
                    finals = _finals(stream)
                yield from finals
            with self._turn:
                stream.finish()
            while not stream.done:
                with self._turn:
                    self._computed(recognizer.step)
            yield from _finals(stream)
        finally:
            with self._turn:
                stream.close()

    def close(self) -> None:
        """No more is computed."""
        self._compute.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _computed(self, work: Callable[[], Result]) -> Result:
        return self._compute.submit(work).result()


def _finals(stream: Stream) -> list[Final]:
    return [event for event in stream.events() if isinstance(event, Final)]
