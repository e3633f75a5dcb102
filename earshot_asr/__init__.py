"""Earshot: streaming speech recognition. What other programs use of it is here, loaded when it is asked for.

for utterance in earshot_asr.transcribe("talk.opus"):
    print(f"{utterance.start:7.2f} s  {utterance.text}")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earshot_asr.client.files import FileAudio
    from earshot_asr.client.stream import ClientStream
    from earshot_asr.engine.config import StreamConfig
    from earshot_asr.engine.decoder import DecodeConfig
    from earshot_asr.engine.errors import EarshotError
    from earshot_asr.engine.events import Event, Final, Flushed, Partial, Word
    from earshot_asr.engine.recognizer import Recognizer
    from earshot_asr.engine.runner import load_runner
    from earshot_asr.engine.sources import open_file
    from earshot_asr.engine.transcription import transcribe

_HOMES = {
    "ClientStream": ("client.stream", "ClientStream"),
    "DecodeConfig": ("engine.decoder", "DecodeConfig"),
    "EarshotError": ("engine.errors", "EarshotError"),
    "Event": ("engine.events", "Event"),
    "FileAudio": ("client.files", "FileAudio"),
    "Final": ("engine.events", "Final"),
    "Flushed": ("engine.events", "Flushed"),
    "Partial": ("engine.events", "Partial"),
    "Recognizer": ("engine.recognizer", "Recognizer"),
    "StreamConfig": ("engine.config", "StreamConfig"),
    "Word": ("engine.events", "Word"),
    "load_runner": ("engine.runner", "load_runner"),
    "open_file": ("engine.sources", "open_file"),
    "transcribe": ("engine.transcription", "transcribe"),
}
"""Where each public name is defined: module and name."""

__all__ = [
    "ClientStream",
    "DecodeConfig",
    "EarshotError",
    "Event",
    "FileAudio",
    "Final",
    "Flushed",
    "Partial",
    "Recognizer",
    "StreamConfig",
    "Word",
    "load_runner",
    "open_file",
    "transcribe",
]


def __getattr__(name: str) -> Any:
    """Loads what is asked for, and no more: torch takes seconds, and a client does without it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value = getattr(import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
