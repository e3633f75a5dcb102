"""Formats that FFmpeg doesn't read, or takes for others: libsndfile does."""

from collections.abc import Iterator
from typing import Any

from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources.converter import Samples

FORMATS = ("AVR", "HTK", "IRCAM", "MAT4", "MAT5", "MPC2K", "NIST", "PAF", "PVF", "SDS", "SVX", "VOC", "WVE", "XI")
"""The names that libsndfile gives to them."""
SUBTYPES = ("G721_32", "NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32")
"""And those of codecs, whatever the format."""
BLOCK_SAMPLES = 8192


class SoundFile:
    """An open file of such a format. Iterates over samples (C, S) and their rate.

    file    can seek, and is at its start

    Raises AudioError if it is of another format.
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
        if self._file.format not in FORMATS and self._file.subtype not in SUBTYPES:
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
