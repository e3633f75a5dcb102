"""The microphone: PortAudio's thread puts audio into a queue; the reader resamples it to 16 kHz mono.

Missing samples are counted and replaced by zeros, so that times stay correct. If a device is disconnected, a thread of
its own waits for its return, because calls to such a device may hang.
"""

import asyncio
import atexit
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds
from earshot_asr.engine.errors import DeviceError
from earshot_asr.engine.sources import AudioSource

BLOCK_MS = 50
QUEUE_SECONDS = 10
"""Maximum length of the queue. While it is full, new audio is dropped."""
SAMPLE_BYTES = 2
LATE_SECONDS = 1.0
"""If a block is later than this, the device's clock tells whether audio was lost or only delayed."""
SILENT_DEVICE_SECONDS = 5.0
"""A device that delivers nothing for this long counts as disconnected. PulseAudio may take 2 s to begin."""
RETRY_INTERVAL_SECONDS = 1.0
"""Interval between attempts to open a disconnected device again."""
CHECK_INTERVAL_SECONDS = 0.25
"""Interval between checks whether the device is still connected, while no audio arrives."""
CLOSE_TIMEOUT_SECONDS = 2.0
"""Maximum wait for a device to close. If it hangs, its thread is abandoned."""


@dataclass(frozen=True, slots=True)
class InputDevice:
    """A device that can record. `rate`: its default sample rate, in Hz."""

    index: int
    name: str
    channels: int
    rate: int
    default: bool


class Capture:
    """A bounded queue of audio between the audio thread and its reader. A frame is one sample of each channel.

    rate          sample rate in Hz
    frame_bytes   bytes per frame
    limit         maximum number of frames in the queue; audio that arrives while it is full is replaced by zeros
    dropped       number of frames that were lost for any reason and replaced by zeros
    """

    def __init__(self, rate: int, frame_bytes: int, limit: int) -> None:
        self.rate = rate
        self.dropped = 0
        self._frame_bytes = frame_bytes
        self._limit = limit
        self._lock = threading.Lock()
        self._queue: deque[bytes | int] = deque()  # audio, or how many frames are missing
        self._waiting = 0
        self._until: Seconds | None = None  # our clock: end of the audio that arrived or is known to be lost
        self._expected: Seconds | None = None  # the device's clock: start of the next block

    def put(self, block: bytes, heard_at: Seconds, arrived: Seconds, overflow: bool = False) -> None:
        """Appends a block from the device.

        heard_at   time of its first frame on the device's clock, in seconds
        arrived    the current time on our clock, in seconds
        overflow   the device reports that it lost audio before this block
        """
        frames = len(block) // self._frame_bytes
        began = arrived - frames / self.rate
        with self._lock:
            if self._until is not None:
                if self._expected is None:  # the device was reconnected, and its clock may have changed
                    self._lose(round((began - self._until) * self.rate))
                elif overflow or began - self._until > LATE_SECONDS:
                    self._lose(round((heard_at - self._expected) * self.rate))
            self._until, self._expected = arrived, heard_at + frames / self.rate
            if self._waiting + frames > self._limit:
                self._lose(frames)
            else:
                self._queue.append(block)
                self._waiting += frames

    def absent(self, now: Seconds) -> None:
        """The device is disconnected: counts the audio until `now`, on our clock, as lost."""
        with self._lock:
            if self._until is not None:
                self._lose(round((now - self._until) * self.rate))
            self._until, self._expected = now, None

    def take(self) -> bytes:
        """Removes and returns the next audio: a block, or at most a second of zeros for lost audio; empty if none."""
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
        if frames <= 0:
            return
        self.dropped += frames
        last = self._queue[-1] if self._queue else None
        if isinstance(last, int):  # successive losses are one entry, so that the queue stays bounded
            self._queue[-1] = last + frames
        else:
            self._queue.append(frames)


class OpenDevice:
    """An open input device. PortAudio's thread puts its audio into `capture` until it is closed.

    open   opens the PortAudio stream, given its callbacks; raises what `sounddevice.RawInputStream` raises
    wake   called from the audio thread when there is audio, and when the device ends
    """

    def __init__(self, open: Callable[..., Any], capture: Capture, wake: Callable[[], None]) -> None:
        self.heard = False  # whether any audio has arrived
        self._capture, self._wake = capture, wake
        self._last_heard = time.monotonic()
        self._ended = self._ignored = False
        self._stream = open(callback=self._hear, finished_callback=self._end)
        try:
            self._stream.start()
        except BaseException:
            self._stream.close()
            raise

    @property
    def gone(self) -> bool:
        """Whether the device is disconnected. PortAudio reports that for some devices; others just stop delivering."""
        return self._ended or time.monotonic() - self._last_heard > SILENT_DEVICE_SECONDS

    def ignore(self) -> None:
        """Takes no more audio from the device, even if it delivers some."""
        self._ignored = True

    def close(self) -> None:
        """Closes the device. May block for any length of time."""
        self._stream.close()

    def _hear(self, data: Any, _frames: int, at: Any, status: Any) -> None:
        if not self._ignored:
            self._last_heard = now = time.monotonic()
            self._capture.put(bytes(data), at.inputBufferAdcTime, now, bool(status.input_overflow))
            self.heard = True
            self._wake()

    def _end(self) -> None:
        self._ended = True
        self._wake()


class Microphone:
    """The audio of a microphone as 16 kHz mono int16, until `stop`. Only one per process can be in use.

    device   index or part of the name of a device, see `list_devices`; None: the system's default
    report   called with a line of text when the microphone is disconnected and when it is back

    While it is disconnected it yields zeros in real time. Raises DeviceError if PortAudio is missing, or if the device
    does not exist or is in use at the start.
    """

    live = True

    def __init__(self, device: str | None = None, report: Callable[[str], None] = lambda line: None) -> None:
        self._portaudio = load_portaudio()
        self._part = None if device is None or device.isdigit() else device
        self._device, self.rate, self._channels = self._choose(device)
        self._source = AudioSource("pcm_s16le", self.rate, self._channels)
        frame_bytes = SAMPLE_BYTES * self._channels
        self._capture = Capture(self.rate, frame_bytes, QUEUE_SECONDS * self.rate)
        self._report = report
        self._news = asyncio.Event()
        self._stopped = False
        self._open_device: OpenDevice | None = None  # None while the device is disconnected
        self._away = False  # whether the user was told that it is disconnected
        self._waiting: threading.Thread | None = None
        self._over = threading.Event()

    @property
    def name(self) -> str:
        """The operating system's name of the device."""
        return str(self._device["name"])

    @property
    def dropped(self) -> Seconds:
        """Seconds of audio that were lost and replaced by zeros."""
        return self._capture.dropped / self.rate

    def stop(self) -> None:
        """Ends the audio now; audio in the queue is still yielded."""
        self._stopped = True
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[Pcm]:
        self._loop = asyncio.get_running_loop()
        self._open_device = self._open(self._device["index"])
        try:
            while not self._stopped:
                self._news.clear()
                self._watch()
                for pcm in self._heard():
                    yield pcm
                with suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_INTERVAL_SECONDS):
                        await self._news.wait()
        finally:
            self._release()
        for pcm in self._heard():
            yield pcm
        yield self._source.finish()

    def _watch(self) -> None:
        """Reports that the device was disconnected or is back, and starts the thread that waits for it."""
        if self._open_device is not None and self._open_device.gone:
            self._open_device.ignore()
            self._waiting = in_thread(self._wait_for_return, self._open_device)
            self._open_device = None
            if not self._away:
                self._report(f"the microphone {self.name!r} is disconnected; waiting for it")
            self._away = True
        if self._open_device is None:
            self._capture.absent(time.monotonic())
        elif self._away and self._open_device.heard:
            self._report(f"the microphone {self.name!r} is back")
            self._away = False

    def _wait_for_return(self, device: OpenDevice) -> None:
        device.close()
        while not self._over.wait(RETRY_INTERVAL_SECONDS):
            with suppress(DeviceError):
                self._open_device = self._open(self._find_again())
                return

    def _release(self) -> None:
        self._over.set()
        closing = in_thread(self._close)
        closing.join(CLOSE_TIMEOUT_SECONDS)
        if closing.is_alive():  # PortAudio's exit handler would hang, too
            atexit.unregister(self._portaudio._exit_handler)

    def _close(self) -> None:
        if self._waiting is not None:
            self._waiting.join()
        if self._open_device is not None:
            self._open_device.close()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(self._news.set)

    def _heard(self) -> Iterator[Pcm]:
        while block := self._capture.take():
            yield self._source.feed(block)

    def _choose(self, device: str | None) -> tuple[dict[str, Any], int, int]:
        """The device, and the rate and channels to open it with: 16 kHz mono if it can, else its defaults."""
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

    def _find_again(self) -> int:
        """The device's current index, which may have changed. Raises DeviceError if it is still disconnected."""
        sd = self._portaudio
        with suppress(sd.PortAudioError):
            sd._terminate()  # PortAudio updates its list of devices only when it is initialized
        try:
            sd._initialize()
            if self._part is not None:
                return int(sd.query_devices(self._part, "input")["index"])
            for info in sd.query_devices():
                if info["max_input_channels"] and all(info[k] == self._device[k] for k in ("name", "hostapi")):
                    return int(info["index"])
        except (ValueError, sd.PortAudioError) as e:
            raise DeviceError(no_device(self.name, str(e))) from None
        raise DeviceError(no_device(self.name, "it is disconnected"))

    def _open(self, index: int) -> OpenDevice:
        sd = self._portaudio
        stream = partial(
            sd.RawInputStream,
            device=index,
            samplerate=self.rate,
            channels=self._channels,
            dtype="int16",
            blocksize=self.rate * BLOCK_MS // 1000,
        )
        try:
            return OpenDevice(stream, self._capture, self._wake)
        except (ValueError, sd.PortAudioError) as e:
            raise DeviceError(
                f"can't open the microphone {self.name!r}: {e}; close what uses it, or choose another with --device"
            ) from None


def in_thread(work: Callable[..., None], *arguments: Any) -> threading.Thread:
    """Runs `work` in a thread that does not keep the process alive."""
    thread = threading.Thread(target=work, args=arguments, name="microphone", daemon=True)
    thread.start()
    return thread


def load_portaudio() -> Any:
    """The module `sounddevice`. Raises DeviceError if the library that it wraps, PortAudio, is not installed."""
    try:
        import sounddevice
    except OSError:
        raise DeviceError(
            "PortAudio is missing: install it with `apt install libportaudio2` (Debian, Ubuntu), "
            "`dnf install portaudio` (Fedora) or `brew install portaudio` (macOS)"
        ) from None
    return sounddevice


def no_device(device: str | None, reason: str) -> str:
    """An error message that says why a microphone wasn't found, and what to do."""
    if device is None:
        return "there is no microphone: plug one in, or choose a device with --device (--list-devices shows them)"
    return f"no microphone {device!r}: --list-devices shows all microphones ({' '.join(reason.split())})"


def list_devices() -> list[InputDevice]:
    """All devices that can record, in the operating system's order. Raises DeviceError if PortAudio is missing."""
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
    """A line per device, with a star before the default one. Raises DeviceError if there is no microphone."""
    devices = list_devices()
    if not devices:
        raise DeviceError("there is no microphone: plug one in")
    return "\n".join(
        f"{'*' if d.default else ' '} {d.index:3}  {d.name}  ({d.channels} channels, {d.rate} Hz)" for d in devices
    )
