"""The microphone: what PortAudio's thread hears is queued, resampled to 16 kHz mono here, and iterated over.

Nothing is lost silently. Where samples are missing, zeros of the same length take their place, so that times stay true.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from engine.audio import SAMPLE_RATE, Pcm, Seconds
from engine.errors import DeviceError
from engine.sources import AudioSource

BLOCK_MS = 50
LIMIT_SECONDS = 10
"""Longest audio that waits to be sent. A reader that is further behind loses the newest."""
SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True)
class InputDevice:
    """A microphone as the operating system names it; `rate` is its own, in samples a second."""

    index: int
    name: str
    channels: int
    rate: int
    default: bool


class Capture:
    """What was heard and not yet taken: a bounded queue between the audio thread and its reader.

    rate          samples a second and channel
    frame_bytes   bytes of one sample of all channels
    limit         frames that may wait; what comes while it is full is dropped and counted, and taken as zeros
    """

    def __init__(self, rate: int, frame_bytes: int, limit: int) -> None:
        self.rate = rate
        self.dropped = 0
        self._frame_bytes = frame_bytes
        self._limit = limit
        self._lock = threading.Lock()
        self._queue: deque[bytes | int] = deque()  # audio, or how many frames are missing
        self._waiting = 0
        self._next_time: Seconds | None = (
            None  # when the next block's first frame is to be heard, on the device's clock
        )

    def put(self, block: bytes, heard_at: Seconds = 0.0, overflow: bool = False) -> None:
        """A block from the device, whose first frame was heard at `heard_at` on the device's clock.

        overflow   the device says that it lost audio before this block; how much, its clock tells
        """
        frames = len(block) // self._frame_bytes
        with self._lock:
            if overflow and self._next_time is not None:
                self._lose(max(0, round((heard_at - self._next_time) * self.rate)))
            self._next_time = heard_at + frames / self.rate
            if self._waiting + frames > self._limit:
                self._lose(frames)
            else:
                self._queue.append(block)
                self._waiting += frames

    def take(self) -> bytes:
        """The next audio, up to a second of zeros where it is missing; empty if there is none yet."""
        with self._lock:
            if not self._queue:
                return b""
            head = self._queue.popleft()
            if isinstance(head, bytes):
                self._waiting -= len(head) // self._frame_bytes
                return head
            zeros = min(head, self.rate)
            if head > zeros:
                self._queue.appendleft(head - zeros)
            return bytes(zeros * self._frame_bytes)

    def _lose(self, frames: int) -> None:
        if not frames:
            return
        self.dropped += frames
        last = self._queue[-1] if self._queue else None
        if isinstance(last, int):  # one gap, however long: the queue stays bounded
            self._queue[-1] = last + frames
        else:
            self._queue.append(frames)


class Microphone:
    """Iterates over a microphone's audio, 16 kHz mono int16, until `stop`.

    device   None for the system's default, an index, or a part of a name; `list_devices` knows them

    Raises DeviceError: PortAudio is missing, there is no such device, it is in use, or it went away.
    """

    live = True

    def __init__(self, device: str | None = None) -> None:
        self._portaudio = load_portaudio()
        self._device, self.rate, self._channels = self._choose(device)
        self._source = AudioSource("pcm_s16le", self.rate, self._channels)
        frame_bytes = SAMPLE_BYTES * self._channels
        self._capture = Capture(self.rate, frame_bytes, LIMIT_SECONDS * self.rate)
        self._news = asyncio.Event()
        self._stopped = self._gone = False

    @property
    def name(self) -> str:
        """As the operating system names it."""
        return str(self._device["name"])

    @property
    def dropped(self) -> Seconds:
        """Audio that was lost and replaced by zeros."""
        return self._capture.dropped / self.rate

    def stop(self) -> None:
        """Ends the audio here; what was heard is still handed out."""
        self._stopped = True
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[Pcm]:
        with closing(self._open(asyncio.get_running_loop())):
            while not self._stopped:
                self._news.clear()
                for pcm in self._heard():
                    yield pcm
                if self._gone:
                    raise DeviceError(f"the microphone {self.name!r} went away; plug it in and start again")
                await self._news.wait()
        for pcm in self._heard():
            yield pcm
        yield self._source.finish()

    def _heard(self) -> Iterator[Pcm]:
        while block := self._capture.take():
            yield self._source.feed(block)

    def _choose(self, device: str | None) -> tuple[dict[str, Any], int, int]:
        """The device, and the rate and channels to open it with: ours where it can, else its own."""
        sd = self._portaudio
        try:
            number = int(device) if device is not None and device.isdigit() else device
            info: dict[str, Any] = sd.query_devices(number, "input")
        except (ValueError, sd.PortAudioError) as e:
            raise DeviceError(no_device(device, str(e))) from None
        try:
            sd.check_input_settings(info["index"], channels=1, dtype="int16", samplerate=SAMPLE_RATE)
        except (ValueError, sd.PortAudioError):
            return info, round(info["default_samplerate"]), min(2, info["max_input_channels"])
        return info, SAMPLE_RATE, 1

    def _open(self, loop: asyncio.AbstractEventLoop) -> Any:
        """PortAudio's stream, started: its thread fills the queue until it is closed."""

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._news.set)

        def heard(data: Any, _frames: int, time: Any, status: Any) -> None:
            self._capture.put(bytes(data), time.inputBufferAdcTime, bool(status.input_overflow))
            wake()

        def finished() -> None:
            self._gone = True
            wake()

        sd = self._portaudio
        try:
            stream = sd.RawInputStream(
                device=self._device["index"],
                samplerate=self.rate,
                channels=self._channels,
                dtype="int16",
                blocksize=self.rate * BLOCK_MS // 1000,
                callback=heard,
                finished_callback=finished,
            )
            stream.start()
        except (ValueError, sd.PortAudioError) as e:
            raise DeviceError(
                f"can't open the microphone {self.name!r}: {e}; close what uses it, or choose another with --device"
            ) from None
        return stream


def load_portaudio() -> Any:
    """The sounddevice module. Raises DeviceError where the library that it wraps is not installed."""
    try:
        import sounddevice
    except OSError:
        raise DeviceError(
            "PortAudio is missing: install it with `apt install libportaudio2` (Debian, Ubuntu), "
            "`dnf install portaudio` (Fedora) or `brew install portaudio` (macOS)"
        ) from None
    return sounddevice


def no_device(device: str | None, reason: str) -> str:
    """Why a microphone wasn't found, and what to do."""
    if device is None:
        return "there is no microphone: plug one in, or choose a device with --device (--list-devices shows them)"
    return f"no microphone {device!r}: --list-devices shows which there are ({' '.join(reason.split())})"


def list_devices() -> list[InputDevice]:
    """All devices that can record, in the operating system's order. Raises DeviceError where PortAudio is missing."""
    sd = load_portaudio()
    default = sd.default.device[0]
    return [
        InputDevice(
            index=index,
            name=info["name"],
            channels=info["max_input_channels"],
            rate=round(info["default_samplerate"]),
            default=index == default,
        )
        for index, info in enumerate(sd.query_devices())
        if info["max_input_channels"] > 0
    ]


def describe_devices() -> str:
    """A line for each device, the default one starred. Raises DeviceError where there is none."""
    devices = list_devices()
    if not devices:
        raise DeviceError("there is no microphone: plug one in")
    return "\n".join(
        f"{'*' if d.default else ' '} {d.index:3}  {d.name}  ({d.channels} channels, {d.rate} Hz)" for d in devices
    )
