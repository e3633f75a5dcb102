"""Manifests become samples in a file: once, whole, with what is wrong left out by name."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from earshot_asr.engine.errors import AudioError, ConfigError
from earshot_asr.engine.manifest import UNIT_SAMPLES
from earshot_asr.engine.sources import open_file
from earshot_asr.engine.training.data import corpus as module
from earshot_asr.engine.training.data.corpus import Filter, open_corpus, read_audio
from tests.engine.training.data.material import write
from tests.helpers import clips

ROWS: list[dict[str, Any]] = [
    {"audio": "1.wav", "text": "One, one", "corpus": "a", "speaker": "s", "lang": "en", "fold": 0},
    {"audio": "2.wav", "text": "two", "corpus": "b", "fold": 1, "duration": 0.5003},
    {"audio": "3.wav", "text": "three’s", "duration": 0.7001},
]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write(tmp_path, ROWS)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def left(path: Path, cache: Path, **filter: Any) -> list[str]:
    return [row.name for row in open_corpus([path], cache, filter=Filter(**filter)).rows]


def test_samples_and_texts(manifest: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = open_corpus([manifest], cache)
    assert corpus.texts == ["ONE ONE", "TWO", "THREE'S"]
    assert (corpus.corpora, corpus.langs) == (["a", "b", "m"], ["en", None, None])
    assert [row.speaker for row in corpus.rows] == ["s", None, None]
    for n in range(3):
        expected, _ = soundfile.read(corpus.rows[n].path, dtype="int16")
        assert np.array_equal(corpus.pcm(n), expected)
    assert (corpus.spans[:, 0] % UNIT_SAMPLES == 0).all()
    assert corpus.hours == pytest.approx(1.7 / 3600, abs=1e-6)
    assert "3 recordings" in capsys.readouterr().err


def test_decoded_once(manifest: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_corpus([manifest], cache, quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr(module, "read_audio", lambda path: pytest.fail(f"{path} is decoded again"))
        again = open_corpus([manifest], cache, filter=Filter(folds=[1]), quiet=True)
        assert again.texts == ["TWO", "THREE'S"]
        assert np.array_equal(again.pcm(0), first.pcm(1))
    other = manifest.parent / "2.wav"
    soundfile.write(other, np.zeros(8005, np.int16), 16_000)  # as long as before
    os.utime(other, ns=(0, 1))
    assert not open_corpus([manifest], cache, quiet=True).pcm(1).any()
    assert first.pcm(1).any()


def test_a_file_that_is_not_whole_is_not_there(manifest: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(source: Any, target: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            open_corpus([manifest], cache, quiet=True)
    assert not [path for path in cache.iterdir() if path.suffix != ".lock"]
    assert len(open_corpus([manifest], cache, quiet=True)) == 3


def test_nothing_is_written_into_the_file(manifest: Path, cache: Path) -> None:
    corpus = open_corpus([manifest], cache, quiet=True)
    corpus.on(torch.device("cpu"))[:100] = 7
    assert not (open_corpus([manifest], cache, quiet=True).samples[:100] == 7).any()


def test_broken_recordings_are_named(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write(tmp_path, ROWS)
    (tmp_path / "2.wav").write_bytes(b"no audio at all")
    assert [row.name for row in open_corpus([manifest], cache).rows] == ["1.wav", "3.wav"]
    assert "1 recordings left out: " in (said := capsys.readouterr().err)
    assert "2.wav: can't decode it (" in said
    open_corpus([manifest], cache)
    assert "2.wav: can't decode it (" in capsys.readouterr().err
    (tmp_path / "3.wav").write_bytes(b"")
    with pytest.raises(AudioError, match=r"2 of 3 recordings can't be read: .*2.wav: .*3.wav"):
        open_corpus([manifest], cache)


def test_channels_and_rates(tmp_path: Path) -> None:
    path = tmp_path / "stereo.flac"
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)
    soundfile.write(path, np.stack((tone, 0 * tone), axis=1), 44_100)
    heard = read_audio(path) / 32768
    assert len(heard) == 16_000
    assert heard[500:-500] == pytest.approx(0.25 * np.sin(2 * np.pi * 440 * np.arange(500, 15_500) / 16_000), abs=2e-3)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_099, 44_100, 48_000])
def test_any_rate_is_resampled_as_the_engine_does(rate: int, tmp_path: Path) -> None:
    """Tones that 16 kHz can hold stay where and what they are, others go."""
    time = np.arange(rate) / rate
    low, high = (np.sin(2 * np.pi * hertz * time) for hertz in (500, 0.45 * rate))
    soundfile.write(tmp_path / "it.wav", 0.4 * low + 0.2 * high, rate, subtype="FLOAT")
    heard = read_audio(tmp_path / "it.wav")
    with open_file(tmp_path / "it.wav") as audio:
        streamed = np.concatenate(list(audio))
    assert len(heard) == len(streamed) == 16_000
    assert np.abs(heard.astype(int) - streamed).max() <= 1
    if 0.45 * rate > 8000:
        wanted = 0.4 * np.sin(2 * np.pi * 500 * np.arange(16_000) / 16_000)
        assert heard[500:-500] / 32768 == pytest.approx(wanted[500:-500], abs=2e-3)


def test_filters(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*ROWS, {"audio": "4.wav", "text": "?!", "split": "dev"}]
    manifest = write(tmp_path, rows)
    assert left(manifest, cache) == ["1.wav", "2.wav", "3.wav"]
    assert "1 recordings left out: nothing that can be said" in capsys.readouterr().err
    assert left(manifest, cache, transcribed=False, splits=["train"]) == ["1.wav", "2.wav", "3.wav"]
    assert left(manifest, cache, folds=[0]) == ["1.wav", "3.wav"]
    assert left(manifest, cache, shortest=0.6) == ["3.wav"]
    assert left(manifest, cache, longest=0.6) == ["1.wav", "2.wav"]
    unseen = write(tmp_path, [{"audio": "3.wav", "text": "TWO!"}], "dev.jsonl")
    capsys.readouterr()
    assert left(manifest, cache, unseen=[unseen]) == ["1.wav"]
    said = capsys.readouterr().err
    assert "1 recordings left out: a sentence that is judged on" in said
    assert "1 recordings left out: a recording that is judged on" in said
    assert left(manifest, cache, transcribed=False, unseen=[unseen]) == ["1.wav", "2.wav", "4.wav"]
    (tmp_path / "texts.jsonl").write_text('{"audio": "2.wav"}\n')  # texts are not needed there either
    assert left(manifest, cache, transcribed=False, unseen=[tmp_path / "texts.jsonl"]) == ["1.wav", "3.wav", "4.wav"]
    with pytest.raises(ConfigError, match=r"no recording is left \(broken, or of another fold or split\)"):
        left(write(tmp_path, ROWS[:1], "fold.jsonl"), cache, folds=[2])
    with pytest.raises(ConfigError, match=r"no recording is left \(.*not 0.1 to 0.2 s long.*\); loosen"):
        left(manifest, cache, longest=0.2)


def test_alignments(manifest: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def entry(audio: str, *words: str, score: int = -20) -> str:
        return json.dumps({"audio": audio, "words": [[word, 3, score, [["AH", 5]]] for word in words]}) + "\n"

    path = manifest.parent / "a.jsonl"
    path.write_text(entry("1.wav", "ONE", "ONE") + entry("2.wav", "TOO") + entry("3.wav", "THREES"))
    corpus = open_corpus([manifest], cache, alignments=[path])
    assert [alignment is not None for alignment in corpus.alignments] == [True, False, True]
    assert (
        "1 of 3 recordings have no alignment that fits their text; no crop is made of them" in capsys.readouterr().err
    )
    better = manifest.parent / "b.jsonl"
    better.write_text(entry("1.wav", "ONE", "ONE", score=-61) + entry("2.wav", "TWO"))
    corpus = open_corpus([manifest], cache, alignments=[path, better])
    assert corpus.texts == ["TWO", "THREE'S"]
    assert None not in corpus.alignments
    assert "1 recordings left out: an alignment's score below -60" in capsys.readouterr().err


def test_two_recordings_of_one_name(tmp_path: Path, cache: Path) -> None:
    """An alignment with that name may be of either; without one there is nothing to mistake."""
    one, other = (write(tmp_path / name, [{"audio": "1.wav", "text": "one"}]) for name in ("a", "b"))
    assert len(open_corpus([one, other], cache, quiet=True)) == 2
    path = tmp_path / "a.jsonl"
    path.write_text('{"audio": "2.wav", "words": [["TWO", 3, -20, [["T", 5]]]]}')
    assert len(open_corpus([one, other], cache, alignments=[path], quiet=True)) == 2
    path.write_text('{"audio": "1.wav", "words": [["ONE", 3, -20, [["W", 5]]]]}')
    wanted = r"a/m.jsonl, line 1, and .*b/m.jsonl, line 1, have different recordings that are both called 1.wav"
    with pytest.raises(ConfigError, match=wanted):
        open_corpus([one, other], cache, alignments=[path], quiet=True)
    again = write(tmp_path / "a", [{"audio": "1.wav", "text": "one"}], "again.jsonl")  # the same recording
    around = tmp_path / "b" / ".." / "a" / "m.jsonl"
    for manifest in (again, around):
        assert None not in open_corpus([one, manifest], cache, alignments=[path], quiet=True).alignments


def test_other_texts(manifest: Path, cache: Path) -> None:
    corpus = open_corpus([manifest], cache, quiet=True)
    other = corpus.select([True, False, True]).with_texts(["w ʌ n", "θ ɹ iː"])
    assert other.texts == ["w ʌ n", "θ ɹ iː"]
    assert corpus.texts[0] == "ONE ONE"
    assert other.alignments == [None, None]
    assert other.on(torch.device("cpu")) is corpus.on(torch.device("cpu"))


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_manifest(tmp_path: Path, cache: Path, text: str) -> None:
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(ConfigError, match=r"no recording in .*m.jsonl"):
        open_corpus([tmp_path / "m.jsonl"], cache)


def test_a_cache_that_can_not_be(manifest: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't keep decoded audio in .*m.jsonl: File exists"):
        open_corpus([manifest], manifest)


def test_real_recordings_are_as_the_engine_decodes_them(tmp_path: Path) -> None:
    """But for what decoding Opus at 48 kHz changes: libsndfile decodes it at the rate of the recording."""
    for clip in clips("train.jsonl", 3):
        with open_file(clip["audio"]) as audio:
            engines = np.concatenate(list(audio))
        ours = read_audio(clip["audio"])
        assert len(ours) == len(engines)
        assert np.corrcoef(ours, engines)[0, 1] > 0.98
