"""OpenAI's Whisper with its decoder, run by faster-whisper, to compare with."""

from collections.abc import Callable, Sequence
from pathlib import Path

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds, to_float
from earshot_asr.engine.errors import CheckpointError, ConfigError

BEAM_COUNT = 5
WINDOW_SECONDS: Seconds = 30.0
MODEL_FILES = ("model.bin", "config.json", "tokenizer.json")


def whisper(folder: Path | None, threads: int) -> Callable[[Sequence[Pcm]], str]:
    """Returns a function that transcribes recordings (S,) as English, each on its own.

    folder     of the model, in CTranslate2 format
    threads    number of CPU threads; it runs with 8-bit weights and a beam of BEAM_COUNT hypotheses

    Raises ConfigError if faster-whisper is not installed or no folder is given, CheckpointError if it can't be loaded.
    """
    try:
        from faster_whisper import WhisperModel
    except ImportError:
        raise ConfigError("--against whisper needs the package: pip install faster-whisper") from None
    if folder is None:
        raise ConfigError(
            "--against whisper needs --whisper-model DIR: the folder of a model in CTranslate2 format, such as "
            "Systran/faster-whisper-base on the hub"
        )
    folder = folder.expanduser()
    if missing := [name for name in MODEL_FILES if not (folder / name).is_file()]:
        raise CheckpointError(f"{folder} lacks {', '.join(missing)}: it is not a Whisper model in CTranslate2 format")
    try:
        model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)
    except Exception as error:  # the tokenizers package raises plain Exception
        reason = str(error).strip().split("\n", 1)[0]
        raise CheckpointError(f"faster-whisper can't load {folder}: {reason}") from None

    def heard(pcm: Pcm) -> str:
        if not len(pcm):
            return ""
        short = len(pcm) <= WINDOW_SECONDS * SAMPLE_RATE  # timestamps say where the next window of a longer one begins
        segments, _ = model.transcribe(
            to_float(pcm),
            language="en",
            beam_size=BEAM_COUNT,
            without_timestamps=short,
            condition_on_previous_text=False,
        )
        return " ".join(segment.text.strip() for segment in segments)

    return lambda recordings: " ".join(filter(None, map(heard, recordings)))
