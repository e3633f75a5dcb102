"""What a stream says, written to a file or pipe as it arrives: finals in a format, or messages as lines of JSON."""

from typing import IO

from earshot_asr.client.stream import Connected, Message, Reconnecting, Resumed, Waiting
from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds
from earshot_asr.engine.captions import CaptionWriter
from earshot_asr.engine.text import escaped, printable
from earshot_asr.server import wire
from earshot_asr.server.wire import Done, FinalMessage, PartialMessage, ServerMessage


class ConnectionLog:
    """Says when the server is waited for or the connection lost, once, and when it is there. `log` gets the lines."""

    def __init__(self, log: IO[str]) -> None:
        self._log = log
        self._connected = True

    def show(self, message: Message) -> None:
        """Takes any message."""
        match message:
            case Waiting() | Reconnecting() if self._connected:
                self._connected = False
                self._say(lost(message))
            case wire.Warning():
                self._say(f"note: {printable(message.message)}")
            case Connected():
                self._connected = True
                self._say(f"connected to {message.url}")
            case Resumed():
                self._connected = True
                self._say(f"resumed at {message.url}; {message.replayed:.1f} s sent again")

    def _say(self, line: str) -> None:
        print(line, file=self._log, flush=True)


class FinalsOnly:
    """Writes finals in a format of engine.captions as they arrive, to a file or pipe. A Screen.

    file   for the finals
    log    gets a line when the connection is lost, and when the stream is resumed
    """

    def __init__(self, captions: CaptionWriter, file: IO[str], log: IO[str]) -> None:
        self._captions, self._file = captions, file
        self._log = ConnectionLog(log)
        self._samples = 0  # heard since the last `finish`
        self._received = False  # anything from a server

    def hear(self, pcm: Pcm, dropped: Seconds, now: Seconds) -> None:
        """See Screen."""
        self._samples += len(pcm)

    def show(self, message: Message, now: Seconds) -> None:
        """See Screen."""
        match message:
            case FinalMessage():
                self._write(self._captions.feed(message))
            case Done():
                self._finish(message.duration)
        self._received = self._received or isinstance(message, ServerMessage)
        self._log.show(message)

    def close(self) -> None:
        """Completes the output if the stream ended early, so that all finals are written."""
        if self._samples and self._received:
            self._finish(self._samples / SAMPLE_RATE)

    def _finish(self, duration: Seconds) -> None:
        self._samples = 0
        self._write(self._captions.finish(duration))

    def _write(self, text: str) -> None:
        self._file.write("".join(c if c.isprintable() or c == "\n" else " " for c in text))
        self._file.flush()


class JsonLines:
    """Writes messages as they are in the protocol, each as a line of JSON as soon as it arrives. A Screen.

    Finals, partials if they are wanted, and at last `done`: where that is missing, the stream has ended early.

    file, log   see FinalsOnly
    """

    def __init__(self, file: IO[str], log: IO[str], *, partials: bool = False) -> None:
        self._file = file
        self._kinds = (FinalMessage, Done, PartialMessage) if partials else (FinalMessage, Done)
        self._log = ConnectionLog(log)

    def hear(self, pcm: Pcm, dropped: Seconds, now: Seconds) -> None:
        """See Screen."""

    def show(self, message: Message, now: Seconds) -> None:
        """See Screen."""
        if isinstance(message, self._kinds):
            line = "".join(c if c.isprintable() else escaped(c) for c in wire.encode(message))
            self._file.write(f"{line}\n")
            self._file.flush()
        self._log.show(message)


def lost(state: Waiting | Reconnecting) -> str:
    """A message for the user about a connection that isn't there."""
    if isinstance(state, Waiting):
        return f"waiting ({state.attempt}), {state.kept:.1f} s kept: {printable(state.reason)}"
    return f"reconnecting ({state.attempt}): {printable(state.reason)}; {state.kept:.1f} s kept"
