"""Whisper beside ours."""

import sys
from pathlib import Path

import numpy as np
import pytest

from earshot_asr.client.evaluate.whisper import whisper
from earshot_asr.engine.errors import CheckpointError, ConfigError


def test_it_wants_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ConfigError, match="pip install faster-whisper"):
        whisper(tmp_path, 1)


def test_it_wants_a_model(tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper")
    with pytest.raises(ConfigError, match="--whisper-model DIR"):
        whisper(None, 1)
    with pytest.raises(CheckpointError, match=r"lacks model.bin, config.json, tokenizer.json"):
        whisper(tmp_path, 1)
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(CheckpointError, match="can't load"):
        whisper(tmp_path, 1)


def test_each_recording_is_heard_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a stand-in for the weights, which no package of ours carries."""
    faster_whisper = pytest.importorskip("faster_whisper")
    given: list[tuple[int, dict[str, object]]] = []

    class Segment:
        text = " Hello there."

    class Model:
        def __init__(self, folder: str, **settings: object) -> None:
            assert Path(folder) == tmp_path

        def transcribe(self, samples: "np.ndarray[tuple[int], np.dtype[np.float32]]", **how: object) -> object:
            assert samples.dtype == np.float32 and float(abs(samples).max()) <= 1
            given.append((len(samples), how))
            return [Segment()], None

    monkeypatch.setattr(faster_whisper, "WhisperModel", Model)
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"{}")
    heard = whisper(tmp_path, 1)
    loud = np.full(1600, -32768, np.int16)
    assert heard([loud, loud[:0], loud[:800]]) == "Hello there. Hello there."
    assert [length for length, _ in given] == [1600, 800]
    usual = {"condition_on_previous_text": False, "beam_size": 5, "language": "en", "without_timestamps": True}
    assert [how for _, how in given] == [usual, usual]
    heard([np.zeros(31 * 16000, np.int16)])
    assert not given[-1][1]["without_timestamps"]
