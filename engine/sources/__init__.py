"""Bytes of any encoding, rate and container -> 16 kHz mono int16, as they come.

    AudioSource       raw samples, fed as bytes                          raw.py
    Compressed        an Ogg, WebM, ... stream, in a process of its own  compressed.py
    open_file         a file or a pipe, drawn from                       files.py

    bytes       reader.py, headers.py, ogg.py
    -> pieces   container.py (FFmpeg), others.py (libsndfile), raw.py    samples of any format, each with its time
    -> line     media.py, timeline.py                                    gaps are silence, overlaps are laid once
    -> 16 kHz   converter.py                                             mixed, resampled, scaled, rounded

What comes out never depends on how the bytes were cut.
"""

from earshot_asr.engine.sources.converter import CutShort
from earshot_asr.engine.sources.files import FileSource, open_file
from earshot_asr.engine.sources.raw import AudioSource, Encoding, RawFormat
from earshot_asr.engine.sources.timeline import LONGEST_GAP_SECONDS

__all__ = [
    "LONGEST_GAP_SECONDS",
    "AudioSource",
    "CutShort",
    "Encoding",
    "FileSource",
    "RawFormat",
    "open_file",
]
