"""What can go wrong with what we are given. A broken invariant of our own is an assert, not one of these.

EarshotError
├── AudioError          audio that can't be decoded, or a format that isn't understood
├── CheckpointError     a model that can't be loaded
│   ├── HubError            the hub refuses it, or does not answer
│   └── UnsupportedModel    it is well-formed, but of a kind this engine doesn't run
├── ConfigError         a setting out of its range, an unknown preset
├── DeviceError         no such compute device, no such microphone
├── OutputError         a file, or standard output, that can't be written
├── ProtocolError       a message that the wire format doesn't allow
└── TrainingError       a training run that can't go on
    └── NothingLearned      one that is done, and whose model is of no use

Each message names what was wrong and what would be right; the command line prints it as one line. What a file or a
peer made part of it is shown() or listed(), which keep it short.
"""

from collections.abc import Iterable
from reprlib import Repr

MESSAGE_CHARACTERS = 300
"""Most characters of the message of a CheckpointError: what anybody wrote into a checkpoint can't make it longer."""


class EarshotError(Exception):
    """Base of all errors that a user can cause and mend."""


class AudioError(EarshotError):
    """Audio that can't be decoded, or a format that isn't understood."""


class CheckpointError(EarshotError):
    """A model that can't be loaded. A message that is too long loses its middle."""

    def __init__(self, message: str) -> None:
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
        if len(line) > MESSAGE_CHARACTERS:
            half = MESSAGE_CHARACTERS // 2
            line = f"{line[: half - 5]} ... {line[-half:]}"
        super().__init__(line)


class HubError(CheckpointError):
    """A hub that refuses what was asked for, that does not answer, or that is none."""


class UnsupportedModel(CheckpointError):
    """A well-formed checkpoint of a kind this engine doesn't run."""


class ConfigError(EarshotError):
    """A setting out of its range."""


class DeviceError(EarshotError):
    """No such compute device, no such microphone."""


class OutputError(EarshotError):
    """A file, or standard output, that can't be written."""


class ProtocolError(EarshotError):
    """A message that the wire format doesn't allow."""


class TrainingError(EarshotError):
    """A training run that can't go on."""


class NothingLearned(TrainingError):
    """A training run that is done, and whose model is of no use."""


SHOWN_CHARACTERS = 60
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = SHOWN_CHARACTERS
_SHORT.maxlevel = 3


def shown(value: object) -> str:
    """The beginning of the repr of a value from a file, however large or nested the value is."""
    text = _SHORT.repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def listed(names: Iterable[str], characters: int = 80) -> str:
    """Names with commas between them: the first one, as many more as there is room for, and how many are left out."""
    first, *rest = names
    text = first if len(first) <= characters else f"{first[: characters - 3]}..."
    while rest and len(text) + 2 + len(rest[0]) <= characters:
        text += f", {rest.pop(0)}"
    return f"{text} and {len(rest):,} more" if rest else text
