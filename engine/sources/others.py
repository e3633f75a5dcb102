"""Formats that FFmpeg doesn't read, or takes for others: libsndfile does."""

from collections.abc import Iterator
from typing import Any

from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources.converter import Samples

LEFT_OUT = ("MP3", "OGG", "FLAC", "RAW", "SD2", "SDS")
"""Formats of libsndfile that are left to FFmpeg, can't be told, or whose reader prints to standard output."""
BLOCK_SAMPLES = 8192


class SoundFile:
    """An open file of such a format. Iterates over samples (C, S) and their rate.

    file    can seek, and is at its start

    Raises AudioError if libsndfile doesn't know it, or it is left out.
    """

    damage = ""
    notes: tuple[str, ...] = ()

    def __init__(self, file: Any) -> None:
        import soundfile

        self._error: type[Exception] = soundfile.LibsndfileError
        try:
            self._file = soundfile.SoundFile(file)
        except soundfile.LibsndfileError as e:
            raise AudioError(f"can't decode audio: {e}") from None
        if self._file.format in LEFT_OUT:
            self._file.close()
            raise AudioError(f"can't decode audio: {self._file.format} is left to FFmpeg")
        self.channels: int = self._file.channels
        self.duration: float | None = self._file.frames / self._file.samplerate

    def __iter__(self) -> Iterator[tuple[Samples, int]]:
        try:
            while len(block := self._file.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)):
                yield block.T, self._file.samplerate
        except self._error as e:
            self.damage = str(e).strip()

    def close(self) -> None:
        """Lets go of the file."""
        self._file.close()
