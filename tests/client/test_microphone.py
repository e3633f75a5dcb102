"""The queue behind a microphone without one, and what is said where PortAudio or a device is missing."""

import asyncio
import atexit
import builtins
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot_asr.client.microphone import Capture, Microphone, describe_devices, list_devices
from earshot_asr.engine.errors import DeviceError

RATE = 1000


def frames(first: int, count: int) -> bytes:
    """A block of `count` mono frames that are numbered, from 1 on, so that none is a zero."""
    return (np.arange(first, first + count) % 30_000 + 1).astype("<i2").tobytes()


def put(capture: Capture, *blocks: bytes) -> None:
    """Blocks of a device without a clock, as fast as they come."""
    for block in blocks:
        capture.put(block, heard_at=0.0, arrived=0.0)


def rest(capture: Capture) -> bytes:
    parts = []
    while part := capture.take():
        parts.append(part)
    return b"".join(parts)


def test_what_is_put_is_taken() -> None:
    capture = Capture(RATE, 2, limit=100)
    assert capture.take() == b""
    put(capture, frames(0, 30), frames(30, 70))
    assert rest(capture) == frames(0, 100)
    assert capture.dropped == 0


def test_what_does_not_fit_becomes_zeros() -> None:
    capture = Capture(RATE, 2, limit=100)
    put(capture, *(frames(first, 60) for first in (0, 60, 120)))
    assert rest(capture) == frames(0, 60) + bytes(2 * 120)
    assert capture.dropped == 120
    put(capture, frames(180, 60))
    assert rest(capture) == frames(180, 60)


def test_stereo_is_counted_in_frames() -> None:
    capture = Capture(RATE, 4, limit=10)
    put(capture, bytes([1]) * 4 * 10, bytes([1]) * 4 * 5)
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
        put(capture, frames(said, count))
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
    capture.put(frames(0, 50), heard_at=7.0, arrived=107.05)
    capture.put(frames(50, 50), heard_at=7.05, arrived=107.1)
    capture.put(frames(125, 50), heard_at=7.125, arrived=107.175, overflow=True)
    assert rest(capture) == frames(0, 100) + bytes(2 * 25) + frames(125, 50)
    assert capture.dropped == 25


@pytest.mark.parametrize("lost", [0, 3000])
def test_after_a_pause_the_clock_tells_whether_audio_was_lost_or_came_late(lost: int) -> None:
    """A sound server that was suspended says no word about it; one that was busy delivers everything at last."""
    capture = Capture(RATE, 2, limit=10_000)
    capture.put(frames(0, 50), heard_at=7.0, arrived=107.05)
    capture.put(frames(50, 50), heard_at=7.05 + lost / RATE, arrived=110.1)
    assert rest(capture) == frames(0, 50) + bytes(2 * lost) + frames(50, 50)


def test_a_clock_that_drifts_or_is_set_is_no_loss() -> None:
    capture = Capture(RATE, 2, limit=10_000)
    for k in range(50):
        capture.put(frames(50 * k, 50), heard_at=k * 0.051, arrived=k * 0.05)
    capture.put(frames(2500, 50), heard_at=86_400.0, arrived=2.5)
    capture.put(frames(2550, 50), heard_at=0.0, arrived=2.55, overflow=True)  # a device without a clock
    assert capture.dropped == 0


def test_while_there_is_no_device_there_are_zeros() -> None:
    capture = Capture(RATE, 2, limit=1000)
    capture.put(frames(0, 50), heard_at=7.0, arrived=107.05)
    capture.absent(107.25)
    assert rest(capture) == frames(0, 50) + bytes(2 * 200)
    capture.absent(107.5)
    capture.put(frames(600, 50), heard_at=0.0, arrived=107.65)  # its clock began anew
    assert rest(capture) == bytes(2 * 350) + frames(600, 50)
    capture.put(frames(650, 50), heard_at=0.05, arrived=107.7)
    assert capture.dropped == 550


def test_what_comes_late_after_an_absence_is_no_time_travel() -> None:
    capture = Capture(RATE, 2, limit=1000)
    capture.put(frames(0, 50), heard_at=7.0, arrived=107.05)
    capture.absent(108.0)
    capture.put(frames(50, 50), heard_at=9.0, arrived=108.02)
    assert rest(capture) == frames(0, 50) + bytes(2 * 950) + frames(50, 50)


def test_nothing_is_missing_before_the_first_audio() -> None:
    capture = Capture(RATE, 2, limit=1000)
    capture.put(frames(0, 50), heard_at=7.0, arrived=107.05)
    assert rest(capture) == frames(0, 50)
    late = Capture(RATE, 2, limit=1000)
    late.absent(100.0)
    late.absent(100.1)
    assert (late.dropped, rest(late)) == (100, bytes(2 * 100))


@given(
    steps=st.lists(st.tuples(st.sampled_from(["block", "away"]), st.integers(1, 500), st.booleans()), max_size=40),
    limit=st.integers(1, 1000),
)
def test_however_the_device_comes_and_goes_times_stay_true(steps: list[tuple[str, int, bool]], limit: int) -> None:
    """Each millisecond is a frame: one that was heard is at its own place, all others are zeros, and counted."""
    capture = Capture(RATE, 2, limit)
    capture.absent(0.0)
    now = 0
    taken = b""
    for step, count, read in steps:
        first, now = now, now + count
        if step == "block":
            capture.put(frames(first, count), heard_at=first / RATE, arrived=now / RATE)
        else:
            capture.absent(now / RATE)
        if read:
            taken += capture.take()
    taken += rest(capture)
    heard, truth = np.frombuffer(taken, "<i2"), np.frombuffer(frames(0, now), "<i2")
    assert len(heard) == now
    assert np.array_equal(heard[heard != 0], truth[heard != 0])
    assert np.sum(heard == 0) == capture.dropped


def test_a_long_gap_costs_no_memory() -> None:
    capture = Capture(RATE, 2, limit=100)
    capture.put(frames(0, 50), heard_at=0.0, arrived=0.05)
    for second in range(1, 36_001):
        capture.absent(second)
    assert capture.dropped == 36_000 * RATE - 50
    assert capture.take() == frames(0, 50)
    assert capture.take() == bytes(2 * RATE)
    put(capture, *(frames(k, 50) for k in range(10_000)))
    assert len(capture._queue) <= 4


# ---- with a PortAudio that the test plays: the real one needs a device


class PortAudioError(Exception):
    pass


class FakePortAudio:
    """The part of sounddevice that is used; `hear` is its audio thread. It knows what there was at `_initialize`."""

    PortAudioError = PortAudioError

    def __init__(self, rates: tuple[int, ...] = (16_000,), channels: int = 1) -> None:
        self.rates = rates
        self.info: dict[str, Any] = {
            "index": 3,
            "name": "Desk microphone",
            "hostapi": 0,
            "max_input_channels": channels,
            "default_samplerate": float(rates[-1]),
        }
        self.default = SimpleNamespace(device=(3, -1))
        self.plugged = self.known = True
        self.initialized = 1
        self.streams: list[dict[str, Any]] = []
        self.open = 0
        self.let_close = threading.Event()
        self.let_close.set()

    @property
    def stream(self) -> dict[str, Any]:
        """The newest one, as it was asked for."""
        return self.streams[-1]

    def query_devices(self, device: int | str | None = None, kind: str | None = None) -> Any:
        devices = [{"index": k, "name": "Speaker", "hostapi": 0, "max_input_channels": 0} for k in range(3)]
        if kind is None:
            return [*devices, self.info] if self.known else devices
        matches = self.info["name"].startswith(device) if isinstance(device, str) else device in (None, 3)
        if not matches or not self.known:
            raise ValueError(f"No input device matching {device!r}")
        return self.info

    def check_input_settings(self, device: int, channels: int, dtype: str, samplerate: int) -> None:
        if samplerate not in self.rates or channels > self.info["max_input_channels"]:
            raise PortAudioError("Invalid sample rate")

    def RawInputStream(self, **stream: Any) -> Any:
        assert self.initialized == 1
        if not self.plugged:
            raise PortAudioError("Device unavailable")
        self.streams.append(stream)
        self.open += 1
        return SimpleNamespace(start=lambda: None, close=lambda: self.close(stream))

    def close(self, stream: dict[str, Any]) -> None:
        self.let_close.wait()
        self.open -= 1
        stream["finished_callback"]()

    def _terminate(self) -> None:
        assert self.open == 0
        self.initialized -= 1

    def _initialize(self) -> None:
        self.initialized += 1
        self.known = self.plugged

    def _exit_handler(self) -> None:
        assert self.open == 0

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
    assert portaudio.open == 0
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


# ---- a device that goes away and comes back


AWAY = "the microphone 'Desk microphone' is disconnected; waiting for it"
BACK = "the microphone 'Desk microphone' is back"
ONES = np.ones(1600, np.int16)


class Recording:
    """A microphone that is listened to in the background: what came, and what was reported."""

    def __init__(self, portaudio: FakePortAudio, device: str | None = None) -> None:
        self.portaudio = portaudio
        self.reports: list[str] = []
        self.microphone = Microphone(device, self.reports.append)
        self.pcm = np.empty(0, np.int16)
        self.task = asyncio.create_task(self.listen())

    async def listen(self) -> None:
        async for pcm in self.microphone:
            self.pcm = np.concatenate((self.pcm, pcm))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                assert not self.task.done(), self.task
                await asyncio.sleep(0.002)

    async def begin(self) -> None:
        await self.until(lambda: self.portaudio.open == 1)
        self.portaudio.hear(ONES)

    async def end(self) -> None:
        self.microphone.stop()
        async with asyncio.timeout(20):
            await self.task
        looking = [thread for thread in threading.enumerate() if thread.name == "microphone"]
        assert not looking or not self.portaudio.let_close.is_set()

    def unplug(self, silently: bool = False) -> None:
        self.portaudio.plugged = False
        if not silently:
            self.portaudio.stream["finished_callback"]()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {
        "RETRY_INTERVAL_SECONDS": 0.005,
        "CHECK_INTERVAL_SECONDS": 0.005,
        "CLOSE_TIMEOUT_SECONDS": 0.05,
    }.items():
        monkeypatch.setattr(f"earshot_asr.client.microphone.{name}", seconds)


@pytest.mark.parametrize("silently", [False, True])
async def test_a_device_that_goes_away_is_waited_for(
    portaudio: FakePortAudio, impatient: None, monkeypatch: pytest.MonkeyPatch, silently: bool
) -> None:
    """Whether PortAudio says that the stream is over, or nothing comes any more."""
    monkeypatch.setattr("earshot_asr.client.microphone.SILENT_DEVICE_SECONDS", 0.1 if silently else 1000)
    recording = Recording(portaudio)
    await recording.begin()
    recording.unplug(silently)
    await recording.until(lambda: len(recording.pcm) > 4800)  # zeros go on as time does
    assert recording.reports == [AWAY]
    monkeypatch.setattr("earshot_asr.client.microphone.SILENT_DEVICE_SECONDS", 1000)
    portaudio.info = portaudio.info | {"index": 7}
    portaudio.plugged = True
    await recording.until(lambda: len(portaudio.streams) == 2)
    portaudio.hear(2 * ONES)
    portaudio.hear(2 * ONES)
    await recording.until(lambda: recording.reports == [AWAY, BACK])
    await recording.end()
    zeros = round(recording.microphone.dropped * 16_000)
    assert np.array_equal(recording.pcm, np.concatenate([ONES, np.zeros(zeros), 2 * ONES, 2 * ONES]))
    assert [stream["device"] for stream in portaudio.streams] == [3, 7]
    assert portaudio.open == 0


async def test_a_device_may_go_away_again_and_again(portaudio: FakePortAudio, impatient: None) -> None:
    recording = Recording(portaudio)
    await recording.begin()
    for _ in range(3):
        recording.unplug()
        await recording.until(lambda: recording.reports[-1:] == [AWAY] and portaudio.open == 0)
        portaudio.plugged = True
        await recording.until(lambda: portaudio.open == 1)
        portaudio.hear(ONES)
        await recording.until(lambda: recording.reports[-1:] == [BACK])
    await recording.end()
    assert recording.reports == [AWAY, BACK] * 3
    assert recording.pcm.sum() == 4 * 1600


async def test_a_device_that_says_nothing_is_not_back(
    portaudio: FakePortAudio, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be opened again and again, and is left each time: that is said once."""
    recording = Recording(portaudio)
    await recording.begin()
    monkeypatch.setattr("earshot_asr.client.microphone.SILENT_DEVICE_SECONDS", 0.05)
    await recording.until(lambda: len(portaudio.streams) == 4)
    await recording.end()
    assert recording.reports == [AWAY]
    assert recording.pcm.sum() == 1600


async def test_a_device_that_was_named_may_come_back_with_another_number_in_its_name(
    portaudio: FakePortAudio, impatient: None
) -> None:
    recording = Recording(portaudio, "Desk")
    await recording.begin()
    recording.unplug()
    await recording.until(lambda: recording.reports == [AWAY])
    portaudio.info = portaudio.info | {"name": "Desk microphone (hw:2,0)"}
    portaudio.plugged = True
    await recording.until(lambda: len(portaudio.streams) == 2)
    await recording.end()


async def test_another_microphone_is_not_taken_instead(portaudio: FakePortAudio, impatient: None) -> None:
    recording = Recording(portaudio)
    await recording.begin()
    recording.unplug()
    portaudio.info = portaudio.info | {"name": "Spy"}
    portaudio.plugged = True
    await recording.until(lambda: len(recording.pcm) > 4800 and portaudio.known)
    assert len(portaudio.streams) == 1
    await recording.end()
    assert recording.reports == [AWAY]


async def test_a_device_that_hangs_is_left_to_itself(
    portaudio: FakePortAudio, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing it may never return: the stream goes on, can be ended, and what the device says then is not heard."""
    unregistered: list[object] = []
    monkeypatch.setattr(atexit, "unregister", unregistered.append)
    portaudio.let_close.clear()
    recording = Recording(portaudio)
    await recording.begin()
    recording.unplug()
    await recording.until(lambda: len(recording.pcm) > 4800)
    portaudio.hear(ONES)
    await recording.end()
    assert recording.reports == [AWAY]
    assert recording.pcm.sum() == 1600
    assert unregistered == [portaudio._exit_handler]
    portaudio.let_close.set()


@pytest.mark.parametrize("away", [False, True])
async def test_who_stops_listening_lets_go_of_the_device(portaudio: FakePortAudio, impatient: None, away: bool) -> None:
    recording = Recording(portaudio)
    await recording.begin()
    if away:
        recording.unplug()
        await recording.until(lambda: recording.reports == [AWAY])
        portaudio.plugged = True
    recording.task.cancel()
    await asyncio.gather(recording.task, return_exceptions=True)
    assert portaudio.open == 0


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
