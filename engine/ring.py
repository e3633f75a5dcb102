"""The newest audio of one stream, in fixed memory, addressed by absolute sample number."""

import numpy as np

from earshot_asr.engine.audio import Pcm


class RingBuffer:
    """Holds the samples [start, end) of a stream. Each is kept until release() passes it; feed() overwrites none."""

    def __init__(self, capacity: int, start: int = 0) -> None:
        self._pcm = np.zeros(capacity, np.int16)
        self.capacity = capacity
        self.start = start
        self.end = start

    @property
    def room(self) -> int:
        """How many samples may be fed."""
        return self.capacity - (self.end - self.start)

    def feed(self, pcm: Pcm) -> None:
        """Appends samples (S,) with S <= room."""
        assert len(pcm) <= self.room, (len(pcm), self.room)
        at = self.end % self.capacity
        first = min(len(pcm), self.capacity - at)
        self._pcm[at : at + first] = pcm[:first]
        self._pcm[: len(pcm) - first] = pcm[first:]
        self.end += len(pcm)

    def view(self, start: int, end: int) -> Pcm:
        """A copy of the samples [start, end)."""
        assert self.start <= start <= end <= self.end, (self.start, start, end, self.end)
        at = start % self.capacity
        first = min(end - start, self.capacity - at)
        return np.concatenate([self._pcm[at : at + first], self._pcm[: end - start - first]])

    def release(self, before: int) -> None:
        """Frees the samples before this one. Before `start` it changes nothing; past `end` it counts as `end`."""
        self.start = max(self.start, min(before, self.end))
