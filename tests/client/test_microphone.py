"""The queue behind a microphone without one, and what is said where PortAudio or a device is missing."""

import asyncio
import builtins
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.microphone import Capture, Microphone, describe_devices, list_devices
from engine.errors import DeviceError

RATE = 1000


def frames(first: int, count: int) -> bytes:
    """A block of `count` mono frames that are numbered, from 1 on, so that none is a zero."""
    return (np.arange(first, first + count) % 30_000 + 1).astype("<i2").tobytes()


def rest(capture: Capture) -> bytes:
    parts = []
    while part := capture.take():
        parts.append(part)
    return b"".join(parts)


def test_what_is_put_is_taken() -> None:
    capture = Capture(RATE, 2, limit=100)
    assert capture.take() == b""
    capture.put(frames(0, 30))
    capture.put(frames(30, 70))
    assert rest(capture) == frames(0, 100)
    assert capture.dropped == 0


def test_what_does_not_fit_becomes_zeros() -> None:
    capture = Capture(RATE, 2, limit=100)
    for first in (0, 60, 120):
        capture.put(frames(first, 60))
    assert rest(capture) == frames(0, 60) + bytes(2 * 120)
    assert capture.dropped == 120
    capture.put(frames(180, 60))
    assert rest(capture) == frames(180, 60)


def test_stereo_is_counted_in_frames() -> None:
    capture = Capture(RATE, 4, limit=10)
    capture.put(bytes([1]) * 4 * 10)
    capture.put(bytes([1]) * 4 * 5)
    assert rest(capture) == bytes([1]) * 40 + bytes(20)
    assert capture.dropped == 5


@given(
    blocks=st.lists(st.tuples(st.integers(1, 80), st.booleans()), max_size=40),
    limit=st.integers(1, 200),
)
def test_times_stay_true(blocks: list[tuple[int, bool]], limit: int) -> None:
    """However it is read: every frame is at its own place, or a zero is, and the zeros are counted."""
    capture = Capture(RATE, 2, limit)
    taken = b""
    said = 0
    for count, read in blocks:
        capture.put(frames(said, count))
        said += count
        if read:
            taken += capture.take()
    taken += rest(capture)
    heard, truth = np.frombuffer(taken, "<i2"), np.frombuffer(frames(0, said), "<i2")
    assert len(heard) == said
    assert np.array_equal(heard[heard != 0], truth[heard != 0])
    assert np.sum(heard == 0) == capture.dropped


def test_what_the_device_lost_is_known_by_its_clock() -> None:
    capture = Capture(RATE, 2, limit=1000)
    capture.put(frames(0, 50), heard_at=7.0)
    capture.put(frames(50, 50), heard_at=7.05)
    capture.put(frames(125, 50), heard_at=7.125, overflow=True)
    assert rest(capture) == frames(0, 100) + bytes(2 * 25) + frames(125, 50)
    assert capture.dropped == 25


def test_a_clock_that_drifts_is_no_loss() -> None:
    capture = Capture(RATE, 2, limit=10_000)
    for k in range(50):
        capture.put(frames(50 * k, 50), heard_at=k * 0.051)
    capture.put(frames(2500, 50), heard_at=0.0, overflow=True)  # a device without a clock
    assert capture.dropped == 0


def test_a_long_gap_costs_no_memory() -> None:
    capture = Capture(RATE, 2, limit=100)
    capture.put(frames(0, 50), heard_at=0.0)
    capture.put(frames(0, 50), heard_at=36_000.0, overflow=True)
    assert capture.dropped == 36_000 * RATE - 50
    assert capture.take() == frames(0, 50)
    assert capture.take() == bytes(2 * RATE)
    for k in range(10_000):
        capture.put(frames(k, 50))
    assert len(capture._queue) <= 4


# ---- with a PortAudio that the test plays: the real one needs a device


class PortAudioError(Exception):
    pass


class FakePortAudio:
    """The part of sounddevice that is used; `hear` is its audio thread."""

    PortAudioError = PortAudioError

    def __init__(self, rates: tuple[int, ...] = (16_000,), channels: int = 1) -> None:
        self.rates = rates
        self.info: dict[str, Any] = {
            "index": 3,
            "name": "Desk microphone",
            "max_input_channels": channels,
            "default_samplerate": float(rates[-1]),
        }
        self.default = SimpleNamespace(device=(3, -1))
        self.stream: dict[str, Any] = {}
        self.closed = False

    def query_devices(self, device: int | str | None = None, kind: str | None = None) -> Any:
        if kind is None:
            speaker = {"name": "Speaker", "max_input_channels": 0, "default_samplerate": 48_000.0}
            return [speaker, speaker, speaker, self.info]
        if device not in (None, 3, "Desk"):
            raise ValueError(f"No input device matching {device!r}")
        return self.info

    def check_input_settings(self, device: int, channels: int, dtype: str, samplerate: int) -> None:
        if samplerate not in self.rates or channels > self.info["max_input_channels"]:
            raise PortAudioError("Invalid sample rate")

    def RawInputStream(self, **stream: Any) -> Any:
        self.stream = stream
        return SimpleNamespace(start=lambda: None, close=self.close)

    def close(self) -> None:
        self.closed = True
        self.stream["finished_callback"]()

    def hear(self, pcm: np.ndarray[Any, Any], at: float = 0.0, overflow: bool = False) -> None:
        times = SimpleNamespace(inputBufferAdcTime=at)
        self.stream["callback"](pcm.astype("<i2").tobytes(), len(pcm), times, SimpleNamespace(input_overflow=overflow))


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> FakePortAudio:
    fake = FakePortAudio()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return fake


async def record(microphone: Microphone, said: Any) -> np.ndarray[Any, Any]:
    """All that comes from a microphone; `said` is called once it is open, and stops it."""
    asyncio.get_running_loop().call_soon(said)
    return np.concatenate([pcm async for pcm in microphone])


async def test_sixteen_kilohertz_go_straight_through(portaudio: FakePortAudio) -> None:
    microphone = Microphone()
    pcm = np.arange(3200).astype(np.int16)

    def said() -> None:
        portaudio.hear(pcm[:1600])
        portaudio.hear(pcm[1600:])
        microphone.stop()

    assert np.array_equal(await record(microphone, said), pcm)
    assert portaudio.stream["samplerate"] == 16_000
    assert portaudio.closed
    assert (microphone.name, microphone.dropped) == ("Desk microphone", 0)


async def test_a_device_of_another_rate_is_resampled_and_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakePortAudio(rates=(44_100,), channels=2)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    microphone = Microphone("3")
    stereo = np.stack([np.full(44_100, 2000), np.full(44_100, 4000)], axis=1)

    def said() -> None:
        fake.hear(stereo)
        microphone.stop()

    pcm = await record(microphone, said)
    assert (fake.stream["samplerate"], fake.stream["channels"]) == (44_100, 2)
    assert len(pcm) == 16_000
    assert np.all(np.abs(pcm[1000:-1000] - 3000.0) <= 2)


async def test_lost_audio_is_zeros_and_counted_in_seconds(portaudio: FakePortAudio) -> None:
    microphone = Microphone("Desk")
    ones = np.ones(1600, np.int16)

    def said() -> None:
        portaudio.hear(ones, at=1.0)
        portaudio.hear(ones, at=1.35, overflow=True)
        microphone.stop()

    pcm = await record(microphone, said)
    assert [len(pcm), int(pcm.sum())] == [1600 + 4000 + 1600, 3200]
    assert not pcm[1600:5600].any()
    assert microphone.dropped == 0.25


async def test_a_device_that_goes_away_is_said(portaudio: FakePortAudio) -> None:
    microphone = Microphone()
    with pytest.raises(DeviceError, match="'Desk microphone' went away"):
        await record(microphone, lambda: portaudio.stream["finished_callback"]())


def test_a_name_that_matches_nothing_is_said(portaudio: FakePortAudio) -> None:
    with pytest.raises(DeviceError, match=r"no microphone 'Studio': --list-devices shows"):
        Microphone("Studio")


def test_no_microphone_at_all_is_said(portaudio: FakePortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(device: object = None, kind: str | None = None) -> object:
        if kind:
            raise PortAudioError("Error querying device -1")
        return []

    monkeypatch.setattr(portaudio, "query_devices", none)
    with pytest.raises(DeviceError, match="there is no microphone: plug one in, or choose"):
        Microphone()
    with pytest.raises(DeviceError, match="there is no microphone"):
        describe_devices()


async def test_a_device_in_use_is_said(portaudio: FakePortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(**_: object) -> None:
        raise PortAudioError("Device unavailable")

    monkeypatch.setattr(portaudio, "RawInputStream", busy)
    with pytest.raises(DeviceError, match="can't open the microphone 'Desk microphone': Device unavailable"):
        await anext(aiter(Microphone()))


def test_devices_that_record_are_listed(portaudio: FakePortAudio) -> None:
    assert [(d.index, d.name, d.rate, d.default) for d in list_devices()] == [(3, "Desk microphone", 16_000, True)]
    assert describe_devices() == "*   3  Desk microphone  (1 channels, 16000 Hz)"


def test_missing_portaudio_is_one_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")  # as sounddevice does
        return real(name, *args)

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DeviceError, match=r"^PortAudio is missing: install it with `apt install libportaudio2`") as e:
        Microphone()
    assert "\n" not in str(e.value)
