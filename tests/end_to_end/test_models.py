"""`earshot models` and `--language` as a shell sees them, with a hub on loopback, and with none."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from earshot_asr.client.models import speed
from tests import mms
from tests.engine.test_checkpoint import CONVOLUTIONS, SMALL, tokenizer
from tests.loopback_hub import LoopbackHub

ROOT = Path(__file__).parents[2]
DEMO = "client/data/demo.flac"
GERMAN, MMS = "jonatasgrosman/wav2vec2-large-xlsr-53-german", "facebook/mms-1b-all"
ONE_AFTER_THE_OTHER = """
import contextlib, io, json, sys
from earshot_asr.client.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as e:
            status = e.code
    print(json.dumps([status, out.getvalue(), err.getvalue()]))
"""


@dataclass
class Shell:
    """Runs commands with a home of their own. No speed is measured: it seems to be known."""

    home: Path
    endpoint: str

    def __call__(self, *commands: str) -> list[tuple[int | None, str, str]]:
        """Exit status, standard output and standard error of each, one after the other in one process."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment |= {"HF_HOME": str(self.home), "HF_ENDPOINT": self.endpoint, "NO_COLOR": "1"}
        arguments = json.dumps([command.split() for command in commands])
        done = subprocess.run(
            [sys.executable, "-c", ONE_AFTER_THE_OTHER, arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        said = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(said) == len(commands)
        return [(status, out, err) for status, out, err in said]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    file = speed._file()
    file.parent.mkdir()
    file.write_text(json.dumps({"on": speed._machine(), "device": "cpu", "operations": 1e12, "process": 0.001}))
    return tmp_path


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    small = tmp_path_factory.mktemp("hub") / "small"
    small.mkdir()
    Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL, **CONVOLUTIONS)).save_pretrained(small)
    Wav2Vec2FeatureExtractor().save_pretrained(small)
    tokenizer(small).save_pretrained(small)
    many = mms.make(tmp_path_factory.mktemp("hub") / "mms", ["eng", "fra", "deu"])
    with LoopbackHub() as hub:
        hub.add(GERMAN, small)
        hub.add(MMS, many)
        yield hub


@pytest.mark.slow
def test_with_a_hub(hub: LoopbackHub, home: Path) -> None:
    said = Shell(home, hub.url)(
        "models list --language German",
        "models pull xlsr-53-german",
        "models pull xlsr-53-german",
        "models list --language de",
        "models show xlsr-53-german",
        "models check xlsr-53-german",
        f"transcribe --language de --format json {DEMO}",
        "models pull mms-1b-all --language French",
        "models check mms-1b-all --language fr",
        "models pull mms-1b-all --language Hungarian",
        "models rm xlsr-53-german",
        "models rm xlsr-53-german --yes",
        "models rm xlsr-53-german --yes",
        "models list --language deu --format json",
        "models check base-en",
    )
    assert [status for status, _, _ in said] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0, 0]
    outs, errs = [out for _, out, _ in said], [err for _, _, err in said]
    assert outs[0].splitlines()[0] == f"German\txlsr-53-german\t1.26 GB\tapache-2.0\tWER 12.06\tno\t~9.1\t{GERMAN}"
    assert outs[1].startswith(f"{GERMAN} is here, ") and "of it came now" in outs[1]
    assert outs[2].startswith(f"{GERMAN} is here, ") and "its hashes are right" in outs[2]
    assert outs[3].splitlines()[0].split("\t")[5] == "yes"
    assert (
        "apache-2.0" in outs[4]
        and f"https://huggingface.co/{GERMAN}/blob/main/README.md, read on 2026-11-29" in outs[4]
    )
    assert f"commit {'a' * 12}, {home}" in outs[4]
    assert "wav2vec2, in transformers Wav2Vec2ForCTC" in outs[5] and "every 20 ms, each from 25 ms" in outs[5]
    assert "writes the same text; log-probabilities differ by at most" in outs[5]
    assert json.loads(outs[6])["file"] == DEMO
    assert (
        home / "hub" / f"models--{MMS.replace('/', '--')}" / "snapshots" / ("a" * 40) / "adapter.fra.safetensors"
    ).exists()
    assert "fra (French)" in outs[8] and "writes the same text" in outs[8]
    assert errs[9].startswith(f"earshot: {MMS} has no language 'Hungarian'; ")
    assert errs[10] == f"earshot: {GERMAN} was not removed; --yes does it without asking\n"
    assert outs[11].startswith(f"{GERMAN} is removed, ")
    assert errs[12] == f"earshot: {GERMAN} is not in the cache, {home / 'hub'}\n"
    assert json.loads(outs[13].splitlines()[0])["here"] is False
    assert all(err.count("\n") == 1 for err in (errs[9], errs[10], errs[12]))
    assert not any([*errs[:9], errs[14]])
    lines = dict(line.split(maxsplit=1) for line in outs[14].splitlines())
    assert lines["family"] == "whisper, in transformers WhisperForCTC"
    assert lines["weights"].startswith("24.8 million parameters")
    assert lines["transformers"].startswith("not compared: transformers can't run base-en")


WRONG = {
    "models pull xlsr-53-gernan": "the catalogue has no model 'xlsr-53-gernan'; near are xlsr-53-german",
    "models show zzz": "the catalogue has no model 'zzz'; `earshot models list` shows them",
    "models list --language germn": "the catalogue has no language 'germn'; near are deu (German)",
    "models pull base-en": "base-en comes with Earshot: it is neither pulled nor removed",
    "models rm base-en --yes": "base-en comes with Earshot: it is neither pulled nor removed",
    "models check /nowhere": "there is no folder /nowhere, and a hub id would look like 'organization/name'",
    "models check client": "client has no config.json; a checkpoint in Hugging Face format needs one",
    f"transcribe --model large-960 {DEMO}": "there is no folder large-960, no such model in the catalogue (near are",
    f"transcribe --model xlsr-53-german --language fr {DEMO}": "xlsr-53-german has no language 'fr'; it has deu",
    f"transcribe --revision v2 {DEMO}": "the bundled model has no revision 'v2'; revisions are for hub ids",
}
"""Commands that need no hub to know it, and what they say."""


def test_without_a_hub(home: Path, unused_tcp_port: int) -> None:
    endpoint = f"http://127.0.0.1:{unused_tcp_port}"
    *said, last = Shell(home, endpoint)(
        *WRONG,
        f"transcribe --language de {DEMO}",
        f"transcribe --language en {DEMO}",
        f"transcribe --model large-960h {DEMO}",
        "models pull xlsr-53-german",
        "models where",
    )
    assert last == (0, f"{home / 'hub'}\n", "")
    for (command, complaint), (status, out, err) in zip(WRONG.items(), said, strict=False):
        assert (status, out, err.count("\n")) == (1, "", 1), (command, err)
        assert err.startswith(f"earshot: {complaint}"), (command, err)
    said = said[len(WRONG) :]
    outs, errs = [out for _, out, _ in said], [err for _, _, err in said]
    assert [status for status, _, _ in said] == [1, 0, 1, 1]
    for number in (0, 2, 3):
        assert outs[number] == "" and f"{endpoint} can't be reached (" in errs[number]
        assert errs[number].count("\n") == 1
    assert "CAPTIONS" in outs[1]
    assert errs[1].endswith("; the bundled English model takes its place\n") and errs[1].count("\n") == 1
