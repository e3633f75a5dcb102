"""Compressed audio, decoded in a process of its own: what breaks a codec ends one stream, and no other.

    python -m earshot_asr.engine.sources.compressed container 1

reads messages from standard input and writes messages to standard output, each a letter, a length in four bytes
(little-endian), and so many bytes.

    in     d  bytes of the container, cut anywhere; with `opus`, one packet
           f  a mark: comes back once all that could be decoded of the bytes before it has been written
           the end of the input
    out    p  samples of int16 at 16 kHz, (S,), or (C, S) if each of several channels is wanted for itself
           f  the mark
           n  a sentence about what has been decoded
           e  a sentence: why nothing more can be decoded
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal, TypeAlias, get_args

import av
import numpy as np

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.errors import AudioError
from earshot_asr.engine.sources.ahead import Ahead
from earshot_asr.engine.sources.confined import allow_cpu, confine
from earshot_asr.engine.sources.converter import Converter, CutShort, EachChannel, Samples
from earshot_asr.engine.sources.media import Media
from earshot_asr.engine.sources.timeline import Timeline
from earshot_asr.engine.sources.wav import plain_wav

Packing: TypeAlias = Literal["container", "opus"]
MODULE = "earshot_asr.engine.sources.compressed"
HEAD_BYTES = 5
PIPE_BYTES = 64 * 1024
"""How far the process may be behind what is sent to it."""
DATA, MARK, PCM, NOTE, ERROR = b"d", b"f", b"p", b"n", b"e"
NICENESS = 5
"""The process stands back behind the server, which has the streams of others."""
MOST_GAP_SECONDS = 60.0
"""Longest silence that a gap in the times of a stream becomes."""


@dataclass(frozen=True, slots=True)
class Compressed:
    """How to read audio that is compressed, or has a header. Raises AudioError for what isn't understood.

    packing     container: Ogg, WebM, MP3, AAC, FLAC, WAV, whatever FFmpeg reads from front to back; opus: bare
                packets of Opus, one in each message
    channels    how many there are, if each is wanted for itself; None: they are mixed
    """

    packing: Packing = "container"
    channels: int | None = None

    def __post_init__(self) -> None:
        if self.packing not in get_args(Packing):
            raise AudioError(f"encoding is {self.packing!r}; it must be one of {', '.join(get_args(Packing))}")

    @property
    def command(self) -> list[str]:
        """The command line of the process."""
        return [sys.executable, "-m", MODULE, self.packing, str(self.channels or 0)]


def message(kind: bytes, data: bytes = b"") -> bytes:
    """A message, as it is written."""
    return kind + len(data).to_bytes(4, "little") + data


class _Input:
    """The messages that come in: bytes for the decoder, and the marks between them.

    opening    bytes are only looked at: marks among them are answered when they have been decoded, and more is wanted
    """

    def __init__(self, source: BinaryIO, output: "_Output") -> None:
        self.opening = False
        self._source, self._output = source, output
        self._marks = 0  # to be answered

    def packets(self) -> Iterator[bytes]:
        """The bytes of each message. A mark is answered when the next one is asked for."""
        while True:
            self._answer()
            if len(head := self._source.read(HEAD_BYTES)) < HEAD_BYTES:
                return
            data = self._source.read(int.from_bytes(head[1:], "little"))
            if head[:1] == MARK:
                self._marks += 1
            elif data:
                yield data

    def _answer(self) -> None:
        while self._marks and not self.opening:
            self._marks -= 1
            self._output.mark()

    def reader(self) -> Ahead:
        """All of them as one."""
        packets, rest = self.packets(), b""

        def read(size: int) -> bytes:
            nonlocal rest
            if not rest:
                self._answer()
                rest = next(packets, b"")
            data, rest = rest[:size], rest[size:]
            return data

        return Ahead(read)


class _Output:
    """The messages that go out, and the converter whose samples they are."""

    def __init__(self, target: BinaryIO, converter: Converter | EachChannel) -> None:
        self.converter = converter
        self._target = target

    def mark(self) -> None:
        self.pcm(self.converter.finish())
        self.write(MARK)

    def write(self, kind: bytes, data: bytes = b"") -> None:
        self._target.write(message(kind, data))
        self._target.flush()
        allow_cpu()

    def pcm(self, pcm: Pcm) -> None:
        if pcm.size:
            self.write(PCM, np.ascontiguousarray(pcm).tobytes())


def main(packing: str, channels: str, source: BinaryIO, target: BinaryIO) -> None:
    """Decodes until the input ends, or can't be decoded any further."""
    converter = EachChannel(int(channels)) if int(channels) else Converter()
    output = _Output(target, converter)
    incoming = _Input(source, output)
    try:
        decoded = _opus(incoming.packets()) if packing == "opus" else _contained(incoming, output)
        most = int(channels)
        for samples, rate in decoded:
            if most and len(samples) > most:
                output.write(NOTE, f"there are {len(samples)} channels, of which the first {most} are heard".encode())
                most = len(samples)
            output.pcm(converter.feed(samples, rate))
        output.pcm(converter.finish())
        for _ in incoming.packets():  # chunks behind the data of a WAV, say: the audio may end before its sender does
            pass
    except CutShort as e:
        output.pcm(e.before)
        output.write(ERROR, str(e).encode())
    except AudioError as e:
        output.write(ERROR, str(e).encode())


def _contained(incoming: _Input, output: _Output) -> Iterator[tuple[Samples, int]]:
    ahead = incoming.reader()
    if not ahead.peek(1):  # nothing was sent, so nothing is wrong
        return
    if (wav := plain_wav(ahead)) is not None:
        yield from wav
        return
    incoming.opening = True
    media = Media(ahead, Timeline(MOST_GAP_SECONDS), batch=0)
    incoming.opening = False
    yield from media
    for note in [*media.notes, *filter(None, [media.damage])]:
        output.write(NOTE, note.encode())


def _opus(packets: Iterator[bytes]) -> Iterator[tuple[Samples, int]]:
    """Packets of Opus -> samples (C, S) at 48 kHz."""
    codec = av.CodecContext.create("opus", "r")
    to_float = av.AudioResampler(format="fltp")
    for number, packet in enumerate(packets, 1):
        try:
            frames = codec.decode(av.Packet(packet))
        except av.FFmpegError as e:
            raise AudioError(f"message {number} is no packet of Opus: {e.strerror}") from None
        for frame in frames:
            for whole in to_float.resample(frame):
                yield whole.to_ndarray().astype(np.float32, copy=False), whole.sample_rate


if __name__ == "__main__":
    confine()
    if sys.platform != "win32":
        os.nice(NICENESS)
    av.logging.set_level(None)
    main(sys.argv[1], sys.argv[2], sys.stdin.buffer, sys.stdout.buffer)
