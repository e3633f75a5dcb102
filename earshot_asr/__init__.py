"""Earshot: streaming speech recognition. What other programs use of it is here, loaded when it is asked for.

for utterance in earshot_asr.transcribe("talk.opus"):
    print(f"{utterance.start:7.2f} s  {utterance.text}")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earshot_asr.client.blocking import listen
    from earshot_asr.client.connection import StreamError
    from earshot_asr.client.files import FileAudio
    from earshot_asr.client.microphone import Microphone
    from earshot_asr.client.stream import ClientStream
    from earshot_asr.engine.config import StreamConfig
    from earshot_asr.engine.decoder import DecodeConfig, Hotword
    from earshot_asr.engine.errors import AudioError, CheckpointError, ConfigError, DeviceError, EarshotError
    from earshot_asr.engine.events import Alternative, Event, Final, Flushed, Partial, Word
    from earshot_asr.engine.loading import load_runner
    from earshot_asr.engine.recognizer import Recognizer
    from earshot_asr.engine.sources import RawFormat, open_file
    from earshot_asr.engine.transcription import transcribe
    from earshot_asr.server.wire import FinalMessage, PartialMessage

_MODULES = {
    "Alternative": "engine.events",
    "AudioError": "engine.errors",
    "CheckpointError": "engine.errors",
    "ClientStream": "client.stream",
    "ConfigError": "engine.errors",
    "DecodeConfig": "engine.decoder",
    "DeviceError": "engine.errors",
    "EarshotError": "engine.errors",
    "Event": "engine.events",
    "FileAudio": "client.files",
    "Final": "engine.events",
    "FinalMessage": "server.wire",
    "Flushed": "engine.events",
    "Hotword": "engine.decoder",
    "Microphone": "client.microphone",
    "Partial": "engine.events",
    "PartialMessage": "server.wire",
    "RawFormat": "engine.sources",
    "Recognizer": "engine.recognizer",
    "StreamConfig": "engine.config",
    "StreamError": "client.connection",
    "Word": "engine.events",
    "listen": "client.blocking",
    "load_runner": "engine.loading",
    "open_file": "engine.sources",
    "transcribe": "engine.transcription",
}
"""Where each public name is defined."""

__all__ = [
    "Alternative",
    "AudioError",
    "CheckpointError",
    "ClientStream",
    "ConfigError",
    "DecodeConfig",
    "DeviceError",
    "EarshotError",
    "Event",
    "FileAudio",
    "Final",
    "FinalMessage",
    "Flushed",
    "Hotword",
    "Microphone",
    "Partial",
    "PartialMessage",
    "RawFormat",
    "Recognizer",
    "StreamConfig",
    "StreamError",
    "Word",
    "listen",
    "load_runner",
    "open_file",
    "transcribe",
]


def __getattr__(name: str) -> Any:
    """Loads what is asked for, and no more: torch takes seconds, and a client does without it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *__all__})
