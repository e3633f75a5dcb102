"""Runners of one model, each in a thread of its own: several batches can be computed at a time."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import NamedTuple

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.model import ModelInfo, Runner
from earshot_asr.engine.recognizer import Batch, Result


class Computed(NamedTuple):
    """The results of a batch, and how long the device took."""

    results: list[Result]
    seconds: Seconds


class RunnerPool:
    """Computes batches on whichever runner is free.

    loads        one function a runner, which loads it; called in the thread that will compute with it
    runners      those that begin() has taken
    """

    def __init__(self, loads: Sequence[Callable[[], Runner]]) -> None:
        if not loads:
            raise ConfigError("there must be at least one device")
        self.runners: list[Runner] = []
        self._loads = loads
        self._threads = [ThreadPoolExecutor(1, f"device-{n}") for n in range(len(loads))]
        self._idle: SimpleQueue[int] = SimpleQueue()

    @property
    def size(self) -> int:
        """How many batches can be computed at a time: one per runner. One more must not be submitted."""
        return len(self.runners)

    def load(self) -> "list[Future[Runner]]":
        """Loads all runners, each in its thread; then begin() takes them. The futures raise what loading raises."""
        return [thread.submit(load) for thread, load in zip(self._threads, self._loads, strict=True)]

    def begin(self, runners: Sequence[Runner]) -> None:
        """Takes the loaded runners, in the order of their futures.

        Raises ConfigError if they differ in model or in what fits into a batch.
        """
        kinds = {(runner.info.name, runner.info.fingerprint, runner.batch_frames, runner.ladder) for runner in runners}
        if len(kinds) > 1:
            raise ConfigError(
                "all devices must be of one kind and run the same model, not "
                + ", ".join(f"{runner.info.name} on {runner.device}" for runner in runners)
            )
        self.runners = list(runners)
        for number in range(len(runners)):
            self._idle.put(number)

    def submit(self, batch: Batch) -> "Future[Computed]":
        """Computes a batch in the thread of a runner that is free. The future raises what the runner raises."""
        number = self._idle.get_nowait()
        return self._threads[number].submit(self._compute, number, batch)

    def speaking(self, language: str) -> "Future[ModelInfo]":
        """Makes all runners ready to speak a language, in a thread of its own; see Runner.speaking for what it raises.

        The thread ends with the process: a download that never ends holds up nobody else.
        """
        future: Future[ModelInfo] = Future()
        future.set_running_or_notify_cancel()  # from now on it can't be cancelled

        def work() -> None:
            try:
                spoken = [runner.speaking(language).info for runner in self.runners]
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(spoken[0])

        threading.Thread(target=work, name=f"language-{language}", daemon=True).start()
        return future

    def _compute(self, number: int, batch: Batch) -> Computed:
        try:
            began = time.perf_counter()
            outputs = batch.encode(self.runners[number])
            seconds = time.perf_counter() - began
            return Computed(batch.decode(outputs), seconds)
        finally:
            self._idle.put(number)

    def close(self) -> None:
        """Ends the threads when what they compute now is done."""
        for thread in self._threads:
            thread.shutdown(wait=False, cancel_futures=True)
