"""`earshot evaluate` from end to end: on a fake encoder, and on the bundled model and recording."""

import io
import json
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import soundfile
from rich.console import Console

from earshot_asr.client.cli import main
from earshot_asr.client.evaluate.evaluate import evaluate, judge, phonemes_of
from earshot_asr.client.evaluate.figures import figures
from earshot_asr.client.evaluate.manifest import load
from earshot_asr.client.evaluate.options import Options
from earshot_asr.client.evaluate.recordings import no_progress
from earshot_asr.client.evaluate.take import Clip
from earshot_asr.engine.errors import AudioError, ConfigError, OutputError
from earshot_asr.engine.phonemes import version
from earshot_asr.engine.vocabulary import Vocabulary
from tests.client.evaluate.recorded import manifest
from tests.helpers import INFO, VOCABULARY, FakeRunner, small_files

DEMO = Path(str(files("earshot_asr.client") / "data" / "demo.flac"))


def printed(manifest: Path, options: Options, *, as_data: bool = False, report: Path | None = None) -> str:
    stdout = io.StringIO()
    evaluate(
        [manifest],
        options,
        command="earshot evaluate",
        as_data=as_data,
        report=report,
        stdout=Console(file=stdout),
        stderr=Console(file=io.StringIO()),
    )
    return stdout.getvalue()


@pytest.mark.parametrize("commit", ["utterance", "hop"])
@pytest.mark.parametrize("join", [False, True])
def test_what_is_heard_right_has_no_errors(tmp_path: Path, commit: str, join: bool) -> None:
    clips = load([manifest(tmp_path, one="HELLO WORLD", two="SO LONG")], join=["fake"] if join else [])
    options = Options(latency="low", commit=commit)  # type: ignore[arg-type]
    takes = judge(clips, FakeRunner(), options, lambda stage, number, clip: no_progress)
    found = figures(takes)["fake"]
    assert len(takes) == (1 if join else 2)
    assert found["WER"].value == found["plain WER"].value == found["file gap"].value == 0
    assert found["retractions after final"].value == 0
    assert found["final lag p95"].value < 0.5
    recorded = [soundfile.info(path).duration for clip in clips for path in clip.audio]
    assert found["audio"].value == pytest.approx(sum(recorded))
    for take in takes:
        assert len(take.due) == len(take.finals) == 2 / len(takes)  # an endpoint ended it, and not the end
        assert take.seconds + 0.2 < max(take.due.values()) < take.seconds + 1.0


def test_the_streams_end_their_utterances_as_asked() -> None:
    assert Options().config.silence_ms == 520
    assert Options(endpoint_ms=250).config.silence_ms == 250


def test_recordings_that_can_not_be_read_are_named_and_the_others_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earshot_asr.client.evaluate.evaluate.load_runner", lambda *_: FakeRunner())
    path = manifest(tmp_path, one="HELLO WORLD", two="SO LONG", three="NEVER")
    (tmp_path / "two.wav").write_text("no audio")
    whole = (tmp_path / "three.wav").read_bytes()
    (tmp_path / "three.wav").write_bytes(whole[:-9000])
    stdout, stderr = io.StringIO(), io.StringIO()
    console = Console(file=stdout), Console(file=stderr)
    how = {"command": "earshot evaluate", "as_data": True, "stdout": console[0], "stderr": console[1]}
    assert evaluate([path], Options(latency="low"), **how) == 1  # type: ignore[arg-type]
    assert json.loads(stdout.getvalue())["figures"]["fake"]["clips"]["value"] == 2
    damaged, unreadable = sorted(stderr.getvalue().splitlines(), key=lambda line: "left out" in line)
    assert "two.wav: can't decode audio" in unreadable
    assert "three.wav: it is cut off" in damaged
    for name in ("one", "three"):
        (tmp_path / f"{name}.wav").write_text("")
    with pytest.raises(AudioError, match="no recording can be read"):
        evaluate([path], Options(latency="low"), **how)  # type: ignore[arg-type]


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """The bundled recording, 12 words of it aligned by nobody."""
    path = tmp_path / "demo.jsonl"
    text = (DEMO.parent / "demo.txt").read_text(encoding="utf-8")
    path.write_text(json.dumps({"audio": str(DEMO), "text": text}))
    return path


def test_the_bundled_model_as_table_json_and_page(demo: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    found = json.loads(printed(demo, Options(device="cpu"), as_data=True, report=page))
    assert found["model"] == "base-en"
    assert found["clock"] == "virtual"
    assert found["command"] == "earshot evaluate"
    assert 0 <= found["figures"]["demo"]["CER"]["value"] < 5
    assert found["figures"]["demo"]["RTFx"]["value"] > 0
    assert "<html" in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_beside_transformers_and_truly_in_real_time(demo: Path) -> None:
    told = printed(demo, Options(device="cpu", against=["transformers"], wall=True), as_data=True)
    found = json.loads(told)["figures"]["demo"]
    assert found["transformers equal"]["value"] == 100
    assert found["transformers WER"] == found["plain WER"]
    assert json.loads(told)["clock"] == "wall"
    assert "RTFx" not in found


def test_a_page_that_can_t_be_written_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"can't write .*page.html: there is no folder"):
        printed(tmp_path / "none.jsonl", Options(), report=tmp_path / "nowhere" / "page.html")


def test_a_page_for_which_there_is_no_room_is_said_after_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earshot_asr.engine.runner.load_runner", lambda *_: FakeRunner())
    recordings, stdout = manifest(tmp_path, one="HELLO"), io.StringIO()
    before, page = {*tmp_path.iterdir()}, tmp_path / "page.html"
    with small_files(), pytest.raises(OutputError, match=rf"^can't write {page}: File too large$"):
        evaluate(
            [recordings],
            Options(),
            command="earshot evaluate",
            report=page,
            stdout=Console(file=stdout),
            stderr=Console(file=io.StringIO()),
        )
    assert "WER" in stdout.getvalue()
    assert {*tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["nowhere.jsonl"], 1, "earshot: can't read nowhere.jsonl: No such file"),
        (["a", "--url", "ws://h"], 2, "--wall"),
    ],
)
def test_from_the_command_line(
    arguments: list[str],
    status: int,
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["earshot", "evaluate", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == status
    assert complaint in capsys.readouterr().err


def test_only_these_are_known_to_compare_with(tmp_path: Path) -> None:
    clips = load([manifest(tmp_path, one="HELLO")])
    with pytest.raises(ConfigError, match="against is 'kaldi'; it must be one of transformers, pocketsphinx, whisper"):
        judge(clips, FakeRunner(), Options(against=["kaldi"]), lambda stage, number, clip: no_progress)


@pytest.mark.parametrize("name", ["transformers", "pocketsphinx"])
def test_one_that_is_not_installed_is_asked_for(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    clips = load([manifest(tmp_path, one="HELLO")])
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))
    with pytest.raises(ConfigError, match=f"pip install {name}"):
        judge(
            clips, FakeRunner(), Options(model=str(tmp_path), against=[name]), lambda stage, number, clip: no_progress
        )


def test_transformers_does_not_know_the_bundled_models_kind(tmp_path: Path) -> None:
    clips = load([manifest(tmp_path, one="HELLO")])
    with pytest.raises(
        ConfigError, match="--against transformers: transformers can't run base-en: it does not know models of type"
    ):
        judge(clips, FakeRunner(), Options(against=["transformers"]), lambda stage, number, clip: no_progress)


@pytest.mark.slow
def test_several_beside_ours(tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx")
    clips = load([manifest(tmp_path, one="HELLO WORLD", two="SO LONG")], join=["fake"])
    (take,) = judge(clips, FakeRunner(), Options(against=["pocketsphinx"]), lambda stage, number, clip: no_progress)
    assert take.peers["pocketsphinx"].work > 0
    assert {"pocketsphinx WER", "pocketsphinx RTFx", "WER"} <= figures([take])["fake"].keys()


PHONES = Vocabulary(symbols=tuple(symbol.lower() for symbol in VOCABULARY.symbols), blank=0, separator=" ")


@pytest.mark.parametrize("commit", ["utterance", "hop"])
def test_a_model_that_writes_phonemes(tmp_path: Path, commit: str) -> None:
    """The fake encoder hears letters, and calls them phonemes."""
    path = manifest(tmp_path, one="ABCD", two="EFG")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [rows[0] | {"phonemes": "a b c d"}, rows[1] | {"phonemes": "e f x g |"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    runner = FakeRunner(info=replace(INFO, vocabulary=PHONES))
    options = Options(latency="low", commit=commit)  # type: ignore[arg-type]
    takes = judge(load([path]), runner, options, lambda stage, number, clip: no_progress)
    assert [take.text for take in takes] == ["a b c d |", "e f g |"]
    found = figures(takes)["fake"]
    assert found["PER"].value == found["plain PER"].value == pytest.approx(100 * 2 / 9)
    assert "WER" not in found


def test_phonemes_are_the_manifests_or_are_read_out(tmp_path: Path) -> None:
    runner = FakeRunner(info=replace(INFO, vocabulary=PHONES))
    given = Clip("a.wav", "x", "Hello", (), phonemes="x y")
    assert phonemes_of([given, Clip("b.wav", "x", "", ())], runner) == ["x y", ""]
    assert phonemes_of([given], FakeRunner()) == [None]
    with pytest.raises(ConfigError, match=r"a.wav: there are neither phonemes nor lang"):
        phonemes_of([replace(given, phonemes=None)], runner)
    with pytest.raises(ConfigError, match=r"a.wav: (espeak-ng .* has no voice for|phonemes need eSpeak NG)"):
        phonemes_of([replace(given, phonemes=None, lang="xx")], runner)


def test_phonemes_are_read_out_in_the_lines_language() -> None:
    try:
        version()
    except ConfigError as e:
        pytest.skip(str(e))
    clips = [Clip("a.wav", "x", "Hello", (), lang="en"), Clip("b.wav", "x", "Guten Tag", (), lang="de")]
    assert phonemes_of(clips, FakeRunner(info=replace(INFO, vocabulary=PHONES))) == ["h ə l oʊ", "ɡ uː t ə n t ɑː k"]
