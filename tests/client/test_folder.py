"""A folder of recordings to a folder of transcripts: several at once, resumable, and none stops the others."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest
import soundfile
from rich.console import Console

from earshot_asr.client.folder import Folder, targets
from earshot_asr.client.together import Together
from earshot_asr.client.transcribe import transcribe
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm
from earshot_asr.engine.config import StreamConfig
from earshot_asr.engine.errors import CheckpointError, ConfigError, OutputError
from earshot_asr.engine.events import Final
from earshot_asr.engine.model import Runner
from earshot_asr.engine.sources import open_file
from earshot_asr.engine.transcription import Method, streamed
from tests.loudness import LoudnessRunner, say

CONFIG = StreamConfig(partials=False)


def recording(path: Path, text: str = ".HELO WORLD.BYE.") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, say(text), SAMPLE_RATE)
    return path


def run(
    files: list[Path], out: Path, method: Method | None = None, *, format: str = "text", jobs: int = 3
) -> tuple[int, str]:
    """Exit status and standard error."""
    console = Console(file=io.StringIO(), force_terminal=False, width=200)
    with Together(LoudnessRunner, CONFIG) as together:
        folder = Folder(
            method or together.streamed, format=format, opened=open_file, channel="mix", jobs=jobs, console=console
        )
        status = folder.transcribe(targets(files, out, format))
    assert isinstance(console.file, io.StringIO)
    return status, console.file.getvalue()


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_folder_becomes_a_folder(tmp_path: Path) -> None:
    talks, out = tmp_path / "talks", tmp_path / "out"
    recording(talks / "a.wav", "ONE.")
    recording(talks / "deep" / "er" / "b.FLAC", "TWO.")
    recording(talks / "same.wav", "SIX.")
    recording(talks / "same.flac", "FOUR.")
    (talks / "notes.txt").write_text("not a recording")
    (talks / ".hidden.wav").write_text("nor this")
    lone = recording(tmp_path / "lone.ogg.wav", "FIVE.")
    status, said = run([talks, lone], out)
    assert status == 0
    assert texts(out) == {
        "a.txt": "ONE\n",
        "deep/er/b.txt": "TWO\n",
        "lone.ogg.txt": "FIVE\n",
        "same.flac.txt": "FOUR\n",
        "same.wav.txt": "SIX\n",
    }
    assert said == "earshot: 5 recordings: 5 written\n"


@pytest.mark.parametrize("jobs", [1, 4, 9])
def test_together_each_is_as_if_alone(tmp_path: Path, jobs: int) -> None:
    spoken = [".HELO WORLD.BYE." * n + "AGAIN." for n in range(1, 10)]
    for n, text in enumerate(spoken):
        recording(tmp_path / "in" / f"{n}.wav", text)
    assert run([tmp_path / "in"], tmp_path / "out", jobs=jobs, format="json")[0] == 0
    for n in range(9):
        (tmp_path / "alone").mkdir(exist_ok=True)
        path = tmp_path / "in" / f"{n}.wav"
        method = partial(streamed, LoudnessRunner(), CONFIG)
        run([path], tmp_path / "alone", method, jobs=1, format="json")
    assert texts(tmp_path / "out") == texts(tmp_path / "alone")


def test_a_recording_that_has_ended_is_forgotten() -> None:
    with Together(LoudnessRunner, CONFIG) as together:
        assert [final.text for final in together.streamed([say("ONE.SIX.")])] == ["ONE", "SIX"]
        stopped = together.streamed([say("ONE.SIX."), say("TWO.")])
        next(stopped)
        assert isinstance(stopped, Generator)
        stopped.close()
        assert together._recognizer
        assert not together._recognizer._streams


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path) -> None:
    recording(tmp_path / "in" / "a.wav", "ONE.")
    (tmp_path / "in" / "b.wav").write_bytes(b"once upon a time")
    whole = recording(tmp_path / "in" / "c.wav", "TWO.SIX.").read_bytes()
    (tmp_path / "in" / "c.wav").write_bytes(whole[:-9000])
    status, said = run([tmp_path / "in", tmp_path / "none.wav"], tmp_path / "out")
    assert status == 1
    assert set(texts(tmp_path / "out")) == {"a.txt", "c.txt"}
    *lines, last = said.splitlines()
    assert last == "earshot: 4 recordings: 2 written, 2 failed"
    bad, cut_off, missing = sorted(lines)
    assert "b.wav: can't decode audio" in bad
    assert "c.wav: it is cut off" in cut_off
    assert "none.wav: there is no such file" in missing


def test_what_is_there_is_left_and_what_is_older_is_made_again(tmp_path: Path) -> None:
    first, second = recording(tmp_path / "in" / "a.wav", "ONE."), recording(tmp_path / "in" / "b.wav", "TWO.")
    run([tmp_path / "in"], tmp_path / "out")
    for name in ("a.txt", "b.txt"):
        (tmp_path / "out" / name).write_text("mine")
    os.utime(second, (time.time() + 9, time.time() + 9))
    assert run([tmp_path / "in"], tmp_path / "out") == (0, "earshot: 2 recordings: 1 written, 1 were there already\n")
    assert texts(tmp_path / "out") == {"a.txt": "mine", "b.txt": "TWO\n"}
    assert first.exists()


def test_interrupted_it_goes_on_where_it_was(tmp_path: Path) -> None:
    """Nothing that is half done is taken for a transcript."""

    def broken(audio: Iterable[Pcm]) -> Iterator[Final]:
        for n, final in enumerate(streamed(LoudnessRunner(), CONFIG, audio)):
            if n == 1:
                raise CheckpointError("the model is gone")
            yield final

    recording(tmp_path / "in" / "a.wav", "ONE.")
    recording(tmp_path / "in" / "b.wav", "TWO.SIX.")
    with pytest.raises(CheckpointError):
        run([tmp_path / "in"], tmp_path / "out", broken, jobs=1)
    assert set(texts(tmp_path / "out")) == {"a.txt"}
    assert run([tmp_path / "in"], tmp_path / "out") == (0, "earshot: 2 recordings: 1 written, 1 were there already\n")
    assert texts(tmp_path / "out") == {"a.txt": "ONE\n", "b.txt": "TWO\nSIX\n"}


def test_a_model_that_can_not_be_loaded_stops_all(tmp_path: Path) -> None:
    def load() -> Runner:
        raise CheckpointError("it is no model")

    for n in range(6):
        recording(tmp_path / "in" / f"{n}.wav")
    with Together(load, CONFIG) as together, pytest.raises(CheckpointError, match="no model"):
        run([tmp_path / "in"], tmp_path / "out", together.streamed)
    assert not texts(tmp_path / "out")


def test_a_folder_that_can_not_be_written_stops_all(tmp_path: Path) -> None:
    recording(tmp_path / "in" / "a.wav")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match=r"can't write .*out.*a\.txt"):
        run([tmp_path / "in"], tmp_path / "out")


def test_two_recordings_never_become_one_file(tmp_path: Path) -> None:
    files = [recording(tmp_path / folder / "a.wav") for folder in ("x", "y")]
    with pytest.raises(ConfigError, match=r"2 recordings would become .*a\.wav\.srt"):
        targets(files, tmp_path / "out", "srt")


def test_what_has_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="standard input has no name"):
        transcribe(["-"], out_dir=tmp_path)


@pytest.mark.slow
def test_captions_of_a_folder_with_the_bundled_model_and_ctrl_c(tmp_path: Path) -> None:
    """The command itself: it is interrupted when the first is there, and goes on."""
    demo = Path(__file__).parents[2] / "client" / "data" / "demo.flac"
    (tmp_path / "in").mkdir()
    for n in range(8):
        (tmp_path / "in" / f"{n}.flac").symlink_to(demo)
    command = [sys.executable, "-m", "earshot_asr", "transcribe", "--format", "srt", "--jobs", "2"]
    command += ["--out-dir", str(tmp_path / "out"), str(tmp_path / "in")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not [*tmp_path.glob("out/*.srt")]:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert process.returncode == 130
    done = len(texts(tmp_path / "out"))
    assert done < 8
    assert not [*(tmp_path / "out").glob(".*")]
    again = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (again.returncode, again.stdout) == (0, "")
    assert again.stderr.endswith(f"earshot: 8 recordings: {8 - done} written, {done} were there already\n")
    written = texts(tmp_path / "out")
    assert len(written) == 8
    assert len({*written.values()}) == 1
    assert "Captions should appear" in written["0.srt"]
