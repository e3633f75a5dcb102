"""Several streams of one client, a channel of its audio each, that look like one."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from earshot_asr.engine.audio import Pcm, Seconds
from earshot_asr.engine.config import Timing
from earshot_asr.engine.events import Event, Final, Flushed, Partial
from earshot_asr.engine.recognizer import Stream


class Lanes:
    """Takes samples (C, S), gives out the events of all channels, each with the number of its channel.

    streams    one for each channel, in order
    """

    def __init__(self, streams: Sequence[Stream]) -> None:
        self.streams = streams
        self._flushed = [0] * len(streams)  # how many flushes each has answered
        self._told = 0  # how many were told

    def feed(self, pcm: Pcm) -> int:
        """Takes samples of all channels, equally many; returns how many."""
        taken = min(int(pcm.shape[-1]), self.room)
        for stream, samples in zip(self.streams, pcm, strict=True):
            stream.feed(samples[:taken])
        return taken

    def flush(self) -> None:
        """See Stream."""
        for stream in self.streams:
            stream.flush()

    def finish(self) -> None:
        """See Stream."""
        for stream in self.streams:
            stream.finish()

    def close(self) -> None:
        """See Stream."""
        for stream in self.streams:
            stream.close()

    def events(self) -> list[Event]:
        """The events since the last call. A flush is answered when all channels have answered it."""
        return list(self._events())

    @property
    def timing(self) -> Timing:
        """See Stream."""
        return self.streams[0].timing

    @property
    def room(self) -> int:
        """How many samples feed() would take now."""
        return min(stream.room for stream in self.streams)

    @property
    def received(self) -> int:
        """See Stream."""
        return min(stream.received for stream in self.streams)

    @property
    def committed(self) -> int:
        """See Stream."""
        return min(stream.committed for stream in self.streams)

    @property
    def cut(self) -> int:
        """See Stream."""
        return min(stream.cut for stream in self.streams)

    @property
    def backlog(self) -> int:
        """See Stream."""
        return max(stream.backlog for stream in self.streams)

    @property
    def staleness(self) -> Seconds | None:
        """See Stream."""
        return max((age for stream in self.streams if (age := stream.staleness) is not None), default=None)

    @property
    def resting(self) -> bool:
        """See Stream."""
        return all(stream.resting for stream in self.streams)

    @property
    def done(self) -> bool:
        """See Stream."""
        return all(stream.done for stream in self.streams)

    def _events(self) -> Iterator[Event]:
        for lane, stream in enumerate(self.streams):
            for event in stream.events():
                match event:
                    case Partial() | Final():
                        yield replace(event, channel=lane + 1)
                    case Flushed():
                        self._flushed[lane] += 1
        while min(self._flushed) > self._told:
            self._told += 1
            yield Flushed(self.cut)
