"""What the invariants say, on real speech with the bundled model."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from earshot_asr.engine.audio import Pcm, to_pcm
from earshot_asr.engine.beam.decoder import BeamDecoder
from earshot_asr.engine.config import Commit, StreamConfig
from earshot_asr.engine.decoder import DecodeConfig
from earshot_asr.engine.events import Event
from earshot_asr.engine.recognizer import Recognizer
from earshot_asr.engine.runner import TorchRunner, load_runner
from earshot_asr.engine.session import Session
from tests.helpers import clips, finals, run_session, shared


@pytest.fixture(scope="module")
def runner() -> TorchRunner:
    return load_runner(device="cpu")


@pytest.fixture(scope="module")
def speech() -> list[Pcm]:
    rows = [clip for corpus in ("kathleen-arctic", "commonvoice-en") for clip in clips("dev.jsonl", 3, corpus)]
    return [to_pcm(soundfile.read(row["audio"], dtype="float32")[0]) for row in rows]


def stream(runner: TorchRunner, pcm: Pcm, config: StreamConfig, message: int) -> list[Event]:
    """The clip and a second of silence, in messages of so many samples."""
    recognizer = Recognizer(runner)
    open_stream = recognizer.open(config)
    pcm = np.concatenate([pcm, np.zeros(16000, np.int16)])
    for start in range(0, len(pcm), message):
        assert open_stream.feed(pcm[start : start + message]) == len(pcm[start : start + message])
        while recognizer.step():
            pass
    open_stream.finish()
    while recognizer.step():
        pass
    return open_stream.events()


def test_a_final_is_one_plain_pass_over_its_window(runner: TorchRunner, speech: list[Pcm]) -> None:
    config, grid, words = StreamConfig(partials=False), runner.info.grid, 0
    for pcm in speech:
        for final in finals(stream(runner, pcm, config, 4000)):
            padded = np.concatenate([pcm, np.zeros(16000, np.int16)])
            start, end = final.segment // grid.hop, final.cut // grid.hop
            margin = min(start, grid.from_ms(config.margin_ms))
            window = padded[(start - margin) * grid.hop : (end - 1) * grid.hop + grid.field]
            decoder = BeamDecoder(runner.info.vocabulary, DecodeConfig(), runner.info.lexicon)
            decoder.feed(runner.run([window])[0][margin:])
            assert final.text == " ".join(word.text for word in decoder.words())
            words += len(final.words)
    assert words > 20


@pytest.mark.parametrize("commit", ["utterance", "hop"])
def test_a_man_who_miaows_says_nothing(runner: TorchRunner, commit: Commit) -> None:
    path = shared("speech") / "noise/noise-rir/speech_commands_bg_dude_miaowing.opus"
    pcm = np.concatenate([soundfile.read(path, frames=4 * 16000, dtype="int16")[0], np.zeros(16000, np.int16)])
    config = StreamConfig(commit=commit, partials=False)
    for least, words in ((0.0, True), (runner.info.least_log_odds, False)):
        session = Session(replace(runner.info, least_log_odds=least), config)
        events = run_session(pcm, config, session=session, encode=lambda pcm: runner.run([pcm])[0])
        assert bool(finals(events)) == words


@pytest.mark.slow
def test_messages_of_any_size_say_the_same(runner: TorchRunner, speech: list[Pcm]) -> None:
    for pcm in speech[:2]:
        events = stream(runner, pcm, StreamConfig(), 320)
        assert finals(events)
        texts = [(type(e), getattr(e, "text", None), getattr(e, "stable", None)) for e in events]
        for message in (5000, 100_000):
            again = stream(runner, pcm, StreamConfig(), message)
            assert [(type(e), getattr(e, "text", None), getattr(e, "stable", None)) for e in again] == texts
