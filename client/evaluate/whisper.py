"""OpenAI's Whisper as somebody to compare with: whole, decoder and all, by faster-whisper."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.audio import Pcm, to_float
from engine.errors import CheckpointError, ConfigError

BEAM = 5
FILES = ("model.bin", "config.json", "tokenizer.json")


def whisper(folder: Path | None) -> Callable[[Sequence[Pcm]], str]:
    """Recordings (S,) -> their text, with the model in `folder`, in the form that CTranslate2 reads.

    Each is transcribed alone, as English, with a beam of five, in eight bits, on all cores but one, as ours runs.
    Raises ConfigError where faster-whisper is not installed or no folder is given, CheckpointError for a wrong one.
    """
    try:
        from faster_whisper import WhisperModel
    except ImportError:
        raise ConfigError("--against whisper needs the package: pip install faster-whisper") from None
    if folder is None:
        raise ConfigError(
            "--against whisper wants to know which: --whisper-model DIR, a folder in CTranslate2's form "
            "(Systran/faster-whisper-base on the hub is one)"
        )
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise CheckpointError(f"{folder} lacks {', '.join(missing)}: it is no Whisper in CTranslate2's form")
    threads = max(1, (os.cpu_count() or 1) - 1)
    try:
        model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"faster-whisper can't load {folder}: {str(error).splitlines()[0]}") from None

    def heard(pcm: Pcm) -> str:
        if not len(pcm):
            return ""
        segments, _ = model.transcribe(
            to_float(pcm), language="en", beam_size=BEAM, without_timestamps=True, condition_on_previous_text=False
        )
        return " ".join(segment.text.strip() for segment in segments)

    return lambda recordings: " ".join(filter(None, map(heard, recordings)))
