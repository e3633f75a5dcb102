"""What the invariants say, with models whose frames are 40 and 80 ms apart, and their fields shorter than that."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.checkpoint import load_checkpoint
from earshot_asr.engine.config import Commit, StreamConfig
from earshot_asr.engine.decoder import DecodeConfig
from earshot_asr.engine.events import Event, Final, Partial
from earshot_asr.engine.greedy import GreedyDecoder
from earshot_asr.engine.runner import TorchRunner
from tests.engine.families.test_fine_tuning import save
from tests.engine.families.test_parakeet_ctc import SMALL as PARAKEET
from tests.engine.families.test_wav2vec2_bert import SMALL as BERT
from tests.equivalence.test_real_speech import stream
from tests.helpers import finals

KINDS = {
    "wav2vec2-bert": {**BERT, "add_adapter": True},
    "parakeet_ctc": {"encoder_config": PARAKEET},
}
RECORDING = Path(__file__).parents[2] / "client" / "data" / "demo.flac"


@pytest.fixture(scope="module", params=KINDS)
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TorchRunner:
    folder = tmp_path_factory.mktemp(request.param)
    save(folder, request.param, KINDS[request.param])
    return TorchRunner(load_checkpoint(folder), torch.device("cpu"))


@pytest.fixture(scope="module")
def speech() -> Pcm:
    pcm: Pcm = soundfile.read(RECORDING, dtype="int16", frames=16000 * 9)[0]
    return pcm


@pytest.mark.parametrize("commit", ["utterance", "hop"])
def test_messages_of_any_size_say_the_same(runner: TorchRunner, speech: Pcm, commit: Commit) -> None:
    config = StreamConfig.preset("low", commit=commit, stability="low")
    events = stream(runner, speech, config, 333)
    assert len(finals(events)) > 1
    assert sum(isinstance(event, Partial) for event in events) > 10
    for message in (5000, 200_000):
        assert said(stream(runner, speech, config, message)) == said(events)


def said(events: list[Event]) -> list[tuple[object, ...]]:
    """Partials and finals, without confidences, in which the order of floating point sums can be seen."""
    texts = [event for event in events if isinstance(event, Partial | Final)]
    return [(type(e), e.segment, e.text, getattr(e, "cut", None), getattr(e, "stable", None)) for e in texts]


def test_a_final_is_one_plain_pass_over_its_window(runner: TorchRunner, speech: Pcm) -> None:
    config, grid = StreamConfig(partials=False), runner.info.grid
    padded = np.concatenate([speech, np.zeros(16000, np.int16)])
    found = finals(stream(runner, speech, config, 4000))
    assert len(found) > 1
    for final in found:
        start, end = final.segment // grid.hop, final.cut // grid.hop
        margin = min(start, grid.from_ms(config.margin_ms))
        window = padded[(start - margin) * grid.hop : (end - 1) * grid.hop + grid.field]
        decoder = GreedyDecoder(runner.info.vocabulary, DecodeConfig(), None)
        decoder.feed(runner.run([window])[0][margin:])
        assert final.text == " ".join(word.text for word in decoder.words())


def test_each_frame_is_committed_once(runner: TorchRunner, speech: Pcm) -> None:
    """Utterances, and what is between them, follow one another; times are within the stream."""
    found = finals(stream(runner, speech, StreamConfig(), 4000))
    assert all(final.segment % runner.info.grid.hop == 0 == final.cut % runner.info.grid.hop for final in found)
    assert all(before.cut <= after.segment for before, after in pairwise(found))
    words = [word for final in found for word in final.words]
    assert all(before.end <= after.start for before, after in pairwise(words))
    assert words[0].start >= 0 and words[-1].end <= (len(speech) + 16000) / 16000


def test_lengths_of_windows_are_as_far_apart_as_for_other_models(runner: TorchRunner) -> None:
    assert runner.ladder.step * runner.info.grid.hop == 16 * 320


def test_windows_of_a_batch_are_as_alone(runner: TorchRunner, speech: Pcm) -> None:
    windows = [speech[n * 8000 : n * 8000 + length] for n, length in enumerate((16000, 9000, 31_000, 3000))]
    for window, log_probs in zip(windows, runner.run(windows), strict=True):
        assert np.abs(log_probs - runner.run([window])[0]).max() < 1e-4
