"""Files as they really are, a line each: what is in them, what is to be heard at which time, and what is to be said.

Each was reported against a program like ours, or lost text in it. All are made here.
"""

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earshot_asr.engine.audio import Pcm, Seconds
from earshot_asr.engine.sources import open_file
from tests.engine.sources.made import Samples, encoded, holds, tone, written

RATE = 48_000
A, B = tone(2.0), tone(2.0)[::-1].copy()
"""At 16 kHz, as they are to be heard."""
A48, B48 = tone(2.0, RATE), tone(2.0, RATE)[::-1].copy()
S = A * (np.arange(len(A)) // 2000 % 3 == 0)
S48 = A48 * (np.arange(len(A48)) // 6000 % 3 == 0)
"""With pauses, as speech has them."""
A8, B8 = tone(2.0, 8000), tone(2.0, 8000)[::-1].copy()


Part = tuple[Seconds, Samples]


def opus(*parts: Part) -> bytes:
    return encoded("ogg", "libopus", list(parts))


def vorbis(samples: Samples, rate: int = RATE) -> bytes:
    return written(samples, rate, format="OGG", subtype="VORBIS")


def wav(samples: Any = A48, rate: int = RATE, subtype: str = "PCM_16") -> bytes:
    return written(samples, rate, format="WAV", subtype=subtype)


def resized(data: bytes, riff: int, size: int) -> bytes:
    """A WAV file with other sizes in its header."""
    at = data.index(b"data") + 4
    return data[:4] + riff.to_bytes(4, "little") + data[8:at] + size.to_bytes(4, "little") + data[at + 4 :]


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def mp3(samples: Samples, **options: str) -> bytes:
    return encoded("mp3", "libmp3lame", [(0, samples)], options=options, codec_options={"q": "2"})


def flac(samples: Samples) -> bytes:
    return encoded("flac", "flac", [(0, samples)])


def flac_of(samples: Samples, rate: int) -> bytes:
    return encoded("flac", "flac", [(0, samples)], rate=rate)


def stereo_mp3(samples: Samples) -> bytes:
    return encoded("mp3", "libmp3lame", [(0, samples)], layout="stereo")


def late_ts() -> bytes:
    return encoded("mpegts", "mp2", [(0.5, A48)], video=1)


def faint(subtype: str = "PCM_16") -> bytes:
    return wav(S48 / 500, subtype=subtype)


def adts(samples: Samples) -> bytes:
    return encoded("adts", "aac", [(0, samples)])


def ts(*parts: Part) -> bytes:
    return encoded("mpegts", "aac", list(parts))


def webm(*parts: Part) -> bytes:
    return encoded("webm", "libopus", list(parts))


def mkv(*parts: Part, video: Seconds = 0.0) -> bytes:
    return encoded("matroska", "aac", list(parts), video=video)


def mp4(*parts: Part, video: Seconds = 0.0) -> bytes:
    return encoded("mp4", "aac", list(parts), video=video)


def fragmented(*parts: Part) -> bytes:
    return encoded("mp4", "aac", list(parts), options={"movflags": "frag_keyframe+empty_moov"})


def tracks(*each: Samples) -> bytes:
    return encoded("matroska", "flac", *([(0.0, samples)] for samples in each))


def rounded() -> bytes:
    """Each fifth of a second begins 10 ms later than the last one ended."""
    return encoded("matroska", "flac", [(0.21 * n, A48[n * RATE // 5 :][: RATE // 5]) for n in range(3)])


def amr(samples: Samples) -> bytes:
    return encoded("amr", "libopencore_amrnb", [(0, samples)], rate=8000, codec_options={"dtx": "1", "b": "12200"})


@dataclass(frozen=True)
class Kind:
    """A file and what is to come of it.

    parts     what is to be heard, and when; None: not looked at; `seconds`: how long all is
    damage    a pattern of what is to be said of damage; "": nothing
    notes     a pattern of what is to be noted
    piped     whether it can be read from a pipe as well, with the same result
    """

    name: str
    make: Callable[[], bytes]
    parts: tuple[tuple[Seconds, Samples], ...] | None = ((0.0, A),)
    seconds: Seconds = 2.0
    damage: str = ""
    notes: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    piped: bool = True


AB = ((0.0, A), (2.0, B))
FIRST_HALF = ((0.0, A[:15_000]),)

KINDS = [
    # chained streams
    Kind("two Opus streams.ogg", lambda: opus((0, A48)) + opus((0, B48)), AB, 4.0),
    Kind("two Vorbis streams.ogg", lambda: vorbis(A48) + vorbis(B48), AB, 4.0),
    Kind("Vorbis of two rates.ogg", lambda: vorbis(A48) + vorbis(B, 16_000), AB, 4.0),
    Kind("Opus, then Vorbis.ogg", lambda: opus((0, A48)) + vorbis(B48), AB, 4.0),
    Kind("Vorbis, then Opus.ogg", lambda: vorbis(A48) + opus((0, B48)), AB, 4.0),
    Kind("three streams.opus", lambda: 3 * opus((0, A48)), (*((2.0 * n, A) for n in range(3)),), 6.0),
    Kind("two FLAC files.flac", lambda: flac(A48) + flac(B48), AB, 4.0),
    Kind(
        "two FLAC files of 8 kHz.flac",
        lambda: 2 * flac_of(A8, 8000),
        ((0.0, A), (2.0, A)),
        4.0,
    ),
    Kind(
        "FLAC of 8, then 16 kHz.flac",
        lambda: flac_of(A8, 8000) + flac_of(A, 16_000),
        ((0.0, A),),
        2.0,
        "invalid data",
    ),
    Kind(
        "stereo MP3, then mono.mp3",
        lambda: stereo_mp3(A48) + mp3(B48),
        ((0.0, A), (2.03, B)),
        4.05,
    ),
    Kind(
        "mono MP3, then stereo.mp3",
        lambda: mp3(A48) + stereo_mp3(B48),
        ((0.0, A), (2.03, B)),
        4.05,
    ),
    Kind("two short streams that begin late.ts", lambda: 2 * late_ts(), None, 4.5),
    Kind("written to a pipe, as arecord does.wav", lambda: resized(wav(), 0x7FFFF024, 0x7FFFF000)),
    Kind("two MP3 files.mp3", lambda: mp3(A48) + mp3(B48), ((0.0, A), (2.03, B)), 4.05),
    Kind("two ADTS files.aac", lambda: adts(A48) + adts(B48), ((0.02, A), (2.07, B)), 4.09),
    Kind("two transport streams.ts", lambda: ts((0, A48)) + ts((0, B48)), ((0.02, A), (2.05, B)), 4.07),
    Kind("two WebM files.webm", lambda: webm((0, A48)) + webm((0, B48)), AB, 4.0),
    # late starts, gaps, lost packets
    Kind("late in a video.mkv", lambda: mkv((4, A48), video=7), ((4.0, A),), 6.0),
    Kind("late in a video.mp4", lambda: mp4((4, A48), video=7), ((4.0, A),), 6.0),
    Kind("late in a video.ts", lambda: encoded("mpegts", "mp2", [(4, A48)], video=7), ((4.0, A),), 6.0),
    Kind("late, no video.mka", lambda: mkv((4, A48)), ((4.0, A),), 6.0),
    Kind("late, no video.webm", lambda: webm((4, A48)), ((4.0, A),), 6.0),
    Kind("cut out of a longer recording.webm", lambda: webm((5000, A48))),
    Kind("cut out of a longer recording.mp4", lambda: fragmented((5000, A48)), ((0.02, A),)),
    Kind("live Ogg that was joined late.ogg", lambda: opus((5000, A48))),
    Kind("a gap.mkv", lambda: mkv((0, A48), (22, B48)), ((0.0, A), (22.0, B)), 24.0),
    Kind("a gap.mp4", lambda: mp4((0, A48), (22, B48)), ((0.0, A), (22.0, B)), 24.0),
    Kind("a gap.webm", lambda: webm((0, A48), (22, B48)), ((0.0, A), (22.0, B)), 24.0),
    Kind("a gap.ogg", lambda: opus((0, A48), (22, B48)), ((0.0, A), (22.0, B)), 24.0),
    Kind(
        "a gap of a day.mkv",
        lambda: mkv((0, A48), (86_402, B48)),
        ((0.0, A), (7.0, B)),
        9.0,
        notes="86,395 s of silence",
        options={"longest_gap": 5.0},
    ),
    Kind("rounded times.mkv", rounded, ((0.0, A[:9600]),), 0.6),
    Kind("DTX.amr", lambda: amr(np.concatenate([A8, np.zeros(24_000, np.float32), B8])), None, 7.0),
    # headers that promise nothing, or all
    Kind("recorder that crashed 1.wav", lambda: resized(wav(), 0, 0)),
    Kind("recorder that crashed 2.wav", lambda: resized(wav(), 0xFFFFFFFF, 0xFFFFFFFF)),
    Kind("recorder that crashed 3.wav", lambda: resized(wav(), 36, 0)),
    Kind("bytes after the audio.wav", lambda: wav() + bytes(300)),
    Kind("a broken chunk after the audio.wav", lambda: wav() + b"LIST" + bytes(300)),
    Kind("half.wav", lambda: half(wav()), FIRST_HALF, 1.0, "its header says 192,044 bytes, there are 96,022"),
    Kind("half.aiff", lambda: half(written(A48, RATE, format="AIFF")), FIRST_HALF, 1.0, "its header says"),
    Kind("half.flac", lambda: half(flac(A48)), ((0.0, A[:12_000]),), 0.77, r"of its 2.0 s, \d\.\d s"),
    Kind("half.w64", lambda: half(encoded("w64", "pcm_s16le", [(0, A48)])), FIRST_HALF, 1.0, "its header says"),
    Kind("half.au", lambda: half(encoded("au", "pcm_s16be", [(0, A48)])), FIRST_HALF, 1.0, "its header says"),
    Kind("half.opus", lambda: half(opus((0, A48))), FIRST_HALF, 1.0, "its last page is missing"),
    Kind("half.mp3", lambda: half(mp3(A48)), FIRST_HALF, 1.0, "its header says"),
    Kind("half.webm", lambda: half(webm((0, A48))), FIRST_HALF, 1.0, r"of its 2.0 s, 1\.\d s", piped=False),
    Kind("half.mkv", lambda: half(mkv((0, A48), video=9)), FIRST_HALF, 1.1, "its header says .* bytes"),
    Kind("half.fragmented.mp4", lambda: half(fragmented((0, A48))), FIRST_HALF, 1.0, "of its 2.0 s"),
    Kind("half.aac", lambda: half(adts(A48)), FIRST_HALF, 1.0, "invalid data"),
    Kind("video longer than its audio.mp4", lambda: mp4((0, A48), video=60)),
    Kind("video longer than its audio.mkv", lambda: mkv((0, A48), video=60)),
    Kind("variable rate, no Xing header.mp3", lambda: mp3(A48, write_xing="0"), ((0.02, A),), 2.02),
    Kind("ADTS.aac", lambda: adts(A48), ((0.02, A),), 2.02),
    # rare formats
    Kind("GSM 6.10.wav", lambda: wav(A8, 8000, "GSM610")),
    Kind("G.721.wav", lambda: wav(A8, 8000, "G721_32")),
    Kind("NMS ADPCM.wav", lambda: wav(A8, 8000, "NMS_ADPCM_32")),
    Kind("SPHERE.sph", lambda: written(A, 16_000, format="NIST", subtype="PCM_16")),
    Kind("Audio Visual Research.avr", lambda: written(A, 16_000, format="AVR", subtype="PCM_16"), piped=False),
    Kind("Psion.wve", lambda: written(A8, 8000, format="WVE", subtype="ALAW"), piped=False),
    # channels and tracks
    Kind("right is minus left.wav", lambda: wav(np.stack([A48, -A48], 1)), notes="cancel one another out"),
    Kind("right is nearly minus left.wav", lambda: wav(np.stack([A48, -0.9 * A48], 1)), notes="cancel one another out"),
    Kind("right is silent.wav", lambda: wav(np.stack([A48, 0 * A48], 1))),
    Kind("five of six are silent.wav", lambda: wav(np.stack([0 * A48, 0 * A48, A48, 0 * A48, 0 * A48, 0 * A48], 1))),
    Kind("the left.wav", lambda: wav(np.stack([A48, B48], 1)), options={"channel": 1}),
    Kind("the right.wav", lambda: wav(np.stack([A48, B48], 1)), ((0.0, B),), options={"channel": 2}),
    Kind("two tracks.mka", lambda: tracks(A48, B48), notes=r"2 audio tracks .*; track 1 is read"),
    Kind("the second track.mka", lambda: tracks(A48, B48), ((0.0, B),), options={"track": 2}),
    Kind(
        "a silent track and another.mka",
        lambda: tracks(0 * A48, B48),
        (),
        notes="track 1 is silent, but track 2 is not: .*--track 2",
    ),
    # levels
    Kind("floats in the range of int16.wav", lambda: wav(A48 * 32768, subtype="FLOAT"), notes="far beyond full scale"),
    Kind("20 times too loud.wav", lambda: wav(A48 * 20, subtype="FLOAT"), notes="far beyond full scale"),
    Kind("at -60 dB.wav", lambda: faint(subtype="FLOAT"), ((0.0, S),), notes="it is faint: it was amplified"),
    Kind("at -60 dB in 16 bits.wav", faint, ((0.0, S),), notes="it is faint: it was amplified"),
    Kind("one sample is infinite.wav", lambda: wav(np.append(A48, np.inf), subtype="FLOAT"), damage="NaN or infinite"),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_is_heard_and_what_is_said(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / kind.name
    path.write_bytes(kind.make())
    pcm, damage, notes = heard(path, **kind.options)
    assert holds(pcm, kind.parts, kind.seconds, slack=0.12 if "half" in kind.name else 0.06) == ""
    assert re.search(kind.damage, damage) if kind.damage else damage == ""
    assert re.search(kind.notes, notes) if kind.notes else notes == ""


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.piped], ids=lambda kind: kind.name)
def test_through_a_pipe_it_is_the_same(kind: Kind, tmp_path: Path) -> None:
    path, fifo = tmp_path / kind.name, tmp_path / "fifo"
    path.write_bytes(kind.make())
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(path.read_bytes()), daemon=True)
    writer.start()
    piped = heard(fifo, **kind.options)
    writer.join()
    assert holds(piped[0], kind.parts, kind.seconds, slack=0.12 if "half" in kind.name else 0.06) == ""
    assert piped[2] == heard(path, **kind.options)[2]


def heard(path: Path, **options: Any) -> tuple[Pcm, str, str]:
    with open_file(path, **options) as source:
        return np.concatenate(list(source)), source.damage, "\n".join(source.notes)
