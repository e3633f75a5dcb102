"""Transcribing files: with a small encoder that reads loudness, and with a real one against transformers."""

import io
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from rich.console import Console

from earshot_asr.client.output import Output
from earshot_asr.client.transcribe import transcribe, transcribe_files
from earshot_asr.client.transcript import Channel
from earshot_asr.engine.audio import SAMPLE_RATE, to_float, to_pcm
from earshot_asr.engine.checkpoint import load_checkpoint
from earshot_asr.engine.config import Commit, StreamConfig
from earshot_asr.engine.errors import CheckpointError, ConfigError, DeviceError, OutputError
from earshot_asr.engine.model import BUNDLED
from earshot_asr.engine.sources import RawFormat, open_file
from earshot_asr.engine.transcription import Method, plain, streamed
from tests.loudness import LoudnessRunner, say

SHARED = Path(__file__).parents[2].parent / "shared"
CLIPS = SHARED / "speech" / "dev.jsonl"


def as_file(path: Path, text: str) -> Path:
    soundfile.write(path, say(text), SAMPLE_RATE)
    return path


def stream_method() -> Method:
    return partial(streamed, LoudnessRunner(), StreamConfig(partials=False))


def plain_method() -> Method:
    return partial(plain, LoudnessRunner())


def run(
    files: Sequence[Path], method: Method, format: str = "text", channel: Channel = "mix", **options: Any
) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    stdout, stderr = io.StringIO(), io.StringIO()
    console = Console(file=stderr, force_terminal=False)
    opened = partial(open_file, **options)
    status = transcribe_files(
        files, method, format=format, opened=opened, channel=channel, stdout=stdout, console=console
    )
    return status, stdout.getvalue(), stderr.getvalue()


# ---- what is printed


def test_as_a_stream_an_utterance_is_a_line(tmp_path: Path) -> None:
    files = [as_file(tmp_path / "a.wav", ".HELO WORLD.BYE."), as_file(tmp_path / "b.flac", "AGAIN.")]
    assert run(files, stream_method()) == (0, "HELO WORLD\nBYE\nAGAIN\n", "")


def test_whole_a_file_is_a_line(tmp_path: Path) -> None:
    files = [as_file(tmp_path / "a.wav", ".HELO WORLD.BYE."), as_file(tmp_path / "b.flac", "AGAIN.")]
    assert run(files, plain_method()) == (0, "HELO WORLD BYE\nAGAIN\n", "")


@pytest.mark.parametrize("commit", ["utterance", "hop"])
@pytest.mark.parametrize("latency", ["low", "balanced", "accurate"])
def test_with_every_configuration(commit: Commit, latency: str, tmp_path: Path) -> None:
    config = StreamConfig.preset(latency, commit=commit, partials=False)
    path = as_file(tmp_path / "a.wav", "." + "HELO WORLD. BYE. " * 9)
    assert run([path], partial(streamed, LoudnessRunner(), config)) == (0, "HELO WORLD\nBYE\n" * 9, "")


@pytest.mark.parametrize("method", [stream_method(), plain_method()])
def test_json_has_the_promised_schema(method: Method, tmp_path: Path) -> None:
    files = [as_file(tmp_path / "a.wav", ".HELO WORLD."), as_file(tmp_path / "b.wav", "...")]
    status, out, err = run(files, method, "json")
    assert (status, err) == (0, "")
    first, second = map(json.loads, out.splitlines())
    assert list(first) == ["file", "duration", "text", "segments"]
    assert (first["file"], first["duration"], first["text"]) == (str(files[0]), 3.88, "HELO WORLD")
    (segment,) = first["segments"]
    assert list(segment) == ["start", "end", "text", "confidence", "words"]
    assert segment["confidence"] == pytest.approx(np.exp(-0.1), abs=1e-3)
    assert [list(word) for word in segment["words"]] == [["text", "start", "end", "confidence"]] * 2
    times = [(word["text"], round(word["start"], 2), round(word["end"], 2)) for word in segment["words"]]
    assert times == [("HELO", 1.5, 1.82), ("WORLD", 1.98, 2.38)]
    assert second == {"file": str(files[1]), "duration": 4.5, "text": "", "segments": []}


def test_captions(tmp_path: Path) -> None:
    path = as_file(tmp_path / "a.wav", ".HELO WORLD.BYE.")
    assert run([path], stream_method(), "srt")[1] == (
        "1\n00:00:01,503 --> 00:00:02,503\nHELO WORLD\n\n2\n00:00:03,883 --> 00:00:04,883\nBYE\n\n"
    )
    assert run([path], stream_method(), "vtt")[1].startswith("WEBVTT\n\n00:00:01.503 --> 00:00:02.503\nHELO WORLD\n\n")


def test_a_file_that_fails_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "b.wav").write_text("no audio")
    files = [tmp_path / "[red]no.wav", as_file(tmp_path / "a.wav", "HELO."), tmp_path / "b.wav"]
    status, out, err = run(files, stream_method())
    assert (status, out) == (1, "HELO\n")
    first, second = err.splitlines()
    assert first == f"earshot: {files[0]}: there is no such file"
    assert second.startswith(f"earshot: {files[2]}: can't decode audio")


def test_files_that_can_not_be_read_are_said_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdout, stderr = io.StringIO(), io.StringIO()
    said: list[str] = []

    def load(*_: object) -> LoudnessRunner:
        said.append(stderr.getvalue())
        return LoudnessRunner()

    monkeypatch.setattr("earshot_asr.client.transcribe.load_runner", load)
    files = [as_file(tmp_path / "a.wav", "HELO."), tmp_path / "no.wav", as_file(tmp_path / "b.wav", "BYE."), tmp_path]
    assert transcribe(files, stdout=stdout, console=Console(file=stderr, width=1000)) == 1
    assert stdout.getvalue() == "HELO\nBYE\n"
    (before,) = said
    assert before == stderr.getvalue()
    assert [line.split(": ")[1] for line in before.splitlines()] == [str(files[1]), str(tmp_path)]


@pytest.mark.parametrize("kind", [CheckpointError, DeviceError])
def test_a_model_that_can_not_be_loaded_is_no_fault_of_the_files(
    kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> LoudnessRunner:
        raise kind("no")

    monkeypatch.setattr("earshot_asr.client.transcribe.load_runner", load)
    with pytest.raises(kind):
        transcribe([as_file(tmp_path / "a.wav", "HELO.")], stdout=io.StringIO(), console=Console(file=io.StringIO()))


def test_output_that_nobody_reads_ends_the_work(tmp_path: Path) -> None:
    """It is no fault of one file, after which the others would be transcribed for nobody."""
    reader, writer = os.pipe()
    os.close(reader)
    files = [as_file(tmp_path / name, "HELO.") for name in ("a.wav", "b.wav")]
    stderr = io.StringIO()
    with open(writer, "w", encoding="utf-8") as pipe:
        stdout = Output(pipe, fatal=True)
        with pytest.raises(OutputError, match="can't write to standard output: whatever read it has ended"):
            transcribe_files(files, stream_method(), format="text", stdout=stdout, console=Console(file=stderr))
        stdout.detach()
    assert stderr.getvalue() == ""


def test_a_file_that_is_cut_off_is_transcribed_as_far_as_it_goes_and_that_is_said(tmp_path: Path) -> None:
    text = "HELO WORLD." * 3
    path = tmp_path / "a.flac"
    soundfile.write(path, soundfile.read(as_file(tmp_path / "a.wav", text), dtype="int16")[0], 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    status, out, err = run([path], stream_method())
    assert status == 1 and out.startswith("HELO WORLD")
    assert err.startswith(f"earshot: {path}: it is cut off, or damaged: of its ")


def test_raw_files(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(np.repeat(to_float(say("HELO.")), 2).astype("<f4").tobytes())
    assert run([tmp_path / "a.bin"], plain_method(), raw=RawFormat("pcm_f32le", 16_000, 2)) == (0, "HELO\n", "")


@pytest.mark.parametrize("format", ["text", "json"])
def test_what_came_before_a_late_error_is_printed_and_the_error_is_told(format: str, tmp_path: Path) -> None:
    samples = to_float(say("HELO.BYE."))
    samples[-1] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    (tmp_path / "odd.raw").write_bytes(say("HELO.BYE.").tobytes() + b"x")
    for name, reason in [("nan.wav", "NaN or infinite"), ("odd.raw", r"1 byte\(s\) are left over")]:
        status, out, err = run([tmp_path / name], stream_method(), format)
        assert status == 1
        assert ([s["text"] for s in json.loads(out)["segments"]] if format == "json" else out.split()) == [
            "HELO",
            "BYE",
        ]
        assert re.fullmatch(rf"earshot: .*{name}: .*{reason}.*\n", err)


def test_channels_by_themselves(tmp_path: Path) -> None:
    left, right = to_float(say("HELO.....BYE.")), to_float(say(".....AGAIN......"))
    length = max(len(left), len(right))
    both = np.stack([np.pad(one, (0, length - len(one))) for one in (left, right)], axis=1)
    soundfile.write(path := tmp_path / "call.wav", both, SAMPLE_RATE)
    assert run([path], stream_method(), channel=1) == (0, "HELO\nBYE\n", "")
    assert run([path], stream_method(), channel=2) == (0, "AGAIN\n", "")
    assert run([path], stream_method(), channel="each") == (0, "1: HELO\n2: AGAIN\n1: BYE\n", "")
    status, out, err = run([path], stream_method(), "json", channel="each")
    assert (status, err) == (0, "")
    assert [(one["channel"], one["text"]) for one in map(json.loads, out.splitlines())] == [
        (1, "HELO BYE"),
        (2, "AGAIN"),
    ]
    status, out, err = run([path], stream_method(), channel=3)
    assert (status, out, err) == (1, "", f"earshot: {path}: there is no channel 3: there are 2, counted from 1 on\n")


@pytest.mark.parametrize("method", [stream_method(), plain_method()])
@pytest.mark.parametrize("samples", [1, 399, 400, 719])
def test_hardly_any_audio_is_no_text(method: Method, samples: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(samples, np.int16), SAMPLE_RATE)
    assert run([tmp_path / "a.wav"], method) == (0, "", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_progress_is_shown_and_cleared_for_the_text(tmp_path: Path) -> None:
    screen = Terminal()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None, _environ={})
    files = [as_file(tmp_path / "a.wav", "HELO.BYE.")]
    status = transcribe_files(files, stream_method(), format="text", stdout=screen, console=console)
    assert status == 0
    assert "a.wav" in screen.getvalue()
    for line in ("HELO\n", "BYE\n"):
        before, _, _ = screen.getvalue().partition(line)
        assert before.endswith("\x1b[2K")  # the line that the bar was on is blank


def test_progress_never_goes_to_standard_output(tmp_path: Path) -> None:
    stdout, screen = io.StringIO(), Terminal()
    console = Console(file=screen, force_terminal=True, width=100, _environ={})
    files = [as_file(tmp_path / "a.wav", "HELO.")]
    transcribe_files(files, stream_method(), format="text", stdout=stdout, console=console)
    assert stdout.getvalue() == "HELO\n"
    assert "a.wav" in screen.getvalue()


@pytest.mark.parametrize(("options", "message"), [({"format": "ass"}, "text, json"), ({"latency": "no"}, "balanced")])
def test_settings_are_checked_before_a_model_is_loaded(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        transcribe([], model="/nowhere", **options)  # type: ignore[arg-type]


# ---- the real thing

needs_shared = pytest.mark.skipif(not CLIPS.exists(), reason="shared/ is not there")


def clips(count: int) -> list[Path]:
    """Some real recordings, of different speakers."""
    with CLIPS.open() as lines:
        entries = [entry for entry in map(json.loads, lines) if entry["duration"] < 3]
    return [CLIPS.parent / entry["audio"] for entry in entries[:: len(entries) // count][:count]]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Short clips gain nothing by a second thread, and lose much when all cores are busy."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reference(one_thread: None) -> Callable[[Path], str]:
    """The text of a file that is read at once and as floats, by the model alone and transformers' tokenizer."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = load_checkpoint(BUNDLED).encoder
    tokenizer = transformers.Wav2Vec2CTCTokenizer.from_pretrained(BUNDLED)

    def text(path: Path) -> str:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = soxr.resample(samples.mean(axis=1), rate, SAMPLE_RATE)
        with torch.inference_mode():
            log_probs = model(torch.from_numpy(mono)[None])
        return str(tokenizer.batch_decode(log_probs.argmax(-1))[0])

    return text


@needs_shared
def test_the_text_of_real_clips_is_what_the_model_alone_gives(reference: Callable[[Path], str], tmp_path: Path) -> None:
    """One of them in stereo at 44.1 kHz."""
    files = clips(5)
    with open_file(files[0]) as source:
        clip = soxr.resample(to_float(np.concatenate(list(source))), SAMPLE_RATE, 44_100)
    soundfile.write(tmp_path / "stereo.wav", to_pcm(np.stack([clip, 0.5 * clip], axis=1)), 44_100)
    files.append(tmp_path / "stereo.wav")
    stdout = io.StringIO()
    assert transcribe(files, device="cpu", whole=True, lm="none", stdout=stdout) == 0
    expected = [reference(path) for path in files]
    assert all(expected)
    assert stdout.getvalue().splitlines() == expected


@needs_shared
@pytest.mark.usefixtures("one_thread")
def test_real_clips_as_streams() -> None:
    stdout = io.StringIO()
    assert transcribe(clips(2), device="cpu", format="json", stdout=stdout) == 0
    for line in stdout.getvalue().splitlines():
        transcript = json.loads(line)
        assert transcript["text"] == " ".join(segment["text"] for segment in transcript["segments"]) != ""
        words = [word for segment in transcript["segments"] for word in segment["words"]]
        assert all(0 <= word["start"] < word["end"] <= transcript["duration"] for word in words)
