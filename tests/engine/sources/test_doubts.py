"""What raw samples give away of themselves, and real speech that gives away nothing."""

import time

import numpy as np
import pytest

from earshot_asr.engine.audio import Pcm
from earshot_asr.engine.sources import RawFormat, open_file
from earshot_asr.engine.sources.doubts import Doubts
from tests.engine.sources.made import cut, tone, written
from tests.helpers import clips

MONO = RawFormat()


def voice(seconds: float = 8.0, seed: int = 1) -> Pcm:
    """Like speech in what counts here: loud below 3 kHz, in syllables."""
    rng = np.random.default_rng(seed)
    samples = np.convolve(rng.normal(0, 1, round(16_000 * seconds)), np.hanning(9) / 4, "same")
    syllables = np.sin(np.arange(len(samples)) / 16_000 * 2 * np.pi * 3) ** 2
    pcm: Pcm = (3000 * samples * syllables).astype(np.int16)
    return pcm


def doubt(data: bytes, format: RawFormat = MONO, size: int = 3201) -> str:
    doubts = Doubts(format)
    return "".join(doubts.feed(data[at : at + size]) for at in range(0, len(data), size))


LEFT, RIGHT = voice(), voice(seed=2)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.stack([LEFT, LEFT], axis=1).tobytes(), "two channels in turn"),
        (np.stack([LEFT, RIGHT], axis=1).tobytes(), "two channels in turn"),
        (np.stack([LEFT, 0 * LEFT], axis=1).tobytes(), "two channels in turn"),
        ((LEFT / 32768).astype("<f4").tobytes(), "floats of 32 bits (pcm_f32le), but pcm_s16le was declared"),
        (written(tone(1), 16_000, format="FLAC"), "begins like FLAC, but pcm_s16le was declared"),
        (written(tone(1), 16_000, format="WAV"), "the header of a WAV file, heard as a click: send the samples only"),
        (
            written(np.stack([tone(1), tone(1)], axis=1), 8000, format="WAV"),
            "which says pcm_s16le, 8000 Hz, 2 channels, but pcm_s16le, 16000 Hz, 1 channel was declared",
        ),
        (written(tone(1), 16_000, format="WAV", subtype="MS_ADPCM"), "the header of a WAV file"),
    ],
)
@pytest.mark.parametrize("size", [7, 3201, 1 << 20])
def test_what_is_wrong_is_said_once(data: bytes, says: str, size: int) -> None:
    found = doubt(data, size=size)
    assert says in found and found.count("declared") + found.count("click") <= 1


@pytest.mark.parametrize(
    ("data", "format"),
    [
        (LEFT.tobytes(), MONO),
        (np.stack([LEFT, RIGHT], axis=1).tobytes(), RawFormat(channels=2)),
        ((LEFT / 32768).astype("<f4").tobytes(), RawFormat("pcm_f32le")),
        (bytes(16_000 * 2 * 70), MONO),
        (np.random.default_rng(3).normal(0, 1000, 160_000).astype(np.int16).tobytes(), MONO),
        (b"", MONO),
        (b"RIFF", MONO),
    ],
)
def test_what_is_right_is_not_doubted(data: bytes, format: RawFormat) -> None:
    assert doubt(data, format) == ""


def test_nothing_is_kept_once_it_is_judged() -> None:
    doubts = Doubts(MONO)
    for piece in cut(LEFT.tobytes() * 20, list(range(0, len(LEFT) * 40, 6400))):
        doubts.feed(piece)
    assert not doubts._unheard and not doubts._heard


def test_real_speech_and_what_becomes_of_it() -> None:
    found = []
    for clip in clips("dev.jsonl", 30):
        pcm = np.concatenate(list(open_file(clip["audio"])))
        assert doubt(pcm.tobytes()) == ""
        if len(pcm) > 8 * 16_000:
            found.append(doubt(np.stack([pcm, pcm], axis=1).tobytes()))
    assert sum(map(bool, found)) >= 0.9 * len(found)


def test_a_long_message_costs_no_more_than_many_short_ones() -> None:
    doubts = Doubts(MONO)
    began = time.monotonic()
    assert not doubts.feed(bytes(64 << 20))  # for 60 s of it silence is looked through
    assert time.monotonic() - began < 5
