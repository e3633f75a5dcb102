"""The microphone: what PortAudio's thread hears is queued, resampled to 16 kHz mono here, and iterated over.

Nothing is lost silently. Where samples are missing, zeros of the same length take their place, so that times stay true.
A device that goes away is waited for, in a thread of its own: what is asked of it may hang as long as it does.
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
"""Longest audio that waits to be sent. A reader that is further behind loses the newest."""
SAMPLE_BYTES = 2
LATE_SECONDS = 1.0
"""After a longer one, the device's clock is asked whether audio was lost or only came late."""
SILENT_DEVICE_SECONDS = 5.0
"""A device that is silent for longer went away, whatever it says. PulseAudio may take 2 s to begin."""
RETRY_INTERVAL_SECONDS = 1.0
"""How often a device that went away is looked for."""
CHECK_INTERVAL_SECONDS = 0.25
"""How often a device without news is looked at."""
CLOSE_TIMEOUT_SECONDS = 2.0
"""Longest wait for a device to close. One that hangs is left to itself."""


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
    dropped       frames that were lost, for whatever reason
    """

    def __init__(self, rate: int, frame_bytes: int, limit: int) -> None:
        self.rate = rate
        self.dropped = 0
        self._frame_bytes = frame_bytes
        self._limit = limit
        self._lock = threading.Lock()
        self._queue: deque[bytes | int] = deque()  # audio, or how many frames are missing
        self._waiting = 0
        self._until: Seconds | None = None  # our clock: until when audio came, or is known to be missing
        self._expected: Seconds | None = None  # the device's clock: when the next block is to begin

    def put(self, block: bytes, heard_at: Seconds, arrived: Seconds, overflow: bool = False) -> None:
        """A block from the device.

        heard_at   when its first frame was heard, on the device's clock
        arrived    now, on our clock
        overflow   the device says that it lost audio before this block
        """
        frames = len(block) // self._frame_bytes
        began = arrived - frames / self.rate
        with self._lock:
            if self._until is not None:
                if self._expected is None:  # the device is back, and its clock may be another
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
        """There is no device: what it would have heard until `now`, on our clock, is missing."""
        with self._lock:
            if self._until is not None:
                self._lose(round((now - self._until) * self.rate))
            self._until, self._expected = now, None

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
        if frames <= 0:
            return
        self.dropped += frames
        last = self._queue[-1] if self._queue else None
        if isinstance(last, int):  # one gap, however long: the queue stays bounded
            self._queue[-1] = last + frames
        else:
            self._queue.append(frames)


class OpenDevice:
    """An open device: PortAudio's thread puts into `capture` what it hears, until it is closed.

    open   makes the stream, given its callbacks, and raises what `sounddevice.RawInputStream` does
    wake   called from the audio thread when there is news
    """

    def __init__(self, open: Callable[..., Any], capture: Capture, wake: Callable[[], None]) -> None:
        self.heard = False  # any audio
        self._capture, self._wake = capture, wake
        self._sign_of_life = time.monotonic()
        self._ended = self._left = False
        self._stream = open(callback=self._hear, finished_callback=self._end)
        try:
            self._stream.start()
        except BaseException:
            self._stream.close()
            raise

    @property
    def gone(self) -> bool:
        """Whether the device went away. PortAudio sees some devices end, others just say nothing any more."""
        return self._ended or time.monotonic() - self._sign_of_life > SILENT_DEVICE_SECONDS

    def leave(self) -> None:
        """Takes nothing more from the device, should it come to life."""
        self._left = True

    def close(self) -> None:
        """Lets go of the device. May take as long as the device likes."""
        self._stream.close()

    def _hear(self, data: Any, _frames: int, at: Any, status: Any) -> None:
        if not self._left:
            self._sign_of_life = now = time.monotonic()
            self._capture.put(bytes(data), at.inputBufferAdcTime, now, bool(status.input_overflow))
            self.heard = True
            self._wake()

    def _end(self) -> None:
        self._ended = True
        self._wake()


class Microphone:
    """Iterates over a microphone's audio, 16 kHz mono int16, until `stop`. One at a time in a process.

    device   None for the system's default, an index, or a part of a name; `list_devices` knows them
    report   is told, in a line, that the microphone went away, and that it is back

    While it is away there are zeros, as fast as time passes. Raises DeviceError: PortAudio is missing, there is no such
    device at the start, or it is in use.
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
        self._line: OpenDevice | None = None  # none: the device is waited for
        self._away = False  # as was reported
        self._waiting: threading.Thread | None = None
        self._over = threading.Event()

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
        self._loop = asyncio.get_running_loop()
        self._line = self._open(self._device["index"])
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
            self._let_go()
        for pcm in self._heard():
            yield pcm
        yield self._source.finish()

    def _watch(self) -> None:
        if self._line is not None and self._line.gone:
            self._line.leave()
            self._waiting = in_thread(self._wait_for_return, self._line)
            self._line = None
            if not self._away:
                self._report(f"the microphone {self.name!r} went away; waiting for it")
            self._away = True
        if self._line is None:
            self._capture.absent(time.monotonic())
        elif self._away and self._line.heard:
            self._report(f"the microphone {self.name!r} is back")
            self._away = False

    def _wait_for_return(self, line: OpenDevice) -> None:
        line.close()
        while not self._over.wait(RETRY_INTERVAL_SECONDS):
            with suppress(DeviceError):
                self._line = self._open(self._find_again())
                return

    def _let_go(self) -> None:
        self._over.set()
        closing = in_thread(self._close)
        closing.join(CLOSE_TIMEOUT_SECONDS)
        if closing.is_alive():  # it would hang at the exit of the process, too
            atexit.unregister(self._portaudio._exit_handler)

    def _close(self) -> None:
        if self._waiting is not None:
            self._waiting.join()
        if self._line is not None:
            self._line.close()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._news.set)

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

    def _find_again(self) -> int:
        """The device's number now: numbers change as devices come and go. Raises DeviceError where it is away."""
        sd = self._portaudio
        with suppress(sd.PortAudioError):
            sd._terminate()  # PortAudio knows the devices that there were when it was initialized
        try:
            sd._initialize()
            if self._part is not None:
                return int(sd.query_devices(self._part, "input")["index"])
            for info in sd.query_devices():
                if info["max_input_channels"] and all(info[k] == self._device[k] for k in ("name", "hostapi")):
                    return int(info["index"])
        except (ValueError, sd.PortAudioError) as e:
            raise DeviceError(no_device(self.name, str(e))) from None
        raise DeviceError(no_device(self.name, "it is away"))

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
    """Runs it in a thread that does not keep the process alive."""
    thread = threading.Thread(target=work, args=arguments, name="microphone", daemon=True)
    thread.start()
    return thread


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
