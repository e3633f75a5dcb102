"""What can go wrong with what we are given. A broken invariant of our own is an assert, not one of these.

EarshotError
├── AudioError          audio that can't be decoded, or a format that isn't understood
├── CheckpointError     a model that can't be loaded
│   └── UnsupportedModel    it is well-formed, but of a kind this engine doesn't run
├── ConfigError         a setting out of its range, an unknown preset
├── DeviceError         no such compute device, no such microphone
├── OutputError         a file, or standard output, that can't be written
├── ProtocolError       a message that the wire format doesn't allow
└── TrainingError       a training run that can't go on

Each message names what was wrong and what would be right; the command line prints it as one line.
"""


class EarshotError(Exception):
    """Base of all errors that a user can cause and mend."""


class AudioError(EarshotError):
    """Audio that can't be decoded, or a format that isn't understood."""


class CheckpointError(EarshotError):
    """A model that can't be loaded."""


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
