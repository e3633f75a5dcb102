"""What is wrong with the arguments is said before torch is loaded, which takes seconds, and the model."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from earshot_asr.engine import loading

ROOT = Path(__file__).parents[2]
DEMO = "client/data/demo.flac"
ALL_AT_ONCE = """
import contextlib, io, json, sys
from earshot_asr.client.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            main()
        except SystemExit as e:
            status = e.code
    print(json.dumps([status, said.getvalue(), "torch" in sys.modules]))
"""
NO_CUDA = "there is no device cuda: "


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_without_torch(tmp_path: Path, taken_port: int) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({"audio": str(ROOT / DEMO), "text": "one"}))
    out = ("--out", str(tmp_path / "out"))
    cases = {
        ("transcribe", "nowhere.wav"): "nowhere.wav: there is no such file",
        ("transcribe", DEMO, "--model", "/nowhere"): "there is no folder /nowhere",
        ("stream", "nowhere.wav"): "nowhere.wav: there is no such file",
        ("evaluate", "nowhere.jsonl"): "can't read nowhere.jsonl",
        ("evaluate", str(manifest), "--model", "/nowhere"): "there is no folder /nowhere",
        ("evaluate", str(manifest), "--wall", "--url", "h:1"): "'h:1' is not the URL of a server",
        ("train", "ctc", "no.jsonl", "--shape", "tiny", *out): "can't read no.jsonl",
        ("train", "ctc", str(manifest), "--dev", "no.jsonl", "--shape", "tiny", *out): "can't read no.jsonl",
        ("train", "ctc", str(manifest), "--from", "/nowhere", *out): "there is no folder /nowhere",
        ("train", "ctc", str(manifest), *out): "give one of --from, --config and --shape",
        ("train", "pretrain", "no.jsonl", *out): "can't read no.jsonl",
        ("train", "align", "no.jsonl", *out): "can't read no.jsonl",
        ("train", "align", str(manifest), "--model", "/nowhere", *out): "there is no folder /nowhere",
        ("serve", "--port", "0", "--model", "/nowhere"): "there is no folder /nowhere",
        ("serve", "--port", str(taken_port)): f"port {taken_port} of 127.0.0.1 is in use",
    }
    if loading._why_no_cuda() is not None:
        cases |= {
            ("transcribe", DEMO, "--device", "cuda"): NO_CUDA,
            ("evaluate", str(manifest), "--device", "cuda"): NO_CUDA,
            ("serve", "--port", "0", "--device", "cuda"): NO_CUDA,
            ("demo", "--device", "cuda"): NO_CUDA,
            ("train", "ctc", str(manifest), "--shape", "tiny", "--device", "cuda", *out): NO_CUDA,
            ("train", "pretrain", str(manifest), "--device", "cuda:1", *out): "there is no device cuda:1: ",
        }
    done = subprocess.run(
        (sys.executable, "-c", ALL_AT_ONCE, json.dumps(list(cases))), cwd=ROOT, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    for (arguments, complaint), line in zip(cases.items(), done.stdout.splitlines(), strict=True):
        status, said, loaded = json.loads(line)
        assert (status, loaded) == (1, False) and f"earshot: {complaint}" in said, (arguments, status, said, loaded)
    assert not (tmp_path / "out").exists()
