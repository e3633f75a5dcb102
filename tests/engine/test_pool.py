"""A pool computes as many batches at a time as it has runners, and gives the same results as one runner."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from queue import Empty

import numpy as np
import pytest

from earshot_asr.engine.audio import LogProbs, Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.pool import RunnerPool
from earshot_asr.engine.recognizer import Batch, Recognizer
from tests.helpers import INFO, FakeRunner, Polyglot, silence, speak


def begin(pool: RunnerPool) -> None:
    pool.begin([loading.result() for loading in pool.load()])


def batch_of(words: str) -> Batch:
    recognizer = Recognizer(FakeRunner())
    recognizer.open(StreamConfig(partials=False)).feed(np.concatenate([silence(1), speak(words), silence(2)]))
    batch = recognizer.take()
    assert batch
    return batch


class Meeting(FakeRunner):
    """Computes only while another runner computes as well."""

    barrier = threading.Barrier(2)

    def run(self, windows: Sequence[Pcm]) -> list[LogProbs]:
        self.barrier.wait(timeout=60)
        return super().run(windows)


def test_all_runners_compute_at_the_same_time_each_in_its_own_thread() -> None:
    loaded_in: list[str] = []

    def load() -> Meeting:
        loaded_in.append(threading.current_thread().name)
        return Meeting()

    pool = RunnerPool([load, load])
    begin(pool)
    assert len(set(loaded_in)) == pool.size == 2
    batches = [batch_of("ONE"), batch_of("TWO")]
    computed = [future.result() for future in [pool.submit(batch) for batch in batches]]
    for batch, (results, seconds) in zip(batches, computed, strict=True):
        (expected,), (result,) = batch.run(FakeRunner()), results
        assert np.array_equal(result.log_probs, expected.log_probs) and result.utterance == expected.utterance
        assert seconds > 0
    pool.close()


class Held(FakeRunner):
    """Computes nothing before it may, and then fails once."""

    def __init__(self) -> None:
        super().__init__(fail_on=lambda pcm: self.windows == 0)
        self.may = threading.Event()

    def run(self, windows: Sequence[Pcm]) -> list[LogProbs]:
        self.may.wait(timeout=60)
        try:
            return super().run(windows)
        finally:
            self.windows += 1


def test_a_runner_is_busy_until_it_is_done_and_free_after_a_failure() -> None:
    runner = Held()
    pool = RunnerPool([lambda: runner])
    begin(pool)
    future = pool.submit(batch_of("ONE"))
    with pytest.raises(Empty):
        pool.submit(batch_of("TWO"))
    runner.may.set()
    with pytest.raises(RuntimeError, match="on fire"):
        future.result()
    assert pool.submit(batch_of("TWO")).result().results
    pool.close()


def test_all_runners_learn_a_language() -> None:
    learned: list[str] = []
    pool = RunnerPool([lambda: Polyglot(load=learned.append)] * 2)
    begin(pool)
    assert pool.speaking("French").result(timeout=60).language == "fra"
    assert learned == ["fra", "fra"]
    with pytest.raises(ConfigError, match="fake has no language 'Klingon'"):
        pool.speaking("Klingon").result(timeout=60)
    recognizer = Recognizer(pool.runners[0])
    pcm = np.concatenate([silence(1), speak("ABC"), silence(2)])
    recognizer.open(StreamConfig(partials=False, language="fr")).feed(pcm)
    batch = recognizer.take()
    assert batch
    for _ in pool.runners:
        (result,) = pool.submit(batch).result().results
        assert result.utterance
        assert "".join(word.text for word in result.utterance.words) == "bcd"
    assert learned == ["fra", "fra"]
    pool.close()


@pytest.mark.parametrize("other", [FakeRunner(info=replace(INFO, fingerprint="0")), FakeRunner(batch_frames=16_000)])
def test_runners_of_different_models_or_kinds_are_refused(other: FakeRunner) -> None:
    pool = RunnerPool([FakeRunner, lambda: other])
    with pytest.raises(ConfigError, match=r"all devices must be of one kind .* not fake on cpu, fake on cpu"):
        begin(pool)
    pool.close()


def test_a_runner_that_can_not_be_loaded_is_told_though_another_still_loads() -> None:
    go = threading.Event()

    def slow() -> FakeRunner:
        go.wait(timeout=60)
        return FakeRunner()

    def broken() -> FakeRunner:
        raise ConfigError("there is no such device")

    pool = RunnerPool([slow, broken])
    _, second = pool.load()
    with pytest.raises(ConfigError, match="no such device"):
        second.result()
    go.set()
    pool.close()


def test_a_pool_needs_a_runner() -> None:
    with pytest.raises(ConfigError, match="at least one device"):
        RunnerPool([])
