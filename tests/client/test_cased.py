"""Captions of a server whose model knows capitals only."""

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console
from typer.testing import CliRunner

from earshot_asr.client.cli import app
from earshot_asr.client.files import FileAudio
from earshot_asr.client.live import caption
from earshot_asr.client.terminal import screen
from earshot_asr.server.wire import Done, FinalMessage, PartialMessage, Ready, WireWord
from tests.helpers import Polyglot, silence, speak
from tests.server.loopback import serving

READY = Ready("s", "m", "f", True, 0, 16_000, 0, 0, 0, "en")
WORDS = [WireWord("I", 0.1, 0.2, 0.9), WireWord("MET", 0.2, 0.3, 0.9), WireWord("ADA", 0.3, 0.4, 0.9)]
FINAL = FinalMessage(0, 0.1, 0.4, "I MET ADA", 0.9, 16_000, WORDS)
PARTIAL = PartialMessage(0, 0.1, 0.4, "I MET ADA AND I", 5)


def shown(format: str, **options: object) -> str:
    out = Console(file=StringIO(), width=80)
    with screen(out, format=format, partials=True, **options) as view:  # type: ignore[arg-type]
        for message in (READY, PARTIAL, FINAL, Done(16_000, 1.0)):
            view.show(message, now=1.0)
    assert isinstance(out.file, StringIO)
    return out.file.getvalue()


def test_every_format_has_the_case_that_was_asked_for() -> None:
    assert shown("text", cased=True, names=["Ada"]) == "I met Ada\n"
    assert "I met Ada\n" in shown("srt", cased=True, names=["Ada"])
    assert "I met ada\n" in shown("vtt", cased=True)
    assert shown("text") == "I MET ADA\n"
    partial, final, _ = map(json.loads, shown("json", cased=True, names=["Ada"]).splitlines())
    assert (partial["text"], partial["stable"]) == ("I met Ada and I", 5)
    assert (final["text"], [word["text"] for word in final["words"]]) == ("I met Ada", ["I", "met", "Ada"])


RECORDING = Path(__file__).parents[2] / "client" / "data" / "demo.flac"


@pytest.mark.parametrize(
    ("arguments", "cased"),
    [
        (["--format", "srt"], True),
        (["--format", "srt", "--case", "model"], False),
        (["--format", "text"], False),
        (["--format", "text", "--case", "sentence"], True),
    ],
)
def test_captions_are_cased_and_transcripts_are_not(arguments: list[str], cased: bool) -> None:
    result = CliRunner().invoke(app, ["transcribe", *arguments, str(RECORDING)])
    assert result.exit_code == 0
    letters = [char for char in result.stdout if char.isalpha()]
    assert any(char.islower() for char in letters) == cased


async def test_the_language_is_the_servers(tmp_path: Path) -> None:
    """`ready` says it, and comes first."""
    pcm = np.concatenate([silence(0.2), speak("SO I SAID"), silence(1)])
    soundfile.write(tmp_path / "a.wav", pcm, 16_000)
    out = Console(file=StringIO(), width=80)
    async with serving(Polyglot()) as server:
        with screen(out, cased=True) as shown, FileAudio(tmp_path / "a.wav", 0) as audio:
            await caption(server.url, audio, [shown], retry=0)
    assert isinstance(out.file, StringIO)
    assert out.file.getvalue() == "So I said\n"
