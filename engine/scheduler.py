"""Which windows run next: plain data, no tensors, no clock of its own.

Earliest deadline first. A final is to be there 300 ms after it fell due, a hop window one hop after. Nothing falls
due earlier than its audio would have come in real time, so a stream that sends ahead is served from what is left over.
"""

from collections import deque
from dataclasses import dataclass, replace

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.model import Ladder
from earshot_asr.engine.windows import Window, merge

FINAL_SECONDS = 0.3
"""A final's deadline, after it fell due."""
MERGED_HOPS = 4
"""So many hop windows of a stream, at most, are run as one when they are late: the hop is doubled twice."""


@dataclass(frozen=True, slots=True)
class Job:
    """A window of a stream, made of `hops` of them.

    deadline    when it should be done, in seconds of the caller's clock
    due         when the sample came that completed it
    """

    stream: int
    window: Window
    deadline: Seconds
    hops: int = 1
    due: Seconds = 0.0


class Scheduler:
    """add() jobs, take() batches of them.

    batch_frames    most frames in a batch, padding counted; a longer window runs alone
    """

    def __init__(self, batch_frames: int, ladder: Ladder) -> None:
        self.batch_frames = batch_frames
        self.ladder = ladder
        self._queues: dict[int, deque[Job]] = {}  # of each stream, in order
        self._deadlines: dict[int, Seconds] = {}  # of its most urgent job: those before it have to be done first
        self.superseded = 0

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def add(self, job: Job) -> None:
        """Queues a job behind those of its stream."""
        self._queues.setdefault(job.stream, deque()).append(job)
        self._deadlines[job.stream] = min(job.deadline, self._deadlines.get(job.stream, job.deadline))

    def oldest(self, stream: int) -> Job | None:
        """The job of a stream that has waited longest."""
        queue = self._queues.get(stream)
        return queue[0] if queue else None

    def drop(self, stream: int) -> None:
        """Forgets a stream."""
        self._queues.pop(stream, None)
        self._deadlines.pop(stream, None)

    def take(self, now: Seconds) -> list[Job]:
        """The most urgent job, and others of about its length to go with it. Empty if there is none."""
        batch: list[Job] = []
        rung = 0
        for stream in sorted(self._deadlines, key=self._deadlines.__getitem__):
            queue = self._queues[stream]
            while queue:
                job = self._head(queue, now)
                if not batch:
                    rung = self.ladder.rung(job.window.frames)
                elif self.ladder.rung(job.window.frames) != rung or (len(batch) + 1) * rung > self.batch_frames:
                    break
                batch.append(job)
                queue.popleft()
            if (len(batch) + 1) * rung > self.batch_frames:
                break
        for stream in {job.stream for job in batch}:
            if queue := self._queues[stream]:
                self._deadlines[stream] = min(job.deadline for job in queue)
            else:
                self.drop(stream)
        return batch

    def _head(self, jobs: deque[Job], now: Seconds) -> Job:
        """A stream's next job. A hop window that is late is superseded by the one behind it."""
        while len(jobs) > 1 and jobs[0].deadline < now and jobs[0].window.droppable:
            older, newer = jobs[0], jobs[1]
            if newer.window.final:  # it says all that the older one would, and better
                jobs.popleft()
            elif older.window.emit_to == newer.window.emit_from and older.hops + newer.hops <= MERGED_HOPS:
                jobs.popleft()
                jobs[0] = replace(newer, window=merge(older.window, newer.window), hops=older.hops + newer.hops)
            else:
                break
            self.superseded += 1
        return jobs[0]
